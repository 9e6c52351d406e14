"""An activation as a layer of its own.

Source: darknet src/activation_layer.c.
"""

from __future__ import annotations

from minidark.backend import Array, Backend
from minidark.layers.activations import checked_activation
from minidark.layers.base import Layer


class ActivationLayer(Layer):
    """`forward`: (T, S, inputs) to the same shape, through one of the fourteen activations."""

    type = "activation"

    def __init__(
        self,
        batch: int,
        inputs: int,
        activation: str = "linear",
        *,
        steps: int = 1,
        name: str | None = None,
        backend: Backend | None = None,
    ):
        super().__init__(batch, inputs, inputs, steps, name=name, backend=backend)
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
