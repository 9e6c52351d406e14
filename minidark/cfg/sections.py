"""Converts cfg text to sections and back. Knows no layers and no keys.

darknet's grammar: all spaces and tabs in a line are dropped, `#` and `;` start a comment, `[name]`
opens a section, all other lines are `key=value`. If a key occurs twice, the first one counts.

Source: darknet src/parser.c (read_cfg), src/option_list.c (read_option). darknet allows comments
only at the start of a line, and continues where this raises.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from minidark.cfg.comments import Comments
from minidark.errors import CfgError, WeightsError, bare, echo
from minidark.files.archives import is_archive, open_archive
from minidark.files.disk import open_regular

LARGEST_CFG = 1 << 20  # bytes; a real one has a few thousand
MOST_SECTIONS = 1000

COMMENT = re.compile(b"[#;][^\n\r]*")
# Not str.splitlines(), which also breaks at U+2028 and others that a C program ignores.
LINE_BREAK = re.compile("\r\n|\n|\r")


class Doubt(str):
    """A warning about a cfg; `rule` is the name of its kind in `check`."""

    rule: str

    def __new__(cls, rule: str, message: str) -> Doubt:
        doubt = super().__new__(cls, message)
        doubt.rule = rule
        return doubt


Warn = Callable[[Doubt, int], None]
Refuse = Callable[[CfgError], None]  # receives a mistake; if it returns, reading continues


def raise_(error: CfgError) -> None:
    raise error


def ignore_doubt(message: str, line: int) -> None:
    """A `Warn` that ignores warnings, for cfgs that were read before."""


@dataclass(frozen=True, slots=True)
class Pair:
    key: str
    value: str
    line: int


@dataclass(slots=True)
class Section:
    """`type` is the name between the brackets; `pairs` are in file order."""

    type: str
    line: int
    pairs: dict[str, Pair] = field(default_factory=dict)


def read_cfg(path: Path | str) -> bytes:
    """The bytes of a file, up to the size limit of a cfg, or the cfg stored in a `.safetensors` or
    `.npz`. Raises CfgError."""
    with open_regular(path, lambda message: CfgError(message, path)) as file:
        if not is_archive(path):
            return file.read(LARGEST_CFG + 1)
        try:
            stored = open_archive(file, path).notes.get("cfg")
        except WeightsError as error:
            raise CfgError(str(error).removeprefix(f"{path}: "), path) from error
    if not stored:
        raise CfgError("contains no cfg; pass the cfg's own file", path)
    return stored.encode(errors="surrogatepass")


def parse_sections(
    data: bytes, path: Path | str | None, warn: Warn, refuse: Refuse = raise_
) -> list[Section]:
    """The sections of a cfg. `warn(message, line)` receives warnings. Raises CfgError; if `refuse`
    returns, the wrong line is skipped. A file whose first line does not open a section is not a
    cfg, and the rest is not read."""
    sections: list[Section] = []
    for line in _lines(data, path):
        if not line.text:
            continue
        if len(sections) == MOST_SECTIONS and line.text.startswith("["):
            raise CfgError(f"more than {MOST_SECTIONS:,} sections; not a cfg", path, line.number)
        try:
            _take(line, sections, path, warn)
        except CfgError as error:
            if not sections and not line.text.startswith("["):
                raise
            refuse(error)
    if not sections:
        raise CfgError("no [section] in this cfg; it begins with [net]", path)
    return sections


class Line(NamedTuple):
    number: int
    text: str  # without white space, which has no meaning
    written: str  # as written, for messages

    def wrong(self, message: str, path: Path | str | None) -> CfgError:
        return CfgError(f"{echo(self.written.strip())} {message}", path, self.number)


def _take(line: Line, sections: list[Section], path: Path | str | None, warn: Warn) -> None:
    """Open a section, or add a pair to the last one."""
    if line.text.startswith("["):
        sections.append(Section(_section_type(line, path), line.number))
        return
    pair = _pair(line, path)
    if not sections:
        raise line.wrong("is before the first [section]", path)
    first = sections[-1].pairs.setdefault(pair.key, pair)
    if first is not pair:
        message = f"{bare(pair.key)} is already set on line {first.line}; the first one counts"
        warn(Doubt("given-twice", message), line.number)


def format_sections(sections: Sequence[Section], comments: Comments | None = None) -> str:
    """Sections as cfg text, with these comments."""
    comments = comments or Comments()
    lines: list[str] = []
    for section in sections:
        lines += [""] if lines else []
        lines += comments.before(section.line)
        lines.append(f"[{section.type}]{comments.at(section.line)}")
        for pair in section.pairs.values():
            lines += comments.before(pair.line)
            lines.append(f"{pair.key}={pair.value}{comments.at(pair.line)}")
    return "\n".join([*lines, *comments.before(float("inf"))]) + "\n"


def cfg_comments(data: bytes) -> Comments:
    """Comments of a cfg that was parsed before."""
    comments = Comments()
    text = data.decode("utf-8-sig", errors="replace")
    for number, line in enumerate(LINE_BREAK.split(text), start=1):
        if match := re.search("[#;]", line):
            code = line[: match.start()]
            comments.add(number, line[match.end() :], alone=not code.strip(" \t"))
    return comments


def _lines(data: bytes, path: Path | str | None) -> Iterator[Line]:
    """The lines without comments and white space. Both are removed from the whole text at once,
    because it may be a hostile megabyte."""
    if len(data) > LARGEST_CFG:
        raise CfgError(f"larger than {LARGEST_CFG:,} bytes; this is not a cfg", path)
    if 0 in data:
        line = _line_of(data, data.index(0))
        raise CfgError("a NUL byte; a cfg is UTF-8 text (is this UTF-16 or binary?)", path, line)
    data = COMMENT.sub(b"", data.removeprefix(codecs.BOM_UTF8))  # comments may have any encoding
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = _line_of(data, error.start)
        raise CfgError(
            f"byte 0x{data[error.start]:02x} is not UTF-8; save the cfg as UTF-8", path, line
        ) from error
    return map(Line, itertools.count(1), LINE_BREAK.split(without_blanks(text)),
               LINE_BREAK.split(text))  # fmt: skip


def _line_of(data: bytes, offset: int) -> int:
    """Line number of the byte at `offset`."""
    return len(LINE_BREAK.split(data[:offset].decode("latin-1")))


def without_blanks(text: str) -> str:
    """Remove all spaces and tabs, as darknet does."""
    return text.replace(" ", "").replace("\t", "")


def _section_type(line: Line, path: Path | str | None) -> str:
    if not re.fullmatch(r"\[[^\[\]]+\]", line.text):
        raise line.wrong("is not a section; expected [name]", path)
    return line.text[1:-1]


def _pair(line: Line, path: Path | str | None) -> Pair:
    key, equals, value = line.text.partition("=")
    if not (key and equals and value):
        raise line.wrong("is not key=value", path)
    return Pair(key, value, line.number)
