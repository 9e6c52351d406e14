"""Text as streams of symbols.

A text is the bytes of one or more files in order; each byte is a symbol. It is read in windows,
never as a whole, so that its size does not matter. The symbols of each window are checked when it
is read. A file that shrinks during the run raises an error.

Source: darknet examples/rnn.c (get_rnn_data, reset_rnn_state).
"""

from __future__ import annotations

import codecs
import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from minidark.data.identity import FileIdentity, Identity, sampled
from minidark.errors import DataError
from minidark.files.disk import named, open_regular, read_at, stamp

Ids = npt.NDArray[np.intp]

RESTART = 1 / 64  # probability that a stream restarts elsewhere, per batch
FIRST_BYTES = 1 << 16  # checked for UTF-16
MANY_NULS, NEARLY_ALL = 0.5, 0.95  # shares of every other byte


def looks_like_utf16(path: Path | str) -> bool:
    """Whether a file begins with UTF-16's or UTF-32's byte order mark, or every other one of its
    first bytes is mostly NUL and the rest is text. Raises DataError."""
    with open_regular(path, named(path, DataError)) as file:
        begin = np.frombuffer(file.read(FIRST_BYTES), np.uint8)
    if bytes(begin[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return True
    even, odd = begin[0::2], begin[1::2]
    return begin.size >= 4 and any(
        bool((nuls == 0).mean() > MANY_NULS and (text >= ord("\t")).mean() > NEARLY_ALL)
        for nuls, text in ((even, odd), (odd, even))
    )


class _File:
    """An open file of a text; `begin` is its offset in the text."""

    def __init__(self, path: Path, begin: int):
        self.path, self.begin = path, begin
        self.place = path.absolute()
        self.file = open_regular(path, named(path, DataError))
        self.opened = self.last_stat = os.fstat(self.file.fileno())
        self.size = self.opened.st_size
        with self.reading():
            self.identity = FileIdentity.of(path, self.file, self.opened)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from offset `start` of the text to `stop`."""
        with self.reading():
            data = read_at(self.file, stop - start, start - self.begin)
        if len(data) < stop - start:
            raise self.shrunk()
        return data

    def check(self) -> None:
        """Raise DataError if the file has changed."""
        with contextlib.suppress(OSError):  # a deleted file stays readable
            if not os.path.samestat(os.stat(self.place), self.opened):
                raise DataError(f"{self.path}: replaced by another file since the start")
        with self.reading():
            now = os.fstat(self.file.fileno())
            if stamp(now) == stamp(self.last_stat):
                return
            if now.st_size < self.size:
                raise self.shrunk()
            if sampled(self.file, self.size) != self.identity.sampled:
                raise DataError(f"{self.path}: its bytes have changed since the start")
        self.last_stat = now

    def shrunk(self) -> DataError:
        return DataError(f"{self.path}: became shorter since the start")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.path}: cannot read: {error.strerror}") from error


class Symbols(ABC):
    """A sequence of `size` symbols below `inputs`. Use it as a context manager: it may hold open
    files."""

    tokenized: ClassVar[bool] = False  # integers separated by spaces, instead of bytes
    inputs: int
    size: int

    @abstractmethod
    def read(self, start: int, stop: int) -> Ids:
        """The symbols from offset `start` to `stop`, as ids."""

    @abstractmethod
    def identity(self) -> Identity:
        """The identity, to recognise this text in a later run."""

    def check(self) -> None:  # noqa: B027  a text in memory does not change
        """Raise DataError if a file was replaced, is shorter, or differs in its samples from the
        start. A file may grow."""

    def characters(self, begin: int, end: int) -> int:
        """Number of characters from offset `begin` to `end`; a symbol may have several."""
        return end - begin

    def characters_of(self, symbols: Ids) -> int:
        """Number of characters of these symbols."""
        return symbols.size

    def place(self, character: int) -> int:
        """Offset of the symbol that contains a character."""
        return character

    def part(self, begin: int, end: int) -> Part:
        return Part(self, begin, end)

    def split(self, valid_fraction: float) -> tuple[Part, Part]:
        """The training part, and the last `valid_fraction` of the characters for validation."""
        if not 0 <= valid_fraction < 1:
            raise DataError(f"valid_fraction {valid_fraction} is not at least 0 and below 1")
        characters = self.characters(0, self.size)
        at = self.place(characters - int(characters * valid_fraction))
        return self.part(0, at), self.part(at, self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  a text in memory has no files
        """Close the files of this text."""


class TextInMemory(Symbols):
    """A text whose symbols `ids` (N,) are all in memory; its file is closed."""

    def __init__(self, ids: npt.NDArray[Any], inputs: int, identity: Identity):
        self.ids, self.inputs, self.size = ids, inputs, ids.size
        self._identity = identity

    def read(self, start: int, stop: int) -> Ids:
        return self.ids[start:stop].astype(np.intp)

    def identity(self) -> Identity:
        return self._identity


class Text(Symbols):
    """The bytes of `paths`, one path or several, in order. Thread-safe. Raises DataError."""

    def __init__(self, paths: Path | str | Sequence[Path | str], inputs: int):
        paths = [paths] if isinstance(paths, Path | str) else paths
        self.inputs = inputs
        self.files: list[_File] = []
        self.size = 0
        try:
            for path in map(Path, paths):
                self.files.append(_File(path, self.size))
                self.size += self.files[-1].size
            if not self.size:
                raise DataError(f"{', '.join(map(str, paths))}: empty")
        except DataError:
            self.close()
            raise

    def close(self) -> None:
        for f in self.files:
            f.file.close()

    def read(self, start: int, stop: int) -> Ids:
        parts = [
            self._read(f, max(start, f.begin), min(stop, f.begin + f.size))
            for f in self.files
            if f.begin < stop and start < f.begin + f.size
        ]
        return np.frombuffer(b"".join(parts), dtype=np.uint8).astype(np.intp)

    def identity(self) -> Identity:
        return Identity(tuple(f.identity for f in self.files))

    def check(self) -> None:
        for f in self.files:
            f.check()

    def _read(self, f: _File, start: int, stop: int) -> bytes:
        data = f.read(start, stop)
        if self.inputs < 256:
            symbols = np.frombuffer(data, dtype=np.uint8)
            wrong = np.flatnonzero(symbols >= self.inputs)
            if wrong.size:
                offset = start - f.begin + int(wrong[0])
                raise DataError(
                    f"{f.path}: byte {symbols[wrong[0]]} at offset {offset}; this network's "
                    f"symbols are 0 to {self.inputs - 1}, bytes need inputs=256"
                )
        return data


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a text, from offset `begin` to `end`."""

    text: Symbols
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    @property
    def characters(self) -> int:
        return self.text.characters(self.begin, self.end)

    def window(self, at: int, length: int) -> Ids:
        """`length` symbols from offset `at` of the part; wraps around at its end."""
        if not self.size:
            raise DataError("an empty part of a text has no windows")
        pieces = []
        while length > 0:
            take = min(length, self.size - at)
            pieces.append(self.text.read(self.begin + at, self.begin + at + take))
            length, at = length - take, 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Streams:
    """S positions in a part of a text that advance as they are read; only those of `own`
    are read."""

    def __init__(
        self, part: Part, streams: int, rng: np.random.Generator, own: slice = slice(None)
    ):
        self.part, self.rng, self.own = part, rng, own
        self.offsets = rng.integers(0, part.size, streams)

    def move(self, offsets: Sequence[int]) -> None:
        """Set all positions. Raises ValueError if they are invalid."""
        places = np.array(offsets, dtype=self.offsets.dtype)
        if (
            places.shape != self.offsets.shape
            or not ((places >= 0) & (places < self.part.size)).all()
        ):
            raise ValueError("the offsets do not fit the streams")
        self.offsets = places

    def next(self, steps: int) -> tuple[Ids, Ids]:
        """The next `steps` symbols of each stream that is read, and the symbol after each: ids (T,
        S), (T, S)."""
        places = self.offsets[self.own]
        windows = np.stack([self.part.window(int(at), steps + 1) for at in places], axis=1)
        self.offsets = (self.offsets + steps) % self.part.size
        return windows[:-1], windows[1:]

    def restart(self) -> list[int]:
        """Move some streams to random positions; returns them, so that their states can be
        cleared."""
        chosen = np.flatnonzero(self.rng.random(self.offsets.size) < RESTART)
        self.offsets[chosen] = self.rng.integers(0, self.part.size, chosen.size)
        return [int(stream) for stream in chosen]
