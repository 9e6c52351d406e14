"""What each section may say: one frozen dataclass per section, a field per key, darknet's defaults.

`read_options` turns a section's text into one of them. Values have minidark's own number
grammar, because Python's `int()` also takes `1_000` and digits of other scripts.

Source: darknet src/parser.c (parse_net_options, parse_gru, ...). darknet's `atoi` reads `64x` as
64 and `abc` as 0; here both are errors.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from minidark.cfg.sections import Doubt, Pair, Refuse, Section, Warn, raise_
from minidark.errors import LONGEST_ECHO, OVERRIDDEN, CfgError, bare, echo, nearest

LARGEST_INT = 2**31 - 1  # darknet's int
LONGEST_LIST = 1000

Check = Callable[[Any], str | None]  # None, or what the value should have been


def _in_range(low: float, high: float = math.inf, *, open_high: bool = False) -> Check:
    def check(value: float) -> str | None:
        if value < low:
            return f"less than {low:g}"
        if value > high or (open_high and value == high):
            return f"not less than {high:g}" if open_high else f"more than {high:g}"
        return None

    return check


def _above_0(value: float) -> str | None:
    return None if value > 0 else "not above 0"


def _one_of(*known: str) -> Check:
    def check(value: str) -> str | None:
        return None if value in known else f"not one of {', '.join(known)}{nearest(value, known)}"

    return check


def _ascending(values: tuple[int, ...]) -> str | None:
    if values and values[0] < 0:
        return "less than 0"
    return None if list(values) == sorted(set(values)) else "not in ascending order"


def _none_negative(values: tuple[float, ...]) -> str | None:
    return "less than 0" if min(values, default=0) < 0 else None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section. `says` is its one line of documentation: what it does, with the unit of
    its value. `own`: minidark's alone, no darknet has it."""

    name: str
    kind: Any  # the type of its value
    default: Any
    check: Check | None
    says: str
    own: bool


def _key(default: Any, check: Check | None, says: str, *, own: bool = False) -> Any:
    return field(default=default, metadata={"check": check, "says": says, "own": own})


AT_LEAST_1 = _in_range(1)
AT_LEAST_0 = _in_range(0)
POLICY_NAMES = ("constant", "step", "steps", "exp", "poly", "sigmoid", "random", "cosine")
WITHOUT_EFFECT = frozenset({"onlyforward", "truth", "smooth", "numload"})


@dataclass(frozen=True, slots=True)
class NetOptions:
    """The whole network: what it reads at once, and how it learns."""

    batch: int = _key(
        1, AT_LEAST_1, "streams * subdivisions; streams are read side by side, each its own text"
    )
    subdivisions: int = _key(
        1, AT_LEAST_1, "passes before the weights move, each the next stretch of the same streams"
    )
    time_steps: int = _key(1, AT_LEAST_1, "symbols that each stream reads in a pass")
    inputs: int = _key(0, AT_LEAST_0, "symbols there are: 256 for bytes; 0 is the three below")
    height: int = _key(0, AT_LEAST_0, "inputs = height * width * channels, where inputs is 0")
    width: int = _key(0, AT_LEAST_0, "see height")
    channels: int = _key(0, AT_LEAST_0, "see height")
    learning_rate: float = _key(0.001, AT_LEAST_0, "length of a step, before policy and burn_in")
    momentum: float = _key(0.9, _in_range(0, 1), "of SGD: what a step keeps of the one before")
    decay: float = _key(
        0.0001, AT_LEAST_0, "pull of the weights towards zero, per row; with adam of all arrays"
    )
    max_batches: int = _key(0, AT_LEAST_0, "batches to train, which poly and cosine end at")
    adam: bool = _key(False, None, "1 is Adam, which is not divided by rows; 0 is SGD, which is")
    B1: float = _key(0.9, _in_range(0, 1, open_high=True), "of Adam: decay of the mean")
    B2: float = _key(0.999, _in_range(0, 1, open_high=True), "of Adam: decay of the mean square")
    eps: float = _key(1e-7, _above_0, "of Adam: added to the root of the mean square")
    policy: str = _key(
        "constant",
        _one_of(*POLICY_NAMES),
        f"of the rate: {', '.join(POLICY_NAMES)} (minidark's own)",
    )
    step: int = _key(
        1, AT_LEAST_1, "of step: batches between two changes; of sigmoid: batch of half the rate"
    )
    scale: float = _key(1.0, AT_LEAST_0, "of step: factor at each change")
    steps: tuple[int, ...] = _key((), _ascending, "of steps: batches at which the rate changes")
    scales: tuple[float, ...] = _key((), _none_negative, "of steps: factor at each of them")
    gamma: float = _key(1.0, None, "of exp: factor for each batch; of sigmoid: steepness")
    power: float = _key(4.0, AT_LEAST_0, "of poly and random, and of burn_in's rise: the exponent")
    burn_in: int = _key(0, AT_LEAST_0, "batches over which the rate rises from zero")
    batchnorm: str | None = _key(
        None,
        _one_of("cpu", "gpu"),
        "what batch norm divides by: cpu sqrt(variance) + 1e-6, gpu sqrt(variance + 1e-5)",
        own=True,
    )
    clip_norm: float = _key(
        0.0, AT_LEAST_0, "longest mean gradient; longer ones are shortened; 0: any", own=True
    )

    average: float = _key(
        0.0,
        _in_range(0, 1, open_high=True),
        "of the weights, over some 1 / (1 - average) updates: it is what is validated and saved",
        own=True,
    )

    @property
    def streams(self) -> int:
        return self.batch // self.subdivisions

    @property
    def rows(self) -> int:
        """Rows per pass: darknet's net->batch after parsing."""
        return self.streams * self.time_steps

    @property
    def row_inputs(self) -> int:
        return self.inputs or self.height * self.width * self.channels


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """What every layer's section may say; it is for the network, not for the layer."""

    learning_rate: float = _key(1.0, AT_LEAST_0, "factor on [net]'s rate for this layer")
    stopbackward: bool = _key(False, None, "1: this layer and all below get no gradient")
    dontload: bool = _key(False, None, "1: absent from the weight files that are read")
    dontsave: bool = _key(False, None, "1: absent from the weight files that are written")
    dontloadscales: bool = _key(
        False, None, "1: its batch-norm arrays are absent from the weight files that are read"
    )
    onlyforward: bool = _key(False, None, "no effect on recurrent networks")
    truth: bool = _key(False, None, "no effect on recurrent networks")
    smooth: float = _key(0.0, None, "no effect on recurrent networks")
    numload: int = _key(0, None, "no effect on recurrent networks")


def _output() -> Any:
    return _key(1, AT_LEAST_1, "width: numbers out per row")


def _batch_normalize() -> Any:
    return _key(False, None, "1: each sublayer's sums are normalized, then scaled")


def _init() -> Any:
    return _key(
        "darknet",
        None,
        "darknet, or orthogonal for the matrices that read the state",
        own=True,
    )


def _input_scale() -> Any:
    return _key(
        1.0,
        AT_LEAST_0,
        "how many times larger the weights that read the input start; 8 for thousands of symbols",
        own=True,
    )


def _dropconnect() -> Any:
    return _key(
        0.0,
        _in_range(0, 1, open_high=True),
        "chance of each weight that reads the state to be zero in a training pass",
        own=True,
    )


@dataclass(frozen=True, slots=True)
class GruOptions(LayerOptions):
    """A gated recurrent unit: h' = z * h + (1 - z) * candidate."""

    output: int = _output()
    batch_normalize: bool = _batch_normalize()
    tanh: bool = _key(False, None, "1: candidates are tanh; 0: logistic, darknet's default")
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()
    update_bias: float = _key(
        0.0, None, "where uz's biases start; above 0, gates start open to the past", own=True
    )


@dataclass(frozen=True, slots=True)
class LstmOptions(LayerOptions):
    """A long short-term memory: c' = f * c + i * g, h' = o * tanh(c')."""

    output: int = _output()
    batch_normalize: bool = _batch_normalize()
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()
    forget_bias: float = _key(
        0.0, None, "where uf's biases start; above 0, gates start open to the past", own=True
    )


@dataclass(frozen=True, slots=True)
class RnnOptions(LayerOptions):
    """A plain recurrent layer: s' = input(x) + self(s), y = output(s')."""

    output: int = _output()
    hidden: int | None = _key(
        None, AT_LEAST_1, "width of the state, as AlexeyAB's; output, unless given"
    )
    activation: str = _key("logistic", None, "of its sublayers")
    batch_normalize: bool = _batch_normalize()
    shortcut: bool = _key(False, None, "1: s' = s + input(x) + self(s)")
    logistic: int = _key(
        0, _in_range(0, 2), "self's activation: 0 is the layer's, 1 logistic, 2 loggy (AlexeyAB's)"
    )
    init: str = _init()
    input_scale: float = _input_scale()
    dropconnect: float = _dropconnect()


@dataclass(frozen=True, slots=True)
class ConnectedOptions(LayerOptions):
    """Every input to every output: y = activation(W x + b)."""

    output: int = _output()
    activation: str = _key("logistic", None, "linear before a [softmax]")
    batch_normalize: bool = _batch_normalize()


@dataclass(frozen=True, slots=True)
class SoftmaxOptions(LayerOptions):
    """Probabilities, with their cost: the nats of the true symbol."""

    groups: int = _key(1, AT_LEAST_1, "equal shares of the inputs with a softmax each")
    temperature: float = _key(1.0, _in_range(1e-6), "divides the inputs; generate has its --temp")
    noloss: bool = _key(False, None, "1: no cost; a [cost] after it may have one")


@dataclass(frozen=True, slots=True)
class DropoutOptions(LayerOptions):
    """In training, zeroes inputs at random and scales the rest by 1 / (1 - probability)."""

    probability: float = _key(0.5, _in_range(0, 1, open_high=True), "chance of each to be zero")


@dataclass(frozen=True, slots=True)
class ActivationOptions(LayerOptions):
    """An activation alone."""

    activation: str = _key("linear", None, "one of darknet's fourteen")


@dataclass(frozen=True, slots=True)
class BatchnormOptions(LayerOptions):
    """Batch norm alone, over all rows of a pass, with scales and biases."""


@dataclass(frozen=True, slots=True)
class LogisticOptions(LayerOptions):
    """Logistic outputs, with their cost: the nats of each, true or not."""


@dataclass(frozen=True, slots=True)
class CostOptions(LayerOptions):
    """The cost of what comes in against the truth."""

    type: str = _key("sse", None, "sse, L1 or smooth")
    scale: float = _key(1.0, AT_LEAST_0, "factor on the gradient, not on the cost that is shown")


@dataclass(frozen=True, slots=True)
class BytepairsOptions(LayerOptions):
    """The first, if there: inputs above 256 are learned pairs of symbols (minidark's own)."""


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
    "bytepairs": BytepairsOptions,
}

Options = TypeVar("Options", NetOptions, LayerOptions)


def read_options(
    cls: type[Options],
    section: Section,
    path: Path | str | None,
    warn: Warn,
    refuse: Refuse = raise_,
) -> Options:
    """The section's values, checked. Raises CfgError at the line of a wrong value; an unknown
    key, and one that has no effect on recurrent layers, is a doubt for `warn`; but an unknown one
    of an override is an error. Where `refuse` comes back, the value is the default."""
    known = keys(cls)
    values: dict[str, Any] = {}
    for pair in section.pairs.values():
        if pair.key not in known:
            hint = _nearest_key(pair.key, known)
            said = f"unknown key {echo(pair.key)} in [{bare(section.type)}]{hint}"
            if pair.line == OVERRIDDEN:  # typed a moment ago, and for this network
                refuse(CfgError(said, path, pair.line))
            else:
                warn(Doubt("unknown-key", said), pair.line)
            continue
        if pair.key in WITHOUT_EFFECT:
            said = f"{pair.key} has no effect on [{section.type}]"
            warn(Doubt("without-effect", said), pair.line)
        try:
            values[pair.key] = _checked_value(known[pair.key], pair, path)
        except CfgError as error:
            refuse(error)
    return cls(**values)


def _nearest_key(word: str, known: Mapping[str, Key]) -> str:
    """A known key that is the last part of a longer word, `power` of `learning_rate_poly_power`; or
    else one that is spelled alike."""
    parts = word.split("_") if len(word) <= LONGEST_ECHO else []
    endings = ("_".join(parts[at:]) for at in range(1, len(parts)))
    ending = next((name for name in endings if name in known), None)
    return f" (did you mean '{ending}'?)" if ending else nearest(word, known)


def _checked_value(key: Key, pair: Pair, path: Path | str | None) -> Any:
    value = _read_value(key.kind, pair, path)
    if key.check and (complaint := key.check(value)):
        raise CfgError(f"{pair.key}={echo(pair.value)} is {complaint}", path, pair.line)
    return value


def keys(cls: type[NetOptions | LayerOptions]) -> dict[str, Key]:
    """What a section may say, by name: its own keys, then those of every layer."""
    return _keys(cls)  # type: ignore[arg-type]  # mypy takes a class for its hashless instance


@functools.cache
def _keys(cls: type[NetOptions | LayerOptions]) -> dict[str, Key]:
    types_ = typing.get_type_hints(cls)
    fields = {
        f.name: Key(f.name, types_[f.name], f.default, **f.metadata)
        for f in dataclasses.fields(cls)
    }
    shared = {f.name for f in dataclasses.fields(LayerOptions)} if cls is not NetOptions else set()
    return {n: fields[n] for n in sorted(fields, key=lambda name: name in shared)}


def _read_value(kind: Any, pair: Pair, path: Path | str | None) -> Any:
    if isinstance(kind, types.UnionType):  # int | None: the key may be left out
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        item, texts = typing.get_args(kind)[0], pair.value.split(",")
        if len(texts) > LONGEST_LIST:
            message = f"{pair.key}={echo(pair.value)} has more than {LONGEST_LIST:,} items"
            raise CfgError(message, path, pair.line)
        return tuple(_read_value(item, Pair(pair.key, text, pair.line), path) for text in texts)
    if kind is str:
        return pair.value
    read, expected = READERS[kind]
    try:
        return read(pair.value)
    except OverflowError:
        message = f"{pair.key}={echo(pair.value)} is beyond {LARGEST_INT}, darknet's largest int"
        raise CfgError(message, path, pair.line) from None
    except ValueError:
        message = f"{pair.key}={echo(pair.value)} is not {expected}"
        raise CfgError(message, path, pair.line) from None


def _read_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError
    digits = text.lstrip("+-0") or "0"  # of which a megabyte would be slow to read
    if len(digits) > 10 or int(digits) > LARGEST_INT:
        raise OverflowError
    return -int(digits) if text.startswith("-") else int(digits)


def _read_float(text: str) -> float:
    # Each digit matches in one way only: with two, as in [0-9]+[.]?[0-9]*, a megabyte of digits
    # before an x would take days to be refused.
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text):
        raise ValueError
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _read_flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError
    return text == "1"


READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (_read_int, "an integer"),
    float: (_read_float, "a number"),
    bool: (_read_flag, "0 or 1"),
}
