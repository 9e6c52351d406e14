"""Checks a caller's arguments before any state changes: rows, ids, a truth with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from minidark.backend import Array, Backend
from minidark.errors import DataError
from minidark.layers.base import Layer, is_ids, one_hot, required_cost_layer


@dataclass(frozen=True, slots=True)
class Truth:
    """A checked truth: floats (T, S, outputs) or ids (T, S), of `rows` rows. If some of the N = T S
    rows have no truth: ids (R, 1) of the others; `at` (R,), their indices; and `places` (T, S),
    each row's position among them, R for none. All of this is computed on the host, so that no
    GPU is waited for."""

    array: Array
    rows: int
    at: Array | None = None
    places: Array | None = None

    @classmethod
    def of(cls, argument: npt.ArrayLike, shape: tuple[int, ...], backend: Backend) -> Self:
        """Check a truth for outputs of `shape` (T, S, outputs), in either memory: floats of that
        shape, or ids (T, S). Raises DataError."""
        array = checked_dtype("truth", as_array(argument, backend))
        expected = shape[:2] if is_ids(array) else shape
        if array.shape != expected:
            raise DataError(f"truth has shape {array.shape}; expected {expected}")
        rows = shape[0] * shape[1]
        if not is_ids(array):
            return cls(backend.asarray(array), rows)
        check_ids("truth", array, shape[-1], least=-1)
        if not isinstance(array, np.ndarray) or (array >= 0).all():
            return cls(backend.asids(array), rows)
        ids = array.reshape(-1)
        at = np.flatnonzero(ids >= 0)
        if not at.size:
            raise DataError("truth is -1 (none) in every row")
        places = np.full(rows, at.size)
        places[at] = np.arange(at.size)
        asids = backend.asids
        return cls(asids(ids[at][:, None]), at.size, asids(at), asids(places.reshape(shape[:2])))

    def counted(self, y: Array) -> Array:
        """Of y (T, S, ...), the rows with a truth: (R, 1, ...)."""
        return y if self.at is None else y.reshape(-1, 1, *y.shape[2:])[self.at]

    def spread(self, gradient: Array, backend: Backend) -> Array:
        """Scatter the gradient (R, 1, F) of those rows to (T, S, F), with zeros elsewhere."""
        if self.places is None:
            return gradient
        rows = gradient.reshape(-1, gradient.shape[-1])
        return backend.xp.concatenate([rows, backend.zeros(1, rows.shape[1])])[self.places]


def checked_input(x: npt.ArrayLike, first: Layer) -> Array:
    """Check the input of a network with this first layer: floats (T, S, inputs), or ids (T, S),
    which become one-hot rows for a layer that does not read ids. Raises DataError."""
    backend = first.backend
    array = checked_dtype("x", as_array(x, backend))
    if array.shape[1:] != tail(array, first) or not len(array):
        raise wrong_shape("x", array, tail(array, first))
    if not is_ids(array):
        return backend.asarray(array)
    check_ids("x", array, first.inputs)
    ids = backend.asids(array)
    return ids if first.reads_ids else one_hot(ids, first.inputs, backend)


def checked_pass(
    layers: Sequence[Layer], x: npt.ArrayLike, truth: npt.ArrayLike
) -> tuple[Array, Truth]:
    """Check both arguments of a pass with a cost, before any state changes."""
    required_cost_layer(layers)
    rows = checked_input(x, layers[0])
    shape = (*rows.shape[:2], layers[-1].outputs)
    return rows, Truth.of(truth, shape, layers[0].backend)


def as_array(argument: npt.ArrayLike, backend: Backend) -> Array:
    """The argument, converted to numpy unless it is in the backend's memory."""
    return argument if backend.holds(argument) else np.asarray(argument)  # type: ignore[return-value]


def tail(x: Array, first: Layer) -> tuple[int, ...]:
    """The axes of an input after the steps."""
    return (first.streams,) if is_ids(x) else (first.streams, first.inputs)


def checked_dtype(what: str, array: Array) -> Array:
    if array.dtype.kind in "SU":
        raise DataError(f"{what} is text; its ids are numpy.frombuffer(bytes, numpy.uint8)")
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what} has dtype {array.dtype}; expected floats, or integer ids")
    return array


def wrong_shape(what: str, array: Array, tail: tuple[int, ...]) -> DataError:
    expected = ", ".join(map(str, ["T", *tail]))
    return DataError(f"{what} has shape {array.shape}; expected ({expected}) with T >= 1")


def check_ids(what: str, ids: Array, width: int, least: int = 0) -> None:
    if not isinstance(ids, np.ndarray):
        return  # GPU ids come from its own draws; checking them would wait for the GPU
    if ids.size and (int(ids.min()) < least or int(ids.max()) >= width):
        bad = int(ids[(ids < least) | (ids >= width)][0])
        raise DataError(f"{what} contains symbol {bad}; this network's are 0 to {width - 1}")
