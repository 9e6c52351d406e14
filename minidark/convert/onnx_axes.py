"""Operations of an ONNX model that move, join, split or select axes, and change no number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from minidark.backend import Array
from minidark.cfg.sections import MOST_SECTIONS
from minidark.convert.onnx_forms import WHOLE
from minidark.convert.onnx_values import (
    LAST,
    LAYERS,
    MOST_AXES,
    AxesError,
    Axis,
    Constant,
    Features,
    FirstState,
    Ids,
    LastStates,
    Length,
    Term,
    Traced,
    Unknown,
    Value,
    moved,
)
from minidark.convert.onnx_walk import NO_CHAIN, STEPWISE, Node, Walk

Handler = Callable[[Walk, Node], Sequence[Value]]
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE}
INTEGERS = {TensorProto.INT64, TensorProto.INT32}
ENDLESS = 2**31 - 1  # an end of a Slice that means all that follows


def traced(node: Node) -> Any:
    """The first input, which must be a tensor that depends on the model's inputs."""
    value = node.value(0)
    if not isinstance(value, Traced):
        raise node.refused("what it reads first is not what comes before it")
    return value


def _same(walk: Walk, node: Node) -> list[Value]:
    return [traced(node)]


def _dropout(walk: Walk, node: Node) -> list[Value]:
    """Skip Dropout. Refuse it in training mode, its third input since opset 12."""
    mode = node.value(2)
    if mode is not None and (
        not isinstance(mode, Constant) or (flag := mode.load()).size != 1 or flag.any()
    ):
        raise node.refused("its training_mode is not false")
    return [traced(node), Unknown()]


def _cast(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    whole = isinstance(value, Ids)
    if node.attributes["to"] not in (INTEGERS if whole else FLOATS) and not _is_binary(value):
        raise node.refused(
            "it makes numbers of the symbols" if whole else "it is to numbers that are no FLOAT"
        )
    return [value]


def _is_binary(value: Traced) -> bool:
    return isinstance(value, Features) and value.binary


def _transpose(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    rank = len(value.axes)
    order = node.attributes.get("perm", range(rank)[::-1])
    if sorted(order) != list(range(rank)):
        raise node.refused(f"it is not of the {rank} axes before it")
    return [moved(value, [value.axes[i] for i in order])]


def _numbers(walk: Walk, node: Node) -> list[int]:
    """The axes of a Squeeze or Unsqueeze: an attribute, or an input since opset 13."""
    axes = node.attributes.get("axes")
    if axes is None:
        if node.value(1) is None:
            raise node.refused("it names no axes, and takes those that happen to be 1")
        return walk.integers(node, 1)
    return list(axes)


def _squeeze(walk: Walk, node: Node) -> list[Value]:
    value, rank = traced(node), len(traced(node).axes)
    chosen = {axis % rank for axis in _numbers(walk, node)}
    sizes = walk.sizes.of(value)
    for i in chosen:
        if value.axes[i] == LAST:
            raise node.refused("it takes away the axis of the features")
        if not sizes.fix(value.axes[i], 1):
            raise node.refused("it takes away an axis of another length than 1")
    walk.sizes.learn(sizes)
    return [moved(value, [axis for i, axis in enumerate(value.axes) if i not in chosen])]


def _unsqueeze(walk: Walk, node: Node) -> list[Value]:
    value, chosen = traced(node), _numbers(walk, node)
    rank = len(value.axes) + len(chosen)
    if rank > MOST_AXES:
        raise node.refused(f"there are more than {MOST_AXES} axes")
    axes = list(value.axes)
    for i in sorted(axis % rank for axis in chosen):
        axes.insert(i, ())
    return [moved(value, axes)]


def _reshape(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    if isinstance(node.value(1), Unknown):
        raise node.refused("minidark does not follow how its lengths are computed")
    lengths = walk.lengths(node, 1, "lengths")
    if not node.attributes.get("allowzero", 0):
        copied = [walk.sizes.of(value).length(axis) for axis in value.axes]
        lengths = [n or copied[i] for i, n in enumerate(lengths)]
    return [_reshaped(walk, node, value, lengths)]


def _reshaped(walk: Walk, node: Node, value: Any, lengths: Sequence[int | Length]) -> Value:
    sizes = walk.sizes.of(value)
    try:
        axes = sizes.reshaped(value.axes, lengths)
    except AxesError:
        raise node.refused("it joins or splits other axes than time and streams") from None
    walk.sizes.learn(sizes)
    result: Value = moved(value, axes)
    return result


def _flatten(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    at = node.attributes.get("axis", 1) % (len(value.axes) + 1)
    sizes = walk.sizes
    both = (value.axes[:at], value.axes[at:])
    joined = [sizes.plain(tuple(label for axis in part for label in axis)) for part in both]
    return [moved(value, joined)]


def _shape(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    sizes = walk.sizes.of(value)
    lengths = [sizes.length(axis) for axis in value.axes][start:end]
    array: Array = np.empty(len(lengths), object)
    array[:] = lengths
    return [Constant(lambda: array)]


# --- parts of an axis --------------------------------------------------------------------------


def _slice(walk: Walk, node: Node) -> list[Value]:
    value = traced(node)
    if "starts" in node.attributes:  # before opset 10
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends = walk.integers(node, 1, "starts"), walk.lengths(node, 2, "ends")
        axes = walk.integers(node, 3) if node.value(3) else None
        steps = walk.integers(node, 4, "steps") if node.value(4) else None
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step != 1:
            raise node.refused("it reads steps or streams in another order")
        at = axis % len(value.axes)
        length = walk.sizes.of(value).length(value.axes[at])
        if start == 0 and (end == length or (isinstance(end, int) and end >= ENDLESS)):
            continue
        if isinstance(length, int) and isinstance(end, int):
            end = min(end + length if end < 0 else end, length)
        if start == -1 and (end == length or (isinstance(end, int) and end >= ENDLESS)):
            value = select(walk, node, value, at, -1)
        elif isinstance(start, int) and end == start + 1:
            value = select(walk, node, value, at, start)
        elif not (start == 0 and end == length):
            raise node.refused("it reads a part of an axis, which is more than one step")
    return [value]


def select(walk: Walk, node: Node, value: Any, at: int, index: int) -> Any:
    """One index of an axis, which keeps the axis with length 1: the last step, one layer's state,
    or the only index."""
    axis: Axis = value.axes[at]
    length = walk.sizes.of(value).length(axis)
    if length == 1 and index in (0, -1) and axis != LAST:
        return value
    one = moved(value, (*value.axes[:at], (), *value.axes[at + 1 :]))
    if isinstance(length, int):
        index = index + length if index < 0 else index
        if not 0 <= index < length:
            raise node.refused("its index is beyond the axis")
    if isinstance(value, FirstState) and value.index is None:
        return replace(one, index=index)
    if isinstance(value, LastStates) and axis == (LAYERS,):
        return replace(one, parts=(value.parts[index],))
    last = index == -1 or index + 1 == length
    if isinstance(value, Features) and walk.time and axis == walk.time and last:
        if value.version != walk.version:
            raise node.refused(NO_CHAIN)
        return replace(one, last=True)
    if isinstance(value, Features) and isinstance(length, int):
        return step_of(walk, node, one, axis, index)
    raise node.refused(STEPWISE)


def step_of(walk: Walk, node: Node, one: Features, axis: Axis, index: int) -> Term:
    """One step of an axis that may be time, for a layer that is written out step by step."""
    axis = walk.sizes.plain(axis)
    if len(axis) != 1 or axis == LAST or walk.time not in (None, axis) or one.last:
        raise node.refused(STEPWISE)
    if one.version != walk.version:
        raise node.refused(NO_CHAIN)
    return Term(one.axes, ("x", one.version, (axis, index), WHOLE), one.width)


def gather(walk: Walk, node: Node) -> list[Value]:
    """One index of an axis. A Gather without axes in its index takes the axis away."""
    value = traced(node)
    indices = node.value(1)
    if not isinstance(indices, Constant) or (array := indices.load()).size != 1:
        raise node.refused("it reads other indices than one constant")
    at = node.attributes.get("axis", 0) % len(value.axes)
    index = array.reshape(-1)[0]
    if not isinstance(index, int | np.integer):
        raise node.refused("its index is no constant")
    chosen = select(walk, node, value, at, int(index))
    if array.ndim:
        return [chosen]
    return [moved(chosen, (*chosen.axes[:at], *chosen.axes[at + 1 :]))]


def _split(walk: Walk, node: Node) -> list[Value]:
    """A state for each layer."""
    value = traced(node)
    if not isinstance(value, FirstState | LastStates):
        raise node.refused(STEPWISE)
    at = node.attributes.get("axis", 0) % len(value.axes)
    return [select(walk, node, value, at, i) for i in range(len(node.operation.outputs))]


def _concat(walk: Walk, node: Node) -> list[Value]:
    """The last states of several layers, one behind another."""
    states = [value for value in node.values if isinstance(value, LastStates)]
    if len(states) < len(node.values):
        raise node.refused(NO_CHAIN)
    first = states[0]
    at = node.attributes["axis"] % len(first.axes)
    if any(len(s.axes) != len(first.axes) or s.axes[at] not in ((), (LAYERS,)) for s in states):
        raise node.refused("it joins other axes than those of the layers")
    parts = tuple(part for state in states for part in state.parts)
    if len(parts) > MOST_SECTIONS:
        raise node.refused(f"it joins more than {MOST_SECTIONS:,} states")
    axes = (*first.axes[:at], (LAYERS,), *first.axes[at + 1 :])
    return [LastStates(axes, parts, states[-1].version, first.width)]


MOVES: dict[str, Handler] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
}
