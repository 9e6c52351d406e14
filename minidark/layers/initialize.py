"""Initial weights: darknet's draws, in darknet's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidark.backend import Array
from minidark.cfg.options import INITS
from minidark.errors import CfgError, echo, not_one_of
from minidark.glibc_rand import GlibcRand
from minidark.layers.affine import PackedLayer

UNDRAWN = GlibcRand()  # given as `rand`, it leaves the weights zero, for a file to fill


def initialize(
    layer: PackedLayer,
    rand: GlibcRand | None,
    init: str = "darknet",
    square: Sequence[str] = (),
    reading: Sequence[str] = (),
    input_scale: float = 1.0,
) -> None:
    """Draw the weights of every sublayer in the order of creation: sqrt(2 / inputs) *
    uniform(-1, 1), row by row. With "orthogonal" those named `square` are then made so; those named
    `reading`, which read the layer's input, are `input_scale` times as large.

    rand None is the generator after srand(0); with UNDRAWN, nothing is drawn.

    Source: darknet src/connected_layer.c (make_connected_layer). Orthogonal is minidark's own
    (Saxe et al. 2013, arXiv:1312.6120); it takes the same draws.
    """
    if init not in INITS:
        raise CfgError(f"init={echo(init)} is {not_one_of(init, INITS)}")
    if rand is UNDRAWN:
        return
    rand = rand or GlibcRand(0)
    for name in layer.created:
        weights = layer.sublayers[name].weights
        draws = rand.uniform(weights.size).reshape(weights.shape)
        draws *= np.float32((2.0 / weights.shape[1]) ** 0.5)
        if init == "orthogonal" and name in square:
            draws = orthogonal(draws)
        if name in reading:
            draws *= np.float32(input_scale)
        weights[...] = layer.backend.asarray(draws)


def orthogonal(matrix: Array) -> Array:
    """The orthogonal factor of a square matrix, its signs fixed so that it is unique."""
    q, r = np.linalg.qr(matrix.astype(np.float64))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)
