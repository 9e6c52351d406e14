"""Decides how many threads compute.

By default, this is one thread for each processor that the process may use, and fewer while other
programs use the processors (`watch`). A number that the user chose is not changed. numpy's BLAS
computes its products; its number of threads applies to the whole process.
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

# Processors count as busy below this share of the processor time that idle ones would provide: for
# all threads of compiled kernels, and for the thread that calls a BLAS, which spins while it waits.
KERNELS_FREE, BLAS_FREE = 0.6, 0.8
WATCH_VARIABLE = "MINIDARK_WATCH"  # "off" keeps the number of threads fixed, without messages

_count: int | None = None


def thread_count() -> int:
    """Threads of the compiled kernels: the user's choice, else one for each processor."""
    return _count or processors()


def blas_threads() -> int:
    """Threads of numpy's matrix products: the user's choice, else the environment's setting for
    the BLAS, else one for each processor."""
    return _count or min(_blas_variable() or processors(), processors())


def _blas_variable() -> int:
    """The environment's number of threads for numpy's BLAS, or 0."""
    values = (os.environ.get(name, "") for name in BLAS_VARIABLES)
    counts = (int(text) for text in values if text.isdecimal() and len(text) < 10)
    return next((count for count in counts if count), 0)


@functools.cache
def kernels_watch() -> Watch:
    """The watch of the compiled kernels. Their results do not depend on the number of threads."""
    return Watch(thread_count(), _free(KERNELS_FREE), fixed=_count is not None)


@functools.cache
def blas_watch() -> Watch:
    """The watch of numpy's products. Their last digits may depend on the number of threads."""
    limit = _blas_limit()
    fixed = bool(_count or _blas_variable()) or limit is None
    most = min(blas_threads(), limit or sys.maxsize)
    return Watch(most, _free(BLAS_FREE), fixed, _limit_blas)


def _free(share: float) -> float:
    return 0.0 if os.environ.get(WATCH_VARIABLE) == "off" else share


def _blas_limit() -> int | None:
    """The current thread limit of numpy's BLAS, which the caller may have set with threadpoolctl;
    None if threadpoolctl is not installed, so that nothing can change the limit."""
    try:
        libraries = import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return None
    counts = [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]
    return max(counts, default=1)


@functools.cache
def processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Set the number of threads of all kernels of this process. Raises BackendError below 1.

    The results of compiled kernels do not depend on it. Those of numpy's may, in the last digit.
    """
    global _count
    if count < 1:
        raise BackendError(f"threads={count} are too few to compute with")
    _count = count
    forget_watches()
    _limit_blas(count)


def forget_watches() -> None:
    """Discard both watches, as after a new choice of threads."""
    kernels_watch.cache_clear()
    blas_watch.cache_clear()


def _limit_blas(count: int) -> None:
    try:
        import_module("threadpoolctl").threadpool_limits(count, user_api="blas")
    except ImportError:
        log.warning(
            "cannot change the number of threads of numpy's products: threadpoolctl is not "
            "installed; pip install 'minidark[fast]', or set OPENBLAS_NUM_THREADS=%d",
            count,
        )
