"""The logistic function with its own cost, sigmoid cross-entropy, for multi-label truths.

    p = logistic(x);  cost = -sum(t log p + (1 - t) log(1 - p)), in nats, summed over rows

Source: darknet src/logistic_layer.c, src/blas.c (logistic_x_ent_cpu).
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from minidark.backend import Array, Scalar
from minidark.layers.activations import checked_activation
from minidark.layers.base import CostLayer, Place, truth_rows


class LogisticLayer(CostLayer):
    """`forward`: (T, S, inputs) to probabilities of the same shape."""

    type = "logistic"
    has_cost = True

    def __init__(
        self,
        batch: int,
        inputs: int,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        self.activation = checked_activation("logistic", self.backend.xp)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        y = self.activation.forward(x)
        if train:
            self.saved = y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        y: Array = self._take_saved()
        return dy * self.activation.gradient(y)

    def cost(self, y: Array, truth: Array) -> tuple[Scalar, Array]:
        xp, kernels = self.backend.xp, self.backend.kernels
        t = truth_rows(truth, y, self.backend)
        # A confident mistake costs much, but not infinitely much. As in darknet, 1 - y is coarse
        # for y near 1.
        tiny = np.finfo(y.dtype).tiny
        log_p, log_q = xp.log(xp.maximum(y, tiny)), xp.log(xp.maximum(1 - y, tiny))
        return -kernels.total(t * log_p + (1 - t) * log_q), y - t


make_logistic_layer = LogisticLayer
