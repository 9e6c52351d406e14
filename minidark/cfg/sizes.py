"""Computes the size of a layer from its options, before any array is allocated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Counts of numbers, not bytes, as Python integers, which do not overflow."""

    outputs: int
    affine: int = 0  # biases and weights
    norms: int = 0  # features, each with a scale, a rolling mean and a rolling variance
    aside: int = 0  # trained, but not stored in pjreddie's files
    untrained: int = 0  # byte pairs
    state: int = 0  # state of one stream
    kept: int = 0  # saved per row of a training pass until backward: arrays of GruSaved, ...

    @property
    def held(self) -> int:
        """Numbers in memory, without gradients."""
        return self.affine + 3 * self.norms + self.aside + self.untrained

    @property
    def trained(self) -> int:
        return self.affine + self.norms + self.aside


def sublayers(
    outputs: int, norm: bool, *shapes: tuple[int, int], state: int = 0, kept: int
) -> Size:
    """Size of sublayers (inputs, outputs)."""
    features = sum(out for _, out in shapes)
    affine = features + sum(i * out for i, out in shapes)
    return Size(outputs, affine, features if norm else 0, state=state, kept=kept)
