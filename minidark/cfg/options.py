"""The options of each section: one frozen dataclass per section, one field per key, with darknet's
defaults. Those of [net] are in `net_options`, those of layers that name other layers in
`joining_options`.

A layer's dataclass also describes the layer before it is built: its traits, and the numbers that
it takes (`size`).

Source: darknet src/parser.c (parse_net_options, parse_gru, ...).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from minidark.cfg.attention_options import OVER_SOURCE as OVER_SOURCE
from minidark.cfg.attention_options import AttentionOptions as AttentionOptions
from minidark.cfg.joining_options import RouteOptions as RouteOptions
from minidark.cfg.joining_options import ShortcutOptions as ShortcutOptions
from minidark.cfg.keys import (
    AT_LEAST_0,
    AT_LEAST_1,
    in_range,
    key,
    name_key,
)
from minidark.cfg.layer_options import ACTIVATIONS as ACTIVATIONS
from minidark.cfg.layer_options import LayerOptions as LayerOptions
from minidark.cfg.layer_options import counted
from minidark.cfg.net_options import CPU as CPU
from minidark.cfg.net_options import GPU as GPU
from minidark.cfg.net_options import POLICY_NAMES as POLICY_NAMES
from minidark.cfg.net_options import NetOptions as NetOptions
from minidark.cfg.sizes import Size, sublayers

INITS = ("darknet", "orthogonal")
COST_TYPES = ("sse", "smooth", "L1")
BYTES = 256  # symbols from here on are pairs


def _output() -> Any:
    return key(1, AT_LEAST_1, "width: numbers out per row")


def _batch_normalize() -> Any:
    return key(False, None, "1: each sublayer's sums are normalized, then scaled")


def _init() -> Any:
    return name_key(
        "darknet", INITS, "darknet, or orthogonal for the matrices that read the state", own=True
    )


def _input_scale() -> Any:
    return key(
        1.0,
        AT_LEAST_0,
        "how many times larger the weights that read the input start; 8 for thousands of symbols",
        own=True,
    )


def _dropconnect() -> Any:
    return key(
        0.0,
        in_range(0, 1, open_high=True),
        "chance of each weight that reads the state to be zero in a training pass",
        own=True,
    )


@dataclass(frozen=True, slots=True)
class GruOptions(LayerOptions):
    """A gated recurrent unit: h' = z * h + (1 - z) * candidate."""

    reads_symbols = is_recurrent = has_width = True
    output: int = _output()
    batch_normalize: bool = _batch_normalize()
    tanh: bool = key(False, None, "1: candidates are tanh; 0: logistic, darknet's default")
    reset_after: bool = key(
        False,
        None,
        "1: r acts after the product with the state, as in nn.GRU; 0: before; weights fit one form",
        own=True,
    )
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()
    update_bias: float = key(
        0.0, None, "where uz's biases start; above 0, gates start open to the past", own=True
    )

    def size(self, inputs: int) -> Size:
        n = self.output
        shapes = [(inputs, n)] * 3 + [(n, n)] * 3
        return sublayers(n, self.batch_normalize, *shapes, state=n, kept=5 * n)


@dataclass(frozen=True, slots=True)
class LstmOptions(LayerOptions):
    """A long short-term memory: c' = f * c + i * g, h' = o * tanh(c')."""

    reads_symbols = is_recurrent = has_width = True
    output: int = _output()
    batch_normalize: bool = _batch_normalize()
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()
    forget_bias: float = key(
        0.0, None, "where uf's biases start; above 0, gates start open to the past", own=True
    )

    def size(self, inputs: int) -> Size:
        n = self.output
        shapes = [(inputs, n)] * 4 + [(n, n)] * 4
        return sublayers(n, self.batch_normalize, *shapes, state=2 * n, kept=7 * n)


@dataclass(frozen=True, slots=True)
class RnnOptions(LayerOptions):
    """A plain recurrent layer: s' = input(x) + self(s), y = output(s')."""

    reads_symbols = is_recurrent = has_width = True
    output: int = _output()
    hidden: int | None = key(
        None, AT_LEAST_1, "width of the state, as AlexeyAB's; output, unless given"
    )
    activation: str = name_key("logistic", ACTIVATIONS, "of its sublayers")
    batch_normalize: bool = _batch_normalize()
    shortcut: bool = key(False, None, "1: s' = s + input(x) + self(s)")
    logistic: int = key(
        0, in_range(0, 2), "self's activation: 0 is the layer's, 1 logistic, 2 loggy (AlexeyAB's)"
    )
    elman: bool = key(
        False, None, "1: y = s' = activation(input(x) + self(s)), as in nn.RNN", own=True
    )
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()

    def size(self, inputs: int) -> Size:
        n, hidden = self.output, self.hidden or self.output
        shapes = [(inputs, hidden), (hidden, hidden), (hidden, n)][: 2 if self.elman else 3]
        kept = n if self.elman else 3 * hidden + n
        return sublayers(n, self.batch_normalize, *shapes, state=hidden, kept=kept)

    def misfit(self, inputs: int) -> str | None:
        hidden = None if self.hidden == self.output else self.hidden
        keys = {"hidden": hidden, "shortcut": int(self.shortcut), "logistic": self.logistic}
        for name in keys if self.elman else ():
            if keys[name]:
                return f"{name}={keys[name]} conflicts with elman=1; remove one of the two"
        return None

    def doubts(self) -> Iterator[tuple[str, str]]:
        if not self.elman and self.hidden not in (None, self.output):
            said = (
                f"hidden={self.hidden} is taken as the width of the state, as AlexeyAB's darknet "
                f"does; pjreddie's ignores it and takes output={self.output}"
            )
            yield "hidden-state", said
        if not self.elman and self.logistic:
            said = (
                f"logistic={self.logistic} is taken as AlexeyAB's darknet does, for the activation "
                "of self; pjreddie's ignores it"
            )
            yield "self-activation", said


@dataclass(frozen=True, slots=True)
class ConnectedOptions(LayerOptions):
    """Every input to every output: y = activation(W x + b)."""

    reads_symbols = has_width = True
    output: int = _output()
    activation: str = name_key("logistic", ACTIVATIONS, "linear before a [softmax]")
    batch_normalize: bool = _batch_normalize()
    tied: int | None = key(
        None,
        None,
        "number of a linear [connected], as in [route]; W is its W transposed, output its inputs",
        own=True,
    )
    input_scale: float = _input_scale()

    def size(self, inputs: int) -> Size:
        n = self.output
        if self.tied is not None:
            return Size(n, affine=n, kept=n)
        return sublayers(n, self.batch_normalize, (inputs, n), kept=n)

    def named(self) -> Iterator[tuple[str, int]]:
        return iter(() if self.tied is None else [("tied", self.tied)])

    def counted_from(self, number: int) -> Self:
        tied = None if self.tied is None else counted(number, self.tied)
        return replace(self, tied=tied)


@dataclass(frozen=True, slots=True)
class SoftmaxOptions(LayerOptions):
    """Probabilities, with their cost: the nats of the true symbol."""

    groups: int = key(1, AT_LEAST_1, "equal shares of the inputs with a softmax each")
    temperature: float = key(1.0, in_range(1e-6), "divides the inputs; generate has its --temp")
    noloss: bool = key(False, None, "1: no cost; a [cost] after it may have one")
    smoothing: float = key(
        0.0, in_range(0, 1, open_high=True), "label smoothing: uniform share of the truth", own=True
    )

    @property
    def has_cost(self) -> bool:
        return not self.noloss

    def misfit(self, inputs: int) -> str | None:
        if inputs % self.groups:
            return f"groups={self.groups} does not divide {inputs} inputs"
        return None


@dataclass(frozen=True, slots=True)
class DropoutOptions(LayerOptions):
    """In training, zeroes inputs at random and scales the rest by 1 / (1 - probability)."""

    probability: float = key(0.5, in_range(0, 1, open_high=True), "chance of each to be zero")


@dataclass(frozen=True, slots=True)
class ActivationOptions(LayerOptions):
    """An activation alone."""

    activation: str = name_key("linear", ACTIVATIONS, "one of darknet's fourteen")


@dataclass(frozen=True, slots=True)
class BatchnormOptions(LayerOptions):
    """Batch norm alone, over all rows of a pass, with scales and biases."""

    @property
    def normalizes(self) -> bool:
        return True

    def size(self, inputs: int) -> Size:
        return Size(inputs, norms=inputs, aside=inputs)


@dataclass(frozen=True, slots=True)
class LogisticOptions(LayerOptions):
    """Logistic outputs, with their cost: the nats of each, true or not."""

    @property
    def has_cost(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class CostOptions(LayerOptions):
    """The cost of what comes in against the truth."""

    type: str = name_key("sse", COST_TYPES, "sse, L1 or smooth")
    scale: float = key(1.0, AT_LEAST_0, "factor on the gradient, not on the cost that is shown")

    @property
    def has_cost(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class BytepairsOptions(LayerOptions):
    """The first, if there: inputs above 256 are learned pairs of symbols (minidark's own)."""

    gives_symbols = True
    dropout: float = key(
        0.0,
        in_range(0, 1, open_high=True),
        "chance to omit a pair while training data is cut into symbols, in several ways",
        own=True,
    )

    def size(self, inputs: int) -> Size:
        return Size(inputs, untrained=2 * max(0, inputs - BYTES))

    def misfit(self, inputs: int) -> str | None:
        if inputs > BYTES:
            return None
        return f"[net] inputs={inputs} leaves no symbols for pairs; they are those above {BYTES}"


def ends_in_extra_cost(layers: Sequence[LayerOptions]) -> bool:
    """Whether the last layer is a redundant [cost]: the layer before it already has a cost."""
    return len(layers) > 1 and isinstance(layers[-1], CostOptions) and layers[-2].has_cost


LAYER_TYPES: dict[str, type[LayerOptions]] = {  # by the section's name
    "gru": GruOptions,
    "lstm": LstmOptions,
    "rnn": RnnOptions,
    "connected": ConnectedOptions,
    "conn": ConnectedOptions,
    "softmax": SoftmaxOptions,
    "soft": SoftmaxOptions,
    "dropout": DropoutOptions,
    "activation": ActivationOptions,
    "batchnorm": BatchnormOptions,
    "logistic": LogisticOptions,
    "cost": CostOptions,
    "route": RouteOptions,
    "shortcut": ShortcutOptions,
    "attention": AttentionOptions,
    "bytepairs": BytepairsOptions,
}
