"""Reuse of large buffers.

The system provides new memory page by page, and the page faults can take longer than the kernel
that fills it. A training pass requests the same sizes every time, so buffers without references,
including views, are reused.
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

LARGE = 1 << 16  # bytes; smaller allocations are cheap
LINE_BYTES = 64  # of a line of the cache; a vector that begins within one may need two of them
IDLE = 400  # requests (a few passes) after which an unused buffer is freed

_lock = threading.Lock()
_buffers: dict[int, list[Buffer]] = {}  # by size in bytes
_last_used: dict[int, int] = {}  # number of the last request, by size
_requests = 0


def empty(shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> Buffer:
    """An uninitialized array, in a reused buffer if it is large."""
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
    """Free all unused buffers."""
    with _lock:
        _buffers.clear()
        _last_used.clear()


def _unused(size: int) -> Buffer:
    """`size` bytes of an unused buffer: the smallest that was made for at most twice as many, or a
    new one."""
    rounded = _rounded(size)
    for larger in sorted(s for s in _buffers if rounded <= s <= 2 * rounded):
        for i in range(len(_buffers[larger])):
            # Two references: the list's, and getrefcount's argument. A view would be a third.
            if sys.getrefcount(_buffers[larger][i]) <= 2:
                _last_used[larger] = _requests
                return _aligned(_buffers[larger][i], size)
    new = np.empty(rounded + LINE_BYTES, np.uint8)
    _buffers.setdefault(rounded, []).append(new)
    _last_used[rounded] = _requests
    return _aligned(new, size)


def _aligned(buffer: Buffer, size: int) -> Buffer:
    """`size` bytes of a buffer, from the beginning of a line on."""
    begin = -buffer.__array_interface__["data"][0] % LINE_BYTES
    return buffer[begin : begin + size]


def _rounded(size: int) -> int:
    """Up to one of four sizes between powers of two, so that passes of many lengths share buffers.
    The system provides no memory for pages that are never written."""
    step = 1 << size.bit_length() - 3
    return -(-size // step) * step


def _forget_idle() -> None:
    for size in [s for s, last in _last_used.items() if last < _requests - IDLE]:
        del _buffers[size], _last_used[size]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
