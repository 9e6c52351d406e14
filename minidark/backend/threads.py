"""The one place that decides how many threads compute.

Without a choice it is one for each processor this process may use. numpy's own products are run
by its BLAS, which knows no more than a count for the whole process.
"""

from __future__ import annotations

import functools
import logging
import os
from importlib import import_module

from minidark.errors import BackendError

log = logging.getLogger(__name__)

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")  # the first counts

_count: int | None = None


def thread_count() -> int:
    """Of the compiled kernels: as many as were chosen, else one for each processor."""
    return _count or _processors()


def blas_threads() -> int:
    """Of numpy's products: as many as were chosen, or as the environment tells its BLAS, or one for
    each processor."""
    told = (os.environ.get(name, "") for name in BLAS_VARIABLES)
    number = next((int(text) for text in told if text.isdecimal() and int(text)), _processors())
    return _count or min(number, _processors())


@functools.cache
def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """For all kernels of this process, from now on. Raises BackendError for less than one.

    The compiled kernels' results do not depend on it; numpy's may, in the last digit.
    """
    global _count
    if count < 1:
        raise BackendError(f"threads={count} are too few to compute with")
    _count = count
    try:
        import_module("threadpoolctl").threadpool_limits(count, user_api="blas")
    except ImportError:
        log.warning(
            "numpy's products keep their threads, because threadpoolctl is not installed; "
            "pip install 'minidark[fast]', or set OPENBLAS_NUM_THREADS=%d",
            count,
        )
