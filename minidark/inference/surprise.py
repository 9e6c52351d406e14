"""The symbols of a text that surprised a network most, each with its context."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from minidark.data.text import Ids
from minidark.inference.valid import Reading

BEFORE, AFTER = 40, 12  # symbols of context


@dataclass(slots=True, eq=False)
class Surprise:
    """A symbol at `offset` with probability 2**-bits, and the most likely symbol there with its
    probability."""

    bits: float
    offset: int
    symbol: int
    likeliest: int
    probability: float
    before: Ids  # up to BEFORE symbols
    after: Ids  # up to AFTER

    def __lt__(self, other: Surprise) -> bool:
        """Less surprising; on a tie, later in the text."""
        return (self.bits, -self.offset) < (other.bits, -other.offset)


class Worst:
    """Collects the `most` most surprising symbols of a text."""

    def __init__(self, most: int):
        self.most = most
        self._heap: list[Surprise] = []  # a heap, the least surprising first
        self._read: Ids = np.empty(0, np.intp)  # the last BEFORE symbols

    def add(self, reading: Reading) -> None:
        """Add the next reading, which begins where the previous one ended."""
        if not self._read.size:
            self._read = np.array([reading.last])
        for surprise in self._heap:
            if surprise.after.size < AFTER:
                surprise.after = np.concatenate([surprise.after, reading.symbols])[:AFTER]
        text = np.concatenate([self._read, reading.symbols])
        bits = reading.bits
        for place in np.argsort(-bits, kind="stable")[: self.most]:
            at = self._read.size + int(place)
            likeliest = int(reading.p[place].argmax())
            candidate = Surprise(
                bits=float(bits[place]),
                offset=int(reading.offsets[place]),
                symbol=int(reading.symbols[place]),
                likeliest=likeliest,
                probability=float(reading.p[place, likeliest]),
                before=text[max(0, at - BEFORE) : at],
                after=text[at + 1 : at + 1 + AFTER],
            )
            if len(self._heap) < self.most:
                heapq.heappush(self._heap, candidate)
            elif self._heap[0] < candidate:
                heapq.heapreplace(self._heap, candidate)
            else:
                break
        self._read = text[-BEFORE:]

    def found(self) -> list[Surprise]:
        """The most surprising symbols in descending order."""
        return sorted(self._heap, reverse=True)
