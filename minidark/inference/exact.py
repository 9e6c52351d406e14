"""Inference in darknet's own order of float32 operations, one symbol at a time.

A matrix product may be summed in any order, and each order rounds differently in the seventh digit.
That is enough to change the last digits of a printed perplexity, and once in a million draws the
symbol. This module adds in the order of darknet's C loops, rounds where its floats round, and
computes in double where its C does. So its results are bit-identical to darknet's on any machine,
as long as C's are finite. It is several times slower than `Network.predict`, which is correct to
the seventh digit.

Source: darknet src/gemm.c (gemm_nt), connected_layer.c, gru_layer.c, lstm_layer.c, rnn_layer.c,
softmax (blas.c), activations.h, compiled without -Ofast and fused multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.errors import DataError, MinidarkError
from minidark.layers.activation_layer import ActivationLayer
from minidark.layers.activations import SELU_ALPHA, SELU_SCALE
from minidark.layers.affine import Sublayer
from minidark.layers.base import Layer
from minidark.layers.connected import ConnectedLayer
from minidark.layers.gru import GruLayer
from minidark.layers.lstm import LstmLayer
from minidark.layers.rnn import RnnLayer
from minidark.layers.softmax import SoftmaxLayer
from minidark.network import Network

Row = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]
Input = Row | int  # a symbol means its one-hot row
States = dict[str, Row]


class ExactNetwork:
    """One stream through the layers of `net`. Reads its arrays and leaves its state unchanged.

    `outputs[i]` is the output of layer i for the last symbol.
    """

    def __init__(self, net: Network, temperature: float | None = None):
        self.layers = net.layers
        self.temperature = temperature
        self.outputs: list[Row] = []
        for layer in self.layers:
            if layer.type not in STEPS:
                raise MinidarkError(
                    f"{layer.name}: exact darknet arithmetic does not support this layer"
                )
        self._weights = {
            id(a): np.ascontiguousarray(a.weights.T, dtype=np.float32)
            for layer in self.layers
            for a in getattr(layer, "sublayers", {}).values()
        }
        self.reset_state()

    def reset_state(self) -> None:
        self.states: list[States] = [
            {name: np.zeros(s.shape[1], np.float32) for name, s in layer.states.items()}
            for layer in self.layers
        ]

    def predict(self, symbol: int) -> Row:
        """The network's output (O,) after one more symbol. Raises DataError for an unknown
        symbol."""
        if not 0 <= symbol < self.layers[0].inputs:
            raise DataError(f"symbol {symbol}; this network's are 0 to {self.layers[0].inputs - 1}")
        x: Input = symbol
        self.outputs = []
        for layer, states in zip(self.layers, self.states, strict=True):
            x = STEPS[layer.type](self, layer, states, x)
            self.outputs.append(x)
        return self.outputs[-1]

    def read(self, symbols: Iterable[int]) -> None:
        """Read some symbols."""
        for symbol in symbols:
            self.predict(symbol)

    def after(self, symbols: Iterable[int]) -> Row:
        """Read one or more symbols; returns the network's output (O,)."""
        self.read(symbols)
        return self.outputs[-1]

    def sublayer(self, s: Sublayer, activation: str, x: Input) -> Row:
        """act(norm(W x) + b)."""
        weights = self._weights[id(s)]
        # Adds rows in sequence, the order of gemm_nt's inner loop; numpy's sum along contiguous
        # memory would add in pairs.
        v = weights[x] if isinstance(x, int) else np.add.reduce(x[:, None] * weights, axis=0)
        if s.batch_norm:
            scales, mean, variance = s.norm
            divisor = s.batch_norm.divisor.in_c(variance)
            v = ((v - mean) / divisor).astype(np.float32) * scales
        return activate(activation, v + s.biases)


def activate(name: str, x: Row) -> Row:
    """The C expression: float for float operands, double from the first double on."""
    return C_ACTIVATIONS[name](x, x.astype(np.float64)).astype(np.float32)


def _exp(x: Wide) -> Wide:
    # C's exp, value by value: numpy's may differ in the last bit of a double, which shows in a
    # float after subtracting 1. C's exp overflows to infinity, with the same result except for
    # tanh beyond 354.9 and elu and selu beyond 709.8, where C gives NaN.
    return np.array([math.exp(value) for value in np.minimum(x, 700).tolist()])


def _c_stair(x: Row, wide: Wide) -> Wide:
    whole, half = np.floor(x), np.floor(wide / 2)
    return np.where(whole % 2 == 0, half, (x - whole) + half)


def _c_plse(x: Row, wide: Wide) -> Wide:
    outer = np.where(x < -4, 0.01 * (x + np.float32(4)).astype(np.float64), 0.125 * wide + 0.5)
    return np.where(x > 4, 0.01 * (x - np.float32(4)).astype(np.float64) + 1, outer)


def _c_lhtan(x: Row, wide: Wide) -> Wide:
    inner = np.where(x < 0, 0.001 * wide, wide)
    return np.where(x > 1, 0.001 * (x - np.float32(1)).astype(np.float64) + 1, inner)


CExpression = Callable[[Row, Wide], Wide]  # takes x in float and in double

C_ACTIVATIONS: dict[str, CExpression] = {
    "logistic": lambda x, wide: 1 / (1 + _exp(-wide)),
    "loggy": lambda x, wide: 2 / (1 + _exp(-wide)) - 1,
    "relu": lambda x, wide: wide * (x > 0),
    "elu": lambda x, wide: (x >= 0) * wide + (x < 0) * (_exp(wide) - 1),
    "selu": lambda x, wide: (
        (x >= 0) * SELU_SCALE * wide + (x < 0) * SELU_SCALE * SELU_ALPHA * (_exp(wide) - 1)
    ),
    "relie": lambda x, wide: np.where(x > 0, wide, 0.01 * wide),
    "ramp": lambda x, wide: wide * (x > 0) + 0.1 * wide,
    "linear": lambda x, wide: wide,
    "tanh": lambda x, wide: (_exp(2 * wide) - 1) / (_exp(2 * wide) + 1),
    "plse": _c_plse,
    "leaky": lambda x, wide: np.where(x > 0, wide, 0.1 * wide),
    "stair": _c_stair,
    "hardtan": lambda x, wide: np.clip(wide, -1, 1),
    "lhtan": _c_lhtan,
}


def _gru(net: ExactNetwork, layer: GruLayer, states: States, x: Input) -> Row:
    s, h = layer.sublayers, states["state"]
    uz, ur, uh = (net.sublayer(s[name], "linear", x) for name in ("uz", "ur", "uh"))
    z = activate("logistic", uz + net.sublayer(s["wz"], "linear", h))
    r = activate("logistic", ur + net.sublayer(s["wr"], "linear", h))
    if layer.reset_after:  # which no darknet has; in the order that its C would take
        candidate = uh + r * net.sublayer(s["wh"], "linear", h)
    else:
        candidate = uh + net.sublayer(s["wh"], "linear", h * r)
    c = activate("tanh" if layer.tanh else "logistic", candidate)
    states["state"] = z * h + (1 - z) * c
    return states["state"]


def _lstm(net: ExactNetwork, layer: LstmLayer, states: States, x: Input) -> Row:
    s, h = layer.sublayers, states["state"]

    def gate(name: str, activation: str) -> Row:
        from_state = net.sublayer(s[f"w{name}"], "linear", h)
        return activate(activation, from_state + net.sublayer(s[f"u{name}"], "linear", x))

    f, i, g, o = (
        gate("f", "logistic"),
        gate("i", "logistic"),
        gate("g", "tanh"),
        gate("o", "logistic"),
    )
    states["cell"] = states["cell"] * f + i * g
    states["state"] = activate("tanh", states["cell"]) * o
    return states["state"]


def _rnn(net: ExactNetwork, layer: RnnLayer, states: States, x: Input) -> Row:
    s, old = layer.sublayers, states["state"]
    if layer.elman:  # which no darknet has; in the order that its C would take
        sums = net.sublayer(s["input"], "linear", x) + net.sublayer(s["self"], "linear", old)
        states["state"] = activate(layer.activation.name, sums)
        return states["state"]
    from_input = net.sublayer(s["input"], layer.activation.name, x)
    from_self = net.sublayer(s["self"], layer.self_activation.name, old)
    states["state"] = (old + from_input if layer.shortcut else from_input) + from_self
    return net.sublayer(s["output"], layer.activation.name, states["state"])


def _connected(net: ExactNetwork, layer: ConnectedLayer, states: States, x: Input) -> Row:
    return net.sublayer(layer.sublayers[""], layer.activation.name, x)


def _activation(net: ExactNetwork, layer: ActivationLayer, states: States, x: Input) -> Row:
    return activate(layer.activation.name, _row(layer, x))


def _logistic(net: ExactNetwork, layer: Layer, states: States, x: Input) -> Row:
    return activate("logistic", _row(layer, x))


def _softmax(net: ExactNetwork, layer: SoftmaxLayer, states: States, x: Input) -> Row:
    temperature = np.float32(layer.temperature if net.temperature is None else net.temperature)
    groups = _row(layer, x).reshape(layer.groups, -1)
    scaled = groups / temperature - groups.max(axis=1, keepdims=True) / temperature
    e = np.exp(scaled.astype(np.float64)).astype(np.float32)
    p: Row = e / np.add.accumulate(e, axis=1)[:, -1:]
    return p.reshape(-1)


def _same(net: ExactNetwork, layer: Layer, states: States, x: Input) -> Row:
    return _row(layer, x)


def _row(layer: Layer, x: Input) -> Row:
    return np.eye(1, layer.inputs, x, dtype=np.float32)[0] if isinstance(x, int) else x


STEPS: dict[str, Callable[[ExactNetwork, Any, States, Input], Row]] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn": _rnn,
    "connected": _connected,
    "activation": _activation,
    "softmax": _softmax,
    "logistic": _logistic,
    "dropout": _same,
    "cost": _same,
}
