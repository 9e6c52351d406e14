"""GRU, LSTM and RNN of an ONNX model.

Source: https://onnx.ai/onnx/operators (GRU-22, LSTM-22, RNN-22).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from minidark.backend import Array
from minidark.convert.gates import ONNX, Packed, unpack
from minidark.convert.onnx import RNN
from minidark.convert.onnx_axes import Handler
from minidark.convert.onnx_layers import SLOPED
from minidark.convert.onnx_values import (
    LAST,
    Axis,
    Constant,
    Features,
    FirstState,
    LastStates,
    Value,
    Zeros,
)
from minidark.convert.onnx_walk import Node, Walk

log = logging.getLogger(__name__)

STATES = {"GRU": ("state",), "RNN": ("state",), "LSTM": ("state", "cell")}
GATES = {"GRU": 3, "RNN": 1, "LSTM": 4}
PROJECTED = (
    "its arrays are not those of its width; "
    "an LSTM with a projection (proj_size) has no counterpart"
)
NO_COUNTERPART = "its activations have no counterpart"


def unpacked(type_: str, w: Array, r: Array, b: Array | None) -> dict[str, Array]:
    """The sublayers of W (1, G H, I), R (1, G H, H) and the optional B (1, 2 G H)."""
    biases = () if b is None else np.split(b[0], 2)
    return unpack(ONNX[type_], Packed(w[0], r[0], *biases))


def _recurrent(walk: Walk, node: Node) -> list[Value]:
    x, type_ = walk.features(node, 0), node.kind.lower()
    _check(node)
    keys = _keys(walk, node)
    time, streams = _axes(walk, node, x)
    w, r = walk.array(node, 1), walk.array(node, 2)
    b = walk.array(node, 3) if node.value(3) is not None else None
    if w.shape[0] != 1:
        raise node.refused("its arrays are not those of one direction")
    _, rows, hidden = r.shape
    if rows != GATES[node.kind] * hidden or w.shape[1] != rows:
        raise node.refused(PROJECTED)
    walk.result.set_inputs(w.shape[2])
    walk.result.add(type_, unpacked(type_, w, r, b), output=hidden, **keys)
    _begin(walk, node, streams, hidden)
    streams_first = bool(node.attributes.get("layout"))
    y = walk.grown(x, width=hidden)
    axes: list[Axis] = [streams, time, (), LAST] if streams_first else [time, (), streams, LAST]
    y = Features(tuple(axes), y.version, hidden)
    after = (streams, (), LAST) if streams_first else ((), streams, LAST)
    name = walk.result.names[-1]
    return [
        y,
        *(LastStates(after, ((name, state),), y.version, hidden) for state in STATES[node.kind]),
    ]


def _keys(walk: Walk, node: Node) -> dict[str, object]:
    """The options of the layer, apart from its width."""
    if node.kind == "GRU":
        after = int(node.attributes.get("linear_before_reset", 0))
        if walk.graph.producer == "pytorch" and not after:
            log.warning(
                "%s: %s is a GRU from PyTorch without linear_before_reset=1, as nn.GRU always has; "
                "what wrote the file may have lost that, and the network then computes something "
                "else",
                walk.graph.path, node.operation.label,
            )  # fmt: skip
        candidate = _activations(node, ["sigmoid", "tanh"])
        if candidate not in (["sigmoid", "tanh"], ["sigmoid", "sigmoid"]):
            raise node.refused(NO_COUNTERPART)
        tanh = int(candidate[1] == "tanh")
        return {"tanh": tanh, "reset_after": 1} if after else {"tanh": tanh}
    if node.kind == "LSTM":
        usual = ["sigmoid", "tanh", "tanh"]
        if _activations(node, usual) != usual:
            raise node.refused(NO_COUNTERPART)
        return {}
    return {"activation": _rnn_activation(node), "elman": 1}


def _activations(node: Node, default: Sequence[str]) -> list[str]:
    given = [a.decode(errors="replace").lower() for a in node.attributes.get("activations", [])]
    return given or list(default)


def _rnn_activation(node: Node) -> str:
    """Darknet's name of the activation of an RNN, which may have two parameters."""
    (name, *more) = _activations(node, ["tanh"])
    default = {theirs.lower(): [alpha] for theirs, (alpha, _) in SLOPED.items()}.get(name, [])
    alpha = _rounded(node.attributes.get("activation_alpha") or default)
    beta = _rounded(node.attributes.get("activation_beta", []))
    for ours, theirs in RNN.items():
        wanted = [theirs.get(f"activation_{key}", []) for key in ("alpha", "beta")]
        used = [alpha[: len(wanted[0])], beta[: len(wanted[1])]]
        if not more and name == theirs["activations"][0].lower() and used == wanted:
            return ours
    raise node.refused(NO_COUNTERPART)


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 6) for number in numbers]


def _check(node: Node) -> None:
    """Refuse what minidark's layers cannot do."""
    direction = node.attributes.get("direction", b"forward").decode(errors="replace").lower()
    if direction != "forward":
        backward = "backward" if direction == "reverse" else "bidirectional"
        raise node.refused(f"{backward}: minidark's layers read only forward")
    if node.attributes.get("clip"):
        raise node.refused("it clips its gates (clip), and minidark's layers do not")
    if node.attributes.get("input_forget"):
        raise node.refused("it couples its input and forget gates (input_forget)")
    if node.value(7) is not None:
        raise node.refused("it has peepholes, and minidark's layers have none")
    if node.value(4) is not None:
        raise node.refused("its streams have lengths of their own (sequence_lens)")


def _axes(walk: Walk, node: Node, x: Features) -> tuple[Axis, Axis]:
    """The axes of time and of streams. All layers must run along the same axis."""
    if len(x.axes) == 3 and walk.sizes.same(x.axes[2], LAST) and not x.last:
        time, streams, _ = x.axes
        if node.attributes.get("layout"):
            time, streams = streams, time
        time = walk.sizes.plain(time)
        if walk.time is None and len(time) < 2:
            walk.time = time
        if time == walk.time:
            return time, streams
    raise node.refused("its input's axes are not time, streams and features")


def _begin(walk: Walk, node: Node, streams: Axis, width: int) -> None:
    """Require that the states begin with zero, or with what the caller gives, which may fix the
    number of streams."""
    for at, state in zip((5, 6), STATES[node.kind], strict=False):
        value = node.value(at)
        if isinstance(value, FirstState):
            number = walk.sizes.length(value.axes[0 if node.attributes.get("layout") else 1])
            if isinstance(number, int) and not walk.sizes.fix(streams, number):
                raise node.refused("its initial state has another number of streams")
            key = value.name, value.index or 0
            if key in walk.states:
                raise node.refused("its initial state is that of another layer, too")
            walk.states[key] = walk.result.names[-1], state
        elif isinstance(value, Constant):
            walk.use(value)
            array = value.load()
            if array.shape[-1] != width:
                raise node.refused(PROJECTED)
            if array.any():
                raise node.refused("its states begin with other numbers than zero")
        elif value is not None and not isinstance(value, Zeros):
            raise node.refused("its states begin with other numbers than zero")


RECURRENT: dict[str, Handler] = dict.fromkeys(STATES, _recurrent)
