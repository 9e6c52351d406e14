"""Locks on files and folders, released when their process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from minidark.errors import MinidarkError

log = logging.getLogger(__name__)

NAME = ".minidark.lock"

if sys.platform == "win32":
    import msvcrt

    HELD: type[OSError] = PermissionError
    BEYOND = 1 << 30  # an unused offset, because Windows blocks reads of locked bytes

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, BEYOND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    HELD: type[OSError] = BlockingIOError

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process has locked it. Raises OSError
    if the file system has no locks."""
    try:
        _lock(descriptor)
    except HELD:
        return False
    return True


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other processes from locking `folder`. Raises MinidarkError that names the process with
    the lock, and OSError if the folder is not writable.

    On a file system without locks it only logs a warning.
    """
    path = folder / NAME
    descriptor = _open_locked(path, folder)
    try:
        path.write_bytes(b"%d\n" % os.getpid())
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows cannot remove an open file
            path.unlink()
        os.close(descriptor)


def is_held(folder: Path) -> bool | None:
    """Whether a process holds the lock of `folder`; None if the file system has no locks."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False  # the holder removes the file when it ends
    try:
        return not lock(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _open_locked(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            if not lock(descriptor):
                process = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
                raise MinidarkError(
                    f"{folder}: in use by another run, process {process}; "
                    "use another folder for this one"
                )
            if _is_still(path, descriptor):
                return descriptor
        except OSError as reason:
            warning = "%s: cannot be locked: %s; another run in it would not be detected"
            log.warning(warning, folder, reason.strerror)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file has not been removed since it was opened, by the previous owner of
    the lock."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
