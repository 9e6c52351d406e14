"""Simulates the time of a batch on R ranks, layer by layer.

Each rank computes forward, then backward from the output down. When a layer's gradients are ready,
they are summed over all ranks, one layer after another, while the computation continues. A sum
takes log2 R exchanges of all bytes, and each exchange costs

    latency + bytes / bandwidth + bytes / addition

After the last layer, a rank waits for the remaining sums. Then it copies gradients from and to the
flat buffers, and makes the whole update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A one-way connection of two ranks."""

    name: str
    latency: float  # seconds
    bandwidth: float  # bytes per second

    def exchange(self, size: int, addition: float) -> float:
        return self.latency + size / self.bandwidth + size / addition


@dataclass(frozen=True, slots=True)
class Work:
    """A batch on one rank, in seconds.

    layers: for each layer, from the input on, the seconds of its backward pass and the bytes of its
    gradients. addition: bytes added per second.
    """

    forward: float
    layers: Sequence[tuple[float, int]]
    update: float  # including the copies
    addition: float

    @property
    def computed(self) -> float:
        return self.forward + sum(seconds for seconds, _ in self.layers) + self.update

    @classmethod
    def of(
        cls, seconds: float, update: float, works: Sequence[int], sizes: Sequence[int],
        addition: float,
    ) -> Work:  # fmt: skip
        """The work of a measured batch. seconds: including the update. A third of the rest is
        forward and two thirds are backward, shared among the layers by their multiply-adds."""
        each = (seconds - update) / sum(works)
        layers = [(each * work * 2 / 3, size) for work, size in zip(works, sizes, strict=True)]
        return cls((seconds - update) / 3, layers, update, addition)

    def times(self, factor: float) -> Work:
        """The same work with computation scaled by `factor`; the update stays the same."""
        layers = [(factor * seconds, size) for seconds, size in self.layers]
        return Work(factor * self.forward, layers, self.update, self.addition)


@dataclass(frozen=True, slots=True)
class Batch:
    seconds: float
    waited: float  # of these seconds, those spent waiting for sums


def batch(work: Work, ranks: int, link: Link) -> Batch:
    exchanges = math.log2(ranks)
    now, sent = work.forward, 0.0  # end times of the layer and of the last sum
    for seconds, size in reversed(work.layers):
        now += seconds
        sent = max(now, sent) + exchanges * link.exchange(size, work.addition)
    waited = max(0.0, sent - now) if exchanges else 0.0
    return Batch(now + waited + work.update, waited)
