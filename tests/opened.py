"""What a piece of code opens, runs or connects to: by Python's audit events, and for files that C
code opens by the kernel's own word (inotify)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A reader may cause none of these, but for `open` with the files that it was asked to read.
EVENTS = {
    "open", "subprocess.Popen", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork",
    "socket.connect", "socket.bind", "pickle.find_class", "ctypes.dlopen", "os.remove", "os.rename",
    "os.mkdir", "os.symlink", "os.link", "tempfile.mkdtemp", "tempfile.mkstemp",
}  # fmt: skip
# Where the kernel says how much memory there is, with which the size of a network is compared.
MEMORY_LIMITS = "/sys/fs/cgroup/"
_open_books: list[set[tuple[str, str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _open_books and event in EVENTS:
        if event == "open" and (isinstance(arguments[0], int) or _imports()):
            return  # a descriptor, whose file was opened before, or a module
        what = str(arguments[0]) if arguments else ""
        if event != "open" or not what.startswith(MEMORY_LIMITS):
            for book in _open_books:
                book.add((event, what))


def _imports() -> bool:
    """Whether it is Python's import that is about to open a file."""
    return sys._getframe(2).f_code.co_filename == "<frozen importlib._bootstrap_external>"


_installed = False  # a hook cannot be taken away again, so that it is set only when it is used


@contextlib.contextmanager
def audited() -> Iterator[set[tuple[str, str]]]:
    """The events of this process within the block, each with what it is about: ("open", path)."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    book: set[tuple[str, str]] = set()
    _open_books.append(book)
    try:
        yield book
    finally:
        _open_books.remove(book)


IN_OPEN = 0x20


@contextlib.contextmanager
def unopened(*paths: Path) -> Iterator[None]:
    """Nobody, no child process and no C code, opens one of these files within the block."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_NONBLOCK)
    except (AttributeError, OSError, TypeError):
        pytest.skip("this platform has no inotify")
    try:
        for path in paths:
            assert libc.inotify_add_watch(watch, os.fsencode(path), IN_OPEN) > 0
        yield
        with contextlib.suppress(BlockingIOError):
            os.read(watch, 4096)
            raise AssertionError(f"opened: one of {paths}")
    finally:
        os.close(watch)
