"""Operations of an ONNX model that are layers without a state: products, activations, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minidark.backend import Array
from minidark.convert.onnx_axes import Handler, gather
from minidark.convert.onnx_values import (
    FEATURES,
    LAST,
    Constant,
    Features,
    Ids,
    Traced,
    Value,
)
from minidark.convert.onnx_walk import NO_CHAIN, Node, Walk

LAST_AXIS = 13  # opset since which Softmax is over one axis, by default the last
PLAIN_ACTIVATIONS = {"Sigmoid": "logistic", "Tanh": "tanh", "Relu": "relu"}
SLOPED: dict[str, tuple[float, dict[float, str]]] = {  # the default of alpha; names by alpha
    "LeakyRelu": (0.01, {0.1: "leaky", 0.01: "relie"}),
    "Elu": (1.0, {1.0: "elu"}),
}


# --- symbols as features -----------------------------------------------------------------------


def _gather(walk: Walk, node: Node) -> list[Value]:
    """An embedding, if it looks up rows of a matrix by symbols; otherwise one index of an axis."""
    ids = node.value(1)
    if not isinstance(ids, Ids) or isinstance(node.value(0), Traced):
        return gather(walk, node)
    matrix = walk.array(node, 0)
    if matrix.ndim != 2 or node.attributes.get("axis", 0):
        raise node.refused("it looks up something else than rows of a matrix")
    symbols, width = matrix.shape
    walk.result.set_inputs(symbols)
    arrays = {"biases": np.zeros(width, np.float32), "weights": matrix.T}
    walk.result.add("connected", arrays, output=width, activation="linear")
    walk.result.came_from("an embedding")
    return [_first(walk, node, (*ids.axes, LAST), width)]


def _first(
    walk: Walk, node: Node, axes: Sequence[tuple[str, ...]], width: int, binary: bool = False
) -> Features:
    """The features of the symbols, which only one operation may make."""
    if walk.version:
        raise node.refused(NO_CHAIN)
    value = Features(tuple(axes), 0, width)
    return replace(walk.grown(value), binary=binary)


def _one_hot(walk: Walk, node: Node) -> list[Value]:
    ids, depth, values = (node.value(at) for at in range(3))
    if not isinstance(ids, Ids):
        raise node.refused("what it reads first is not what comes before it")
    if not (isinstance(depth, Constant) and isinstance(values, Constant)):
        raise node.refused("its width and its values are no constants")
    if values.load().tolist() != [0, 1] or depth.load().size != 1:
        raise node.refused("its rows are not 1 at the symbol, and 0 elsewhere")
    width = int(depth.load().reshape(-1)[0])
    axes = list(ids.axes)
    axes.insert(node.attributes.get("axis", -1) % (len(axes) + 1), LAST)
    walk.result.set_inputs(width)
    return [_first(walk, node, axes, width, binary=True)]


def _equal(walk: Walk, node: Node) -> list[Value]:
    """One-hot rows as symbols[..., None] == [0, 1, 2, ...]."""
    ids, numbers = node.values if isinstance(node.value(0), Ids) else reversed(node.values)
    if isinstance(ids, Ids) and isinstance(numbers, Constant) and ids.axes[-1] == ():
        row = numbers.load()
        if row.shape == (row.size,) and np.array_equal(row, np.arange(row.size)):
            walk.result.set_inputs(row.size)
            axes = (*ids.axes[:-1], LAST)
            return [_first(walk, node, axes, row.size, binary=True)]
    raise node.refused("it does not compare the symbols with 0, 1, 2, ...")


# --- products ----------------------------------------------------------------------------------


def _product(walk: Walk, node: Node) -> list[Value]:
    """MatMul and Gemm: a linear [connected]."""
    x, attributes = walk.features(node, 0), node.attributes
    walk.check_last_axis(node, x)
    if attributes.get("transA"):
        raise node.refused("transA=1 has no counterpart")
    if isinstance(node.value(1), Traced):
        raise node.refused(NO_CHAIN)
    matrix = walk.array(node, 1)
    if matrix.ndim != 2 or {attributes.get(k, 1) for k in ("alpha", "beta")} != {1}:
        raise node.refused("it is no plain matrix product")
    weights = matrix if attributes.get("transB") else matrix.T
    outputs, inputs = weights.shape
    zero = np.zeros(outputs, np.float32)
    biases = _biases(walk, node, 2, outputs, x) if node.value(2) is not None else zero
    walk.result.set_inputs(inputs)
    arrays = {"biases": biases, "weights": weights}
    walk.result.add("connected", arrays, output=outputs, activation="linear")
    return [walk.grown(x, width=outputs)]


def _biases(walk: Walk, node: Node, at: int, outputs: int, x: Features) -> Array:
    """A constant as (outputs,). It may have extra axes of length 1, or be a single number."""
    array = walk.array(node, at)
    in_row = array.size == max(array.shape[-1:], default=1) and array.ndim <= len(x.axes)
    if array.size not in (1, outputs) or not in_row:
        raise node.refused("what it adds is not one number for each output")
    return np.broadcast_to(array.reshape(-1), (outputs,))


def _add(walk: Walk, node: Node) -> list[Value]:
    """The biases of the last [connected]."""
    x, other = _both(walk, node)
    name = linear(walk, node, "adds to")
    walk.check_last_axis(node, x)
    biases = walk.result.arrays[f"{name}.biases"]
    more = _biases(walk, node, other, len(biases), x)
    walk.result.arrays[f"{name}.biases"] = biases + more
    return [walk.grown(x)]


def _scaled(walk: Walk, node: Node) -> list[Value]:
    """The last [connected], multiplied or divided by a number."""
    x, other = _both(walk, node)
    name = linear(walk, node, "multiplies" if node.kind == "Mul" else "divides")
    if (node.kind == "Div" and other == 0) or (number := walk.array(node, other)).size != 1:
        raise node.refused("it multiplies or divides by other numbers than one constant")
    factor = number.reshape(()) if node.kind == "Mul" else 1 / number.reshape(())
    for part in ("biases", "weights"):
        walk.result.arrays[f"{name}.{part}"] = walk.result.arrays[f"{name}.{part}"] * factor
    return [walk.grown(x)]


def _both(walk: Walk, node: Node) -> tuple[Features, int]:
    """The features that a node reads, and the position of its other input."""
    if all(isinstance(value, Traced) for value in node.values):
        raise node.refused(NO_CHAIN)
    at = int(isinstance(node.value(1), Traced))
    return walk.features(node, at), 1 - at


def linear(walk: Walk, node: Node, does: str) -> str:
    """The name of the last layer, which must be a linear [connected]."""
    result = walk.result
    if not result.names or result.sections[-1].type != "connected":
        raise node.refused(f"it {does} something else than a matrix product")
    if result.sections[-1].pairs["activation"].value != "linear":
        raise node.refused(f"it {does.split()[0]} behind an activation")
    return result.names[-1]


# --- activations -------------------------------------------------------------------------------


def _activation(walk: Walk, node: Node) -> list[Value]:
    x = walk.features(node, 0)
    if node.kind in SLOPED:
        default, names = SLOPED[node.kind]
        if (alpha := round(node.attributes.get("alpha", default), 6)) not in names:
            raise node.refused(f"darknet has none with alpha {alpha}")
        walk.result.activate(names[alpha])
    else:
        walk.result.activate(PLAIN_ACTIVATIONS[node.kind])
    return [walk.grown(x)]


def _softmax(walk: Walk, node: Node) -> list[Value]:
    """Softmax and LogSoftmax. Before opset 13, they are over all axes from `axis` to the last
    together, and `axis` defaults to 1."""
    x = walk.features(node, 0)
    one_axis, rank = walk.graph.opset >= LAST_AXIS, len(x.axes)
    axis = node.attributes.get("axis", -1 if one_axis else 1) % rank
    over = x.axes[axis : axis + 1] if one_axis else x.axes[axis:]
    labels = [label for part in over for label in walk.sizes.plain(part)]
    if labels != [FEATURES]:
        default = "" if one_axis or "axis" in node.attributes else ", which are 1 to the last"
        raise node.refused(f"it is over other axes than the last alone{default}")
    walk.result.add("softmax")
    walk.result.logarithms = node.kind == "LogSoftmax"
    return [walk.grown(x)]


def _log(walk: Walk, node: Node) -> list[Value]:
    x = walk.features(node, 0)
    if walk.result.sections[-1].type != "softmax" or walk.result.logarithms:
        raise node.refused("it reads something else than a softmax")
    walk.result.logarithms = True
    return [walk.grown(x)]


LAYERS: dict[str, Handler] = {
    "Gather": _gather,
    "OneHot": _one_hot,
    "Equal": _equal,
    "MatMul": _product,
    "Gemm": _product,
    "Add": _add,
    "Mul": _scaled,
    "Div": _scaled,
    **dict.fromkeys([*PLAIN_ACTIVATIONS, *SLOPED], _activation),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Log": _log,
}
