"""Writes `.onnx`; `onnx_chain` reads it back.

Inputs are x (T, S, inputs), T and S free, then each layer's states (S, H), named as in the network.
Outputs are the prediction y, then the new states in the same order. The metadata contains the cfg
and `seen`.

    [gru]        GRU: gates z, r, h, and h' = z h + (1 - z) c, as in darknet; both biases stay
                 separate; linear_before_reset is reset_after
    [lstm]       LSTM: gates i, o, f, c
    [rnn]        Scan, because darknet's cell is act(W x) + act(W s); with elman=1, RNN
    [connected]  MatMul, Add, and the activation from basic operators
    [softmax]    Softmax of x / temperature, over each group
    [route]      Concat, and [shortcut] Add with its activation
    [batchnorm]  (x - mean) * factor + biases
    [dropout], [cost]  nothing

Source: ONNX's operators, https://onnx.ai/onnx/operators (GRU-14, LSTM-14, RNN-14, Scan-16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from minidark._version import __version__
from minidark.backend import Array
from minidark.cfg.sections import format_sections
from minidark.convert.found import LARGEST
from minidark.convert.gates import ONNX, pack
from minidark.convert.proof import Proven
from minidark.errors import BackendError, CfgError, MinidarkError, bare
from minidark.layers.activations import SELU_ALPHA, SELU_SCALE
from minidark.layers.batchnorm import Divisor
from minidark.network import Network

OPSET, IR_VERSION = 17, 8  # from 2022, so that older runtimes support it


class Graph:
    """Nodes and constants in order; each operation returns the name of its output."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of names, for a graph nested in another
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add an operation with several outputs and return their names."""
        names = [self._fresh(kind) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def named(self, name: str, array: Array) -> str:
        """Add an array of the network under its own name."""
        kept = np.ascontiguousarray(array, dtype="<f4")
        self.constants[name] = numpy_helper.from_array(kept, name)
        return name

    def number(self, value: float) -> str:
        return self.named(f"number {value:g}", np.array(value))

    def integers(self, *values: int) -> str:
        name = f"integers {' '.join(map(str, values))}"
        self.constants[name] = numpy_helper.from_array(np.array(values, dtype="<i8"), name)
        return name

    def rename(self, old: str, new: str) -> None:
        self.nodes.append(helper.make_node("Identity", [old], [new]))

    def _fresh(self, kind: str) -> str:
        self.count += 1
        return f"{self.prefix}{kind} {self.count}"


def _plse(g: Graph, x: str) -> str:
    inside = g.op("Clip", x, g.number(-4), g.number(4))
    outside = g.op("Mul", g.op("Sub", x, inside), g.number(0.01))
    line = g.op("Add", g.op("Mul", inside, g.number(0.125)), g.number(0.5))
    return g.op("Add", line, outside)


def _lhtan(g: Graph, x: str) -> str:
    inside = g.op("Clip", x, g.number(0), g.number(1))
    return g.op("Add", inside, g.op("Mul", g.op("Sub", x, inside), g.number(0.001)))


def _stair(g: Graph, x: str) -> str:
    """floor(x / 2), plus x - floor(x) where floor(x) is odd."""
    whole, half = g.op("Floor", x), g.op("Floor", g.op("Mul", x, g.number(0.5)))
    odd = g.op("Sub", whole, g.op("Mul", half, g.number(2)))  # 1 or 0
    return g.op("Add", half, g.op("Mul", odd, g.op("Sub", x, whole)))


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "logistic": lambda g, x: g.op("Sigmoid", x),
    "loggy": lambda g, x: g.op("Tanh", g.op("Mul", x, g.number(0.5))),
    "relu": lambda g, x: g.op("Relu", x),
    "elu": lambda g, x: g.op("Elu", x, alpha=1.0),
    "selu": lambda g, x: g.op("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "relie": lambda g, x: g.op("LeakyRelu", x, alpha=0.01),
    "ramp": lambda g, x: g.op("Add", g.op("Relu", x), g.op("Mul", x, g.number(0.1))),
    "linear": lambda g, x: x,
    "tanh": lambda g, x: g.op("Tanh", x),
    "plse": _plse,
    "leaky": lambda g, x: g.op("LeakyRelu", x, alpha=0.1),
    "stair": _stair,
    "hardtan": lambda g, x: g.op("Clip", x, g.number(-1), g.number(1)),
    "lhtan": _lhtan,
}
RNN: dict[str, dict[str, Any]] = {  # attributes of the operator RNN for the activations that it has
    "logistic": {"activations": ["Sigmoid"]},
    "loggy": {
        "activations": ["ScaledTanh"], "activation_alpha": [1.0], "activation_beta": [0.5],
    },
    "relu": {"activations": ["Relu"]},
    "elu": {"activations": ["Elu"], "activation_alpha": [1.0]},
    "relie": {"activations": ["LeakyRelu"], "activation_alpha": [0.01]},
    "linear": {
        "activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0],
    },
    "tanh": {"activations": ["Tanh"]},
    "leaky": {"activations": ["LeakyRelu"], "activation_alpha": [0.1]},
}  # fmt: skip


def _gru(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    activations = ["Sigmoid", "Tanh" if layer.tanh else "Sigmoid"]
    after = int(layer.reset_after)
    return _recurrent(
        g, layer, "GRU", x, states, activations=activations, linear_before_reset=after
    )


def _lstm(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    return _recurrent(g, layer, "LSTM", x, states)


def _recurrent(
    g: Graph, layer: Any, kind: str, x: str, states: list[str], **attributes: Any
) -> tuple[str, list[str]]:
    """ONNX has an axis of directions: a state is (1, S, H), the output (T, 1, S, H)."""
    u, w, *biases = pack(ONNX[layer.type], layer)
    packed = {"W": u, "R": w, "B": np.concatenate(biases)}
    weights = [g.named(f"{layer.name}.{part}", array[None]) for part, array in packed.items()]
    direction = g.integers(0)
    before = [g.op("Unsqueeze", state, direction) for state in states]
    y, *after = g.ops(
        kind, 1 + len(states), x, *weights, "", *before, hidden_size=layer.outputs, **attributes
    )
    y = g.op("Squeeze", y, g.integers(1))
    return y, [g.op("Squeeze", state, direction) for state in after]


def _elman(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    if (name := layer.activation.name) not in RNN:
        raise CfgError(
            f"layer {layer.name} has no counterpart in ONNX: with elman=1, activation={name} is "
            f"not one of {', '.join(RNN)}; .py has all"
        )
    return _recurrent(g, layer, "RNN", x, states, **RNN[name])


def _rnn(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    if layer.elman:
        return _elman(g, layer, x, states)
    from_input = ACTIVATIONS[layer.activation.name](g, _affine(g, layer, "input", x))
    body = Graph(f"{layer.name} step ")
    before, here = f"{layer.name}.before", f"{layer.name}.here"
    recurrent = _affine(body, layer, "self", before)
    state = body.op("Add", here, ACTIVATIONS[layer.self_activation.name](body, recurrent))
    if layer.shortcut:
        state = body.op("Add", state, before)
    after, kept = f"{layer.name}.after", f"{layer.name}.kept"
    body.rename(state, after)
    body.rename(state, kept)
    shape = ["S", layer.hidden]
    step = helper.make_graph(
        body.nodes,
        f"{layer.name} step",
        [_value(before, shape), _value(here, shape)],
        [_value(after, shape), _value(kept, shape)],
    )
    g.constants |= body.constants
    last, all_states = g.ops("Scan", 2, *states, from_input, num_scan_inputs=1, body=step)
    y = ACTIVATIONS[layer.activation.name](g, _affine(g, layer, "output", all_states))
    return y, [last]


def _affine(g: Graph, layer: Any, part: str, x: str) -> str:
    """W x + b of a sublayer; ONNX's matrix is (inputs, outputs)."""
    sublayer = layer.sublayers[part]
    name = f"{layer.name}.{part}" if part else layer.name
    product = g.op("MatMul", x, g.named(f"{name}.weights.T", sublayer.weights.T))
    return g.op("Add", product, g.named(f"{name}.biases", sublayer.biases))


def _connected(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    if layer.shares is not None:  # one matrix, transposed back
        weights = g.op("Transpose", f"{layer.tied.layer.name}.weights.T", perm=[1, 0])
        biases = g.named(f"{layer.name}.biases", layer.biases.value)
        v = g.op("Add", g.op("MatMul", x, weights), biases)
        return ACTIVATIONS[layer.activation.name](g, v), []
    return ACTIVATIONS[layer.activation.name](g, _affine(g, layer, "", x)), []


def _softmax(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    if layer.temperature != 1:
        x = g.op("Div", x, g.number(layer.temperature))
    if layer.groups == 1:
        return g.op("Softmax", x, axis=-1), []
    x = g.op("Reshape", x, g.integers(0, 0, layer.groups, layer.inputs // layer.groups))
    return g.op("Reshape", g.op("Softmax", x, axis=-1), g.integers(0, 0, layer.inputs)), []


def _batchnorm(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    stored = {a.kind: g.named(a.name, a.value) for a in layer.arrays()}
    divisor = _divided(g, stored["rolling_variance"], layer.norm.divisor)
    centred = g.op("Sub", x, stored["rolling_mean"])
    scaled = g.op("Mul", centred, g.op("Div", stored["scales"], divisor))
    return g.op("Add", scaled, stored["biases"]), []


def _divided(g: Graph, variance: str, divisor: Divisor) -> str:
    """The divisor of batch norm."""
    if divisor.inside:
        variance = g.op("Add", variance, g.number(divisor.inside))
    root = g.op("Sqrt", variance)
    return g.op("Add", root, g.number(divisor.outside)) if divisor.outside else root


def _nothing(g: Graph, layer: Any, x: str, states: list[str]) -> tuple[str, list[str]]:
    return x, []


Emit = Callable[[Graph, Any, str, list[str]], tuple[str, list[str]]]
LAYERS: dict[str, Emit] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn": _rnn,
    "connected": _connected,
    "softmax": _softmax,
    "logistic": lambda g, layer, x, states: (ACTIVATIONS["logistic"](g, x), []),
    "activation": lambda g, layer, x, states: (ACTIVATIONS[layer.activation.name](g, x), []),
    "shortcut": lambda g, layer, x, states: (ACTIVATIONS[layer.activation.name](g, x), []),
    "route": _nothing,
    "batchnorm": _batchnorm,
    "dropout": _nothing,
    "cost": _nothing,
}


def write(net: Network, calls: Sequence[Array]) -> Proven:
    """The model of a network without batch norm in its sublayers, and onnxruntime's outputs for
    `calls`."""
    data = _model(net)
    try:
        return data, _run(data, calls)
    except MinidarkError:
        raise
    except Exception as error:  # onnxruntime's errors share no base class
        raise MinidarkError(f"onnxruntime: {bare(str(error), 300)}; no file is left") from error


def _model(net: Network) -> bytes:
    g, given = Graph(), ["x"]  # what each layer gives, after the input
    inputs, outputs = [_value("x", ["T", "S", net.inputs])], []
    for layer, reads in zip(net.layers, net.graph.reads, strict=True):
        before = [f"{layer.name}.{state}" for state in layer.states]
        read = [given[1 + number] for number in reads]
        y, after = LAYERS[layer.type](g, layer, _joined(g, layer, read), before)
        given.append(y)
        shapes = [["S", state.shape[1]] for state in layer.states.values()]
        inputs += map(_value, before, shapes)
        for name, state, shape in zip(before, after, shapes, strict=True):
            g.rename(state, f"{name}.next")
            outputs.append(_value(f"{name}.next", shape))
    g.rename(given[-1], "y")
    outputs.insert(0, _value("y", ["T", "S", net.outputs]))
    graph = helper.make_graph(g.nodes, "minidark", inputs, outputs, list(g.constants.values()))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minidark",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"cfg": format_sections(net.sections), "seen": str(net.seen)})
    if model.ByteSize() > LARGEST:
        raise MinidarkError("an .onnx holds less than 2 GiB; this network has more")
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _joined(g: Graph, layer: Any, read: Sequence[str]) -> str:
    """What a layer reads: one output, the sum of a [shortcut], or outputs side by side."""
    if len(read) == 1:
        return read[0]
    return g.op("Add", *read) if layer.type == "shortcut" else g.op("Concat", *read, axis=-1)


def _value(name: str, shape: Sequence[str | int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _run(model: bytes, calls: Sequence[Array]) -> list[Array]:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "ONNX needs onnxruntime, to prove what is written: pip install 'minidark[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, *states = session.get_inputs()
    values = {state.name: np.zeros((1, state.shape[1]), np.float32) for state in states}
    found = []
    for x in calls:
        y, *after = session.run(None, {"x": x, **values})
        values = dict(zip(values, after, strict=True))
        found.append(y)
    return found
