"""An activation as a layer of its own.

Source: darknet src/activation_layer.c.
"""

from __future__ import annotations

from typing import Unpack

from minidark.backend import Array
from minidark.layers.activations import checked_activation
from minidark.layers.base import Layer, Place


class ActivationLayer(Layer):
    """`forward`: (T, S, inputs) to the same shape. activation: one of the fourteen."""

    type = "activation"
    by_rows = True

    def __init__(
        self,
        batch: int,
        inputs: int,
        activation: str = "linear",
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        self.activation = checked_activation(activation, self.backend.xp)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        y = self.activation.forward(x)
        if train:
            self.saved = y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        y: Array = self._take_saved()
        return dy * self.activation.gradient(y)


make_activation_layer = ActivationLayer
