"""Where arrays live and which kernels work on them.

A `Backend` is an array module, a module of kernels and a dtype. Layers compute through it and
never ask which one it is; `numpy_kernels` is the reference that every other kernel module must
equal, function by function.
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

DTYPES = ("float32", "float64")  # to run, and to check


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

    def empty(self, *shape: int) -> Array:
        return self.xp.empty(shape, dtype=self.dtype)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def ones(self, *shape: int) -> Array:
        return self.xp.ones(shape, dtype=self.dtype)


def get_backend(device: str = "cpu", dtype: npt.DTypeLike = "float32") -> Backend:
    """The backend of a device name ("cpu") and a dtype name ("float32", "float64").

    Raises BackendError for a device or dtype that is not there.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise BackendError(f"dtype {echo(dtype)} is not one of {', '.join(DTYPES)}")
    if device != "cpu":
        raise BackendError(f"device {echo(device)} is not available; this version runs on 'cpu'")
    return Backend(device, np, numpy_kernels, np.dtype(name))
