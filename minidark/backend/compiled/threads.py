"""Kernels on several threads.

They run on ranges of rows, columns or streams that do not touch one another, one range a thread,
and every number is computed by one thread in an order of its own: the results do not depend on how
many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import njit

from minidark.backend.compiled.tile import COMPILED
from minidark.backend.threads import thread_count

_chosen = threading.local()
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
    threads = threads_for(size // grain, work)
    if threads > 1:
        parallel(*args, threads)
    else:
        serial(*args, 0, size)


def threads_for(size: int, work: int) -> int:
    """How many threads `work` elementary operations on `size` things are worth."""
    threads = min(size, work // LEAST)
    if threads < 2 or (threads := min(threads, thread_count())) < 2:
        return 1
    awake = min(threads, numba.config.NUMBA_NUM_THREADS)
    if getattr(_chosen, "threads", 0) != awake:  # numba keeps the choice, by thread
        numba.set_num_threads(awake)
        _chosen.threads = awake
    return threads


@njit(**COMPILED)
def begin(size, thread, threads, grain=1):
    """Where a thread's range begins, and the one before it ends; a multiple of grain, or size."""
    grains = (size + grain - 1) // grain
    return min(size, grains * thread // threads * grain)
