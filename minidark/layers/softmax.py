"""Softmax, and the cross-entropy of predicting one symbol of many.

    p = exp(x / temperature) / sum, in each of `groups` equal parts of the row
    cost = -log p of the true symbol, in nats, summed over rows

As in darknet, the gradient is p - truth at any temperature, so training minimizes
temperature * cost, provided that the truth of each group sums to 1. With noloss=1, or in the middle
of a network, it is a plain layer without a cost.

With smoothing=s, training descends the cost of a softer truth: (1 - s) truth + s / O in a group of
O outputs. The reported cost stays that of the truth. darknet has no such key.

Source: darknet src/softmax_layer.c, src/blas.c (softmax_cpu, softmax_x_ent_cpu). darknet's backward
passes a gradient from above unchanged; here it is multiplied by the derivative. Label smoothing:
Szegedy et al. 2016, arXiv:1512.00567.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from minidark.backend import Array, Scalar
from minidark.errors import CfgError
from minidark.layers.base import CostLayer, Place


class SoftmaxLayer(CostLayer):
    """`forward`: (T, S, inputs) to probabilities of the same shape."""

    type = "softmax"

    def __init__(
        self,
        batch: int,
        inputs: int,
        groups: int = 1,
        *,
        temperature: float = 1.0,
        noloss: bool = False,
        smoothing: float = 0.0,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        if inputs % groups:
            raise CfgError(f"groups={groups} does not divide {inputs} inputs")
        self.groups, self.temperature, self.has_cost = groups, temperature, not noloss
        self.smoothing = smoothing

    def forward(self, x: Array, *, train: bool = False) -> Array:
        grouped = x.reshape(*x.shape[:-1], self.groups, -1)
        p: Array = self.backend.kernels.softmax(grouped, self.temperature).reshape(x.shape)
        if train:
            self.saved = p
        return p

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        p: Array = self._take_saved()
        grouped = (*p.shape[:-1], self.groups, p.shape[-1] // self.groups)
        along = (p * dy).reshape(grouped).sum(axis=-1, keepdims=True)
        return (dy.reshape(grouped) - along).reshape(p.shape) * p / self.temperature

    def cost(self, y: Array, truth: Array) -> tuple[Scalar, Array]:
        return self.backend.kernels.cross_entropy(y, truth, 1 - self.smoothing, self._rest)

    def objective(self, y: Array, truth: Array) -> Scalar:
        cost = self.cost(y, truth)[0]
        if self.smoothing:
            xp, tiny = self.backend.xp, np.finfo(y.dtype).tiny
            logs = self.backend.kernels.total(xp.log(xp.maximum(y, tiny)))
            cost = (1 - self.smoothing) * cost - self._rest * logs
        return self.temperature * cost

    @property
    def _rest(self) -> float:
        """What each output gets of the truth's share that smoothing takes away."""
        return self.smoothing * self.groups / self.outputs


make_softmax_layer = SoftmaxLayer
