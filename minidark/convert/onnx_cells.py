"""Recurrent layers of an ONNX model that are written out step by step in basic operators.

`torch.onnx.export` writes `nn.GRUCell`, `nn.LSTMCell` and `nn.RNNCell` in this way, and with
dynamo=True also `nn.RNN`, for each of its T steps. The operations build the expression of a step
(`onnx_forms`). Where it is that of a cell, the last [connected] and R become one recurrent layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.gates import TORCH, Packed, unpack
from minidark.convert.onnx_axes import Handler
from minidark.convert.onnx_forms import (
    CELLS,
    FIRST_STEPS,
    GATES,
    LSTM_CELL,
    WHOLE,
    Form,
    both,
    filled,
    gate_of,
    key,
    matches,
)
from minidark.convert.onnx_layers import linear
from minidark.convert.onnx_values import (
    LAST,
    Axis,
    Constant,
    Features,
    FirstState,
    LastStates,
    Term,
    Value,
)
from minidark.convert.onnx_walk import NO_CHAIN, STEPWISE, Node, Walk
from minidark.errors import WeightsError

LONGEST = 400  # letters of an expression's structure


@dataclass(frozen=True, slots=True)
class Product:
    """R s + b. The names of its constants; transposed: whether R is (I, O), as for MatMul."""

    weights: str
    biases: str = ""
    transposed: bool = False


@dataclass(slots=True, eq=False)
class Loop:
    """An nn.RNN of which the first `done` steps have been read. first: its state or constant before
    the first step. product: that of all steps."""

    version: int
    activation: str
    first: Form
    product: Product | None = None
    done: int = 0
    layer: str = ""


# --- operations on expressions -----------------------------------------------------------------


def is_step(node: Node) -> bool:
    """Whether a node computes a part of a step."""
    if node.kind == "Split":
        return isinstance(node.value(0), Term | Features)
    states = FirstState if node.kind in ("MatMul", "Gemm", "Mul", "Sub") else Term
    return node.kind in STEPS and any(isinstance(value, Term | states) for value in node.values)


def _term(walk: Walk, node: Node, value: Value | None) -> Term:
    """A value as an expression."""
    if isinstance(value, Term):
        return value
    if isinstance(value, FirstState):
        state = value.name, value.index or 0
        return Term(value.axes, ("state", state))
    if isinstance(value, LastStates | Features):
        x, step = walk.features(node, node.values.index(value)), None
        if x.last:  # the last of the steps that are written out
            length = walk.sizes.length(walk.time or ())
            step = walk.time, length - 1 if isinstance(length, int) else -1
        _input_layer(walk, node)
        return Term(x.axes, ("x", x.version, step, WHOLE), x.width)
    raise node.refused(STEPWISE)


def _input_layer(walk: Walk, node: Node) -> str:
    """The name of the last layer, which must be a linear [connected]."""
    try:
        return linear(walk, node, "reads")
    except WeightsError:
        raise node.refused(STEPWISE) from None


def _state_product(walk: Walk, node: Node) -> list[Value]:
    """R s, or R s + b by Gemm."""
    term = _term(walk, node, node.value(0))
    matrix, attributes = node.value(1), node.attributes
    factors = {attributes.get(name, 1) for name in ("alpha", "beta")}
    if (
        term.form[0] != "state"
        or not isinstance(matrix, Constant)
        or factors != {1}
        or attributes.get("transA")
    ):
        raise node.refused(STEPWISE)
    names = [*node.operation.inputs, "", ""]
    transposed = not attributes.get("transB", 0)
    product = Product(names[1], names[2] if node.value(2) else "", transposed)
    return [Term(term.axes, ("h", product, term.form[1], WHOLE))]


def _add(walk: Walk, node: Node) -> list[Value]:
    """A sum, the biases of a product, or the first step of a loop."""
    for at in (0, 1):
        if isinstance(node.value(1 - at), Constant):
            term, name = _term(walk, node, node.value(at)), node.operation.inputs[1 - at]
            if term.form[0] == "h" and not term.form[1].biases:
                product = Product(term.form[1].weights, name, term.form[1].transposed)
                return [Term(term.axes, ("h", product, *term.form[2:]), term.width)]
            constant = Term(((), *term.axes), ("constant", name))
            return _combined(walk, node, [term, constant])
    return _combined(walk, node)


def _combined(walk: Walk, node: Node, terms: Sequence[Term] = ()) -> list[Value]:
    terms = terms or [_term(walk, node, value) for value in node.values]
    axes = _broadcast(terms)
    forms = [term.form for term in terms]
    if node.kind in ("Add", "Mul") and len(forms) == 2:
        form = both(node.kind, forms[0], forms[1])
    else:
        form = (node.kind, *forms)
    if len(key(form)) > LONGEST:
        raise node.refused(STEPWISE)
    width = next((term.width for term in terms if term.width), None)
    result: Value = Term(tuple(axes), form, width)
    for type_, template in CELLS.items():
        bound: dict[str, Any] = {}
        if matches(template, form, bound):
            result = _cell(walk, node, type_, axes, bound)
    for activation, template in FIRST_STEPS.items():
        bound = {}
        if matches(template, form, bound):
            result = _step(walk, node, activation, axes, bound)
    walk.terms[form] = node.operation.outputs[0]
    return [result]


def _broadcast(terms: Sequence[Term]) -> list[Axis]:
    """The axes of terms together, in the labels of the features."""
    rank = max(len(term.axes) for term in terms)
    own = next((term.axes for term in terms if LAST in term.axes), terms[0].axes)
    return [*[()] * (rank - len(own)), *own]


def _split(walk: Walk, node: Node) -> list[Value]:
    """The gates of a product, or of the sum of two."""
    term = _term(walk, node, node.value(0))
    gates, last = len(node.operation.outputs), len(term.axes) - 1
    lengths = walk.integers(node, 1, "lengths") if node.value(1) is not None else []
    if node.attributes.get("axis", 0) not in (-1, last) or len(set(lengths)) > 1:
        raise node.refused(STEPWISE)
    try:
        forms = [gate_of(term.form, (gate, gates)) for gate in range(gates)]
    except TypeError:
        raise node.refused(STEPWISE) from None
    return [Term(term.axes, form) for form in forms]


# --- layers ------------------------------------------------------------------------------------


def _cell(walk: Walk, node: Node, type_: str, axes: Sequence[Axis], bound: dict[str, Any]) -> Value:
    """The state after one step, which is a layer's if each call is one step."""
    if bound["?step"] is not None:
        return _step(walk, node, type_, axes, bound)
    positions = [label for axis in axes for label in walk.sizes.plain(axis) if label != LAST[0]]
    if walk.time or not isinstance(bound["?state"][0], str) or len(positions) > 1:
        raise node.refused(STEPWISE)
    walk.time = ()
    name, width = _layer(walk, node, type_, bound["?product"], bound["?version"])
    _begin(walk, node, axes, bound["?state"], (name, "state"))
    if type_ == "lstm":
        _begin(walk, node, axes, bound["?cell"], (name, "cell"))
        _name_cell(walk, bound, name, width)
    return LastStates(tuple(axes), ((name, "state"),), walk.version, width)


def _name_cell(walk: Walk, bound: dict[str, Any], layer: str, width: int) -> None:
    """Make the expression of an LSTM's cell state known as that."""
    name = walk.terms[filled(LSTM_CELL, bound)]
    value = walk.values[name]
    if isinstance(value, Term):
        walk.values[name] = LastStates(value.axes, ((layer, "cell"),), walk.version, width)


def _step(
    walk: Walk, node: Node, activation: str, axes: Sequence[Axis], bound: dict[str, Any]
) -> Value:
    """The state of an nn.RNN after one of its steps. The last one makes the layer."""
    if activation in GATES or bound["?step"] is None:
        raise node.refused(STEPWISE)
    axis, at = bound["?step"]
    product, state = bound.get("?product"), bound.get("?state")
    if at == 0:
        first = ("first", state) if state else ("constant", bound["?first"])
        loop = Loop(bound["?version"], activation, first, product)
    elif state and isinstance(state[0], Loop) and state[1] == at - 1:
        loop = state[0]
        loop.product = loop.product or product
    else:
        raise node.refused(STEPWISE)
    expected = (loop.version, loop.activation, loop.done)
    if expected != (bound["?version"], activation, at) or (at and loop.product != product):
        raise node.refused(STEPWISE)
    loop.done += 1
    if loop.done != walk.sizes.length(axis):
        return Term(tuple(axes), ("state", (loop, at)))
    if not loop.product:
        raise node.refused(STEPWISE)
    walk.time = axis
    loop.layer, width = _layer(walk, node, activation, loop.product, loop.version)
    _check_first(walk, node, axes, loop)
    return LastStates(tuple(axes), ((loop.layer, "state"),), walk.version, width)


def _begin(
    walk: Walk,
    node: Node,
    axes: Sequence[Axis],
    source: tuple[str, int],
    state: tuple[str, str],
) -> None:
    """Record a state that the caller gives in row source[1] of an input. It may fix the number of
    streams."""
    given = walk.values.get(source[0])
    if not isinstance(given, FirstState) or source in walk.states or len(given.axes) < 2:
        raise node.refused(STEPWISE)
    number = walk.sizes.length(given.axes[-2])
    if isinstance(number, int) and len(axes) > 1 and not walk.sizes.fix(axes[-2], number):
        raise node.refused("its initial state has another number of streams")
    walk.states[source] = state


def _check_first(walk: Walk, node: Node, axes: Sequence[Axis], loop: Loop) -> None:
    """Require that a loop begins from zero, or from what the caller gives."""
    kind, first = loop.first
    if kind == "first":
        _begin(walk, node, axes, first, (loop.layer, "state"))
        return
    computed, biases = _array(walk, node, first), walk.result.arrays[f"{loop.layer}.self.biases"]
    in_rows = computed.ndim <= len(axes) and computed.shape[-1:] == biases.shape
    if not in_rows or not (computed == biases).all():
        raise node.refused("its states begin with other numbers than zero")


def _array(walk: Walk, node: Node, name: str) -> Array:
    value = walk.values[name]
    if not isinstance(value, Constant):
        raise node.refused(STEPWISE)
    walk.use(value)
    array = value.load()
    if array.dtype != np.float32:
        raise node.refused(STEPWISE)
    return array


def _layer(walk: Walk, node: Node, type_: str, product: Product, version: int) -> tuple[str, int]:
    """Make one layer of the last [connected] and a product. Return its name and width."""
    if version != walk.version:
        raise node.refused(NO_CHAIN)
    r = _array(walk, node, product.weights)
    r = r.T if product.transposed else r
    gates = GATES.get(type_, 1)
    b = _array(walk, node, product.biases) if product.biases else np.zeros(len(r), np.float32)
    name, result = _input_layer(walk, node), walk.result
    w, own = result.arrays.pop(f"{name}.weights"), result.arrays.pop(f"{name}.biases")
    hidden = r.shape[-1]
    if r.shape != (gates * hidden, hidden) or len(w) != len(r) or b.shape != own.shape:
        raise node.refused(STEPWISE)
    result.drop_last()
    cell = type_ if type_ in GATES else "rnn"
    keys: dict[str, dict[str, Any]] = {
        "gru": {"tanh": 1, "reset_after": 1},
        "lstm": {},
        "rnn": {"activation": type_, "elman": 1},
    }
    result.add(cell, unpack(TORCH[cell], Packed(w, r, own, b)), output=hidden, **keys[cell])
    walk.version += 1
    return result.names[-1], hidden


def _concat(walk: Walk, node: Node) -> list[Value]:
    """The states of all steps of a loop, in order."""
    *before, last = node.values
    at = node.attributes["axis"]
    if isinstance(last, LastStates) and isinstance(before[0], Term):
        loop = before[0].form[1][0] if before[0].form[0] == "state" else None
        forms = [value.form if isinstance(value, Term) else None for value in before]
        if (
            isinstance(loop, Loop)
            and forms == [("state", (loop, i)) for i in range(loop.done - 1)]
            and last.parts == ((loop.layer, "state"),)
            and walk.time is not None
            and last.axes[at % len(last.axes)] == ()
        ):
            at %= len(last.axes)
            axes = (*last.axes[:at], walk.time, *last.axes[at + 1 :])
            return [Features(axes, last.version, last.width)]
    raise node.refused(STEPWISE)


STEPS: dict[str, Handler] = {
    "MatMul": _state_product,
    "Gemm": _state_product,
    "Add": _add,
    "Split": _split,
    "Concat": _concat,
    **dict.fromkeys(["Mul", "Sub", "Sigmoid", "Tanh", "Relu"], _combined),
}
