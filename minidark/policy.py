"""The learning rate, from the number of batches seen: pure functions, and a table of them.

b counts whole batches, seen / (rows * subdivisions). `seen` grows before the update, so the
first update has b = 1.

Source: darknet src/network.c (get_current_rate). Its sigmoid wraps an unsigned difference before
`step` and gives 0; here it is the formula. `cosine` is minidark's own: from the full rate after
burn_in down to zero at max_batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from minidark.cfg.options import NetOptions

Uniform = Callable[[], float]  # the next draw from U(0, 1)
Policy = Callable[[int, NetOptions, Uniform], float]


def learning_rate(batch: int, net: NetOptions, uniform: Uniform) -> float:
    """The rate at batch number `batch`; `uniform` is drawn from by the random policy only."""
    if batch < net.burn_in:
        return net.learning_rate * math.pow(batch / net.burn_in, net.power)
    try:
        return net.learning_rate * POLICIES[net.policy](batch, net, uniform)
    except OverflowError:  # as C's pow; the run then diverges, and says so
        return math.inf


def _steps(batch: int, net: NetOptions) -> float:
    reached = (scale for step, scale in zip(net.steps, net.scales, strict=True) if step <= batch)
    return math.prod(reached)


def _sigmoid(batch: int, net: NetOptions) -> float:
    exponent = net.gamma * (batch - net.step)
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0  # exp(710) overflows


def _left(batch: int, net: NetOptions) -> float:
    """The share of max_batches that is left."""
    return max(0.0, 1 - batch / net.max_batches)


def _cosine(batch: int, net: NetOptions) -> float:
    done = min(1.0, (batch - net.burn_in) / max(1, net.max_batches - net.burn_in))
    return 0.5 * (1 + math.cos(math.pi * done))


POLICIES: dict[str, Policy] = {  # each gives the factor on [net]'s learning_rate
    "constant": lambda b, net, u: 1.0,
    "step": lambda b, net, u: net.scale ** (b // net.step),
    "steps": lambda b, net, u: _steps(b, net),
    "exp": lambda b, net, u: net.gamma**b,
    "poly": lambda b, net, u: _left(b, net) ** net.power,
    "random": lambda b, net, u: u() ** net.power,
    "sigmoid": lambda b, net, u: _sigmoid(b, net),
    "cosine": lambda b, net, u: _cosine(b, net),
}
