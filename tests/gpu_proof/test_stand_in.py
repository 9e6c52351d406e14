"""What the stand-in refuses, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tests.fakecp as xp
from tests.fakecp.array import COUNTS
from tests.stand_in import put_in_place

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch)


def array(*shape: int) -> Any:
    return xp.asarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7)


HOST: Any = np.ones((2, 3), np.float32)
IMPLICIT = "Implicit conversion to a NumPy array is not allowed"

REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "numpy's function": (lambda d: np.concatenate([d, d]), "numpy's concatenate"),
    "numpy's ufunc": (lambda d: np.tanh(d), "does not support ufuncs"),
    "asarray": (lambda d: np.asarray(d), IMPLICIT),
    "plus a numpy array": (lambda d: d + HOST, "Unsupported type"),
    "a numpy array plus": (lambda d: HOST + d, "Unsupported type"),
    "a numpy array times": (lambda d: HOST.T @ d, "Unsupported type"),
    "in place": (lambda d: d.__iadd__(HOST), "Unsupported type"),
    "into a numpy array": (lambda d: HOST.copy().__iadd__(d), "does not support ufuncs"),
    "a function of both": (lambda d: xp.maximum(d, HOST), "Unsupported type"),
    "assigned": (lambda d: d.__setitem__(0, HOST[0]), "Unsupported type"),
    "assigned to a numpy array": (lambda d: HOST.copy().__setitem__(0, d[0]), IMPLICIT),
    "where=": (lambda d: xp.exp(d, where=d > 0), "no keyword where"),
    "initial=": (lambda d: d.sum(initial=0), "no keyword initial"),
    "mode=": (lambda d: xp.take(d, d, mode="clip"), "no keyword mode"),
    "min=": (lambda d: xp.clip(d, min=0), "no keyword min"),
    "errstate": (lambda d: xp.errstate(all="ignore"), "cupy has no errstate"),
    "vecdot": (lambda d: xp.vecdot(d, d), "cupy has no vecdot"),
    "float64 by default": (lambda d: xp.zeros((2, 3)), "a result of float64"),
    "a float64 scalar": (lambda d: d * np.float64(2), "a result of float64"),
    "a wider sum": (lambda d: d.sum(dtype=np.float64), "a result of float64"),
    "a loop": (lambda d: list(d), "a loop over an array"),
    "a list as an index": (lambda d: d[[0, 1]], "one array of the device"),
    "scatter": (lambda d: d.__setitem__(xp.asarray([0, 0]), 1), "order of writes"),
    "another dtype": (lambda d: d.__setitem__(0, d[0] > 0), "bool is written into float32"),
    "its text": (lambda d: f"{d.sum():.3f}", "hides a wait"),
    "max()": (lambda d: max(d), "a loop over an array"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(case: str) -> None:
    do, message = REFUSED[case]
    with pytest.raises((TypeError, AttributeError, IndexError), match=message):
        do(array(2, 3))


WAITS: list[Callable[[Any], Any]] = [
    lambda d: float(d.sum()),
    lambda d: int(d.sum()),
    lambda d: bool(d.any()),
    lambda d: 1 if d.any() else 0,
    lambda d: d.get(),
    lambda d: d.sum().item(),
    lambda d: d.tolist(),
    lambda d: xp.asnumpy(d),
    lambda d: d[d > 0],
]


@pytest.mark.parametrize("number", range(len(WAITS)))
def test_waiting_is_counted_and_can_be_forbidden(number: int) -> None:
    d = array(2, 3)
    COUNTS.reset()
    WAITS[number](d)
    assert COUNTS.waits == 1
    with xp.without_waiting(), pytest.raises(RuntimeError, match="waits for the device"):
        WAITS[number](d)


LAUNCHES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "a sum of arrays": (lambda d: d + d, 1),
    "two steps": (lambda d: d * 2 + 1, 2),
    "in place": (lambda d: d.__iadd__(1), 1),
    "a function": (lambda d: xp.tanh(d), 1),
    "a reduction": (lambda d: d.sum(axis=0), 1),
    "an assignment": (lambda d: d.__setitem__(0, 1), 1),
    "a product": (lambda d: d @ d.T, 1),
    "a product of a slice of columns": (lambda d: d[:, :2] @ d[:2], 2),
    "of a slice of rows": (lambda d: d[1:] @ d.T, 1),
    "views": (lambda d: (d[1:, None], d.T, d.reshape(-1), xp.moveaxis(d, 0, 1)), 0),
    "a reshape that must copy": (lambda d: d.T.reshape(-1), 1),
    "a contiguous copy of what is contiguous": (lambda d: xp.ascontiguousarray(d), 0),
    "an empty array": (lambda d: xp.empty((2, 3), dtype=np.float32), 0),
}


@pytest.mark.parametrize("case", LAUNCHES)
def test_launches_are_counted(case: str) -> None:
    do, launches = LAUNCHES[case]
    d = array(3, 3)
    COUNTS.reset()
    do(d)
    assert (COUNTS.launches, COUNTS.waits) == (launches, 0)


def test_copies_between_the_memories_are_counted() -> None:
    COUNTS.reset()
    d = array(2, 3)
    xp.asarray(d)
    assert (COUNTS.uploads, COUNTS.downloads) == (1, 0)
    d.get()
    assert (COUNTS.uploads, COUNTS.downloads) == (1, 1)


def test_what_was_not_written_shows() -> None:
    assert np.isnan(xp.empty((2, 3), dtype=np.float32).host).all()
    assert (xp.empty(3, dtype=np.int64).host < -(2**39)).all()


def names() -> Iterator[str]:
    yield from (*xp.VIEWS, *xp.ONE_LAUNCH, *xp.TYPES)
    yield from ("empty", "empty_like", "asarray", "ascontiguousarray", "asnumpy", "RawModule")


def test_it_has_no_name_that_cupy_lacks() -> None:
    assert not set(names()) - set(xp.array.API["cupy"])
