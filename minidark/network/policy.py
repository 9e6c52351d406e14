"""The learning rate as a function of the number of batches seen.

b counts complete batches, seen / (rows * subdivisions). `seen` grows before the update, so the
first update has b = 1.

Source: darknet src/network.c (get_current_rate). Its sigmoid wraps an unsigned difference before
`step` and gives 0; minidark computes the formula. `cosine` exists only in minidark: from the full
rate after burn_in down to zero at max_batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from minidark.cfg.options import NetOptions

Policy = Callable[[int, NetOptions], float]


def learning_rate(batch: int, net: NetOptions, uniform: Callable[[], float]) -> float:
    """The rate at batch number `batch`; only `random` uses `uniform`, a draw from U(0, 1)."""
    if batch < net.burn_in:
        return net.learning_rate * math.pow(batch / net.burn_in, net.power)
    if net.policy == "random":
        return net.learning_rate * uniform() ** net.power
    try:
        return net.learning_rate * POLICIES[net.policy](batch, net)
    except OverflowError:  # like C's pow; the run then diverges with an error
        return math.inf


def _steps(batch: int, net: NetOptions) -> float:
    reached = (scale for step, scale in zip(net.steps, net.scales, strict=True) if step <= batch)
    return math.prod(reached)


def _sigmoid(batch: int, net: NetOptions) -> float:
    exponent = net.gamma * (batch - net.step)
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0  # avoids overflow in exp


def _poly(batch: int, net: NetOptions) -> float:
    return max(0.0, 1 - batch / net.max_batches) ** net.power


def _cosine(batch: int, net: NetOptions) -> float:
    done = min(1.0, (batch - net.burn_in) / max(1, net.max_batches - net.burn_in))
    return 0.5 * (1 + math.cos(math.pi * done))


POLICIES: dict[str, Policy] = {  # each gives the factor on [net]'s learning_rate
    "constant": lambda batch, net: 1.0,
    "step": lambda batch, net: net.scale ** (batch // net.step),
    "steps": _steps,
    "exp": lambda batch, net: net.gamma**batch,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "cosine": _cosine,
}
