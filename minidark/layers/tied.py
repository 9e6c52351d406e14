"""A fully connected layer with the weights of another one, transposed: y = act(W^T x + b).

W (O, I) belongs to a linear [connected], usually the embedding of the symbols, and this layer
scores the symbols. W is stored once. Its gradient is the sum over both uses, and it takes one step
for both. Only the biases are this layer's own.

minidark's own. Source: Press and Wolf 2016, arXiv:1608.05859; Inan et al. 2016, arXiv:1611.01462.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

from minidark.backend import Array
from minidark.layers.activations import activated, before_activation, checked_activation
from minidark.layers.affine import Affine, PackedLayer, Sublayer, one_order
from minidark.layers.base import PJREDDIE, Parameter, Place, Stored
from minidark.layers.connected import ConnectedLayer


@dataclass(slots=True)
class TiedSaved:
    x: Array  # (N, I)
    y: Array | None  # (N, O); None for the linear activation, which does not need it


@dataclass(frozen=True, slots=True)
class Tied:
    """The layer whose weights (O, I) are shared, and its number. trains: whether the other use adds
    to their gradient too, which it does not if a stopbackward between the two stops their layer."""

    layer: ConnectedLayer
    number: int
    trains: bool = True


class TiedLayer(PackedLayer):
    """`forward`: (T, S, inputs) to (T, S, outputs), which are the outputs and inputs of the layer
    whose weights it shares."""

    type = "connected"
    reads_ids = False
    by_rows = True
    created = ()
    reading = ("",)
    file_orders = one_order("")

    def __init__(
        self,
        batch: int,
        inputs: int,
        tied: Tied,
        activation: str = "logistic",
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, tied.layer.inputs, **place)
        self.tied, self.shares = tied, tied.number
        self.activation = checked_activation(activation, self.backend.xp)
        values, grads = (self.backend.zeros(self.outputs) for _ in range(2))
        self.biases = Parameter(f"{self.name}.biases", "biases", values, grads)
        # A view (outputs, inputs), so that whatever reads the weights of sublayers finds them.
        weights = Stored(f"{self.name}.weights", "weights", self.owner.weights.T)
        self.sublayers = {"": Sublayer((self.biases, weights))}

    @property
    def owner(self) -> Affine:
        """The arrays of the layer that stores the weights."""
        return self.tied.layer.affine

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        return [self.biases]

    def forward(self, x: Array, *, train: bool = False) -> Array:
        rows = x.reshape(-1, self.inputs)
        v = self.backend.kernels.gemm_nn(rows, self.owner.weights)
        y = activated(self.activation, v, self.biases.value, self.backend)
        if train:
            linear = self.activation.name == "linear"
            self.saved = TiedSaved(rows, None if linear else y)
        return y.reshape(*x.shape[:-1], self.outputs)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not self._has_cell_kernels():
            return super().frozen(ids)
        step = self.backend.kernels.AffineStep(
            self.owner.weights.T, self.biases.value, self.streams, ids, self.packs
        )
        return lambda x: self.activation.forward(step(x))

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: TiedSaved = self._take_saved()
        kernels = self.backend.kernels
        dv = dy.reshape(-1, self.outputs)
        if s.y is not None:
            dv = before_activation(self.activation, s.y, dv, self.backend)
        self.biases.grad += kernels.column_sums(dv)
        if self.tied.trains:
            kernels.gemm_tn(s.x, dv, self.owner.weights_grad)
        if not need_dx:
            return None
        dx: Array = kernels.gemm_nt(dv, self.owner.weights)
        return dx.reshape(*dy.shape[:-1], self.inputs)

    def work(self) -> int:
        return self.inputs * self.outputs
