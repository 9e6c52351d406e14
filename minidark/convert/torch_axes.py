"""Follows the axes of a tensor through the views of a graph.

An axis is a tuple of the input's axes that are joined in it: (0,) is axis 0 of the input, (0, 1)
axes 0 and 1 as rows, () an axis of length 1. FEATURES is the axis that layers read and write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEATURES = -1
MOST_AXES = 8

Axis = tuple[int, ...]
Axes = tuple[Axis, ...]
Lengths = Mapping[int, int | None]  # of the input's axes and FEATURES; None: any


@dataclass(frozen=True, slots=True)
class Length:
    """The length of an axis, where it is not a plain number."""

    axis: Axis


Size = int | Length


class MixedError(ValueError):
    """A view that takes an axis apart or mixes it with another."""


def length(axis: Axis, lengths: Lengths) -> int | None:
    """The number of entries along an axis; None if it is not fixed."""
    product = 1
    for part in axis:
        size = lengths[part]
        if size is None:
            return None
        product *= size
    return product


def reshaped(axes: Axes, sizes: Sequence[Size], lengths: Lengths) -> Axes:
    """The axes of a view with these sizes, of which one may be -1. Raises MixedError if the view
    does more than joining and splitting whole axes."""
    parts = [part for axis in axes for part in axis]
    if len(sizes) > MOST_AXES:
        raise MixedError
    free = [i for i, size in enumerate(sizes) if size == -1]
    middle = free[0] if free else len(sizes)
    before = [_take(parts, size, lengths) for size in sizes[:middle]]
    parts.reverse()
    after = [_take(parts, size, lengths)[::-1] for size in reversed(sizes[middle + 1 :])]
    parts.reverse()
    if not free and any(lengths[part] != 1 for part in parts):
        raise MixedError
    return (*before, *([tuple(parts)] if free else []), *reversed(after))


def _take(parts: list[int], size: Size, lengths: Lengths) -> Axis:
    """Remove and return the first parts whose lengths multiply to `size`."""
    if isinstance(size, Length):
        axis = size.axis
        if sorted(parts[: len(axis)]) != sorted(axis):
            raise MixedError
        taken = tuple(parts[: len(axis)])
        del parts[: len(axis)]
        return taken
    taken, product = (), 1
    while product < size and parts:
        part = parts.pop(0)
        factor = lengths[part]
        if factor is None:
            raise MixedError
        taken, product = (*taken, part), product * factor
    if product != size:
        raise MixedError
    return taken


def moved(axes: Axes, order: Sequence[int]) -> Axes:
    """The axes in another order. Raises MixedError if `order` does not name each once."""
    indexes = [index(axes, i) for i in order]
    if sorted(indexes) != list(range(len(axes))):
        raise MixedError
    return tuple(axes[i] for i in indexes)


def index(axes: Sequence[object], i: int) -> int:
    """An index that may count from the end. Raises MixedError if it is out of range."""
    if type(i) is not int or not -len(axes) <= i < len(axes):
        raise MixedError
    return i % len(axes)
