"""The arrays of a GRU or LSTM in other programs' packing: the gates stacked in one array.

G gates of H units over I inputs have input weights (G H, I), state weights (G H, H) and two biases
(G H,). Programs differ in the order of the gates. A gate's letter is the last letter of minidark's
names: "z" is uz and wz.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidark.backend import Array
from minidark.layers.affine import PackedLayer

ONNX = {"gru": "zrh", "lstm": "iofg"}
KERAS = {"gru": "zrh", "lstm": "ifgo"}
TORCH = {"gru": "rzh", "lstm": "ifgo"}


class Packed(NamedTuple):
    """A layer's arrays in the order of a program's gates."""

    u: Array
    w: Array
    u_biases: Array | None = None
    w_biases: Array | None = None


def pack(gates: str, layer: PackedLayer) -> tuple[Array, Array, Array, Array]:
    """The arrays of a layer without batch norm, in the order of `Packed`."""
    sides = [[layer.sublayers[side + gate] for gate in gates] for side in "uw"]
    u, w = (np.concatenate([part.weights for part in parts]) for parts in sides)
    u_biases, w_biases = (np.concatenate([part.biases for part in parts]) for parts in sides)
    return u, w, u_biases, w_biases


def unpack(gates: str, packed: Packed) -> dict[str, Array]:
    """The arrays by the last parts of minidark's names, such as "uz.weights". Biases of None become
    zero. Raises ValueError for arrays that do not split into the gates."""
    arrays = {}
    sides = (("u", packed.u, packed.u_biases), ("w", packed.w, packed.w_biases))
    for side, weights, biases in sides:
        biases = np.zeros(len(weights), np.float32) if biases is None else biases
        parts = (np.split(array, len(gates)) for array in (weights, biases))
        for gate, part, bias in zip(gates, *parts, strict=True):
            arrays[f"{side}{gate}.weights"], arrays[f"{side}{gate}.biases"] = part, bias
    return arrays
