"""What of a text stands in another word for word: is a sample new, or learned by heart?

The longest stretch that two texts have in common is found by trying lengths: if one of 40 is
common, so is one of 39. All stretches of one length are compared at once, by 64-bit hashes of every
place, which grow from those of single bytes by doubling: a stretch of 16 is two of 8. The larger
text is read a piece at a time; what is found is compared byte by byte in the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.data.text import Text

Hashes = npt.NDArray[np.uint64]

PIECE = 2**19  # bytes of the larger text at a time
BASE = 0x9E3779B97F4A7C15  # odd, with bits everywhere: the golden ratio's
FILTER_BITS = 16
FIRST = 8  # the length that is tried first


@dataclass(frozen=True, slots=True)
class Copied:
    """A stretch of `sample` that stands in the text too: from `begin` in the sample and from
    `offset` in the text on, in bytes."""

    span: bytes
    begin: int
    offset: int


def longest_copied(sample: bytes, text: Text) -> Copied:
    """The longest stretch of `sample` that stands in `text`, the first of the longest there; an
    empty one where they share no byte. Takes some 30 ms for each MB of the text.

    Raises DataError.
    """
    symbols = np.frombuffer(sample, np.uint8)
    found: dict[int, Copied] = {0: Copied(b"", 0, 0)}

    def common(length: int) -> bool:
        if length > len(sample):
            return False
        copied = _find(symbols, text, length)
        if copied:
            found[length] = copied
        return copied is not None

    low, high = 0, FIRST  # one of `low` is common, and none of `high`
    while common(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if common(middle) else (low, middle)
    return found[low]


def _find(symbols: npt.NDArray[np.uint8], text: Text, length: int) -> Copied | None:
    """The first stretch of that length in the text that is one of the sample's."""
    wanted = hashes(symbols, length)
    order = np.argsort(wanted, kind="stable")
    wanted = wanted[order]
    maybe = np.zeros(2**FILTER_BITS, bool)  # by a hash's first bits: most places are none
    maybe[wanted >> np.uint64(64 - FILTER_BITS)] = True
    for start in range(0, text.size - length + 1, PIECE):
        piece = text.read(start, min(start + PIECE + length - 1, text.size)).astype(np.uint8)
        there = hashes(piece, length)
        places = np.flatnonzero(maybe[there >> np.uint64(64 - FILTER_BITS)])
        ranks = np.searchsorted(wanted, there[places])
        ranks[ranks == wanted.size] = 0
        for hit in np.flatnonzero(wanted[ranks] == there[places]):
            at, begin = int(places[hit]), int(order[ranks[hit]])
            span = symbols[begin : begin + length].tobytes()
            if piece[at : at + length].tobytes() == span:
                return Copied(span, begin, start + at)
    return None


def hashes(symbols: npt.NDArray[np.uint8], length: int) -> Hashes:
    """Of the `length` symbols from every place on, modulo 2**64: (N - length + 1,)."""
    hashed: Hashes = symbols.astype(np.uint64) + np.uint64(1)
    power, factor = 1, BASE
    while 2 * power <= length:
        hashed = hashed[:-power] * np.uint64(factor) + hashed[power:]
        power, factor = 2 * power, factor * factor % 2**64
    if rest := length - power:  # two that overlap
        hashed = hashed[:-rest] * np.uint64(factor) + hashed[rest:]
    return hashed
