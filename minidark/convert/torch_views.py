"""The ATen operators that move axes, select the last step or make zeros."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from minidark.convert.torch_axes import (
    MOST_AXES,
    Axes,
    Length,
    MixedError,
    Size,
    index,
    length,
    moved,
    reshaped,
)
from minidark.convert.torch_graph import After, Constant, Given, Node, Place, Rows, Walk, Zeros
from minidark.convert.torch_ops import LOOP, Handler

MIXED = "it takes an axis apart, or mixes it with another"
LARGEST = 1 << 24  # numbers of all tensors of zeros together
END = 2**63 - 1  # of a slice without end

View = Callable[[Walk, Rows | After, dict[str, Any]], Axes]


def view(change: View) -> Handler:
    """A handler for an operator that changes only the axes."""

    def handler(walk: Walk, node: Node) -> list[Any]:
        value = node.arguments["self"]
        if isinstance(value, Zeros):
            return [value]
        if isinstance(value, Constant):
            return [_transposed(walk, node, value)]
        if not isinstance(value, Rows | After):
            raise walk.unknown(node)
        if isinstance(value, After) and value.layers > 1:
            raise walk.refused(node, "it moves the states of several layers")
        try:
            axes = change(walk, value, dict(node.arguments))
        except MixedError as error:
            raise walk.refused(node, MIXED) from error
        if isinstance(value, After) and len(axes) < len(value.axes):
            return [_last_state(walk, node, value, axes)]
        return [replace(value, axes=axes)]

    return handler


def _transposed(walk: Walk, node: Node, value: Constant) -> Constant:
    """A matrix of weights with its two axes swapped; a weight after another view."""
    kind, given = node.target.partition(".")[0], node.arguments
    axes = walk.program.weights(value.kind, value.name).ndim
    orders: dict[str, Any] = {
        "t": [1, 0],
        "transpose": [given.get("dim1"), given.get("dim0")],
        "permute": given.get("dims"),
    }
    order = orders.get(kind)
    if axes != 2 or order is None:
        return replace(value, is_plain=False)
    if sorted(index((0, 1), i) for i in order) != [0, 1]:
        raise walk.refused(node, MIXED)
    is_swap = kind == "transpose" or index((0, 1), order[0]) == 1
    return replace(value, is_transposed=value.is_transposed ^ is_swap)


def transpose(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    order = list(range(len(value.axes)))
    one, other = (index(value.axes, given[name]) for name in ("dim0", "dim1"))
    order[one], order[other] = other, one
    return moved(value.axes, order)


def permute(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    return moved(value.axes, given["dims"])


def swap(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    """t: of two axes."""
    if len(value.axes) > 2:
        raise MixedError
    return value.axes[::-1]


def unsqueeze(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    axes = list(value.axes)
    if len(axes) == MOST_AXES:
        raise MixedError
    axes.insert(index([*axes, None], given["dim"]), ())
    return tuple(axes)


def squeeze(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    """squeeze.default, squeeze.dim and squeeze.dims: axes of length 1 go, others stay."""
    axes, lengths = value.axes, walk.lengths_of(value)
    dims = given.get("dim", list(range(len(axes))))
    chosen = {index(axes, i) for i in (dims if isinstance(dims, list) else [dims])}
    return tuple(
        axis for i, axis in enumerate(axes) if i not in chosen or length(axis, lengths) != 1
    )


def reshape(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    sizes: list[Size] = given["size"] if "size" in given else given["shape"]
    return reshaped(value.axes, sizes, walk.lengths_of(value))


def flatten(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    axes = value.axes
    start, end = index(axes, given.get("start_dim", 0)), index(axes, given.get("end_dim", -1))
    if start > end:
        raise MixedError
    joined = tuple(part for axis in axes[start : end + 1] for part in axis)
    return (*axes[:start], joined, *axes[end + 1 :])


def unflatten(walk: Walk, value: Rows | After, given: dict[str, Any]) -> Axes:
    axes, at = value.axes, index(value.axes, given["dim"])
    parts = reshaped((axes[at],), given["sizes"], walk.lengths_of(value))
    return (*axes[:at], *parts, *axes[at + 1 :])


# --- entries of an axis -----------------------------------------------------------------------


def select(walk: Walk, node: Node) -> list[Any]:
    """One entry of an axis: the last step, the state of the last layer, or one of length 1."""
    value, given = node.arguments["self"], node.arguments
    dim, at = given["dim"], given["index"]
    if isinstance(value, Zeros):
        return [value]
    if isinstance(value, Given) and value.index is None and dim == 0 and at >= 0:
        return [Given(value.name, at)]
    if not isinstance(value, Rows | After):
        raise walk.unknown(node)
    try:
        dim = index(value.axes, dim)
    except MixedError as error:
        raise walk.refused(node, MIXED) from error
    axes = (*value.axes[:dim], *value.axes[dim + 1 :])
    if isinstance(value, After):
        if dim == 0 and at in (-1, value.layers - 1) and len(value.places) == 1:
            return [_last_state(walk, node, value, axes)]
        raise walk.refused(node, "it takes the state of another layer than the last")
    axis = value.axes[dim]
    if not axis and at in (0, -1):
        return [replace(value, axes=axes)]
    if axis == walk.time and _is_last(walk, axis, at):
        return [_last_step(walk, node, value, axes)]
    raise walk.refused(node, LOOP if axis == walk.time else MIXED)


def _is_last(walk: Walk, axis: tuple[int, ...], at: int) -> bool:
    size = length(axis, walk.lengths)
    return at == -1 or (size is not None and at == size - 1)


def _last_step(walk: Walk, node: Node, rows: Rows, axes: Axes) -> Rows:
    rows = walk.current(node, rows)
    walk.result.last_only = True
    return walk.step(rows, axes=axes)


def _last_state(walk: Walk, node: Node, value: After, axes: Axes) -> Rows:
    """The state h of the last layer: the output of the module's last step."""
    (place,) = value.places
    if place.part or place.module != walk.modules - 1 or walk.stage != walk.recurrent_stage:
        raise walk.refused(node, "it reads a state that is not the output of the last layer")
    if walk.time:
        walk.result.last_only = True
    rows = Rows(axes, walk.stage, value.width)
    return walk.step(rows)


def slice_(walk: Walk, node: Node) -> list[Any]:
    """A slice of everything, or of the last step alone."""
    value, given = node.arguments["self"], node.arguments
    start, end = given.get("start"), given.get("end")
    start, end = (0 if start is None else start), (END if end is None else end)
    if isinstance(value, Zeros):
        return [value]
    if not isinstance(value, Rows) or given.get("step", 1) != 1:
        raise walk.unknown(node)
    try:
        dim = index(value.axes, given.get("dim", 0))
    except MixedError as error:
        raise walk.refused(node, MIXED) from error
    axis = value.axes[dim]
    size = length(axis, walk.lengths_of(value))
    is_whole = isinstance(end, Length) or end == END or (size is not None and end >= size)
    if start == 0 and is_whole:
        return [value]
    if axis == walk.time and is_whole and type(start) is int and _is_last(walk, axis, start):
        axes = (*value.axes[:dim], (), *value.axes[dim + 1 :])
        return [_last_step(walk, node, value, axes)]
    raise walk.refused(node, "it takes a part of an axis")


def stack(walk: Walk, node: Node) -> list[Any]:
    """The states of several cells as one."""
    values = node.arguments["tensors"]
    places = [_place(value) for value in values]
    if not all(places) or node.arguments.get("dim", 0) != 0:
        raise walk.unknown(node)
    found = tuple(place for place in places if place)
    return [After(found, ((), *values[0].axes), len(found), values[0].width)]


def _place(value: Any) -> Place | None:
    if isinstance(value, Rows):
        return value.state
    return value.places[0] if isinstance(value, After) and len(value.places) == 1 else None


# --- sizes, zeros and the same ----------------------------------------------------------------


def same(walk: Walk, node: Node) -> list[Any]:
    return [node.arguments["self"]]


def zeros(walk: Walk, node: Node) -> list[Any]:
    """zeros, new_zeros, and full with 0."""
    sizes = node.arguments["size"]
    if node.arguments.get("fill_value", 0) != 0:
        raise walk.refused(node, "it makes other numbers than zero")
    walk.zeros += math.prod(size for size in sizes if isinstance(size, int))
    if walk.zeros > LARGEST:
        raise walk.refused(node, f"there are more than {LARGEST:,} zeros")
    return [Zeros()]


def zeros_like(walk: Walk, node: Node) -> list[Any]:
    """Only of other zeros and of states, which are small."""
    if isinstance(node.arguments["self"], Rows):
        raise walk.unknown(node)
    return [Zeros()]


def expand(walk: Walk, node: Node) -> list[Any]:
    """Zeros and weights in more streams."""
    value, sizes = node.arguments["self"], node.arguments["size"]
    walk.zeros += math.prod(abs(size) for size in sizes if isinstance(size, int))
    if walk.zeros > LARGEST:
        raise walk.refused(node, f"there are more than {LARGEST:,} zeros")
    if isinstance(value, Zeros):
        return [value]
    if isinstance(value, Constant):
        return [replace(value, is_plain=False)]
    raise walk.unknown(node)


def size_of(walk: Walk, node: Node) -> list[Any]:
    value = node.arguments["self"]
    if not isinstance(value, Rows | After):
        raise walk.unknown(node)
    try:
        axis = value.axes[index(value.axes, node.arguments["dim"])]
    except MixedError as error:
        raise walk.refused(node, MIXED) from error
    size = length(axis, walk.lengths_of(value))
    return [Length(axis) if size is None else size]


def times(walk: Walk, node: Node) -> list[Any]:
    """A product of lengths."""
    values = list(node.arguments.values())
    axes = tuple(part for v in values if isinstance(v, Length) for part in v.axis)
    if len(values) != 2 or not all(isinstance(v, Length) or v == 1 for v in values):
        raise walk.unknown(node)
    return [Length(axes)]


HANDLERS: dict[str, Handler] = {
    "transpose.int": view(transpose),
    "permute.default": view(permute),
    "t.default": view(swap),
    "unsqueeze.default": view(unsqueeze),
    **dict.fromkeys(("squeeze.default", "squeeze.dim", "squeeze.dims"), view(squeeze)),
    **dict.fromkeys(("view.default", "reshape.default", "_unsafe_view.default"), view(reshape)),
    "flatten.using_ints": view(flatten),
    "unflatten.int": view(unflatten),
    "select.int": select,
    "slice.Tensor": slice_,
    "stack.default": stack,
    **dict.fromkeys((f"{n}.default" for n in ("contiguous", "clone", "detach", "alias")), same),
    **dict.fromkeys((f"{n}.default" for n in ("zeros", "new_zeros", "full", "new_full")), zeros),
    "zeros_like.default": zeros_like,
    "expand.default": expand,
    "sym_size.int": size_of,
    "_operator.mul": times,
}
