"""The fully connected layer: y = act(norm(W x) + b).

With batch_normalize, the statistics are over all rows of a pass: time steps and streams.

Source: darknet src/connected_layer.c (make_connected_layer, forward_, backward_).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

from minidark.backend import Array
from minidark.glibc_rand import GlibcRand
from minidark.layers.activations import activated, before_activation, checked_activation
from minidark.layers.affine import AffinePass, PackedLayer, one_order
from minidark.layers.base import Place
from minidark.layers.initialize import initialize


@dataclass(slots=True)
class ConnectedSaved:
    x: Array  # (1, N, I), or ids (1, N)
    y: Array | None  # (1, N, O); None for the linear activation, which does not need it
    affine: AffinePass


class ConnectedLayer(PackedLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs). Its only sublayer has an empty
    name: "2.connected.weights". input_scale: factor on darknet's initial weights."""

    type = "connected"
    created = ("",)
    reading = ("",)
    file_orders = one_order("")

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        activation: str = "logistic",
        batch_normalize: bool = False,
        *,
        input_scale: float = 1.0,
        rand: GlibcRand | None = None,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, outputs, **place)
        self.activation = checked_activation(activation, self.backend.xp)
        self.affine = self._pack(("",), inputs, outputs, batch_normalize)
        self.by_rows = not batch_normalize
        initialize(self, rand, input_scale=input_scale)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        steps, streams = x.shape[:2]
        rows = x.reshape(1, steps * streams, *x.shape[2:])  # the norm treats all rows as one step
        affine = self.affine.begin(1, steps * streams, train)
        v = affine.forward(rows)
        y = activated(self.activation, v, self.affine.biases, self.backend)
        if train:
            linear = self.activation.name == "linear"
            self.saved = ConnectedSaved(rows, None if linear else y, affine)
        return y.reshape(steps, streams, self.outputs)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not self._has_cell_kernels():
            return super().frozen(ids)
        step = self.backend.kernels.AffineStep(
            self.affine.weights, self.affine.biases, self.streams, ids, self.packs
        )
        return lambda x: self.activation.forward(step(x))

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: ConnectedSaved = self._take_saved()
        steps, streams = dy.shape[:2]
        dv = dy.reshape(1, steps * streams, self.outputs)
        if s.y is not None:
            dv = before_activation(self.activation, s.y, dv, self.backend)
        dx = s.affine.backward(dv) if need_dx else None
        dbiases = self.backend.kernels.column_sums(dv[0])
        s.affine.accumulate(s.x, dv, dbiases)
        return None if dx is None else dx.reshape(steps, streams, self.inputs)


make_connected_layer = ConnectedLayer
