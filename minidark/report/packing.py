"""Compresses a layer's gates and states into text: levels, remainders, deflate, base64.

2,000 characters of three GRUs of 256 are six million numbers, and a page should stay below 3 MB.

1. Each value is rounded to one of `steps` + 1 evenly spaced levels between `low` and `high`.
2. The layer's equation predicts a state from its gates and the previous state, except for rounding:
   h of a GRU is z * h + (1 - z) * c. Only the difference is stored, modulo the number of levels. It
   takes about one bit instead of seven and loses nothing: the reader computes the same prediction
   and adds the difference.
3. The levels are stored unit by unit, one byte each, deflated (zlib's format), in base64.

The reader is `templates/unpacking.js`. It has the same `EQUATIONS`, with the same order of
operations, so that both round identically.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.inference.trace import LayerTrace

Values = npt.NDArray[np.float64]
Levels = npt.NDArray[np.intp]  # (T, H)

GATES = "zrifo"  # values between 0 and 1


@dataclass(frozen=True, slots=True)
class Scale:
    """`steps` + 1 evenly spaced levels from `low` to `high`."""

    low: float
    high: float
    steps: int

    @classmethod
    def of(cls, name: str, values: npt.NDArray[np.floating], steps: int) -> Scale:
        """The scale of some values. For a gate it is 0 to 1. Otherwise `high` is the largest
        absolute value, at least 1, and `low` is -high, or 0 if no value is negative."""
        if name in GATES:
            return cls(0.0, 1.0, steps)
        high = max(1.0, float(np.abs(values).max()))
        return cls(-high if values.min() < 0 else 0.0, high, steps)

    @property
    def step(self) -> float:
        return (self.high - self.low) / self.steps

    def levels(self, values: npt.NDArray[np.floating]) -> Levels:
        """The nearest level of each value."""
        nearest = np.floor((values.astype(np.float64) - self.low) / self.step + 0.5)
        return np.clip(nearest, 0, self.steps).astype(np.intp)

    def values(self, levels: Levels) -> Values:
        return (self.low + levels * self.step).astype(np.float64, copy=False)


def squashed(x: Values) -> Values:
    """An approximation of tanh whose rounding is the same on every machine."""
    return np.clip(x * (27 + x * x) / (27 + 9 * x * x), -1, 1)


Equation = Callable[[dict[str, Values], Values], Values]  # earlier values, and the previous step's
EQUATIONS: dict[tuple[str, str], Equation] = {
    ("gru", "h"): lambda v, before: v["z"] * before + (1 - v["z"]) * v["c"],
    ("lstm", "c"): lambda v, before: v["f"] * before + v["i"] * v["g"],
    ("lstm", "h"): lambda v, before: v["o"] * squashed(v["c"]),
    ("rnn", "s"): lambda v, before: v["input"] + v["self"],
}


@dataclass(frozen=True, slots=True)
class Packed:
    scale: Scale
    data: str  # base64


def pack(layer: LayerTrace, steps: int) -> dict[str, Packed]:
    """Compress each of the layer's gates and states. steps: at most 255."""
    packed: dict[str, Packed] = {}
    rounded: dict[str, Values] = {}  # the values that the reader will decode
    for name, values in layer.values.items():
        scale = Scale.of(name, values, steps)
        levels = scale.levels(values)
        rounded[name] = scale.values(levels)
        equation = EQUATIONS.get((layer.type, name))
        if equation and len(layer.values) > 1:  # alone, the state of an [rnn] with elman=1
            before = np.vstack([np.zeros_like(rounded[name][:1]), rounded[name][:-1]])
            levels = (levels - scale.levels(equation(rounded, before))) % (steps + 1)
        by_unit = np.ascontiguousarray(levels.T, dtype=np.uint8)
        packed[name] = Packed(scale, deflated(by_unit.tobytes()))
    return packed


def deflated(data: bytes) -> str:
    """Deflate, in base64. zlib's filtered strategy makes a page up to 8 % smaller, because numbers
    rarely repeat over long stretches."""
    deflate = zlib.compressobj(9, memLevel=9, strategy=zlib.Z_FILTERED)
    return base64.b64encode(deflate.compress(data) + deflate.flush()).decode()
