"""Byte pairs: frequent pairs of symbols become symbols themselves.

This is the network's first layer. It computes nothing and passes ids on. It stores the pairs, so
that the weight file contains them. `minidark.data.bytepairs` learns the pairs from a text, and
converts bytes to symbols and back.

minidark's own; no darknet has it.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from minidark.backend import Array
from minidark.cfg.options import BYTES
from minidark.errors import CfgError
from minidark.layers.base import PJREDDIE, Layer, Place, Stored


class BytePairsLayer(Layer):
    """`forward` returns ids (T, S) or rows (T, S, inputs) unchanged.

    Symbols below 256 are bytes. Symbol 256 + i is pair i. pairs: (inputs - 256, 2), ids of earlier
    symbols, all zero until they are learned. dropout: the probability of omitting a pair in
    training (`minidark.data.varied`).
    """

    type = "bytepairs"
    reads_ids: ClassVar[bool] = True
    gives_ids: ClassVar[bool] = True

    def __init__(
        self,
        batch: int,
        inputs: int,
        dropout: float = 0.0,
        **place: Unpack[Place],
    ):
        super().__init__(batch, inputs, inputs, **place)
        if inputs <= BYTES:
            raise CfgError(
                f"[net] inputs={inputs} leaves no symbols for pairs; it must be above {BYTES}"
            )
        self.dropout = dropout
        zeros = self.backend.zeros(inputs - BYTES, 2)
        self.pairs = Stored(f"{self.name}.pairs", "pairs", zeros)

    def forward(self, x: Array, *, train: bool = False) -> Array:
        return x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        return dy

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        return [self.pairs]


make_bytepairs_layer = BytePairsLayer
