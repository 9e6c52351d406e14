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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from minidark.cfg.sections import Pair, Section, Warn
from minidark.errors import CfgError, bare, echo, nearest

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


def _key(default: Any, check: Check | None = None) -> Any:
    return field(default=default, metadata={"check": check})


AT_LEAST_1 = _in_range(1)
AT_LEAST_0 = _in_range(0)
POLICY_NAMES = ("constant", "step", "steps", "exp", "poly", "sigmoid", "random", "cosine")
WITHOUT_EFFECT = frozenset({"onlyforward", "truth", "smooth", "numload"})


@dataclass(frozen=True, slots=True)
class NetOptions:
    """[net]. `batch` is streams * subdivisions. SGD divides the summed gradient by its rows, Adam
    does not."""

    batch: int = _key(1, AT_LEAST_1)
    subdivisions: int = _key(1, AT_LEAST_1)
    time_steps: int = _key(1, AT_LEAST_1)
    inputs: int = _key(0, AT_LEAST_0)  # 0: height * width * channels
    height: int = _key(0, AT_LEAST_0)
    width: int = _key(0, AT_LEAST_0)
    channels: int = _key(0, AT_LEAST_0)
    learning_rate: float = _key(0.001, AT_LEAST_0)
    momentum: float = _key(0.9, _in_range(0, 1))
    decay: float = _key(0.0001, AT_LEAST_0)
    max_batches: int = _key(0, AT_LEAST_0)
    adam: bool = _key(False)
    B1: float = _key(0.9, _in_range(0, 1, open_high=True))
    B2: float = _key(0.999, _in_range(0, 1, open_high=True))
    eps: float = _key(1e-7, _above_0)
    policy: str = _key("constant", _one_of(*POLICY_NAMES))
    step: int = _key(1, AT_LEAST_1)
    scale: float = _key(1.0, AT_LEAST_0)
    steps: tuple[int, ...] = _key((), _ascending)
    scales: tuple[float, ...] = _key((), _none_negative)
    gamma: float = _key(1.0)
    power: float = _key(4.0, AT_LEAST_0)
    burn_in: int = _key(0, AT_LEAST_0)
    clip_norm: float = _key(0.0, AT_LEAST_0)  # longest mean gradient; 0: any (minidark's own)

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

    learning_rate: float = _key(1.0, AT_LEAST_0)  # scales [net]'s for this layer
    stopbackward: bool = _key(False)  # this layer and all below get no gradient
    dontload: bool = _key(False)  # absent from the files that are read
    dontsave: bool = _key(False)  # absent from the files that are written
    dontloadscales: bool = _key(False)  # batch-norm arrays absent from the files that are read
    onlyforward: bool = _key(False)
    truth: bool = _key(False)
    smooth: float = _key(0.0)
    numload: int = _key(0)


@dataclass(frozen=True, slots=True)
class GruOptions(LayerOptions):
    output: int = _key(1, AT_LEAST_1)
    batch_normalize: bool = _key(False)
    tanh: bool = _key(False)
    init: str = _key("darknet")
    update_bias: float = _key(0.0)


@dataclass(frozen=True, slots=True)
class LstmOptions(LayerOptions):
    output: int = _key(1, AT_LEAST_1)
    batch_normalize: bool = _key(False)
    init: str = _key("darknet")
    forget_bias: float = _key(0.0)


@dataclass(frozen=True, slots=True)
class RnnOptions(LayerOptions):
    output: int = _key(1, AT_LEAST_1)
    hidden: int | None = _key(None, AT_LEAST_1)
    activation: str = _key("logistic")
    batch_normalize: bool = _key(False)
    shortcut: bool = _key(False)
    logistic: int = _key(0, _in_range(0, 2))
    init: str = _key("darknet")


@dataclass(frozen=True, slots=True)
class ConnectedOptions(LayerOptions):
    output: int = _key(1, AT_LEAST_1)
    activation: str = _key("logistic")
    batch_normalize: bool = _key(False)


@dataclass(frozen=True, slots=True)
class SoftmaxOptions(LayerOptions):
    groups: int = _key(1, AT_LEAST_1)
    temperature: float = _key(1.0, _in_range(1e-6))
    noloss: bool = _key(False)


@dataclass(frozen=True, slots=True)
class DropoutOptions(LayerOptions):
    probability: float = _key(0.5, _in_range(0, 1, open_high=True))


@dataclass(frozen=True, slots=True)
class ActivationOptions(LayerOptions):
    activation: str = _key("linear")


@dataclass(frozen=True, slots=True)
class BatchnormOptions(LayerOptions):
    pass


@dataclass(frozen=True, slots=True)
class LogisticOptions(LayerOptions):
    pass


@dataclass(frozen=True, slots=True)
class CostOptions(LayerOptions):
    type: str = _key("sse")
    scale: float = _key(1.0, AT_LEAST_0)


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
}

Options = TypeVar("Options", NetOptions, LayerOptions)


def read_options(
    cls: type[Options], section: Section, path: Path | str | None, warn: Warn
) -> Options:
    """The section's values, checked. Raises CfgError at the line of a wrong value; an unknown
    key, and one that has no effect on recurrent layers, is a doubt for `warn`."""
    keys = _keys(cls)  # type: ignore[arg-type]  # mypy takes a class for its hashless instance
    values: dict[str, Any] = {}
    for pair in section.pairs.values():
        if pair.key not in keys:
            hint = nearest(pair.key, keys)
            warn(f"unknown key {echo(pair.key)} in [{bare(section.type)}]{hint}", pair.line)
            continue
        if pair.key in WITHOUT_EFFECT:
            warn(f"{pair.key} has no effect on [{section.type}]", pair.line)
        kind, check = keys[pair.key]
        value = _read_value(kind, pair, path)
        if check and (complaint := check(value)):
            raise CfgError(f"{pair.key}={echo(pair.value)} is {complaint}", path, pair.line)
        values[pair.key] = value
    return cls(**values)


@functools.cache
def _keys(cls: type[NetOptions | LayerOptions]) -> dict[str, tuple[Any, Check | None]]:
    """Of each key, the type of its value and its check."""
    types_ = typing.get_type_hints(cls)
    return {f.name: (types_[f.name], f.metadata["check"]) for f in dataclasses.fields(cls)}


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
    if len(text) > 11 or abs(int(text)) > LARGEST_INT:
        raise OverflowError
    return int(text)


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
