"""Whether a text is still the same, the next moment and on another day.

Reading 10 GB to find out takes minutes. So an `Identity` is each file's size, its time, and a hash
of 64 samples.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from minidark.errors import DataError
from minidark.files.disk import read_at

SAMPLES, SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file was when it was opened. Where it lay is not compared."""

    path: str = field(compare=False)
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    sampled: str  # sha256, in hex, of the samples; see `sample_offsets`

    @classmethod
    def of(cls, path: Path | str, file: io.BufferedReader, opened: os.stat_result) -> FileIdentity:
        digest = sampled(file, opened.st_size)
        return cls(str(path), opened.st_size, opened.st_mtime_ns, digest)

    def change(self, since: FileIdentity) -> str | None:
        """What became of the file that was `since`, in one line, or None."""
        if more := self.size - since.size:
            change = f"{abs(more):,} bytes {'longer' if more > 0 else 'shorter'} than before"
        elif self.sampled != since.sampled:
            change = "as long as before, with other bytes"
        elif self.modified != since.modified:
            change = "written anew, though its size and the bytes that were compared are the same"
        else:
            return None
        return f"{self.path}: {change}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a text was: its files in their order. Equal means the same text, as far as sizes,
    times and samples can tell."""

    files: tuple[FileIdentity, ...]

    @classmethod
    def of(cls, path: Path | str, file: io.BufferedReader) -> Identity:
        """That of one open file."""
        return cls((FileIdentity.of(path, file, os.fstat(file.fileno())),))

    def change(self, since: Identity) -> str | None:
        """How the text differs from what it was, in one line that names the file, or None."""
        if len(self.files) != len(since.files):
            return f"{_number(self.files)} in place of {_number(since.files)} before"
        changes = (f.change(before) for f, before in zip(self.files, since.files, strict=True))
        return next(filter(None, changes), None)

    def undated(self) -> Identity:
        """Without the times: what a copy of the same bytes has in common with them."""
        return Identity(tuple(replace(f, modified=0) for f in self.files))

    def content(self) -> list[list[Any]]:
        """What does not hang on where and when it was written: sizes and samples."""
        return [[f.size, f.sampled] for f in self.files]

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(f) for f in self.files]

    @classmethod
    def from_json(cls, files: list[dict[str, Any]]) -> Identity:
        """Of what `to_json` gave. Raises DataError for anything else."""
        try:
            return cls(tuple(FileIdentity(**f) for f in files))
        except TypeError as error:
            raise DataError(f"no identity of a text: {error}") from error


def _number(files: tuple[FileIdentity, ...]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"


def sampled(file: io.BufferedReader, size: int) -> str:
    digest = hashlib.sha256()
    for offset in sample_offsets(size):
        digest.update(read_at(file, min(SAMPLE_BYTES, size - offset), offset))
    return digest.hexdigest()


def sample_offsets(size: int) -> list[int]:
    """Where the samples begin of a file of `size` bytes: all of a small file, else evenly
    spaced, the first at its beginning and the last at its end."""
    if size <= SAMPLES * SAMPLE_BYTES:
        return [*range(0, size, SAMPLE_BYTES)]
    return [i * (size - SAMPLE_BYTES) // (SAMPLES - 1) for i in range(SAMPLES)]
