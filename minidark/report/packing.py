"""A layer's gates and states as short text: levels, what the equations leave over, deflate, base64.

2,000 characters of three GRUs of 256 are six million numbers, and a page should stay below 3 MB.

1. Each value becomes one of `steps` + 1 evenly spaced levels between `low` and `high`.
2. A state is nearly what the layer's equation makes of the gates beside it and the state before
   it: h of a GRU is z * h + (1 - z) * c, but for the rounding. Only the difference is kept,
   modulo the number of levels. It is one bit or so in place of seven, and nothing is lost by it:
   the reader computes the same and adds the difference.
3. One byte each, unit by unit, deflated (zlib's format), in base64.

The reader is `templates/look.js`: its `EQUATIONS` are those below, in the same order of
operations, so that both round alike.
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

GATES = "zrifo"  # those that are between 0 and 1 by their equations


@dataclass(frozen=True, slots=True)
class Scale:
    """Evenly spaced levels, the first at `low`, the last at `high`, `steps` apart."""

    low: float
    high: float
    steps: int

    @classmethod
    def of(cls, name: str, values: npt.NDArray[np.floating], steps: int) -> Scale:
        """0 to 1 for a gate. Else up to 1, or the largest there is, from as far below 0, or from 0
        where nothing is negative."""
        if name in GATES:
            return cls(0.0, 1.0, steps)
        high = max(1.0, float(np.abs(values).max()))
        return cls(-high if values.min() < 0 else 0.0, high, steps)

    @property
    def step(self) -> float:
        return (self.high - self.low) / self.steps

    def levels(self, values: npt.NDArray[np.floating]) -> Levels:
        """The nearest ones."""
        nearest = np.floor((values.astype(np.float64) - self.low) / self.step + 0.5)
        return np.clip(nearest, 0, self.steps).astype(np.intp)

    def values(self, levels: Levels) -> Values:
        return (self.low + levels * self.step).astype(np.float64, copy=False)


def squashed(x: Values) -> Values:
    """tanh, nearly, in operations that every machine rounds alike."""
    return np.clip(x * (27 + x * x) / (27 + 9 * x * x), -1, 1)


Equation = Callable[[dict[str, Values], Values], Values]  # values so far, and those one step before
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
    """Each of the layer's gates and states, on levels `steps` apart; 255 at most."""
    packed: dict[str, Packed] = {}
    rounded: dict[str, Values] = {}  # what the reader will have
    for name, values in layer.values.items():
        scale = Scale.of(name, values, steps)
        levels = scale.levels(values)
        rounded[name] = scale.values(levels)
        if equation := EQUATIONS.get((layer.type, name)):
            before = np.vstack([np.zeros_like(rounded[name][:1]), rounded[name][:-1]])
            levels = (levels - scale.levels(equation(rounded, before))) % (steps + 1)
        by_unit = np.ascontiguousarray(levels.T, dtype=np.uint8)
        packed[name] = Packed(scale, base64.b64encode(_deflated(by_unit.tobytes())).decode())
    return packed


def _deflated(data: bytes) -> bytes:
    """By zlib's filtered strategy: levels seldom repeat in long stretches, and a page is up to 8 %
    shorter by it."""
    deflate = zlib.compressobj(9, memLevel=9, strategy=zlib.Z_FILTERED)
    return deflate.compress(data) + deflate.flush()
