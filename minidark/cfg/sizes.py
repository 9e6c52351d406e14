"""How many numbers a layer takes, from its options alone, before any array is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers, not bytes, in Python's integers, which do not wrap."""

    outputs: int
    affine: int = 0  # biases and weights
    norms: int = 0  # features with a scale, a rolling mean and a rolling variance each
    aside: int = 0  # trained, but without a place in pjreddie's files
    untrained: int = 0  # byte pairs
    state: int = 0  # carried from call to call, of one stream
    kept: int = 0  # of each row of a training pass until its backward: the arrays of GruSaved, ...

    @property
    def held(self) -> int:
        """In memory, gradients aside."""
        return self.affine + 3 * self.norms + self.aside + self.untrained

    @property
    def trained(self) -> int:
        return self.affine + self.norms + self.aside


def sublayers(
    outputs: int, norm: bool, *shapes: tuple[int, int], state: int = 0, kept: int
) -> Size:
    """Of sublayers (inputs, outputs)."""
    features = sum(out for _, out in shapes)
    affine = features + sum(i * out for i, out in shapes)
    return Size(outputs, affine, features if norm else 0, state=state, kept=kept)
