"""The shortcut layer: y = act(a + b), of the outputs of the previous layer and of an earlier one.

Around other layers, this is a residual connection.

Source: darknet src/shortcut_layer.c, for images. He et al. 2015, arXiv:1512.03385.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from minidark.backend import Array
from minidark.errors import CfgError
from minidark.layers.activations import checked_activation
from minidark.layers.base import Layer, Place


class ShortcutLayer(Layer):
    """`forward`: a and b side by side, (T, S, inputs), to (T, S, inputs / 2). layers: the numbers
    of the two layers that it reads."""

    type = "shortcut"

    def __init__(
        self,
        batch: int,
        inputs: int,
        layers: Sequence[int],
        activation: str = "linear",
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs // 2, **place)
        if len(layers) != 2 or inputs % 2:
            raise CfgError(
                f"a shortcut layer adds two layers of equal width, not {len(layers)} with {inputs} "
                "outputs together"
            )
        self.reads = tuple(layers)
        self.activation = checked_activation(activation, self.backend.xp)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        y = self.activation.forward(x[..., : self.outputs] + x[..., self.outputs :])
        if train:
            self.saved = y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        y: Array = self._take_saved()
        dv = dy if self.activation.name == "linear" else dy * self.activation.gradient(y)
        dx: Array = self.backend.xp.concatenate((dv, dv), axis=-1)
        return dx


make_shortcut_layer = ShortcutLayer
