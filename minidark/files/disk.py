"""Writes files atomically, and reads regular files only, at any offset."""

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

FOLDER = "a folder; pass the files in it"


def open_regular(path: Path | str, error: Callable[[str], MinidarkError]) -> io.BufferedReader:
    """Open a regular file to read bytes; raises `error(message)` if it is missing or not a regular
    file.

    A named pipe or device never blocks.
    """
    try:
        descriptor = os.open(path, _READ_ONLY)
    except (OSError, ValueError) as reason:
        message = FOLDER if os.path.isdir(path) else f"cannot read: {_reason(reason)}"
        if str(path) == "-":
            message += "; - does not mean standard input here: save the input to a file first"
        raise error(message) from reason
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise error(FOLDER if stat.S_ISDIR(mode) else "not a regular file")
    return os.fdopen(descriptor, "rb")


def open_plain(path: Path | str, error: Callable[[str], MinidarkError]) -> io.BufferedReader:
    """`open_regular` for a file that another file names. Refuses symbolic and hard links, which
    could lead out of the folder."""
    try:
        before = os.lstat(path)
    except (OSError, ValueError) as reason:
        raise error(f"cannot read: {_reason(reason)}") from reason
    hard = stat.S_ISREG(before.st_mode) and before.st_nlink > 1
    if stat.S_ISLNK(before.st_mode) or hard:
        raise error("a link; replace it by a copy of the file")
    file = open_regular(path, error)
    if not os.path.samestat(before, os.fstat(file.fileno())):
        file.close()
        raise error("changed during opening")
    return file


def named(path: Path | str, kind: type[MinidarkError]) -> Callable[[str], MinidarkError]:
    """An error factory for `open_regular` whose messages begin with the path."""
    return lambda message: kind(f"{path}: {message}")


def stamp(file: os.stat_result) -> tuple[int, int]:
    """Size and modification time, to detect changes."""
    return file.st_size, file.st_mtime_ns


def read_at(file: io.BufferedReader, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`, or fewer at the end of the file. Thread-safe."""
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
    """The system calls of a save; tests replace them to make one fail."""

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

    `path` always holds either the old bytes or the new ones. At most one temporary file is left,
    which the next write into that folder removes. Symlinks are followed. Raises SaveError with the
    system's reason, and with which of the two `path` holds.
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
        note = "" if mode is None else "; the previous file is unchanged"
        raise SaveError(f"{path}: cannot write: {_reason(reason)}{note}") from reason
    try:
        _sync_folder(target.parent)
    except OSError as reason:
        message = "the new file is in place, but may be lost in a power cut"
        raise SaveError(f"{path}: {message}: {_reason(reason)}") from reason


def check_writable(path: Path | str) -> None:
    """Raise SaveError if `write_atomically` would fail, before hours of work. Creates and removes a
    file in the folder; `path` stays unchanged."""
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
    """Write `data` after the first `at` bytes of a file, replacing the rest. Creates a missing
    file; `sync` flushes it to disk. Returns the file's new length.

    The first `at` bytes are always preserved. If `data` does not fit, it is removed again if
    possible, otherwise by the next call. Raises SaveError with the system's reason.
    """
    problem = "cannot write"
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
            problem = "written, but may be lost in a power cut"
            if sync:
                SYSTEM.fsync(descriptor)
        finally:
            SYSTEM.close(descriptor)
    except (OSError, ValueError) as reason:
        raise SaveError(f"{path}: {problem}: {_reason(reason)}") from reason
    return end + len(data)


def _cut(descriptor: int, at: int) -> int:
    """Truncate the file after `at` bytes; returns its length, which may be less."""
    now = os.fstat(descriptor)
    if not stat.S_ISREG(now.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if now.st_size > at:
        SYSTEM.truncate(descriptor, at)
    return min(at, now.st_size)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _target(path: Path | str) -> tuple[Path, int | None]:
    """The file that `path` leads to, and the permissions of an existing one."""
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
    """Write the temporary file and flush it to disk. Its lock protects it from cleanup."""
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
    while rest:  # a disk that fills up accepts only a part
        rest = rest[SYSTEM.write(descriptor, rest) :]


_PROCESS = os.urandom(8).hex()


def _temporary_name() -> str:
    """One name per thread of each process, so that files that cannot be removed do not
    accumulate."""
    return f".minidark.{_PROCESS}.{threading.get_native_id()}.tmp"


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that were killed, as far as possible."""
    with contextlib.suppress(OSError):
        for name in SYSTEM.listdir(folder):
            if name.startswith(".minidark.") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_unless_locked(folder / name)


def _remove_unless_locked(path: Path) -> None:
    descriptor = SYSTEM.open(path, _READ_ONLY)
    try:
        unlocked = _lock_if_can(descriptor)
    finally:
        SYSTEM.close(descriptor)
    if unlocked:
        SYSTEM.unlink(path)


def _lock_if_can(descriptor: int) -> bool:
    """False if another process has the lock. File systems without locks are accepted."""
    try:
        return SYSTEM.lock(descriptor)
    except OSError:
        return True


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, if the platform supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        SYSTEM.fsync(descriptor)
    finally:
        SYSTEM.close(descriptor)
