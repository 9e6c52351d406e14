"""The route layer: the outputs of earlier layers side by side.

The network puts them side by side for every layer that reads several (`network.graph`), so this
layer only passes them on.

Source: darknet src/route_layer.c, for images. Outputs (T, S, F) are joined along F.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from minidark.backend import Array
from minidark.errors import CfgError
from minidark.layers.base import Layer, Place


class RouteLayer(Layer):
    """`forward` is the identity on (T, S, inputs). layers: numbers of the layers that it reads, in
    order; `inputs` is the sum of their outputs."""

    type = "route"

    def __init__(self, batch: int, inputs: int, layers: Sequence[int], **place: Unpack[Place]):
        super().__init__(batch, inputs, inputs, **place)
        if not layers:
            raise CfgError("a route layer needs at least one layer to read")
        self.reads = tuple(layers)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        return x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        return dy


make_route_layer = RouteLayer
