"""Text as streams of symbols.

A text is the bytes of one or more files, one after another; each byte is a symbol. It is read
window by window, never whole, so that its size does not matter, and a file that shrinks under
the reader is an error and not a crash.

Source: darknet examples/rnn.c (get_rnn_data, reset_rnn_state).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from minidark.errors import DataError
from minidark.files import named, open_regular

Ids = npt.NDArray[np.intp]

RESTART = 1 / 64  # a stream's chance, per batch, to begin anew elsewhere


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    file: BinaryIO
    begin: int  # offset of its first byte in the text
    size: int


class Symbols(ABC):
    """A sequence of `size` symbols below `inputs`; use it in a `with`, it may hold files open."""

    inputs: int
    size: int

    @abstractmethod
    def read(self, start: int, stop: int) -> Ids:
        """The symbols from offset `start` to `stop`, as ids."""

    def part(self, begin: int, end: int) -> Part:
        return Part(self, begin, end)

    def split(self, valid_fraction: float) -> tuple[Part, Part]:
        """All but the last `valid_fraction` to train on, and that to validate on."""
        if not 0 <= valid_fraction < 1:
            raise DataError(f"valid_fraction {valid_fraction} is not from 0 to below 1")
        at = self.size - int(self.size * valid_fraction)
        return self.part(0, at), self.part(at, self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  a text in memory holds nothing
        """Give back what is held."""


class Text(Symbols):
    """The bytes of `paths`, a path or several, one file after another. Raises DataError."""

    def __init__(self, paths: Path | str | Sequence[Path | str], inputs: int):
        paths = [paths] if isinstance(paths, Path | str) else paths
        self.inputs = inputs
        self.files: list[_File] = []
        self.size = 0
        try:
            for path in map(Path, paths):
                file = open_regular(path, named(path, DataError))
                size = os.fstat(file.fileno()).st_size
                self.files.append(_File(path, file, self.size, size))
                self.size += size
            if not self.size:
                raise DataError(f"{', '.join(map(str, paths))}: empty; a network learns from text")
        except DataError:
            self.close()
            raise

    def close(self) -> None:
        for f in self.files:
            f.file.close()

    def read(self, start: int, stop: int) -> Ids:
        parts = [
            self._read_file(f, max(start, f.begin), min(stop, f.begin + f.size))
            for f in self.files
            if f.begin < stop and start < f.begin + f.size
        ]
        return np.frombuffer(b"".join(parts), dtype=np.uint8).astype(np.intp)

    def _read_file(self, f: _File, start: int, stop: int) -> bytes:
        f.file.seek(start - f.begin)
        data = f.file.read(stop - start)
        if len(data) < stop - start:
            raise DataError(f"{f.path}: shorter than it was at the start; it changed meanwhile")
        if self.inputs < 256:
            symbols = np.frombuffer(data, dtype=np.uint8)
            wrong = np.flatnonzero(symbols >= self.inputs)
            if wrong.size:
                offset = start - f.begin + int(wrong[0])
                raise DataError(
                    f"{f.path}: byte {symbols[wrong[0]]} at offset {offset}; this network's "
                    f"symbols are 0 to {self.inputs - 1}, bytes take inputs=256"
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

    def window(self, at: int, length: int) -> Ids:
        """`length` symbols from the part's own offset `at`; past its end it begins again."""
        if not self.size:
            raise DataError("an empty stretch of text has no windows")
        pieces = []
        while length > 0:
            take = min(length, self.size - at)
            pieces.append(self.text.read(self.begin + at, self.begin + at + take))
            length, at = length - take, 0
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Streams:
    """S places in a part of a text that move on as they are read."""

    def __init__(self, part: Part, streams: int, rng: np.random.Generator):
        self.part, self.rng = part, rng
        self.offsets = rng.integers(0, part.size, streams)

    def next(self, steps: int) -> tuple[Ids, Ids]:
        """The next `steps` symbols of each stream, and what follows each: ids (T, S), (T, S)."""
        windows = np.stack([self.part.window(int(at), steps + 1) for at in self.offsets], axis=1)
        self.offsets = (self.offsets + steps) % self.part.size
        return windows[:-1], windows[1:]

    def restart(self) -> list[int]:
        """Move some streams to random places; which ones, so that their states can be cleared."""
        chosen = np.flatnonzero(self.rng.random(self.offsets.size) < RESTART)
        self.offsets[chosen] = self.rng.integers(0, self.part.size, chosen.size)
        return [int(stream) for stream in chosen]
