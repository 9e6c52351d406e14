"""What each ATen operator of a torch.export program becomes in minidark.

A handler takes the walk and a node, appends layers to the result, and returns the node's outputs.
`HANDLERS` has those for layers and activations; `torch_views` has those that only move axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.gates import Packed
from minidark.convert.torch_archive import DTYPES, INTEGERS
from minidark.convert.torch_axes import FEATURES, Axis
from minidark.convert.torch_graph import (
    CHANGES,
    JOINS,
    NO_ROWS,
    After,
    Constant,
    Given,
    Node,
    Place,
    Rows,
    Walk,
    Zeros,
    flat,
)
from minidark.convert.torch_modules import (
    BIDIRECTIONAL,
    KINDS,
    LAYER_NORM,
    PROJECTED,
    add_recurrent,
)
from minidark.errors import bare, echo

Handler = Callable[[Walk, Node], list[Any]]

PARTS_OF = {"gru": 1, "lstm": 2, "rnn": 1}  # states of a module: h, and c of an LSTM
ROWS_OF = {"gru": 3, "lstm": 4, "rnn": 1}  # gates
LOOP = "it takes the steps apart, as a cell in a loop does; use nn.GRU, nn.LSTM or nn.RNN"
NO_ZERO = "its state begins with other numbers than zero"
REASONS = {
    "layer_norm": f"it {LAYER_NORM}",
    "rms_norm": f"it {LAYER_NORM}",
    "group_norm": f"it {LAYER_NORM}",
    "batch_norm": "it normalizes (nn.BatchNorm), which is not read from PyTorch",
    "conv1d": "it is a convolution, and minidark has none for sequences",
    "conv2d": "it is a convolution, and minidark has none for sequences",
    "unbind": LOOP,
    "split": LOOP,
    "chunk": LOOP,
}


def embedding(walk: Walk, node: Node) -> list[Any]:
    rows = walk.current(node, node.arguments["indices"])
    if not rows.is_ids or rows.width:
        raise walk.refused(node, "its input is no ids")
    weights = walk.array(node, node.arguments["weight"], 2)
    symbols, width = weights.shape
    walk.result.set_inputs(symbols)
    arrays = {"weights": weights.T, "biases": np.zeros(width, np.float32)}
    walk.result.add("connected", arrays, output=width, activation="linear")
    walk.result.came_from("nn.Embedding")
    walk.has_biases = True
    return [walk.step(rows, axes=(*rows.axes, (FEATURES,)), width=width, is_ids=False)]


def one_hot(walk: Walk, node: Node) -> list[Any]:
    rows, width = walk.current(node, node.arguments["self"]), node.arguments.get("num_classes", -1)
    if not rows.is_ids or rows.width:
        raise walk.refused(node, "its input is no ids")
    if type(width) is not int or width < 1:
        raise walk.refused(node, "its number of classes is not given")
    return [Rows((*rows.axes, (FEATURES,)), rows.stage, width, is_ids=True)]


def cast(walk: Walk, node: Node) -> list[Any]:
    """A change of dtype: of one-hot rows to floats, of ids to other integers, or of floats."""
    value, dtype = node.arguments["self"], node.arguments.get("dtype")
    if not isinstance(value, Rows) or dtype is None:
        return [value]
    if dtype in DTYPES and (value.width or not value.is_ids):
        return [Rows(value.axes, value.stage, value.width)]
    if dtype in INTEGERS and value.is_ids:
        return [value]
    raise walk.refused(node, "it is to numbers that are no float32")


# --- layers -----------------------------------------------------------------------------------


def linear(walk: Walk, node: Node) -> list[Any]:
    weights = walk.array(node, node.arguments["weight"], 2)
    bias = node.arguments.get("bias")
    biases = None if bias is None else walk.array(node, bias, 1)
    return _connected(walk, node, node.arguments["input"], weights, biases)


def product(walk: Walk, node: Node) -> list[Any]:
    """Rows times a matrix; addmm adds biases."""
    given = node.arguments
    rows, matrix = (given[name] for name in _FACTORS[node.target.partition(".")[0]])
    if isinstance(rows, Rows) and isinstance(matrix, Rows):
        raise walk.refused(node, JOINS)
    biases = None
    if "mat1" in given:
        if given.get("beta", 1) != 1 or given.get("alpha", 1) != 1:
            raise walk.unknown(node)
        biases = walk.array(node, given["self"], 1)
    return _connected(walk, node, rows, walk.array(node, matrix, 2).T, biases)


_FACTORS = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "matmul": ("self", "other")}


def _connected(
    walk: Walk, node: Node, value: Any, weights: Array, biases: Array | None
) -> list[Any]:
    rows, width = walk.features(node, value), len(weights)
    if weights.shape[1] != rows.width or (biases is not None and biases.shape != (width,)):
        raise walk.refused(node, "its weights do not fit its input")
    walk.result.set_inputs(rows.width)
    walk.has_biases = biases is not None
    if biases is None:
        biases = np.zeros(width, np.float32)
    arrays = {"weights": weights, "biases": biases}
    walk.result.add("connected", arrays, output=width, activation="linear")
    walk.result.came_from("nn.Linear")
    return [walk.step(rows, width=width)]


def add(walk: Walk, node: Node) -> list[Any]:
    """Biases behind a product. A sum of two rows is a residual connection."""
    rows, other = node.arguments["self"], node.arguments.get("other")
    if isinstance(other, Rows) and isinstance(rows, Constant):
        rows, other = other, rows
    section = walk.result.sections[-1]
    is_open = section.type == "connected" and section.pairs["activation"].value == "linear"
    if (
        not isinstance(rows, Rows)
        or not isinstance(other, Constant)
        or not is_open
        or walk.has_biases
        or node.arguments.get("alpha", 1) != 1
    ):
        raise walk.unknown(node)
    rows = walk.features(node, rows)
    biases = walk.array(node, other, 1)
    if biases.shape != (rows.width,):
        raise walk.unknown(node)
    walk.result.arrays[f"{walk.result.names[-1]}.biases"] = biases
    walk.has_biases = True
    return [walk.step(rows)]


def recurrent(walk: Walk, node: Node) -> list[Any]:
    """gru.input, lstm.input, rnn_tanh.input and rnn_relu.input: all layers of a module."""
    given, (kind, activation) = node.arguments, _kind(node)
    if given["bidirectional"]:
        raise walk.refused(node, f"it {BIDIRECTIONAL}")
    rows = walk.features(node, given["input"])
    if len(rows.axes) != 3:
        raise walk.refused(node, "its input's axes are not time, streams and features")
    _run_along(walk, node, rows.axes[1 if given["batch_first"] else 0])
    params = given["params"]
    each = 4 if given["has_biases"] else 2
    layers = given["num_layers"]
    if not params or len(params) != each * layers:
        raise walk.refused(node, f"it {PROJECTED}")
    for at in range(0, len(params), each):
        width = _add(walk, node, kind, activation, params[at : at + each])
    _begin_states(walk, node, kind, given["hx"])
    number, walk.modules = walk.modules, walk.modules + 1
    streams = rows.axes[0 if given["batch_first"] else 1]
    axes = ((), streams, (FEATURES,))
    states = [After((Place(number, part),), axes, layers, width) for part in range(PARTS_OF[kind])]
    after = walk.step(rows, width=width)
    walk.recurrent_stage = walk.stage
    return [after, *states]


def cell(walk: Walk, node: Node) -> list[Any]:
    """gru_cell, lstm_cell, rnn_tanh_cell and rnn_relu_cell: one step, whose state is the output."""
    given, (kind, activation) = node.arguments, _kind(node)
    rows = walk.features(node, given["input"])
    if len(rows.axes) > 2:
        raise walk.refused(node, "its input's axes are not streams and features")
    _run_along(walk, node, ())
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    params = [given[name] for name in names if given.get(name) is not None]
    width = _add(walk, node, kind, activation, params)
    _begin_states(walk, node, kind, given["hx"])
    after = walk.step(rows, width=width)
    number, walk.modules = walk.modules, walk.modules + 1
    h = Rows(after.axes, after.stage, width, state=Place(number, 0))
    c = After((Place(number, 1),), after.axes, 1, width)
    return [h, c][: PARTS_OF[kind]]


def _kind(node: Node) -> tuple[str, str]:
    """The kind of section of a recurrent operator, and its activation."""
    name = node.target.partition(".")[0].removesuffix("_cell")
    kind, _, activation = name.partition("_")
    return kind, activation or "tanh"


def _run_along(walk: Walk, node: Node, time: Axis) -> None:
    if len(time) > 1 or time == (FEATURES,) or walk.time not in (None, time):
        raise walk.refused(node, "it does not run along one axis, that of the time")
    walk.time = time


def _add(walk: Walk, node: Node, kind: str, activation: str, params: list[Any]) -> int:
    """Append one layer with weights u, w and, perhaps, biases. Returns its width."""
    if walk.used & {*params}:
        raise walk.refused(node, "its module is used twice, and each layer has weights of its own")
    walk.used |= {*params}
    arrays = [walk.array(node, param, 2 if i < 2 else 1) for i, param in enumerate(params)]
    packed = Packed(*arrays)
    rows, outputs = packed.w.shape
    if len(params) not in (2, 4) or rows != ROWS_OF[kind] * outputs:
        raise walk.refused(node, f"{bare(params[1].name)} does not fit its kind")
    walk.result.set_inputs(packed.u.shape[1])
    add_recurrent(walk.result, kind, packed, activation)
    is_cell = node.target.endswith("_cell.default")
    walk.result.came_from(KINDS[kind] + ("Cell" if is_cell else ""))
    return outputs


def _begin_states(walk: Walk, node: Node, kind: str, states: Any) -> None:
    """Check that the initial states are zero or arguments of the program."""
    given = states if isinstance(states, list) else [states]
    if len(given) != PARTS_OF[kind]:
        raise walk.refused(node, NO_ZERO)
    for part, state in enumerate(given):
        if isinstance(state, Given) and state not in walk.states:
            walk.states[state] = Place(walk.modules, part)
        elif isinstance(state, Constant) and not walk.program.weights(state.kind, state.name).any():
            continue
        elif not isinstance(state, Zeros):
            raise walk.refused(node, NO_ZERO)


# --- activations ------------------------------------------------------------------------------

PLAIN = {"tanh": "tanh", "sigmoid": "logistic", "relu": "relu"}
ACTIVATIONS = (*PLAIN, "leaky_relu", "elu", "hardtanh")
SLOPES = {0.1: "leaky", 0.01: "relie"}


def activation(walk: Walk, node: Node) -> list[Any]:
    name = node.target.partition(".")[0].removesuffix("_")
    rows, given = walk.features(node, node.arguments["self"]), node.arguments
    if name == "leaky_relu":
        slope = round(given.get("negative_slope", 0.01), 6)
        if slope not in SLOPES:
            raise walk.refused(node, f"darknet has none with negative_slope {echo(slope)}")
        chosen = SLOPES[slope]
    elif name == "elu":
        if any(given.get(key, 1) != 1 for key in ("alpha", "scale", "input_scale")):
            raise walk.refused(node, "darknet has none with another alpha than 1")
        chosen = "elu"
    elif name == "hardtanh":
        if (given.get("min_val", -1), given.get("max_val", 1)) != (-1, 1):
            raise walk.refused(node, "darknet has only that from -1 to 1")
        chosen = "hardtan"
    else:
        chosen = PLAIN[name]
    walk.result.set_inputs(rows.width)
    walk.result.activate(chosen)
    return [walk.step(rows)]


def softmax(walk: Walk, node: Node) -> list[Any]:
    rows, dim = walk.current(node, node.arguments["self"]), node.arguments["dim"]
    axes = rows.axes
    if not -len(axes) <= dim < len(axes) or axes[dim] != (FEATURES,):
        raise walk.refused(node, "it is not over the features alone")
    rows = walk.features(node, rows)
    walk.result.set_inputs(rows.width)
    walk.result.add("softmax")
    walk.result.logarithms = "log" in node.target
    return [walk.step(rows)]


def dropout(walk: Walk, node: Node) -> list[Any]:
    return [node.arguments["input"]]


def unsupported(walk: Walk, node: Node) -> list[Any]:
    name = node.target.partition(".")[0]
    if name.endswith("_"):
        raise walk.refused(node, CHANGES)
    if not any(isinstance(value, Rows) for value in flat(node.arguments.values())):
        raise walk.refused(node, NO_ROWS)
    raise walk.unknown(node, REASONS.get(name, "it has no counterpart in minidark"))


HANDLERS: dict[str, Handler] = {
    "embedding.default": embedding,
    "one_hot.default": one_hot,
    "to.dtype": cast,
    "to.dtype_layout": cast,
    "_to_copy.default": cast,
    "linear.default": linear,
    "addmm.default": product,
    "mm.default": product,
    "matmul.default": product,
    "add.Tensor": add,
    **dict.fromkeys(("gru.input", "lstm.input", "rnn_tanh.input", "rnn_relu.input"), recurrent),
    **dict.fromkeys(
        (f"{kind}_cell.default" for kind in ("gru", "rnn_tanh", "rnn_relu", "lstm")), cell
    ),
    **{f"{name}{end}.default": activation for name in ACTIVATIONS for end in ("", "_")},
    "softmax.int": softmax,
    "_softmax.default": softmax,
    "log_softmax.int": softmax,
    "_log_softmax.default": softmax,
    "dropout.default": dropout,
    "dropout_.default": dropout,
    "feature_dropout.default": dropout,
}
