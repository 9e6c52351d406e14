"""Locks on files and folders, which die with the process that holds them."""

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
    BEYOND = 1 << 30  # a place that nobody reads: what is locked there cannot be read by others

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
    """Lock an open file until it is closed; False where another has locked it. Raises OSError
    where the file system has no locks."""
    try:
        _lock(descriptor)
    except HELD:
        return False
    return True


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other processes from holding `folder` too. Raises MinidarkError that names the process
    which has it, and OSError for a folder that cannot be written into.

    A file system without locks is a warning only.
    """
    path = folder / NAME
    descriptor = _open_locked(path, folder)
    try:
        path.write_bytes(b"%d\n" % os.getpid())
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        os.close(descriptor)


def _open_locked(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            if not lock(descriptor):
                process = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
                raise MinidarkError(
                    f"{folder}: in use by another run, process {process}; "
                    "give this one a folder of its own"
                )
            if _is_still(path, descriptor):
                return descriptor
        except OSError as reason:
            said = "%s: cannot be locked: %s; another run in it would not be noticed"
            log.warning(said, folder, reason.strerror)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file was not removed, by who held it before, since it was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
