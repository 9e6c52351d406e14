"""Names of a network's symbols: words or characters, which a seed and a text are spelled in.

A file of names has one name per line; line n (from 0) names symbol n. `<NEWLINE>` is a line break.
A `.json` file is a list of names, or an object with a number for each name, as Python programs save
their `char_to_id`.

If the names are single characters, texts are read and printed character by character, without
blanks. Names in brackets, such as `<pad>` and `[UNK]`, and an empty name do not count. Otherwise
the names are words: blanks separate them, and a blank is printed after each.
"""

from __future__ import annotations

import codecs
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minidark.data.identity import FileIdentity, Identity
from minidark.data.text import Ids, TextInMemory
from minidark.data.tokens import NEWLINE
from minidark.errors import DataError, echo, nearest
from minidark.files.disk import named, open_regular

LARGEST = 1 << 26  # bytes of a file of names
BRACKETS = ("<>", "[]")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names of a network's symbols, in order, and their file."""

    path: Path | str
    names: list[str]
    identity: FileIdentity
    spelled: bool = field(init=False)  # whether the names are single characters

    def __post_init__(self) -> None:
        plain = [name for name in self.names if not _is_special(name)]
        object.__setattr__(self, "spelled", len(plain) > 1 and all(len(n) == 1 for n in plain))

    @classmethod
    def read(cls, path: Path | str, symbols: int) -> Vocabulary:
        """Read the names of a network's `symbols`. Raises DataError for too few names, and for a
        JSON file that is neither a list of texts nor an object of numbers."""
        with open_regular(path, named(path, DataError)) as file:
            identity = FileIdentity.of(path, file, os.fstat(file.fileno()))
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST:,} bytes, the limit for names")
        is_json = Path(path).suffix.lower() == ".json"
        names = _of_json(data, path) if is_json else _of_lines(data)
        if len(names) < symbols:
            raise DataError(f"{path}: {len(names)} names; this network has {symbols} tokens")
        return cls(path, names[:symbols], identity)

    @property
    def printed(self) -> list[bytes]:
        """The bytes that `generate` prints for each symbol."""
        after = "" if self.spelled else " "
        return [_encoded(name + after) for name in self.names]

    @property
    def first(self) -> int:
        """The symbol that a sample begins with if there is no seed: a line break if the names are
        characters and include one, else symbol 0."""
        return self.names.index("\n") if self.spelled and "\n" in self.names else 0

    def encode(self, text: bytes, source: str = "") -> Ids:
        """The symbols of a text from `source`, or of a seed. A line break between words is a blank
        in a seed; in a text it is a word if it has a name. Raises DataError for a character or word
        without a name."""
        known: dict[str, int] = {}
        for symbol, name in enumerate(self.names):
            known.setdefault(name, symbol)
        decoded = text.decode("utf-8", "surrogateescape")
        units: Iterable[str] = (
            decoded if self.spelled else _words(decoded, bool(source) and "\n" in known)
        )
        try:
            return np.fromiter((known[unit] for unit in units), np.intp)
        except KeyError as error:
            raise self._unnamed(str(error.args[0]), decoded, source, known) from error

    def _unnamed(self, unit: str, text: str, source: str, known: dict[str, int]) -> DataError:
        hint = "" if self.spelled else nearest(unit, known)
        written = NEWLINE.decode() if unit == "\n" and not self.spelled else unit
        line = text.count("\n", 0, text.index(written)) + 1
        where = f"; it is in line {line:,} of {source}" if source else ""
        return DataError(f"{self.path}: no token is named {echo(unit)}{hint}{where}")


class NamedText(TextInMemory):
    """A text in the characters or words of a vocabulary, in memory."""

    tokenized = True

    def __init__(self, path: Path | str, vocabulary: Vocabulary):
        """Raises DataError for an empty text, and for characters or words without a name."""
        with open_regular(path, named(path, DataError)) as file:
            own = Identity.of(path, file)
            ids = vocabulary.encode(file.read(), str(path))
        symbols = len(vocabulary.names)
        identity = Identity((*own.files, vocabulary.identity))
        super().__init__(ids.astype(np.min_scalar_type(symbols - 1)), symbols, identity)
        if not self.size:
            raise DataError(f"{path}: empty")


def _is_special(name: str) -> bool:
    return not name or (len(name) > 1 and name[0] + name[-1] in BRACKETS)


def _of_lines(data: bytes) -> list[str]:
    data = data.removeprefix(codecs.BOM_UTF8)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if not lines[-1]:
        del lines[-1]
    if len(lines) > 1 and all(line.endswith("\r") for line in lines[:-1]):  # from Windows
        lines = [line.removesuffix("\r") for line in lines]
    return ["\n" if name == NEWLINE.decode() else name for name in lines]


def _of_json(data: bytes, path: Path | str) -> list[str]:
    try:
        names = json.load(io.BytesIO(data))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON, or damaged") from error
    if isinstance(names, dict):
        numbers = sorted(value for value in names.values() if type(value) is int)
        if numbers != [*range(len(names))]:
            raise DataError(f"{path}: the names' numbers are not 0 to {len(names) - 1}")
        names = sorted(names, key=names.__getitem__)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: expected a list of names, or an object with a number for each")
    for name in names:
        try:
            _encoded(name)
        except UnicodeEncodeError as error:
            raise DataError(f"{path}: {echo(name)} is half of a UTF-16 character") from error
    return names


def _words(text: str, with_lines: bool) -> list[str]:
    """The words of a text. `<NEWLINE>` is a line break. with_lines: whether line breaks are words
    too."""
    newline = NEWLINE.decode()
    text = text.replace("\n", f" {newline} ") if with_lines else text
    return ["\n" if word == newline else word for word in text.split()]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
