"""Checks a zip's directory before anything is unpacked, for .npz, .keras and .pt files."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import BinaryIO

MOST_MEMBERS = 10_000  # an array each; 800 layers of [gru] have as many
LARGEST_DIRECTORY = 4 << 20  # bytes; Python needs about 800 bytes for each entry
SMALL = 1 << 20  # bytes that any zip may unpack to
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
DAMAGED = (zipfile.BadZipFile, zlib.error)  # errors of reading a zip, besides OSError


class PackedError(zipfile.BadZipFile):
    """A zip that would unpack to far more than its own size."""


def open_zip(file: BinaryIO, most_unpacked: int) -> zipfile.ZipFile:
    """The zip in an open file. Raises BadZipFile for a directory that is too large or names a
    member twice, or for a stored member with a wrong size; PackedError if the sizes add up to
    more than `most_unpacked` times the file's. Reading a member never yields more than its size."""
    size = file.seek(0, io.SEEK_END)
    bounded = _Bounded(file)
    archive = zipfile.ZipFile(bounded)  # reads the whole directory
    bounded.most = None
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise zipfile.BadZipFile(f"more than {MOST_MEMBERS:,} members")
    if len({member.filename for member in members}) < len(members):
        raise zipfile.BadZipFile("two members with the same name")
    if any(m.compress_type == STORED and m.file_size != m.compress_size for m in members):
        raise zipfile.BadZipFile("a stored member with a wrong size")
    if sum(member.file_size for member in members) > most_unpacked * size + SMALL:
        raise PackedError(f"it unpacks to more than {most_unpacked} times its size")
    return archive


class _Bounded(io.RawIOBase):
    """An open file that reads at most `most` bytes at once."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.most: int | None = LARGEST_DIRECTORY

    def read(self, size: int = -1, /) -> bytes:
        if self.most is not None:
            data = self.file.read(self.most + 1 if size < 0 else min(size, self.most + 1))
            if len(data) > self.most:
                raise zipfile.BadZipFile(f"a directory of more than {self.most:,} bytes")
            return data
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
