"""The one place that decides how many threads compute.

Without a choice it is one for each processor this process may use, and fewer while other programs
use the processors (`watch`). A number that the user chose stays. numpy's own products are run by
its BLAS, which knows no more than a count for the whole process.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from importlib import import_module

from minidark.backend.watch import Watch
from minidark.errors import BackendError

log = logging.getLogger(__name__)

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")  # the first counts

# Shares of the processor time that free processors would give: to all threads of the compiled
# kernels, and to the calling thread of a BLAS, which never sleeps while it waits for the others.
KERNELS_FREE, BLAS_FREE = 0.6, 0.8
WATCH_VARIABLE = "MINIDARK_WATCH"  # "off" keeps the number of threads, and says nothing

_count: int | None = None


def thread_count() -> int:
    """Of the compiled kernels: as many as were chosen, else one for each processor."""
    return _count or processors()


def blas_threads() -> int:
    """Of numpy's products: as many as were chosen, or as the environment tells its BLAS, or one for
    each processor."""
    return _count or min(_blas_variable() or processors(), processors())


def _blas_variable() -> int:
    """The number of threads that the environment tells numpy's BLAS, or 0."""
    values = (os.environ.get(name, "") for name in BLAS_VARIABLES)
    counts = (int(text) for text in values if text.isdecimal() and len(text) < 10)
    return next((count for count in counts if count), 0)


@functools.cache
def kernels_watch() -> Watch:
    """Of the compiled kernels, whose results do not depend on the number of threads."""
    return Watch(thread_count(), _free(KERNELS_FREE), fixed=_count is not None)


@functools.cache
def blas_watch() -> Watch:
    """Of numpy's products, whose last digits may depend on it."""
    limit = _blas_limit()
    fixed = bool(_count or _blas_variable()) or limit is None
    most = min(blas_threads(), limit or sys.maxsize)
    return Watch(most, _free(BLAS_FREE), fixed, _limit_blas)


def _free(share: float) -> float:
    return 0.0 if os.environ.get(WATCH_VARIABLE) == "off" else share


def _blas_limit() -> int | None:
    """How many threads numpy's BLAS may take now, which the caller may have chosen with
    threadpoolctl; None where that is not installed, and nothing can change it."""
    try:
        libraries = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return None
    counts = [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]
    return max(counts, default=1)


@functools.cache
def processors() -> int:
    """Those that this process may use."""
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
    forget_watches()
    _limit_blas(count)


def forget_watches() -> None:
    """Start to watch anew, as after a choice of threads."""
    kernels_watch.cache_clear()
    blas_watch.cache_clear()


def _limit_blas(count: int) -> None:
    try:
        import_module("threadpoolctl").threadpool_limits(count, user_api="blas")
    except ImportError:
        log.warning(
            "numpy's products keep their threads, because threadpoolctl is not installed; "
            "pip install 'minidark[fast]', or set OPENBLAS_NUM_THREADS=%d",
            count,
        )
