"""Batch norm as a separate layer, with biases, over all rows of a pass.

Source: darknet src/batchnorm_layer.c, which crashes on the CPU. Only AlexeyAB's weight files have
the biases; minidark trains them in both dialects.
"""

from __future__ import annotations

from typing import Unpack

from minidark.backend import Array
from minidark.layers.base import ALEXEY, PJREDDIE, Layer, Parameter, Place, Stored
from minidark.layers.batchnorm import BatchNorm, NormSaved


class BatchnormLayer(Layer):
    """`forward`: (T, S, inputs) to the same shape, each feature normalized over all rows."""

    type = "batchnorm"

    def __init__(
        self,
        batch: int,
        inputs: int,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        self.norm = BatchNorm(self.name, inputs, self.backend)
        self.norms = (self.norm,)
        zeros = self.backend.zeros
        self.biases = Parameter(f"{self.name}.biases", "biases", zeros(inputs), zeros(inputs))

    def forward(self, x: Array, *, train: bool = False) -> Array:
        if not train:
            return self.norm.infer(x) + self.biases.value
        rows = x.reshape(1, -1, self.inputs)  # the norm treats all rows as one step
        self.saved = self.norm.begin(1, rows.shape[1])
        y = self.norm.forward(rows, self.saved, slice(None))
        y += self.biases.value
        return y.reshape(x.shape)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: NormSaved = self._take_saved()
        rows = dy.reshape(s.normalized.shape)
        self.biases.grad += rows.sum(axis=(0, 1))
        return self.norm.backward(rows, s, slice(None)).reshape(dy.shape)

    def parameters(self) -> list[Parameter]:
        return [a for a in self.arrays() if isinstance(a, Parameter)]

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        biases: list[Stored] = [self.biases] if order == ALEXEY else []
        return [*biases, *self.norm.stored_arrays(self.name, slice(None))]

    def work(self) -> int:
        return self.inputs


make_batchnorm_layer = BatchnormLayer
