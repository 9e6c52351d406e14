"""Packed weights of the single steps of `steps`. Steps of the same parameters can share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.backend.compiled.half import UNIT
from minidark.backend.compiled.kernel import PANEL
from minidark.backend.compiled.products import panels_of_transposed
from minidark.backend.compiled.tile import panels
from minidark.backend.memory import empty


class Input:
    """The input's part of K gates of H units each, biases included: (S, K H).

    For ids it is a table lookup. For rows of numbers it is a product with the packs, which the
    kernel adds to the biases. Biases may cover more gates than the weights. `parts` returns the
    kernel's arguments for both kinds.
    """

    def __init__(self, weights: Array, biases: Array, gates: int, ids: bool, half: bool):
        self.ids = ids
        if ids:
            self.table = np.tile(biases, (weights.shape[1], 1))
            self.table[:, : len(weights)] += weights.T
            self.packs = np.empty((gates, 0, 0, PANEL), UNIT if half else np.float32)
        else:
            self.table = biases[None].copy()
            self.packs = panels_by_gate(np.split(weights, gates), half)

    def parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """ids (S,), the table (I, K H) or (1, K H), rows (S, I) and packs; for ids, packs are
        empty and rows unused."""
        if self.ids:
            return x, self.table, self.table, self.packs
        return np.zeros(len(x), np.intp), self.table, x, self.packs


Packs = dict[str, Any]


def once(packs: Packs | None, name: str, make: Callable[[], Any]) -> Any:
    """What is in `packs` by that name, or else what `make` returns."""
    if packs is None:
        return make()
    if name not in packs:
        packs[name] = make()
    return packs[name]


def panels_by_gate(gates: Sequence[Array], half: bool) -> Array:
    """K gates of (H, I) as (K, panels of H, I, PANEL); of units if half."""
    height, depth = gates[0].shape
    lines, kind = (-(-depth // 2), UNIT) if half else (depth, np.float32)
    packs: Array = empty((len(gates), panels(height), lines, PANEL), kind)
    for gate, packed in zip(gates, packs, strict=True):
        panels_of_transposed(gate, half, packed)
    return packs
