"""Kernels on several threads.

They run on ranges of rows, columns or streams that do not touch one another, one range a thread,
and every number is computed by one thread in an order of its own: the results do not depend on how
many there are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba

from minidark.backend.compiled.kernel import kernel
from minidark.backend.threads import thread_count

_chosen = threading.local()
_several = threading.Lock()  # held while several threads work for one of the caller's
_forked = False
LEAST = 1 << 14  # elements, or as much work, below which a second thread costs more than it saves


def spread(
    parallel: Callable[..., None],
    serial: Callable[..., None],
    size: int,
    work: int,
    *args: Any,
    grain: int = 1,
) -> None:
    """serial(*args, 0, size), or where `work` elementary operations are worth it parallel(*args,
    threads), which calls `serial` in each thread with a range of its own."""
    threads = take_threads(size // grain, work)
    if threads < 2:
        serial(*args, 0, size)
        return
    try:
        parallel(*args, threads)
    finally:
        give_threads()


def take_threads(size: int, work: int) -> int:
    """How many threads `work` elementary operations on `size` things are worth; if more than one,
    `give_threads` ends it. One, where another of the caller's threads has several already, which
    would only wait for processors, and in a forked process, in which OpenMP cannot start any."""
    threads = min(size, work // LEAST)
    threads = 1 if threads < 2 or _forked else min(threads, thread_count())
    if threads < 2 or not _several.acquire(blocking=False):
        return 1
    awake = min(threads, numba.config.NUMBA_NUM_THREADS)
    if getattr(_chosen, "threads", 0) != awake:  # numba keeps the choice, by thread
        numba.set_num_threads(awake)
        _chosen.threads = awake
    return threads


def give_threads() -> None:
    _several.release()


def _after_fork() -> None:
    global _forked, _several
    _forked, _several = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@kernel()
def begin(size, thread, threads, grain=1):
    """Where a thread's range begins, and the one before it ends; a multiple of grain, or size."""
    grains = (size + grain - 1) // grain
    return min(size, grains * thread // threads * grain)
