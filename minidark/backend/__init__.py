"""Where arrays live and which kernels work on them.

A `Backend` is an array module, a module of kernels and a dtype. Layers compute through it and
never ask which one it is; `numpy_kernels` is the reference that every other kernel module must
equal, function by function.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.backend import memory, numpy_kernels
from minidark.errors import BackendError, echo

Array = npt.NDArray[Any]

KERNELS = ("auto", "numpy", "fast")
DTYPES = ("float32", "float64")  # to run, and to check


@dataclass(slots=True)
class Backend:
    """`xp` makes arrays of `dtype`; `kernels` holds the functions of `numpy_kernels`, and where
    `sequences` is true those that take a cell through a whole sequence."""

    name: str
    xp: ModuleType
    kernels: ModuleType
    dtype: np.dtype[Any]
    sequences: bool = False

    def use_kernels(self, kernels: str) -> None:
        """Compute with these from now on: "numpy", "fast", or "auto", which is fast where the
        extra of that name is installed and the dtype is float32. Raises BackendError."""
        if kernels not in KERNELS:
            raise BackendError(f"kernels {echo(kernels)} are not one of {', '.join(KERNELS)}")
        if kernels == "auto":
            kernels = "fast" if self.dtype == np.float32 and find_spec("numba") else "numpy"
        if kernels == "fast" and self.dtype != np.float32:
            raise BackendError(f"the fast kernels are float32; for {self.dtype} take numpy's")
        self.kernels = _compiled() if kernels == "fast" else numpy_kernels
        self.sequences = kernels == "fast"

    def asarray(self, array: npt.ArrayLike) -> Array:
        """As an array of this backend's dtype."""
        return self.xp.asarray(array, dtype=self.dtype)

    def asids(self, array: npt.ArrayLike) -> Array:
        """As ids that index rows."""
        return self.xp.asarray(array, dtype=np.intp)

    def empty(self, *shape: int) -> Array:
        return memory.empty(shape, self.dtype)

    def zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype)

    def ones(self, *shape: int) -> Array:
        return self.xp.ones(shape, dtype=self.dtype)


def get_backend(
    device: str = "cpu", dtype: npt.DTypeLike = "float32", kernels: str = "auto"
) -> Backend:
    """The backend of a device name ("cpu"), a dtype name ("float32", "float64") and the name of
    its kernels, as given to `Backend.use_kernels`.

    Raises BackendError for one that is not there.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise BackendError(f"dtype {echo(dtype)} is not one of {', '.join(DTYPES)}")
    if device != "cpu":
        raise BackendError(f"device {echo(device)} is not available; this version runs on 'cpu'")
    backend = Backend(device, np, numpy_kernels, np.dtype(name))
    backend.use_kernels(kernels)
    return backend


def _compiled() -> ModuleType:
    try:
        return import_module("minidark.backend.compiled")
    except ImportError as error:
        raise BackendError(
            f"the fast kernels need numba ({error}); pip install 'minidark[fast]', or choose "
            "--kernels numpy"
        ) from error
