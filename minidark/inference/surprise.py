"""Where a network was surprised most: the symbols of a text that it held for least likely, each
between what it had read and what came next.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from minidark.data.text import Ids
from minidark.inference.valid import Reading

BEFORE, AFTER = 40, 12  # symbols of context


@dataclass(slots=True, eq=False)
class Surprise:
    """A symbol at `offset` of a text, which was expected with 2**-bits, and what was thought
    likeliest in its place, with its probability."""

    bits: float
    offset: int
    symbol: int
    likeliest: int
    probability: float
    before: Ids  # up to BEFORE symbols
    after: Ids  # up to AFTER

    def __lt__(self, other: Surprise) -> bool:
        """Less surprising; of two that are equal, the later one."""
        return (self.bits, -self.offset) < (other.bits, -other.offset)


class Worst:
    """Keeps the `most` most surprising symbols of the readings that are added."""

    def __init__(self, most: int):
        self.most = most
        self._kept: list[Surprise] = []  # a heap, the least of them first
        self._read: Ids = np.empty(0, np.intp)  # the last BEFORE symbols

    def add(self, reading: Reading) -> None:
        """The next reading, which begins where the last one ended."""
        if not self._read.size:
            self._read = np.array([reading.last])
        for kept in self._kept:
            if kept.after.size < AFTER:
                kept.after = np.concatenate([kept.after, reading.symbols])[:AFTER]
        text = np.concatenate([self._read, reading.symbols])
        bits = reading.bits
        for place in np.argsort(-bits, kind="stable")[: self.most]:
            at = self._read.size + int(place)
            likeliest = int(reading.p[place].argmax())
            found = Surprise(
                bits=float(bits[place]),
                offset=int(reading.offsets[place]),
                symbol=int(reading.symbols[place]),
                likeliest=likeliest,
                probability=float(reading.p[place, likeliest]),
                before=text[max(0, at - BEFORE) : at],
                after=text[at + 1 : at + 1 + AFTER],
            )
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, found)
            elif self._kept[0] < found:
                heapq.heapreplace(self._kept, found)
            else:
                break
        self._read = text[-BEFORE:]

    def found(self) -> list[Surprise]:
        """The most surprising first."""
        return sorted(self._kept, reverse=True)
