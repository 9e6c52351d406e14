"""Where arrays live and which kernels work on them.

A `Backend` is an array module, a module of kernels and a dtype. Layers compute through it and
never ask which one it is; `numpy_kernels` is the reference that every other kernel module must
equal, function by function. On a GPU nothing here waits for a result unless it says so.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.backend import memory, numpy_kernels
from minidark.errors import BackendError, echo

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
NUMPY_RATE = 2e10  # multiply-adds a second of numpy's kernels, in training on two cores
Scalar = float | Array  # a number; on a GPU a 0-d array, which float() waits for

KERNELS = ("auto", "numpy", "fast")
DTYPES = ("float32", "float64")  # to run, and to check
DEVICES = ("auto", "cpu", "cuda")
# Of an [rnn] that kernels take over a whole sequence, by the numbers that they have there.
RNN_ACTIVATIONS = {"linear": 0, "logistic": 1, "loggy": 2, "tanh": 3, "relu": 4, "leaky": 5}
INSTALL = "pip install 'minidark[cuda12]'"


@dataclass(slots=True)
class Backend:
    """`xp` makes arrays of `dtype`; `kernels` holds the functions of `numpy_kernels`, and where
    `fast` is true, beside them those of `compiled` alone: cells step by step for sampling
    (`GruStep`), and whether they have been compiled (`are_kept`). `widest`: units of the widest
    cell that `kernels` take through a whole sequence at once (`gru_sequence`); 0 for none."""

    name: str
    xp: ModuleType
    kernels: ModuleType
    dtype: np.dtype[Any]
    fast: bool = False
    widest: int = 0

    def use_kernels(self, kernels: str) -> None:
        """Compute with these from now on: "numpy", "fast", or "auto", which is fast where the
        extra of that name is installed and the dtype is float32. A GPU has one set, which stays.
        Raises BackendError."""
        if self.xp is not np:
            return  # a GPU has one set
        if kernels not in KERNELS:
            raise BackendError(f"kernels {echo(kernels)} are not one of {', '.join(KERNELS)}")
        if kernels == "auto":
            kernels = "fast" if self.dtype == np.float32 and _fast_works() else "numpy"
        if kernels == "fast" and self.dtype != np.float32:
            raise BackendError(f"the fast kernels are float32; for {self.dtype} take numpy's")
        self.kernels = _compiled() if kernels == "fast" else numpy_kernels
        self.fast = kernels == "fast"
        self.widest = sys.maxsize if self.fast else 0

    def announce_compiling(self, types: Iterable[str]) -> None:
        """Log that the first call of the kernels of such layers will take a while, if it will."""
        if self.fast and not self.kernels.are_kept(types):
            log.info("compiling the fast kernels, once on this machine: some ten seconds")

    def asarray(self, array: npt.ArrayLike) -> Array:
        """As an array of this backend's dtype."""
        return self.xp.asarray(array, dtype=self.dtype)

    def asids(self, array: npt.ArrayLike) -> Array:
        """As ids that index rows."""
        return self.xp.asarray(array, dtype=np.intp)

    def asnumpy(self, array: Array) -> Array:
        """In the host's memory: from a GPU a copy, which waits for it; else the array itself."""
        return array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)

    def asfloats(self, scalars: Sequence[Scalar]) -> list[float]:
        """As numbers of the host, which waits for a GPU once and not for each."""
        waited_for = [scalar for scalar in scalars if not isinstance(scalar, float)]
        if len(waited_for) < 2:
            return [*map(float, scalars)]
        fetched = iter(self.xp.asnumpy(self.xp.stack(waited_for)).tolist())
        return [s if isinstance(s, float) else next(fetched) for s in scalars]

    def holds(self, array: object) -> bool:
        """Whether this is an array in this backend's memory."""
        return isinstance(array, self.xp.ndarray)

    def empty(self, *shape: int) -> Array:
        if self.xp is not np:
            return self.xp.empty(shape, dtype=self.dtype)
        return memory.empty(shape, self.dtype)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def ones(self, *shape: int) -> Array:
        return self.xp.ones(shape, dtype=self.dtype)


def get_backend(
    device: str = "cpu", dtype: npt.DTypeLike = "float32", kernels: str = "auto"
) -> Backend:
    """The backend of a device name, a dtype name ("float32", "float64") and, for the CPU, the name
    of its kernels as given to `Backend.use_kernels`.

    "cuda" is a GPU through cupy; "auto" is that where it works, else "cpu". Raises BackendError
    for one that is not there.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise BackendError(f"dtype {echo(dtype)} is not one of {', '.join(DTYPES)}")
    if device not in DEVICES:
        raise BackendError(f"device {echo(device)} is not one of {', '.join(DEVICES)}")
    if device != "cpu":
        try:
            return _cuda(np.dtype(name))
        except BackendError:
            if device == "cuda":
                raise
    backend = Backend("cpu", np, numpy_kernels, np.dtype(name))
    backend.use_kernels(kernels)
    return backend


def _compiled() -> ModuleType:
    try:
        if import_module("numba").config.DISABLE_JIT:
            raise RuntimeError("NUMBA_DISABLE_JIT is set")
        return import_module("minidark.backend.compiled")
    except Exception as error:  # numba raises what it likes where it does not fit numpy or is off
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(
            f"the fast kernels need numba ({reason}); pip install 'minidark[fast]', or choose "
            "--kernels numpy"
        ) from error


@functools.cache
def _fast_works() -> bool:
    """Whether numba is installed and can be used, which is told once where it cannot."""
    if not find_spec("numba"):
        return False
    try:
        _compiled()
    except BackendError as error:
        log.warning("%s; going on with numpy's", error)
        return False
    return True


def _cuda(dtype: np.dtype[Any]) -> Backend:
    try:
        import cupy
    except ImportError:
        raise BackendError(f"device 'cuda' needs cupy; {INSTALL} brings it") from None
    if not cupy.cuda.is_available():
        raise BackendError("device 'cuda': cupy finds no GPU or no driver for one; use 'cpu'")
    try:  # a bare cupy gets as far as here, and misses cuBLAS or NVRTC in its first product
        ones = cupy.ones((2, 2), dtype=dtype)
        float((ones @ ones).sum())
    except Exception as error:  # whatever CUDA, the driver or the loader of libraries raises
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(
            f"device 'cuda': a product of two small matrices failed ({reason}); "
            f"{INSTALL} brings the CUDA libraries that cupy needs"
        ) from error
    from minidark.backend import cupy_kernels

    return Backend("cuda", cupy, cupy_kernels, dtype, widest=cupy_kernels.WIDEST)
