"""Base of the recurrent layers, which carry a state from step to step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, TypedDict

import numpy as np

from minidark.backend import Array
from minidark.glibc_rand import GlibcRand
from minidark.layers.affine import FEW_STEPS, Affine, AffinePass, PackedLayer
from minidark.layers.base import kept
from minidark.layers.initialize import initialize


class CellOptions(TypedDict, total=False):
    """Weight initialization and DropConnect of a recurrent layer.

    init: "darknet" (default), or "orthogonal" for the matrices that read the state.
    input_scale: factor on darknet's initial weights that read the input; default 1.
    dropconnect: probability of zeroing each state weight in a training pass; default 0.
    rng: generator of the DropConnect masks; by default one with seed 0.
    rand: generator of the initial weights; by default C's rand() after srand(0).
    """

    init: str
    input_scale: float
    dropconnect: float
    rng: np.random.Generator | None
    rand: GlibcRand | None


class Run(Protocol):
    """One pass over T steps, with the arrays that backward needs."""

    @property
    def y(self) -> Array: ...  # outputs (T, S, O)


class RecurrentLayer(PackedLayer):
    """Base of the recurrent layers. `_run` serves training, inference and tracing."""

    def _start(
        self,
        reads_input: Affine,
        reads_state: tuple[Affine, ...],
        *,
        init: str = "darknet",
        input_scale: float = 1.0,
        dropconnect: float = 0.0,
        rng: np.random.Generator | None = None,
        rand: GlibcRand | None = None,
    ) -> None:
        """Draw the initial weights as set in `CellOptions`. Call it after packing all sublayers.

        dropconnect is a minidark extension. It scales the remaining weights up so that their
        expected sum is unchanged. Source: Wan et al. 2013 (DropConnect); Merity, Keskar and Socher
        2017, arXiv:1708.02182, apply it to the weights that read the state.
        """
        square = [name for affine in reads_state for name in affine.sublayers]
        self.reading = [*reads_input.sublayers]
        initialize(self, rand, init, square, input_scale)
        self.dropconnect, self.dropping = dropconnect, reads_state
        if dropconnect:
            self.rng = rng or np.random.default_rng(0)

    def _begin(self, affine: Affine, steps: int, rows: int, train: bool) -> AffinePass:
        """Start a pass, with a DropConnect mask on the weights in training."""
        factors = None
        if train and self.rng and affine in self.dropping:
            factors = kept(self.rng, affine.weights.shape, self.dropconnect, self.backend)
        return affine.begin(steps, rows, train, factors)

    def _takes_whole(self, steps: int) -> bool:
        """Whether the kernels run this many steps in one call. They do not with batch norm, which
        has statistics per step, nor for few steps, where packing the weights costs more time."""
        fits = self.states["state"].shape[-1] <= self.backend.widest
        return fits and steps >= FEW_STEPS and not self.normalized

    @abstractmethod
    def _run(self, x: Array, train: bool) -> Run:
        """Run all steps of x, (T, S, I) or ids (T, S), and update the state."""

    def forward(self, x: Array, *, train: bool = False) -> Array:
        run = self._run(x, train)
        if train:
            self.saved = run
        return run.y


def split(gates: Array, names: str) -> dict[str, Array]:
    """Split packed gates (T, S, K H) into K arrays (T, S, H), keyed by one-letter names."""
    hidden = gates.shape[-1] // len(names)
    return {name: gates[..., k * hidden : (k + 1) * hidden] for k, name in enumerate(names)}
