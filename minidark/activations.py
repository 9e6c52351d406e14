"""darknet's fourteen activations: each with its gradient, taken from the output.

Source: darknet src/activations.h and .c (`activate`, `gradient`). Nothing overflows here; the
values are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minidark.backend import Array
from minidark.errors import CfgError, echo, nearest

SELU_SCALE, SELU_ALPHA = 1.0507, 1.6732


@dataclass(frozen=True, slots=True)
class Activation:
    """`forward(x)` gives y; `gradient(y)` gives dy/dx. Both are elementwise, neither writes."""

    name: str
    forward: Callable[[Array], Array]
    gradient: Callable[[Array], Array]


def _piecewise(low: float, high: float) -> Callable[[Array], Array]:
    """x scaled by `low` below 0 and by `high` above."""
    return lambda x: np.where(x > 0, high * x, low * x)


def _slopes(low: float, high: float) -> Callable[[Array], Array]:
    return lambda y: np.where(y > 0, y.dtype.type(high), y.dtype.type(low))


def _inside(low: float, high: float, slope: float, outside: float) -> Callable[[Array], Array]:
    """`slope` for outputs between low and high, `outside` elsewhere."""
    return lambda y: np.where((y > low) & (y < high), y.dtype.type(slope), y.dtype.type(outside))


def _plse_slope(y: Array) -> Array:
    return np.where((y < 0) | (y > 1), y.dtype.type(0.01), y.dtype.type(0.125))


def _expm1_below(x: Array) -> Array:
    return np.expm1(np.minimum(x, 0))


def _logistic(x: Array) -> Array:
    # Not by tanh, as in the gates: [logistic]'s cost takes the logarithm of small values.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _plse(x: Array) -> Array:
    outer = 0.01 * (x - np.where(x > 0, x.dtype.type(4), x.dtype.type(-4)))
    return np.where(np.abs(x) > 4, np.where(x > 0, outer + 1, outer), 0.125 * x + 0.5)


def _lhtan(x: Array) -> Array:
    inside = np.clip(x, 0, 1)
    return inside + 0.001 * (x - inside)


def _stair(x: Array) -> Array:
    whole = np.floor(x)
    return np.where(whole % 2 == 0, np.floor(x / 2), (x - whole) + np.floor(x / 2))


ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("logistic", _logistic, lambda y: y * (1 - y)),
        Activation("loggy", lambda x: np.tanh(x * 0.5), lambda y: 0.5 * (1 - y * y)),
        Activation("relu", _piecewise(0, 1), _slopes(0, 1)),
        Activation(
            "elu",
            lambda x: np.maximum(x, 0) + _expm1_below(x),
            lambda y: np.minimum(y, 0) + 1,
        ),
        Activation(
            "selu",
            lambda x: SELU_SCALE * (np.maximum(x, 0) + SELU_ALPHA * _expm1_below(x)),
            lambda y: np.where(y >= 0, y.dtype.type(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA),
        ),
        Activation("relie", _piecewise(0.01, 1), _slopes(0.01, 1)),
        Activation("ramp", _piecewise(0.1, 1.1), _slopes(0.1, 1.1)),
        Activation("linear", lambda x: x, np.ones_like),
        Activation("tanh", np.tanh, lambda y: 1 - y * y),
        Activation("plse", _plse, _plse_slope),
        Activation("leaky", _piecewise(0.1, 1), _slopes(0.1, 1)),
        Activation("stair", _stair, lambda y: (np.floor(y) != y).astype(y.dtype)),
        Activation("hardtan", lambda x: np.clip(x, -1, 1), _inside(-1, 1, 1, 0)),
        Activation("lhtan", _lhtan, _inside(0, 1, 1, 0.001)),
    )
}


def checked_activation(name: str) -> Activation:
    """The activation of that name; CfgError with the known names where there is none."""
    if name not in ACTIVATIONS:
        known = f"{', '.join(ACTIVATIONS)}{nearest(name, ACTIVATIONS)}"
        raise CfgError(f"activation={echo(name)} is not one of {known}")
    return ACTIVATIONS[name]
