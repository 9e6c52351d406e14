"""How long a batch takes on R ranks: a model on paper, walked through layer by layer.

Each rank computes forward, then backward from the output down. As soon as a layer's gradients are
there, they are summed over all ranks behind what is still computed, one layer after another:
log2 R exchanges of the whole, each of which costs

    latency + bytes / bandwidth + bytes / addition

What is left of that when the last layer is done is waited for; then come the copies from and to the
flat buffers, and the update, which every rank makes in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """What is between two ranks, one way."""

    name: str
    latency: float  # seconds
    bandwidth: float  # bytes a second

    def exchange(self, size: int, addition: float) -> float:
        return self.latency + size / self.bandwidth + size / addition


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of one rank: seconds, and of each layer from the input on the seconds of its backward
    pass and the bytes of its gradients. addition: bytes a second that are added to others."""

    forward: float
    layers: Sequence[tuple[float, int]]
    update: float  # with the copies
    addition: float

    @property
    def computed(self) -> float:
        return self.forward + sum(seconds for seconds, _ in self.layers) + self.update

    @classmethod
    def of(
        cls, seconds: float, update: float, works: Sequence[int], sizes: Sequence[int],
        addition: float,
    ) -> Work:  # fmt: skip
        """Of a measured batch: of its `seconds`, the update's included, a third goes forward and
        the rest backward, in each layer by its multiply-adds."""
        each = (seconds - update) / sum(works)
        layers = [(each * work * 2 / 3, size) for work, size in zip(works, sizes, strict=True)]
        return cls((seconds - update) / 3, layers, update, addition)

    def times(self, factor: float) -> Work:
        """Where so much more, or less, is computed; the update is as long as before."""
        layers = [(factor * seconds, size) for seconds, size in self.layers]
        return Work(factor * self.forward, layers, self.update, self.addition)


@dataclass(frozen=True, slots=True)
class Batch:
    seconds: float
    waited: float  # of them, for sums that were not hidden


def batch(work: Work, ranks: int, link: Link) -> Batch:
    exchanges = math.log2(ranks)
    now, sent = work.forward, 0.0  # when the layer is done, and the last sum
    for seconds, size in reversed(work.layers):
        now += seconds
        sent = max(now, sent) + exchanges * link.exchange(size, work.addition)
    waited = max(0.0, sent - now) if exchanges else 0.0
    return Batch(now + waited + work.update, waited)
