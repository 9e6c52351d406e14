"""Checks whether a text is still the same, during a run and on resume.

Reading 10 GB to check would take minutes. So an `Identity` is each file's size, modification time,
and a hash of 64 samples.
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
    """Identity of a file when it was opened. Its path is not compared."""

    path: str = field(compare=False)
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    sampled: str  # sha256, in hex, of the samples; see `sample_offsets`

    @classmethod
    def of(cls, path: Path | str, file: io.BufferedReader, opened: os.stat_result) -> FileIdentity:
        digest = sampled(file, opened.st_size)
        return cls(str(path), opened.st_size, opened.st_mtime_ns, digest)

    def change(self, since: FileIdentity) -> str | None:
        """How the file changed from `since`, in one line, or None."""
        if more := self.size - since.size:
            change = f"{abs(more):,} bytes {'longer' if more > 0 else 'shorter'} than before"
        elif self.sampled != since.sampled:
            change = "same size as before, but different bytes"
        elif self.modified != since.modified:
            change = "modified since, although its size and the sampled bytes are the same"
        else:
            return None
        return f"{self.path}: {change}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A text's files in order. Equal identities mean the same text, as far as sizes, times and
    samples show."""

    files: tuple[FileIdentity, ...]

    @classmethod
    def of(cls, path: Path | str, file: io.BufferedReader) -> Identity:
        """Identity of one open file."""
        return cls((FileIdentity.of(path, file, os.fstat(file.fileno())),))

    def change(self, since: Identity) -> str | None:
        """How the text changed from `since`, in one line that names the file, or None."""
        if len(self.files) != len(since.files):
            return f"{_number(self.files)} instead of {_number(since.files)}"
        changes = (f.change(before) for f, before in zip(self.files, since.files, strict=True))
        return next(filter(None, changes), None)

    def undated(self) -> Identity:
        """The identity without modification times, equal for copies of a file."""
        return Identity(tuple(replace(f, modified=0) for f in self.files))

    def content(self) -> list[list[Any]]:
        """Sizes and samples, which do not depend on the file's path and time."""
        return [[f.size, f.sampled] for f in self.files]

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(f) for f in self.files]

    @classmethod
    def from_json(cls, files: list[dict[str, Any]]) -> Identity:
        """Inverse of `to_json`. Raises DataError for malformed values."""
        try:
            return cls(tuple(FileIdentity(**f) for f in files))
        except TypeError as error:
            raise DataError(f"not the identity of a text: {error}") from error


def _number(files: tuple[FileIdentity, ...]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"


def sampled(file: io.BufferedReader, size: int) -> str:
    digest = hashlib.sha256()
    for offset in sample_offsets(size):
        digest.update(read_at(file, min(SAMPLE_BYTES, size - offset), offset))
    return digest.hexdigest()


def sample_offsets(size: int) -> list[int]:
    """Offsets of the samples of a file of `size` bytes: all of a small file, otherwise evenly
    spaced from its beginning to its end."""
    if size <= SAMPLES * SAMPLE_BYTES:
        return [*range(0, size, SAMPLE_BYTES)]
    return [i * (size - SAMPLE_BYTES) // (SAMPLES - 1) for i in range(SAMPLES)]
