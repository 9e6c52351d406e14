"""Layers with a state, which their cells carry from step to step."""

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
    """How the weights of a recurrent layer start and train.

    init: "darknet", the default, or "orthogonal" for the matrices that read the state.
    input_scale: how many times larger than darknet's the weights that read the input start; 1.
    dropconnect: the chance of each weight that reads the state to be zero in a training pass; 0.
    rng: draws those zeros; by default a generator of seed 0.
    rand: draws the initial weights; by default C's rand() after srand(0).
    """

    init: str
    input_scale: float
    dropconnect: float
    rng: np.random.Generator | None
    rand: GlibcRand | None


class Run(Protocol):
    """One pass over T steps, with what backward needs of it."""

    @property
    def y(self) -> Array: ...  # (T, S, O), what came out


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
        """Draw the initial weights, as `CellOptions` has them, once all sublayers are packed.

        dropconnect is minidark's own. The weights that are not dropped grow by as much as the
        dropped ones leave out. Source: Wan et al. 2013 (DropConnect); Merity, Keskar and Socher
        2017, arXiv:1708.02182, who do so with the weights that read the state.
        """
        square = [name for affine in reads_state for name in affine.sublayers]
        initialize(self, rand, init, square, [*reads_input.sublayers], input_scale)
        self.dropconnect, self.dropping = dropconnect, reads_state
        if dropconnect:
            self.rng = rng or np.random.default_rng(0)

    def _begin(self, affine: Affine, steps: int, rows: int, train: bool) -> AffinePass:
        """A pass, whose weights are those that are not left out."""
        factors = None
        if train and self.rng and affine in self.dropping:
            factors = kept(self.rng, affine.weights.shape, self.dropconnect, self.backend)
        return affine.begin(steps, rows, train, factors)

    def _takes_whole(self, steps: int) -> bool:
        """Whether the kernels take a sequence of so many steps whole. Not with a norm, whose
        statistics are each step's own; and few steps do not earn back the packing of weights."""
        fits = self.states["state"].shape[-1] <= self.backend.widest
        return fits and steps >= FEW_STEPS and not self.normalized

    @abstractmethod
    def _run(self, x: Array, train: bool) -> Run:
        """All steps of x, (T, S, I) or ids (T, S); the state goes on."""

    def forward(self, x: Array, *, train: bool = False) -> Array:
        run = self._run(x, train)
        if train:
            self.saved = run
        return run.y


def split(gates: Array, names: str) -> dict[str, Array]:
    """Gates that lie side by side, (T, S, K H), by their K one-letter names, (T, S, H) each."""
    hidden = gates.shape[-1] // len(names)
    return {name: gates[..., k * hidden : (k + 1) * hidden] for k, name in enumerate(names)}
