"""What minidark knows of the tensors of an ONNX model, without running it.

A tensor that depends on the model's input is described by its axes. An axis is a tuple of labels,
whose product is its length: () is an axis of length 1, ("0",) the input's first axis, and
("0", "1") the input's first two axes joined by a Reshape. Which labels are time and streams is
known from the first recurrent layer on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from minidark.backend import Array

Axis = tuple[str, ...]
FEATURES, LAYERS = "features", "layers"  # labels; those of the input's axes are numbers
LAST: Axis = (FEATURES,)
MOST_AXES = 8


class AxesError(Exception):
    """Axes that a Reshape joins or splits in a way that minidark does not follow."""


@dataclass(frozen=True, slots=True)
class Length:
    """The length of an axis, if it is not a fixed number."""

    axis: Axis

    def __mul__(self, other: object) -> Length:
        """The length of two axes joined. Raises TypeError if it is none."""
        if isinstance(other, Length) and not {*other.axis} & {*self.axis}:
            return Length(self.axis + other.axis)
        if other == 1:
            return self
        raise TypeError("not the length of an axis")

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class Constant:
    """Numbers that do not depend on the input. load: the array; one of dtype object contains the
    lengths of axes (int or Length). sources: the large tensors of the model that it is made of."""

    load: Callable[[], Array]
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Zeros:
    """Zeros of any shape, such as an initial state."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Numbers that do not depend on the input, and that minidark does not follow."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A tensor that depends on the model's inputs."""

    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Ids(Traced):
    """The symbols."""


@dataclass(frozen=True, slots=True)
class Features(Traced):
    """Outputs of the network so far. version: how many operations made them. last: whether they
    are those of the last step alone. binary: whether they are one-hot rows."""

    version: int
    width: int | None = None
    last: bool = False
    binary: bool = False


@dataclass(frozen=True, slots=True)
class LastStates(Traced):
    """States of layers after the last step. parts: (layer, state), such as ("1.lstm", "cell"),
    along the axis LAYERS, or () for one."""

    parts: tuple[tuple[str, str], ...]
    version: int
    width: int


@dataclass(frozen=True, slots=True)
class FirstState(Traced):
    """Initial states that the caller gives in the input `name`. index: the row of the first axis,
    if it is cut out."""

    name: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Term(Traced):
    """A part of one step of a recurrent layer that is written out (`onnx_cells`)."""

    form: tuple[Any, ...]
    width: int | None = None


Value = Constant | Zeros | Unknown | Ids | Features | LastStates | FirstState | Term
AnyTraced = TypeVar("AnyTraced", bound=Traced)


def moved(value: AnyTraced, axes: Sequence[Axis]) -> AnyTraced:
    """The same numbers with other axes."""
    return replace(value, axes=tuple(axes))


@dataclass(slots=True)
class Sizes:
    """The fixed lengths of labels."""

    known: dict[str, int] = field(default_factory=dict)

    def of(self, value: Traced) -> Sizes:
        """The lengths with those of the features and of the layers of a value."""
        own = dict(self.known)
        if isinstance(value, Features | LastStates | Term) and value.width is not None:
            own[FEATURES] = value.width
        if isinstance(value, LastStates):
            own[LAYERS] = len(value.parts)
        return Sizes(own)

    def learn(self, other: Sizes) -> None:
        """Keep the lengths of the input's axes that an operator has fixed."""
        self.known |= {k: n for k, n in other.known.items() if k not in (FEATURES, LAYERS)}

    def length(self, axis: Axis) -> int | Length:
        """The length of an axis."""
        product, free = 1, []
        for label in axis:
            if label in self.known:
                product *= self.known[label]
            else:
                free.append(label)
        return Length(axis) if free else product

    def plain(self, axis: Axis) -> Axis:
        """An axis without labels of length 1."""
        return tuple(label for label in axis if label == FEATURES or self.known.get(label) != 1)

    def same(self, a: Axis, b: Axis) -> bool:
        return self.plain(a) == self.plain(b)

    def fix(self, axis: Axis, length: int) -> bool:
        """Whether an axis may have this length. The model then allows no other."""
        if len(axis) == 1 and axis[0] not in self.known and axis != LAST:
            self.known[axis[0]] = length
        return self.length(axis) == length

    def reshaped(self, axes: Sequence[Axis], lengths: Sequence[int | Length]) -> list[Axis]:
        """The axes after a Reshape to these lengths, of which one may be -1. Lengths of axes that
        it fixes become known. Raises AxesError."""
        labels = [label for axis in axes for label in axis]
        rest = lengths.index(-1) if -1 in lengths else len(lengths)
        before = [self._take(labels, n, 0) for n in lengths[:rest]]
        after = [self._take(labels, n, -1) for n in reversed(lengths[rest + 1 :])][::-1]
        if rest < len(lengths):
            return [*before, self._joined(labels), *after]
        if self.plain(tuple(labels)):
            raise AxesError
        return before

    def _take(self, labels: list[str], length: int | Length, end: int) -> Axis:
        """Take labels of this length from one end of a list."""
        taken: list[str] = []
        if isinstance(length, Length):
            wanted = self.plain(length.axis)
            while len(self.plain(tuple(taken))) < len(wanted) and labels:
                taken.append(labels.pop(end))
        else:
            product = 1
            while labels and (product < length or (length == 1 and self._single(labels[end]))):
                product *= self._size(labels[end], length // product)
                taken.append(labels.pop(end))
                if length == 1:
                    break
            wanted = None
            if product != length:
                raise AxesError
        axis = tuple(taken if end == 0 else reversed(taken))
        if wanted is not None and self.plain(axis) != wanted:
            raise AxesError
        return self._joined(axis)

    def _size(self, label: str, wanted: int) -> int:
        return self.known.setdefault(label, wanted)

    def _single(self, label: str) -> bool:
        return self.known.get(label) == 1

    def _joined(self, axis: Sequence[str]) -> Axis:
        """Labels as one axis, in which those of length 1 do not count."""
        return tuple(axis) if len(axis) == 1 else self.plain(tuple(axis))
