"""Writing a file whole or not at all, and reading regular files only, at any place of them."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from minidark.errors import MinidarkError, SaveError
from minidark.files.locks import lock

_BINARY = getattr(os, "O_BINARY", 0)  # Windows only
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY  # a named pipe never blocks

FOLDER = "a folder; name its files"


def open_regular(path: Path | str, error: Callable[[str], MinidarkError]) -> io.BufferedReader:
    """Open a regular file to read bytes; raises `error(said)` for what is missing or is none.

    A named pipe or device never blocks.
    """
    try:
        descriptor = os.open(path, _READ_ONLY)
    except (OSError, ValueError) as reason:
        said = FOLDER if os.path.isdir(path) else f"cannot read: {_reason(reason)}"
        if str(path) == "-":
            said += "; - is not standard input here: save that to a file first"
        raise error(said) from reason
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise error(FOLDER if stat.S_ISDIR(mode) else "not a regular file")
    return os.fdopen(descriptor, "rb")


def open_plain(path: Path | str, error: Callable[[str], MinidarkError]) -> io.BufferedReader:
    """`open_regular` for a file that another file names: it must be no link, of either kind, since
    a link could lead out of its folder."""
    try:
        before = os.lstat(path)
    except (OSError, ValueError) as reason:
        raise error(f"cannot read: {_reason(reason)}") from reason
    hard = stat.S_ISREG(before.st_mode) and before.st_nlink > 1
    if stat.S_ISLNK(before.st_mode) or hard:
        raise error("a link; put a copy of the file there")
    file = open_regular(path, error)
    if not os.path.samestat(before, os.fstat(file.fileno())):
        file.close()
        raise error("changed while it was opened")
    return file


def named(path: Path | str, kind: type[MinidarkError]) -> Callable[[str], MinidarkError]:
    """An error for `open_regular` that begins with the path."""
    return lambda said: kind(f"{path}: {said}")


def stamp(file: os.stat_result) -> tuple[int, int]:
    """What changes when a file is written to."""
    return file.st_size, file.st_mtime_ns


def read_at(file: io.BufferedReader, size: int, offset: int) -> bytes:
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


@dataclass(frozen=True, slots=True)
class System:
    """The system calls of a save: a seam, where tests make the k-th of them fail."""

    realpath: Callable[..., str] = os.path.realpath
    stat: Callable[..., os.stat_result] = os.stat
    listdir: Callable[..., list[str]] = os.listdir
    open: Callable[..., int] = os.open
    lock: Callable[[int], bool] = lock
    write: Callable[[int, memoryview], int] = os.write
    chmod: Callable[..., None] = os.chmod
    fsync: Callable[[int], None] = os.fsync
    close: Callable[[int], None] = os.close
    truncate: Callable[[int, int], None] = os.ftruncate
    link: Callable[..., None] = os.link
    replace: Callable[..., None] = os.replace
    unlink: Callable[..., None] = os.unlink


SYSTEM = System()


def write_atomically(path: Path | str, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to a temporary file beside `path`, then rename it into place.

    Whatever happens, `path` holds the old bytes or the new ones, and at most one temporary file is
    left, which the next writing into that folder removes. A symlink is followed. Raises SaveError
    with the system's reason, which says truly which of the two `path` holds.
    """
    mode = None
    try:
        target, mode = _target(path)
        temporary = target.parent / _temporary_name()
        _remove_leftovers(target.parent)
        try:
            _fill(temporary, parts, mode)
            SYSTEM.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                SYSTEM.unlink(temporary)
            raise
    except (OSError, ValueError) as reason:
        kept = "" if mode is None else "; the file that was there is whole"
        raise SaveError(f"{path}: cannot write: {_reason(reason)}{kept}") from reason
    try:
        _sync_folder(target.parent)
    except OSError as reason:
        said = "the new file is in place, but perhaps not safe from a power cut"
        raise SaveError(f"{path}: {said}: {_reason(reason)}") from reason


def check_writable(path: Path | str) -> None:
    """Raise SaveError where `write_atomically` would: for what begins hours of work. A file is made
    in the folder and taken away again, and `path` stays what it is."""
    try:
        target, _ = _target(path)
        trial = target.parent / _temporary_name()
        try:
            _fill(trial, (), None)
        finally:
            with contextlib.suppress(FileNotFoundError):
                SYSTEM.unlink(trial)
    except (OSError, ValueError) as reason:
        raise SaveError(f"{path}: cannot write: {_reason(reason)}") from reason


def append(path: Path | str, at: int, data: bytes, sync: bool = False) -> int:
    """Put `data` behind the first `at` bytes of a file, in the place of all that lies there; made
    where it is missing, and with `sync` brought to the disk. Gives the file's new length.

    Those first bytes stay whatever happens; where `data` does not fit, none of it stays if that can
    be helped, and the next call takes away what did. Raises SaveError with the system's reason.
    """
    said = "cannot write"
    try:
        descriptor = SYSTEM.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        try:
            end = _cut(descriptor, at)
            try:
                _write_all(descriptor, data)
            except BaseException:
                with contextlib.suppress(OSError):
                    _cut(descriptor, end)
                raise
            said = "written, but perhaps not safe from a power cut"
            if sync:
                SYSTEM.fsync(descriptor)
        finally:
            SYSTEM.close(descriptor)
    except (OSError, ValueError) as reason:
        raise SaveError(f"{path}: {said}: {_reason(reason)}") from reason
    return end + len(data)


def _cut(descriptor: int, at: int) -> int:
    """Take away what lies behind `at`; how long the file is then, which may be less already."""
    now = os.fstat(descriptor)
    if not stat.S_ISREG(now.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if now.st_size > at:
        SYSTEM.truncate(descriptor, at)
    return min(at, now.st_size)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _target(path: Path | str) -> tuple[Path, int | None]:
    """Where `path` leads, and the permissions of the file that is there."""
    try:
        target = SYSTEM.realpath(path, strict=True)
    except FileNotFoundError:
        target = SYSTEM.realpath(path)
    try:
        mode = SYSTEM.stat(target).st_mode
    except FileNotFoundError:
        return Path(target), None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(target), stat.S_IMODE(mode)


def _fill(temporary: Path, parts: Iterable[bytes | memoryview], mode: int | None) -> None:
    """Write the temporary file and bring it to the disk. What is locked is not left over."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
    descriptor = SYSTEM.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        _lock_if_can(descriptor)
        for part in parts:
            _write_all(descriptor, part)
        if mode is not None:
            SYSTEM.chmod(temporary, mode)
        SYSTEM.fsync(descriptor)
    finally:
        SYSTEM.close(descriptor)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:  # a disk that gets full takes a part of it
        rest = rest[SYSTEM.write(descriptor, rest) :]


_PROCESS = os.urandom(8).hex()


def _temporary_name() -> str:
    """One for each thread of each process: what could not be removed does not become more."""
    return f".minidark.{_PROCESS}.{threading.get_native_id()}.tmp"


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed, as far as that can be done."""
    with contextlib.suppress(OSError):
        for name in SYSTEM.listdir(folder):
            if name.startswith(".minidark.") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_unless_locked(folder / name)


def _remove_unless_locked(path: Path) -> None:
    descriptor = SYSTEM.open(path, _READ_ONLY)
    try:
        left_over = _lock_if_can(descriptor)
    finally:
        SYSTEM.close(descriptor)
    if left_over:
        SYSTEM.unlink(path)


def _lock_if_can(descriptor: int) -> bool:
    """False where another has the lock; a file system that knows no locks is no hindrance."""
    try:
        return SYSTEM.lock(descriptor)
    except OSError:
        return True


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the platform can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        SYSTEM.fsync(descriptor)
    finally:
        SYSTEM.close(descriptor)
