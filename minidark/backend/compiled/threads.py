"""Kernels on several threads.

They run on ranges of rows, columns or streams that do not touch one another, one range a thread,
and every number is computed by one thread in an order of its own: the results do not depend on how
many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import njit

from minidark.backend.compiled.tile import COMPILED
from minidark.backend.threads import thread_count

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
    threads = min(thread_count(), size // grain, work // LEAST)
    if threads > 1:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        parallel(*args, threads)
    else:
        serial(*args, 0, size)


@njit(**COMPILED)
def begin(size, thread, threads, grain=1):
    """Where a thread's range begins, and the one before it ends; a multiple of grain, or size."""
    grains = (size + grain - 1) // grain
    return min(size, grains * thread // threads * grain)
