"""A strict stand-in for cupy where there is no GPU: `import tests.fakecp as cupy`.

Arrays compute as numpy's do and refuse what cupy's refuse (`array.py`); kernels in CUDA C are
compiled for the CPU and run (`shim.py`). A name is here if real cupy has it (gpu_proof/
cupy_api.json) and its launches are known. It shows no speed, and no rounding of a GPU.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from minidark.backend import Array
from tests.fakecp import cuda as cuda
from tests.fakecp import shim
from tests.fakecp.array import API, UNWRITTEN, check_keywords, computed
from tests.fakecp.array import COUNTS as COUNTS
from tests.fakecp.array import RULES as RULES
from tests.fakecp.array import ndarray as ndarray
from tests.fakecp.array import without_waiting as without_waiting

VIEWS = ("moveaxis", "broadcast_to", "expand_dims", "squeeze", "transpose")
ONE_LAUNCH = (
    "exp", "expm1", "log", "sqrt", "tanh", "floor", "sign", "square", "isfinite", "minimum",
    "maximum", "add", "subtract", "multiply", "where", "clip", "zeros", "ones", "arange",
    "zeros_like", "ones_like", "full", "full_like", "dot", "concatenate", "stack", "take",
)  # fmt: skip
SEVERAL = {"argsort": 4, "cumsum": 2, "take_along_axis": 2}  # about; no count is held to them
ONE = threading.Lock()  # kernel at a time, from whatever threads they come
TYPES = ("float32", "float64", "int64", "intp")


def _called(name: str, launches: int) -> Any:
    def call(*arguments: Any, **keywords: Any) -> Any:
        check_keywords("cupy", name, keywords)
        return computed(getattr(np, name), *arguments, launches=launches, **keywords)

    return call


def __getattr__(name: str) -> Any:
    if name not in API["cupy"]:
        raise AttributeError(f"cupy has no {name}")
    if name in TYPES:
        return getattr(np, name)
    if name in VIEWS or name in ONE_LAUNCH or name in SEVERAL:
        return _called(name, launches=SEVERAL.get(name, 0 if name in VIEWS else 1))
    raise AttributeError(f"the stand-in does not know the launches of cupy.{name}")


def empty(shape: Any, **keywords: Any) -> ndarray:
    check_keywords("cupy", "empty", keywords)
    array = np.empty(shape, **keywords)
    array[...] = np.nan if array.dtype.kind == "f" else max(UNWRITTEN, np.iinfo(array.dtype).min)
    return computed(lambda: array, launches=0)


def empty_like(array: ndarray, **keywords: Any) -> ndarray:
    check_keywords("cupy", "empty_like", keywords)
    return empty(array.shape, dtype=array.dtype, **keywords)


def asarray(given: Any, **keywords: Any) -> ndarray:
    check_keywords("cupy", "asarray", keywords)
    if isinstance(given, ndarray):
        same = keywords.get("dtype", given.dtype) == given.dtype
        return given if same else given.astype(keywords["dtype"])
    COUNTS.uploads += 1
    return computed(lambda: np.array(given, **keywords), launches=0)


def ascontiguousarray(array: ndarray, **keywords: Any) -> ndarray:
    check_keywords("cupy", "ascontiguousarray", keywords)
    return array if array.flags.c_contiguous else array.copy()


def asnumpy(array: ndarray | Array, **keywords: Any) -> Array:
    check_keywords("cupy", "asnumpy", keywords)
    return array.get() if isinstance(array, ndarray) else np.asarray(array)  # as cupy's


class RawModule:
    """CUDA C, run on the CPU."""

    reverse = False  # the order in which the threads of a block run

    def __init__(self, **keywords: Any):
        check_keywords("cupy", "RawModule", keywords)
        reals = [o.removeprefix("-Dreal=") for o in keywords["options"] if o.startswith("-Dreal=")]
        self.library = shim.compiled(keywords["code"], *reals)

    def get_function(self, name: str) -> Any:
        def launch(
            grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]
        ) -> None:
            COUNTS.launches += 1
            for argument in arguments:  # the device would get an address, and no strides
                if isinstance(argument, ndarray) and not argument.flags.c_contiguous:
                    raise ValueError(f"{name} is given an array with strides")
            hosts = [a.host if isinstance(a, ndarray) else a for a in arguments]
            with ONE:
                self.library.run(name, grid, block, hosts, self.reverse)

        return launch
