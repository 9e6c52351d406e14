"""Writing a file whole or not at all, and reading regular files only, at any place of them."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from minidark.errors import MinidarkError


def open_regular(path: Path | str, error: Callable[[str], MinidarkError]) -> BinaryIO:
    """Open a regular file to read bytes; raises `error(said)` for what is missing or is none.

    A named pipe or device never blocks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except (OSError, ValueError) as reason:
        said = getattr(reason, "strerror", None) or str(reason)
        raise error(f"cannot read: {said}") from reason
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error("not a regular file")
    return os.fdopen(descriptor, "rb")


def named(path: Path | str, kind: type[MinidarkError]) -> Callable[[str], MinidarkError]:
    """An error for `open_regular` that begins with the path."""
    return lambda said: kind(f"{path}: {said}")


def read_at(file: BinaryIO, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`, fewer where the file ends; threads may share the file."""
    pieces = []
    while size > 0 and (piece := _pread(file.fileno(), size, offset)):
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return b"".join(pieces)


def _seek_and_read(descriptor: int, size: int, offset: int) -> bytes:
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


_SEEKING = threading.Lock()
_pread = getattr(os, "pread", _seek_and_read)  # Windows has none


def write_atomically(path: Path | str, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to a temporary file beside `path`, then rename it into place.

    Whatever happens, `path` holds the old bytes or the new ones. A symlink is followed.
    Raises MinidarkError with the system's reason.
    """
    temporary: str | None = None
    renamed = False
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        descriptor, temporary = tempfile.mkstemp(prefix=".minidark.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
        renamed = True
        _sync_folder(target.parent)
    except (OSError, ValueError) as reason:
        failed = "written, but perhaps not safe from a power cut" if renamed else "cannot write"
        said = getattr(reason, "strerror", None) or str(reason)
        raise MinidarkError(f"{path}: {failed}: {said}") from reason
    finally:
        if temporary is not None and not renamed:
            Path(temporary).unlink(missing_ok=True)


_BINARY = getattr(os, "O_BINARY", 0)  # Windows only


def _mode(target: Path) -> int:
    """The permissions the file had, or those a new one gets (mkstemp's are for its owner only)."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the platform can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
