"""The cost layer: how far the output is from the truth, d = y - truth.

    type     reported cost, summed                   what is descended
    sse      d**2                                    half of it
    smooth   d**2 where |d| < 1, else 2 |d| - 1      half of it
    L1       |d|                                     that

`scale` multiplies what is descended, not what is reported.

Source: darknet src/cost_layer.c, src/blas.c (l2_cpu, l1_cpu, smooth_l1_cpu). darknet's smooth has
the wrong sign beyond |d| = 1; this one descends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidark.backend import Array, Backend
from minidark.errors import CfgError, echo
from minidark.layers.base import CostLayer, truth_rows

Reported = Callable[[Array], Array]
Gradient = Callable[[Array], Array]

COST_TYPES: dict[str, tuple[Reported, Gradient, float]] = {  # and objective / reported
    "sse": (np.square, lambda d: d.copy(), 0.5),
    "smooth": (
        lambda d: np.where(np.abs(d) < 1, d * d, 2 * np.abs(d) - 1),
        lambda d: np.clip(d, -1, 1),
        0.5,
    ),
    "L1": (np.abs, np.sign, 1.0),
}


def make_cost_layer(
    batch: int,
    inputs: int,
    cost_type: str = "sse",
    scale: float = 1.0,
    *,
    steps: int = 1,
    name: str | None = None,
    backend: Backend | None = None,
) -> CostOfDifference:
    """A cost over `batch` rows; cost_type is "sse", "smooth" or "L1"."""
    return CostOfDifference(
        batch, inputs, cost_type, scale, steps=steps, name=name, backend=backend
    )


class CostOfDifference(CostLayer):
    """`forward` is the identity on (T, S, inputs)."""

    type = "cost"

    def __init__(
        self,
        batch: int,
        inputs: int,
        cost_type: str,
        scale: float,
        *,
        steps: int,
        name: str | None,
        backend: Backend | None,
    ):
        super().__init__(batch, inputs, inputs, steps, name=name, backend=backend)
        if cost_type not in COST_TYPES:
            raise CfgError(f"type={echo(cost_type)} is not one of {', '.join(COST_TYPES)}")
        self.reported, self.gradient, self.descended = COST_TYPES[cost_type]
        self.scale = scale

    def forward(self, x: Array, *, train: bool = False) -> Array:
        return x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        return dy

    def cost(self, y: Array, truth: Array) -> tuple[float, Array]:
        d = y - truth_rows(truth, y, self.backend)
        return float(self.reported(d).sum(dtype=np.float64)), self.gradient(d) * self.scale

    def objective(self, y: Array, truth: Array) -> float:
        return self.scale * self.descended * self.cost(y, truth)[0]
