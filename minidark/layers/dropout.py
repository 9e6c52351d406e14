"""Dropout: training sets each input to zero with `probability` and scales the rest by 1 / (1 - p).

Source: darknet src/dropout_layer.c. Random numbers come from the network's generator, not rand().
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from minidark.backend import Array
from minidark.layers.base import Layer, Place, kept


class DropoutLayer(Layer):
    """`forward`: (T, S, inputs) to the same shape. Without `train` it is the identity.

    rng: the random generator (None: one with seed 0).
    """

    type = "dropout"

    def __init__(
        self,
        batch: int,
        inputs: int,
        probability: float = 0.5,
        *,
        rng: np.random.Generator | None = None,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        self.probability = probability
        self.rng: np.random.Generator = rng or np.random.default_rng(0)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        if not train:
            return x
        self.saved = kept(self.rng, x.shape, self.probability, self.backend)
        return x * self.saved

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        return dy * self._take_saved()


make_dropout_layer = DropoutLayer
