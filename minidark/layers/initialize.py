"""Initial weights, with darknet's random draws in darknet's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidark.backend import Array
from minidark.cfg.options import INITS
from minidark.errors import CfgError, echo, not_one_of
from minidark.glibc_rand import GlibcRand
from minidark.layers.affine import PackedLayer

UNDRAWN = GlibcRand()  # passed as `rand`, it leaves weights zero, to be filled from a file


def initialize(
    layer: PackedLayer,
    rand: GlibcRand | None,
    init: str = "darknet",
    square: Sequence[str] = (),
    input_scale: float = 1.0,
) -> None:
    """Draw the weights of every sublayer in the order of creation.

    Weights are sqrt(2 / inputs) * uniform(-1, 1), row by row. init: "orthogonal" then makes the
    sublayers named in `square` orthogonal. The weights that read the layer's input are multiplied
    by `input_scale`. rand: None is the generator after srand(0);
    UNDRAWN draws nothing. Raises CfgError for an unknown `init`.

    Source: darknet src/connected_layer.c (make_connected_layer). Orthogonal is minidark's own
    (Saxe et al. 2013, arXiv:1312.6120) and uses the same draws.
    """
    if init not in INITS:
        raise CfgError(f"init={echo(init)} is {not_one_of(init, INITS)}")
    if rand is UNDRAWN:
        return
    rand = rand or GlibcRand(0)
    for name in filter(layer.sublayers.__contains__, layer.created):
        weights = layer.sublayers[name].weights
        draws = rand.uniform(weights.size).reshape(weights.shape)
        draws *= np.float32((2.0 / weights.shape[1]) ** 0.5)
        if init == "orthogonal" and name in square:
            draws = orthogonal(draws)
        if name in layer.reading:
            draws *= np.float32(input_scale)
        weights[...] = layer.backend.asarray(draws)


def orthogonal(matrix: Array) -> Array:
    """The orthogonal factor of a square matrix, with signs fixed to make it unique."""
    q, r = np.linalg.qr(matrix.astype(np.float64))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)
