"""darknet's fourteen activations and their gradients, which are computed from the output.

Source: darknet src/activations.h and .c (`activate`, `gradient`). The values are the same, but
nothing overflows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Self

import numpy as np

from minidark.backend import RNN_ACTIVATIONS, Array, Backend
from minidark.errors import CfgError, echo, not_one_of

SELU_SCALE, SELU_ALPHA = 1.0507, 1.6732


Elementwise = Callable[[ModuleType, Array], Array]  # arguments: an array module, its array


@dataclass(frozen=True, slots=True)
class Activation:
    """`forward(x)` returns y, and `gradient(y)` returns dy/dx. Both are elementwise and do not
    change their argument."""

    name: str
    of_input: Elementwise
    of_output: Elementwise
    xp: ModuleType = np

    def forward(self, x: Array) -> Array:
        return self.of_input(self.xp, x)

    def gradient(self, y: Array) -> Array:
        return self.of_output(self.xp, y)

    def on(self, xp: ModuleType) -> Self:
        """The same activation for another module's arrays."""
        return dataclasses.replace(self, xp=xp)


def _piecewise(low: float, high: float) -> Elementwise:
    """x scaled by `low` below 0 and by `high` above."""
    return lambda xp, x: xp.where(x > 0, high * x, low * x)


def _slopes(low: float, high: float) -> Elementwise:
    return lambda xp, y: xp.where(y > 0, y.dtype.type(high), y.dtype.type(low))


def _inside(low: float, high: float, slope: float, outside: float) -> Elementwise:
    """`slope` for outputs between low and high, `outside` elsewhere."""
    return lambda xp, y: xp.where(
        (y > low) & (y < high), y.dtype.type(slope), y.dtype.type(outside)
    )


def _plse_slope(xp: ModuleType, y: Array) -> Array:
    return xp.where((y < 0) | (y > 1), y.dtype.type(0.01), y.dtype.type(0.125))


def _expm1_below(xp: ModuleType, x: Array) -> Array:
    return xp.expm1(xp.minimum(x, 0))


def _logistic(xp: ModuleType, x: Array) -> Array:
    # The gates use tanh; here small values must be accurate, because [logistic] takes their log.
    e = xp.exp(-abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


def _plse(xp: ModuleType, x: Array) -> Array:
    outer = 0.01 * (x - xp.where(x > 0, x.dtype.type(4), x.dtype.type(-4)))
    return xp.where(abs(x) > 4, xp.where(x > 0, outer + 1, outer), 0.125 * x + 0.5)


def _lhtan(xp: ModuleType, x: Array) -> Array:
    inside = xp.clip(x, 0, 1)
    return inside + 0.001 * (x - inside)


def _stair(xp: ModuleType, x: Array) -> Array:
    whole = xp.floor(x)
    return xp.where(whole % 2 == 0, xp.floor(x / 2), (x - whole) + xp.floor(x / 2))


ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("logistic", _logistic, lambda xp, y: y * (1 - y)),
        Activation("loggy", lambda xp, x: xp.tanh(x * 0.5), lambda xp, y: 0.5 * (1 - y * y)),
        Activation("relu", _piecewise(0, 1), _slopes(0, 1)),
        Activation(
            "elu",
            lambda xp, x: xp.maximum(x, 0) + _expm1_below(xp, x),
            lambda xp, y: xp.minimum(y, 0) + 1,
        ),
        Activation(
            "selu",
            lambda xp, x: SELU_SCALE * (xp.maximum(x, 0) + SELU_ALPHA * _expm1_below(xp, x)),
            lambda xp, y: xp.where(y >= 0, y.dtype.type(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA),
        ),
        Activation("relie", _piecewise(0.01, 1), _slopes(0.01, 1)),
        Activation("ramp", _piecewise(0.1, 1.1), _slopes(0.1, 1.1)),
        Activation("linear", lambda xp, x: x, lambda xp, y: xp.ones_like(y)),
        Activation("tanh", lambda xp, x: xp.tanh(x), lambda xp, y: 1 - y * y),
        Activation("plse", _plse, _plse_slope),
        Activation("leaky", _piecewise(0.1, 1), _slopes(0.1, 1)),
        Activation("stair", _stair, lambda xp, y: (xp.floor(y) != y).astype(y.dtype)),
        Activation("hardtan", lambda xp, x: xp.clip(x, -1, 1), _inside(-1, 1, 1, 0)),
        Activation("lhtan", _lhtan, _inside(0, 1, 1, 0.001)),
    )
}


# Compiled kernels compute these. Not logistic, whose small values they do not compute accurately.
COMPILED = RNN_ACTIVATIONS.keys() - {"logistic"}


def activated(activation: Activation, v: Array, biases: Array, backend: Backend) -> Array:
    """act(v + biases) for v (..., O) and biases (O,). Overwrites v."""
    if backend.fast and activation.name in COMPILED and v.flags.c_contiguous:
        backend.kernels.activate(v, biases, activation.name)
        return v
    v += biases
    return activation.forward(v)


def before_activation(activation: Activation, y: Array, dy: Array, backend: Backend) -> Array:
    """The gradient of what the activation read, from dy, that of its outputs y. For linear it is dy
    itself, so do not overwrite it."""
    if activation.name == "linear":
        return dy
    if backend.fast and activation.name in COMPILED:
        result: Array = backend.kernels.slope(y, dy, activation.name)
        return result
    return dy * activation.gradient(y)


def checked_activation(name: str, xp: ModuleType = np) -> Activation:
    """The activation of a name, for arrays of xp. Raises CfgError with the known names."""
    if name not in ACTIVATIONS:
        raise CfgError(f"activation={echo(name)} is {not_one_of(name, ACTIVATIONS)}")
    return ACTIVATIONS[name].on(xp)
