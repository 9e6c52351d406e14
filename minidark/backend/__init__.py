"""Backends: the memory that arrays are in, and the kernels that compute on them.

A `Backend` is an array module, a module of kernels and a dtype. Layers compute through it and do
not depend on which one it is. `numpy_kernels` is the reference; every other kernel module must
match it function by function. On a GPU, nothing here waits for a result unless its docstring says
so.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
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
NUMPY_RATE = 2e10  # multiply-adds per second of numpy's kernels, in training on two cores
Scalar = float | Array  # a number; on a GPU a 0-d array, for which float() waits

KERNELS = ("auto", "numpy", "fast")
DTYPES = ("float32", "float64")  # for running, and for checks
BF16 = "bf16"
PRECISIONS = ("float32", BF16)  # of the operands of matrix products, if the dtype is float32
DEVICES = ("auto", "cpu", "cuda")
# Activations that the whole-sequence kernels of [rnn] support, and their numbers in the kernels.
RNN_ACTIVATIONS = {"linear": 0, "logistic": 1, "loggy": 2, "tanh": 3, "relu": 4, "leaky": 5}
INSTALL = "pip install 'minidark[cuda12]'"


@dataclass(slots=True)
class Backend:
    """An array module, a dtype and a table of kernels.

    xp: creates arrays of `dtype`. kernels: the functions of `numpy_kernels`; if `fast`, also those
    that only `compiled` has: single steps for sampling (`GruStep`), and `are_kept`, whether those
    of float32 are already compiled. widest: the largest number of units for which `kernels` compute
    a whole sequence in one call (`gru_sequence`); 0 if they never do. precision: "bf16" rounds the
    operands of matrix products to bfloat16.
    """

    name: str
    xp: ModuleType
    kernels: ModuleType
    dtype: np.dtype[Any]
    fast: bool = False
    widest: int = 0
    precision: str = "float32"

    def use_kernels(self, kernels: str) -> None:
        """Choose the kernels: "numpy", "fast" or "auto".

        "auto" is fast if the extra `fast` is installed and the dtype is float32. With precision
        "bf16" it is always fast. A GPU has only one set, so the choice has no effect there. Raises
        BackendError.
        """
        if self.xp is not np:
            return  # a GPU has only one set
        if kernels not in KERNELS:
            raise BackendError(f"kernels {echo(kernels)} are not one of {', '.join(KERNELS)}")
        if self.precision == BF16:
            self.kernels, self.fast, self.widest = _half_kernels(kernels), True, sys.maxsize
            return
        if kernels == "auto":
            kernels = "fast" if self.dtype == np.float32 and _fast_works() else "numpy"
        if kernels == "fast" and self.dtype != np.float32:
            raise BackendError(
                f"the fast kernels are float32; for {self.dtype}, use numpy's kernels"
            )
        self.kernels = _compiled() if kernels == "fast" else numpy_kernels
        self.fast = kernels == "fast"
        self.widest = sys.maxsize if self.fast else 0

    def asarray(self, array: npt.ArrayLike) -> Array:
        """Convert to an array of this backend's dtype."""
        return self.xp.asarray(array, dtype=self.dtype)

    def asids(self, array: npt.ArrayLike) -> Array:
        """Convert to integer ids."""
        return self.xp.asarray(array, dtype=np.intp)

    def asnumpy(self, array: Array) -> Array:
        """The array in the host's memory. From a GPU it is a copy, and the call waits for it."""
        return array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)

    def asfloats(self, scalars: Sequence[Scalar]) -> list[float]:
        """Convert to Python floats. The call waits for a GPU only once."""
        on_gpu = [scalar for scalar in scalars if not isinstance(scalar, float)]
        if len(on_gpu) < 2:
            return [*map(float, scalars)]
        fetched = iter(self.xp.asnumpy(self.xp.stack(on_gpu)).tolist())
        return [s if isinstance(s, float) else next(fetched) for s in scalars]

    def holds(self, array: object) -> bool:
        """Whether `array` is an array in this backend's memory."""
        return isinstance(array, self.xp.ndarray)

    def put_rows(self, array: Array, at: Array, rows: Array) -> None:
        """array[at] = rows. array (N, ...); at: distinct ids (R,) in the host's memory."""
        if self.xp is np:
            array[at] = rows
        elif at.size:  # each row takes its new value or its own, so there is no order of writes
            source, written = np.zeros(len(array), np.intp), np.zeros(len(array), bool)
            source[at], written[at] = np.arange(at.size), True
            new = self.xp.asarray(written.reshape(-1, *(1,) * (array.ndim - 1)))
            array[...] = self.xp.where(new, rows[self.xp.asarray(source)], array)

    def empty(self, *shape: int) -> Array:
        if self.xp is not np:
            return self.xp.empty(shape, dtype=self.dtype)
        return memory.empty(shape, self.dtype)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def ones(self, *shape: int) -> Array:
        return self.xp.ones(shape, dtype=self.dtype)


def get_backend(
    device: str = "cpu",
    dtype: npt.DTypeLike = "float32",
    kernels: str = "auto",
    precision: str = "float32",
) -> Backend:
    """The backend of a device.

    device: "cpu"; "cuda", a GPU through cupy; or "auto", which is "cuda" if it works, else "cpu".
    dtype: "float32" or "float64". kernels: for the CPU, as in `Backend.use_kernels`. precision:
    "float32", or "bf16" for matrix products of bfloat16, on processors that have an instruction for
    them. Raises BackendError if the device, the kernels or the precision are not available.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise BackendError(f"dtype {echo(dtype)} is not one of {', '.join(DTYPES)}")
    if device not in DEVICES:
        raise BackendError(f"device {echo(device)} is not one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise BackendError(f"precision {echo(precision)} is not one of {', '.join(PRECISIONS)}")
    if precision == BF16 and name != "float32":
        raise BackendError(f"precision bf16 needs dtype float32, not {name}")
    if device != "cpu":
        on_cpu_only = BackendError("precision bf16 is for the CPU only; choose device 'cpu'")
        if precision == BF16 and device == "cuda":  # even if cupy could be installed
            raise on_cpu_only
        try:
            gpu = _cuda(np.dtype(name))
        except BackendError:
            if device == "cuda":
                raise
        else:
            if precision == BF16:
                raise on_cpu_only
            return gpu
    backend = Backend("cpu", np, numpy_kernels, np.dtype(name), precision=precision)
    backend.use_kernels(kernels)
    return backend


def _compiled(instead: str = "--kernels numpy") -> ModuleType:
    try:
        if import_module("numba").config.DISABLE_JIT:
            raise RuntimeError("NUMBA_DISABLE_JIT is set")
        return import_module("minidark.backend.compiled")
    except Exception as error:  # numba raises errors of any type if it does not match numpy
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(
            f"the fast kernels need numba ({reason}); pip install 'minidark[fast]', or choose "
            f"{instead}"
        ) from error


def _half_kernels(kernels: str) -> ModuleType:
    """The compiled kernels for precision bf16. Raises BackendError, also for a choice of numpy's:
    other ways to compute the same would be slower than float32."""
    if kernels == "numpy":
        raise BackendError("precision bf16 needs the fast kernels; numpy's are float32")
    compiled = _compiled("--precision float32")
    if not compiled.HALF:
        raise BackendError(
            "precision bf16 needs AMD's AVX512-BF16 or Intel's AMX, which numba's target processor "
            "lacks; use float32"
        )
    if not compiled.permits_half():
        raise BackendError(
            "precision bf16 needs AMX, which the system does not permit this process; use float32"
        )
    half: ModuleType = compiled.in_half()
    return half


@functools.cache
def _fast_works() -> bool:
    """Whether numba is installed and works. Logs one warning if it is installed but fails."""
    if not find_spec("numba"):
        return False
    try:
        _compiled()
    except BackendError as error:
        log.warning("%s; using numpy's", error)
        return False
    return True


def _cuda(dtype: np.dtype[Any]) -> Backend:
    try:
        import cupy
    except ImportError:
        raise BackendError(f"device 'cuda' needs cupy; {INSTALL} brings it") from None
    if not cupy.cuda.is_available():
        raise BackendError("device 'cuda': cupy finds no GPU or no driver for one; use 'cpu'")
    try:  # without cuBLAS and NVRTC, cupy fails only in its first product
        ones = cupy.ones((2, 2), dtype=dtype)
        float((ones @ ones).sum())
    except Exception as error:  # CUDA, the driver and the loader raise errors of many types
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackendError(
            f"device 'cuda': a product of two small matrices failed ({reason}); "
            f"{INSTALL} brings the CUDA libraries that cupy needs"
        ) from error
    from minidark.backend import cupy_kernels

    return Backend("cuda", cupy, cupy_kernels, dtype, widest=cupy_kernels.WIDEST)
