"""The arrays of a recurrent layer in other programs' packing: the gates stacked in one array.

G gates of H units over I inputs have input weights (G H, I), state weights (G H, H) and two biases
(G H,). Programs differ in the order of the gates. A gate's letter is the last letter of minidark's
names: "z" is uz and wz. An [rnn] with elman=1 has one gate, ELMAN, with the sublayers input and
self.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidark.backend import Array
from minidark.layers.affine import PackedLayer

ELMAN = "s"
ONNX = {"gru": "zrh", "lstm": "iofg", "rnn": ELMAN}
KERAS = {"gru": "zrh", "lstm": "ifgo", "rnn": ELMAN}
TORCH = {"gru": "rzh", "lstm": "ifgo", "rnn": ELMAN}


class Packed(NamedTuple):
    """A layer's arrays in the order of a program's gates."""

    u: Array
    w: Array
    u_biases: Array | None = None
    w_biases: Array | None = None


def pack(gates: str, layer: PackedLayer) -> tuple[Array, Array, Array, Array]:
    """The arrays of a layer without batch norm, in the order of `Packed`."""
    sides = [[layer.sublayers[name] for name in names(side, gates)] for side in "uw"]
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
        for name, part, bias in zip(names(side, gates), *parts, strict=True):
            arrays[f"{name}.weights"], arrays[f"{name}.biases"] = part, bias
    return arrays


def names(side: str, gates: str) -> list[str]:
    """The sublayers of these gates that read the input (side "u") or the state ("w")."""
    if gates == ELMAN:
        return ["input" if side == "u" else "self"]
    return [side + gate for gate in gates]
