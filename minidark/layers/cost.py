"""The cost layer: the distance of the output from the truth, with d = y - truth.

    type     reported cost, summed                   objective
    sse      d**2                                    half of the cost
    smooth   d**2 where |d| < 1, else 2 |d| - 1      half of the cost
    L1       |d|                                     the cost

`scale` multiplies the objective, which training minimizes, but not the reported cost.

Source: darknet src/cost_layer.c, src/blas.c (l2_cpu, l1_cpu, smooth_l1_cpu). darknet's smooth has
the wrong sign beyond |d| = 1, which is fixed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Unpack

from minidark.backend import Array, Scalar
from minidark.errors import CfgError, echo, not_one_of
from minidark.layers.base import CostLayer, Place, truth_rows


@dataclass(frozen=True, slots=True)
class CostType:
    """Elementwise functions of differences d: the reported cost and the objective's gradient.

    factor: objective / reported cost.
    """

    reported: Callable[[ModuleType, Array], Array]
    gradient: Callable[[ModuleType, Array], Array]
    factor: float


COST_TYPES = {
    "sse": CostType(lambda xp, d: d * d, lambda xp, d: d.copy(), 0.5),
    "smooth": CostType(
        lambda xp, d: xp.where(abs(d) < 1, d * d, 2 * abs(d) - 1),
        lambda xp, d: xp.clip(d, -1, 1),
        0.5,
    ),
    "L1": CostType(lambda xp, d: abs(d), lambda xp, d: xp.sign(d), 1.0),
}


class CostOfDifference(CostLayer):
    """`forward` is the identity on (T, S, inputs)."""

    type = "cost"
    has_cost = True

    def __init__(
        self,
        batch: int,
        inputs: int,
        cost_type: str = "sse",
        scale: float = 1.0,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        if cost_type not in COST_TYPES:
            raise CfgError(f"type={echo(cost_type)} is {not_one_of(cost_type, COST_TYPES)}")
        self.cost_type, self.scale = COST_TYPES[cost_type], scale

    def forward(self, x: Array, *, train: bool = False) -> Array:
        return x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        return dy

    def cost(self, y: Array, truth: Array) -> tuple[Scalar, Array]:
        xp, kernels = self.backend.xp, self.backend.kernels
        d = y - truth_rows(truth, y, self.backend)
        cost = kernels.total(self.cost_type.reported(xp, d))
        return cost, self.cost_type.gradient(xp, d) * self.scale

    def objective(self, y: Array, truth: Array) -> Scalar:
        return self.scale * self.cost_type.factor * self.cost(y, truth)[0]


make_cost_layer = CostOfDifference
