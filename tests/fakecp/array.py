"""An array that computes as numpy and refuses what cupy refuses, and a little more.

Refused: becoming a numpy array unasked, meeting one in arithmetic, keywords that cupy's arrays
lack, float64 results (unless `RULES.float64`), iteration, assignment through an index array.
Counted: launches, waits, copies to and from the device. A product whose operand is in memory
neither row by row nor column by column costs cuBLAS a copy, and counts one launch more.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

API: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "gpu_proof" / "cupy_api.json").read_text()
)
UNWRITTEN = -(2**40)  # what integers hold before they are written; floats hold NaN


@dataclass
class Counts:
    launches: int = 0
    waits: int = 0  # of the host for the device
    uploads: int = 0
    downloads: int = 0

    def reset(self) -> None:
        self.launches = self.waits = self.uploads = self.downloads = 0


@dataclass
class Rules:
    float64: bool = False
    waiting: bool = True


class Current(threading.local):
    """Of a thread: the stream it is in, None for the one where all is in order."""

    stream: Any = None
    pinned: ClassVar[list[np.ndarray[Any, Any]]] = []  # memory that was allocated so, of all


COUNTS, RULES, current = Counts(), Rules(), Current()


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Where the host must not wait for the device."""
    RULES.waiting = False
    try:
        yield
    finally:
        RULES.waiting = True


def wait(what: str) -> None:
    COUNTS.waits += 1
    if not RULES.waiting:
        raise RuntimeError(f"{what} waits for the device")


def check_keywords(place: str, name: str, keywords: dict[str, Any]) -> None:
    """Those of `place.name` in cupy; names are checked by whoever looks them up."""
    lacking = set(keywords) - set(API[place][name] or ())
    if lacking:
        raise TypeError(f"{place}.{name} has no keyword {', '.join(sorted(lacking))}")


def unwrap(value: Any) -> Any:
    """What numpy computes with; numpy's own arrays are refused, in cupy's words."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(unwrap, value))
    return value


def wrap(result: Any, launches: int) -> Any:
    """A result as an array of the device, and the launches that it took."""
    if isinstance(result, tuple):
        return tuple(wrap(part, launches) for part in result)
    array = np.asarray(result)
    if array.dtype.kind == "c" or (array.dtype == np.float64 and not RULES.float64):
        raise TypeError(f"a result of {array.dtype}; everything is float32")
    COUNTS.launches += launches
    return ndarray(array)


def copies_for_cublas(*operands: np.ndarray[Any, Any]) -> int:
    """The operands of a product that cupy copies first."""
    return sum(not (o.flags.c_contiguous or o.flags.f_contiguous) for o in operands)


def computed(function: Any, *arguments: Any, launches: int = 1, **keywords: Any) -> Any:
    with np.errstate(all="ignore"):  # a GPU says nothing of overflow
        result = function(*map(unwrap, arguments), **{k: unwrap(v) for k, v in keywords.items()})
    return wrap(result, launches)


def _basic(index: Any) -> bool:
    """Whether an index makes a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, slice | int | np.integer)
        for part in parts
    )


class ndarray:  # noqa: N801  cupy's name
    """`host` is the memory that stands for the device's; tests may look at it."""

    __slots__ = ("host",)
    __array_ufunc__ = None  # numpy_array + this asks this, which refuses
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray[Any, Any]):
        self.host = host

    if TYPE_CHECKING:  # OPERATORS and METHODS are set below

        def __getattr__(self, name: str) -> Any: ...

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy's {function.__name__} on an array of the device")

    # --- what needs no launch -------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @property
    def size(self) -> int:
        return self.host.size

    @property
    def ndim(self) -> int:
        return self.host.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.host.dtype

    @property
    def flags(self) -> Any:
        return self.host.flags

    @property
    def nbytes(self) -> int:
        return self.host.nbytes

    @property
    def T(self) -> ndarray:  # noqa: N802
        return ndarray(self.host.T)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Any:
        raise TypeError("a loop over an array of the device launches for each element")

    def __getitem__(self, index: Any) -> ndarray:
        if _basic(index):
            return ndarray(self.host[index if isinstance(index, tuple) else (index, ...)])
        if isinstance(index, ndarray) and index.dtype == bool:
            wait("a mask as an index")
        if not isinstance(index, ndarray):
            raise IndexError("an index is of basic parts, or one array of the device")
        COUNTS.launches += 1
        return ndarray(self.host[index.host])

    def reshape(self, *shape: Any, **keywords: Any) -> ndarray:
        check_keywords("cupy.ndarray", "reshape", keywords)
        result = self.host.reshape(*shape, **keywords)
        COUNTS.launches += not np.may_share_memory(result, self.host)
        return ndarray(result)

    def transpose(self, *axes: Any) -> ndarray:
        return ndarray(self.host.transpose(*axes))

    # --- what waits -----------------------------------------------------------------------

    def get(self, **keywords: Any) -> np.ndarray[Any, Any]:
        check_keywords("cupy.ndarray", "get", keywords)
        wait("get()")
        COUNTS.downloads += 1
        out = keywords.pop("out", None)
        if out is None:
            return self.host.copy()
        _check_pinned(out)
        out[...] = self.host
        return cast("np.ndarray[Any, Any]", out)

    def set(self, arr: np.ndarray[Any, Any]) -> None:
        _check_pinned(arr)
        COUNTS.uploads += 1
        assert (arr.shape, arr.dtype) == (self.shape, self.dtype)
        self.host[...] = arr

    @property
    def data(self) -> Any:
        assert self.host.flags.c_contiguous
        return SimpleNamespace(ptr=self.host.ctypes.data)

    def view(self, dtype: Any) -> ndarray:
        return ndarray(self.host.view(dtype))

    def tobytes(self) -> bytes:
        return self.get().tobytes()

    def item(self) -> Any:
        wait("item()")
        return self.host.item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        wait("float()")
        return float(self.host)

    def __int__(self) -> int:
        wait("int()")
        return int(self.host)

    def __bool__(self) -> bool:
        wait("bool()")
        return bool(self.host)

    __index__ = __int__

    def __format__(self, spec: str) -> str:
        raise TypeError("the text of an array of the device hides a wait")

    # --- writing --------------------------------------------------------------------------

    def __setitem__(self, index: Any, value: Any) -> None:
        if not _basic(index):
            raise IndexError("assignment through an index array: the order of writes is open")
        COUNTS.launches += 1
        value = unwrap(value)
        if isinstance(value, np.ndarray) and value.dtype != self.dtype:
            raise TypeError(f"{value.dtype} is written into {self.dtype}")
        self.host[index] = value

    def fill(self, value: Any) -> None:
        self[...] = value

    def __repr__(self) -> str:
        return f"fakecp.ndarray({self.host!r})"


def _check_pinned(host: np.ndarray[Any, Any]) -> None:
    if not any(np.may_share_memory(host, pinned) for pinned in current.pinned):
        raise ValueError("a copy by a stream of its own takes memory that is pinned")


def _operator(name: str) -> Any:
    def operate(self: ndarray, *others: Any) -> Any:
        if any(isinstance(other, str) or other is None for other in others):
            return NotImplemented
        hosts = [self.host, *map(unwrap, others)]
        product = name in ("__matmul__", "__rmatmul__")
        launches = 1 + (copies_for_cublas(*hosts) if product else 0)
        with np.errstate(all="ignore"):
            result = getattr(np.ndarray, name)(*hosts)
        if result is NotImplemented:
            return result
        wrapped = wrap(result, launches)
        if name.startswith("__i") and name not in ("__invert__",):
            return self
        return wrapped

    return operate


OPERATORS = [
    *(f"__{side}{name}__" for side in ("", "r", "i")
      for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or")),
    *(f"__{name}__" for name in ("lt", "le", "eq", "ne", "gt", "ge", "neg", "pos", "abs",
                                 "invert", "matmul", "rmatmul")),
]  # fmt: skip
METHODS = ("sum", "mean", "max", "min", "all", "any", "argmax", "astype", "copy", "clip", "ravel")


def _method(name: str) -> Any:
    def call(self: ndarray, *arguments: Any, **keywords: Any) -> Any:
        check_keywords("cupy.ndarray", name, keywords)
        return computed(getattr(np.ndarray, name), self, *arguments, **keywords)

    return call


for _name in OPERATORS:
    setattr(ndarray, _name, _operator(_name))
for _name in METHODS:
    assert _name in API["cupy.ndarray"]
    setattr(ndarray, _name, _method(_name))
