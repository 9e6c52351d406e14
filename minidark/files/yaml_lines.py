"""YAML whose nodes know their lines: plain data only, safe for untrusted files.

`load` returns mappings, lists and texts. A text is as written in the file, so that minidark's
number grammar reads it, and not YAML's, where 010 is 8 and 12:30 is 750. `resolved` returns values
of YAML's own types. Anchors, aliases, tags and further documents are refused: they make YAML
dangerous, and a settings file needs none of them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from minidark.errors import CfgError, bare, echo

LARGEST = 1 << 18  # bytes; a settings file has a few thousand
DEEPEST = 16  # levels of nested mappings and lists
MOST_NODES = 20_000
LONGEST_PROBLEM = 100  # characters of the parser's message
UNUSABLE = re.compile("[\0\ud800-\udfff]")  # invalid in file names or UTF-8


class Scalar(str):
    """A text as written in the file; `plain` if it has no quotes."""

    __slots__ = ("line", "plain")
    line: int
    plain: bool

    @classmethod
    def of(cls, text: str, line: int, plain: bool = True) -> Scalar:
        scalar = cls(text)
        scalar.line, scalar.plain = line, plain
        return scalar


class Mapping(dict[str, Any]):
    """Keys in file order, with `lines[key]`; `line` is where the mapping begins."""

    def __init__(self, line: int):
        super().__init__()
        self.line, self.lines = line, dict[str, int]()


class Items(list[Any]):
    """A list; `line` is where it begins. Each item has its own line."""

    def __init__(self, line: int):
        super().__init__()
        self.line = line


Node = Scalar | Mapping | Items


def load(data: bytes, path: Path | str | None = None) -> Node:
    """The single document of a file; `path` is for messages. Raises CfgError with a line."""
    return _Reader(_decoded(data, path), path).document()


PLAIN_VALUES = {
    **dict.fromkeys(("", "~", "null"), None),
    **dict.fromkeys(("true", "True"), True),
    **dict.fromkeys(("false", "False"), False),
}


def resolved(scalar: Scalar) -> str | int | float | bool | None:
    """The value of a scalar by YAML 1.2: quoted scalars are text; null, true and false, decimal
    integers and finite numbers have their own types."""
    if not scalar.plain:
        return str(scalar)
    if scalar in PLAIN_VALUES:
        return PLAIN_VALUES[scalar]
    if re.fullmatch(r"[-+]?[0-9]{1,300}", scalar, re.ASCII):
        return int(scalar)
    if re.fullmatch(r"[-+]?([0-9]{1,300}(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,2})?", scalar):
        return float(scalar)
    return str(scalar)


class _Reader:
    """Builds the tree from the parser's events, one at a time. Anything that is too deep, too large
    or not plain is refused before parsing continues."""

    def __init__(self, text: str, path: Path | str | None):
        self.path = path
        self.nodes = 0
        self.events = self._events(text)

    def _events(self, text: str) -> Iterator[yaml.Event]:
        loader = None
        try:
            loader = yaml.SafeLoader(text)
            while loader.check_event():
                yield loader.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else None
            raise self._wrong(bare(str(error.problem), LONGEST_PROBLEM), line) from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._wrong(f"character {error.character:#x} is not allowed", line) from error
        except (ValueError, OverflowError) as error:  # from an escape, or a number in a directive
            line = loader.line + 1 if loader else None
            message = "invalid escape, or a number that is too long"
            raise self._wrong(message, line) from error
        finally:
            if loader:
                loader.dispose()

    def document(self) -> Node:
        next(self.events)  # the stream's start
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            raise CfgError("no YAML in this file", self.path)
        tree = self._node(next(self.events), 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._wrong("a second document", _line(after))
        return tree

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._check(event, depth)
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            if match := UNUSABLE.search(event.value):
                message = f"the character U+{ord(match[0]):04X} is not allowed"
                raise self._wrong(message, line + event.value.count("\n", 0, match.start()))
            return Scalar.of(event.value, line, event.style is None)
        if isinstance(event, yaml.SequenceStartEvent):
            items = Items(line)
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return items
        return self._mapping(line, depth)

    def _mapping(self, line: int, depth: int) -> Mapping:
        mapping = Mapping(line)
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise self._wrong("a key that is not text", _line(event))
            if key in mapping:
                before = mapping.lines[key]
                raise self._wrong(f"{bare(key)} is already set on line {before}", key.line)
            mapping.lines[str(key)] = key.line
            mapping[str(key)] = self._node(next(self.events), depth + 1)
        return mapping

    def _check(self, event: yaml.Event, depth: int) -> None:
        line = _line(event)
        self.nodes += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._wrong(
                "anchors and aliases (& and *) are not supported; write the value out", line
            )
        if getattr(event, "tag", None) is not None:
            raise self._wrong(f"the tag {echo(event.tag)} is not supported; use plain values", line)
        if depth > DEEPEST:
            raise self._wrong(f"more than {DEEPEST} levels deep", line)
        if self.nodes > MOST_NODES:
            raise self._wrong(f"more than {MOST_NODES:,} values", line)

    def _wrong(self, message: str, line: int | None) -> CfgError:
        return CfgError(message, self.path, line)


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1


def _decoded(data: bytes, path: Path | str | None) -> str:
    if len(data) > LARGEST:
        raise CfgError(f"larger than {LARGEST:,} bytes, the limit for YAML", path)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise CfgError(message, path, line) from error
