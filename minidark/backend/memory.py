"""Large buffers used again.

Fresh memory comes from the system page by page, and the faults take longer than many a kernel that
fills it. A training pass asks for the same sizes each time; so an array that nobody refers to any
more, through views either, is given out again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Buffer = npt.NDArray[Any]

LARGE = 1 << 16  # bytes; below, fresh memory costs nothing
IDLE = 400  # requests after which an unused buffer is given back to the system: a few passes

_lock = threading.Lock()
_buffers: dict[int, list[Buffer]] = {}  # by size in bytes
_last_used: dict[int, int] = {}  # by size: the number of the request
_requests = 0


def empty(shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Buffer:
    """An array of that shape with nothing in particular in it."""
    kind = np.dtype(dtype)
    size = kind.itemsize
    for axis in shape:
        size *= axis
    global _requests
    _requests += 1
    if _requests % IDLE == 0:
        with _lock:
            _forget_idle()
    if size < LARGE:
        return np.empty(shape, kind)
    with _lock:
        return _unused(size).view(kind).reshape(shape)


def zeros(shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Buffer:
    """An array of zeros."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


def release() -> None:
    """Give back to the system what nobody refers to."""
    with _lock:
        _buffers.clear()
        _last_used.clear()


def _unused(size: int) -> Buffer:
    """`size` bytes of a buffer that nobody refers to: the smallest of those that are at most twice
    as large, or a new one."""
    for held in sorted(held for held in _buffers if size <= held <= 2 * size):
        for i in range(len(_buffers[held])):
            # Two references: the list's, and the one that is looked at. A view would be a third.
            if sys.getrefcount(_buffers[held][i]) <= 2:
                _last_used[held] = _requests
                return _buffers[held][i][:size]
    new = np.empty(size, np.uint8)
    _buffers.setdefault(size, []).append(new)
    _last_used[size] = _requests
    return new


def _forget_idle() -> None:
    for size in [s for s, last in _last_used.items() if last < _requests - IDLE]:
        del _buffers[size], _last_used[size]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
