"""Where arrays live and which kernels work on them.

A `Backend` is an array module, a module of kernels and a dtype. Layers compute through it and
never ask which one it is; `numpy_kernels` is the reference that every other kernel module must
equal, function by function. On a GPU nothing here waits for a result unless it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.backend import numpy_kernels
from minidark.errors import BackendError, echo

Array = npt.NDArray[Any]
Scalar = float | Array  # a number; on a GPU a 0-d array, which float() waits for

DTYPES = ("float32", "float64")  # to run, and to check
DEVICES = ("auto", "cpu", "cuda")
INSTALL = "pip install 'minidark[cuda12]'"


@dataclass(frozen=True, slots=True)
class Backend:
    """`xp` makes arrays of `dtype`; `kernels` holds the functions of `numpy_kernels`."""

    name: str
    xp: ModuleType
    kernels: ModuleType
    dtype: np.dtype[Any]

    def asarray(self, array: npt.ArrayLike) -> Array:
        """As an array of this backend's dtype."""
        return self.xp.asarray(array, dtype=self.dtype)

    def asids(self, array: npt.ArrayLike) -> Array:
        """As ids that index rows."""
        return self.xp.asarray(array, dtype=np.intp)

    def asnumpy(self, array: Array) -> Array:
        """In the host's memory: from a GPU a copy, which waits for it; else the array itself."""
        return array if self.xp is np else self.xp.asnumpy(array)

    def holds(self, array: object) -> bool:
        """Whether this is an array in this backend's memory."""
        return isinstance(array, self.xp.ndarray)

    def empty(self, *shape: int) -> Array:
        return self.xp.empty(shape, dtype=self.dtype)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def ones(self, *shape: int) -> Array:
        return self.xp.ones(shape, dtype=self.dtype)


def get_backend(device: str = "cpu", dtype: npt.DTypeLike = "float32") -> Backend:
    """The backend of a device name and a dtype name ("float32", "float64").

    "cuda" is a GPU through cupy; "auto" is that where it works, else "cpu". Raises BackendError
    for a device or dtype that is not there.
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
    return Backend("cpu", np, numpy_kernels, np.dtype(name))


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

    return Backend("cuda", cupy, cupy_kernels, dtype)
