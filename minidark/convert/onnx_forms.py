"""Expressions of one step of a recurrent layer, as ONNX models write them in basic operators.

An expression is a nested tuple of operators and leaves:

    ("x", version, step, gate)     W x + b, the last linear [connected], or gate (i, G) of it
    ("h", product, state, gate)    R s + b, or a gate of it
    ("state", state)               a state before the step
    ("constant", name)             R s + b of a zero state, computed by the exporter

An expression that matches one of `CELLS` is the state after the step. An nn.RNN begins with one of
`FIRST_STEPS`, if its first state is zero.

Source: the equations of PyTorch's nn.GRUCell, nn.LSTMCell and nn.RNNCell.
"""

from __future__ import annotations

from typing import Any

Form = tuple[Any, ...]
Gate = tuple[int, int] | None  # number and count; None: all, not yet split
WHOLE: Gate = None


def key(form: Form) -> str:
    """The structure of an expression: its operators and gates."""
    if form[0] in ("state", "constant"):
        return str(form[0])
    if form[0] in ("x", "h"):
        return f"{form[0]}{form[3]}"
    return f"{form[0]}({' '.join(map(key, form[1:]))})"


def both(kind: str, a: Form, b: Form) -> Form:
    """An operation in which the order does not count."""
    return (kind, *sorted((a, b), key=key))


def _x(gate: Gate) -> Form:
    return ("x", "?version", "?step", gate)


def _h(gate: Gate) -> Form:
    return ("h", "?product", "?state", gate)


def _gate(gate: Gate) -> Form:
    return both("Add", _x(gate), _h(gate))


def _gru() -> Form:
    reset, update = ("Sigmoid", _gate((0, 3))), ("Sigmoid", _gate((1, 3)))
    x, h = _x((2, 3)), _h((2, 3))
    new = ("Tanh", both("Add", x, both("Mul", h, reset)))
    return both("Add", both("Mul", ("Sub", ("state", "?state"), new), update), new)


def _lstm_cell() -> Form:
    forgotten = both("Mul", ("Sigmoid", _gate((1, 4))), ("state", "?cell"))
    added = both("Mul", ("Sigmoid", _gate((0, 4))), ("Tanh", _gate((2, 4))))
    return both("Add", forgotten, added)


LSTM_CELL = _lstm_cell()  # the cell state after a step
CELLS: dict[str, Form] = {
    "gru": _gru(),
    "lstm": both("Mul", ("Sigmoid", _gate((3, 4))), ("Tanh", LSTM_CELL)),
    "tanh": ("Tanh", _gate(WHOLE)),
    "relu": ("Relu", _gate(WHOLE)),
}
FIRST_STEPS: dict[str, Form] = {
    name: (name.capitalize(), both("Add", _x(WHOLE), ("constant", "?first")))
    for name in ("tanh", "relu")
}
GATES = {"gru": 3, "lstm": 4}


def matches(template: Any, form: Any, bound: dict[str, Any]) -> bool:
    """Whether an expression has the form of a template, in which "?name" is anything, and always
    the same."""
    if isinstance(template, str) and template.startswith("?"):
        return bool(bound.setdefault(template, form) == form)
    if isinstance(template, tuple) and isinstance(form, tuple):
        pairs = zip(template, form, strict=False)
        return len(template) == len(form) and all(matches(t, f, bound) for t, f in pairs)
    return bool(template == form)


def filled(template: Any, bound: dict[str, Any]) -> Any:
    """The expression that a template matched."""
    if isinstance(template, tuple):
        return tuple(filled(part, bound) for part in template)
    return bound.get(template, template) if isinstance(template, str) else template


def gate_of(form: Form, gate: Gate) -> Form:
    """One gate's part of a sum of leaves."""
    if form[0] == "Add":
        return ("Add", *(gate_of(part, gate) for part in form[1:]))
    if form[0] in ("x", "h") and form[3] == WHOLE:
        return (*form[:3], gate)
    raise TypeError
