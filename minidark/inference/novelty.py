"""Finds text that a sample copies: is the sample new, or memorised?

The longest common stretch of two texts is found by trying lengths: if they share a stretch of 40,
they share one of 39. All stretches of one length are compared at once by 64-bit hashes at every
position, built from those of single bytes by doubling: a stretch of 16 is two of 8. The larger text
is read in pieces. A match is confirmed byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.data.text import Text

Hashes = npt.NDArray[np.uint64]

PIECE = 2**19  # bytes of the larger text at a time
BASE = 0x9E3779B97F4A7C15  # odd, well-mixed bits: the golden ratio
FILTER_BITS = 16
FIRST = 8  # first length to try


@dataclass(frozen=True, slots=True)
class Copied:
    """A stretch of the sample that the text contains too. It begins at byte `begin` of the sample
    and `offset` of the text."""

    span: bytes
    begin: int
    offset: int


def longest_copied(sample: bytes, text: Text) -> Copied:
    """The longest stretch of `sample` that `text` contains, the first if there are several; empty
    if they share no byte. Takes about 30 ms per MB of text.

    Raises DataError.
    """
    symbols = np.frombuffer(sample, np.uint8)
    results: dict[int, Copied] = {0: Copied(b"", 0, 0)}

    def common(length: int) -> bool:
        if length > len(sample):
            return False
        copied = _find(symbols, text, length)
        if copied:
            results[length] = copied
        return copied is not None

    low, high = 0, FIRST  # a stretch of `low` is common, none of `high` is
    while common(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if common(middle) else (low, middle)
    return results[low]


def _find(symbols: npt.NDArray[np.uint8], text: Text, length: int) -> Copied | None:
    """The first stretch of this length in the text that the sample contains."""
    wanted = hashes(symbols, length)
    order = np.argsort(wanted, kind="stable")
    wanted = wanted[order]
    maybe = np.zeros(2**FILTER_BITS, bool)  # by a hash's first bits, to reject most positions
    maybe[wanted >> np.uint64(64 - FILTER_BITS)] = True
    for start in range(0, text.size - length + 1, PIECE):
        piece = text.read(start, min(start + PIECE + length - 1, text.size)).astype(np.uint8)
        text_hashes = hashes(piece, length)
        places = np.flatnonzero(maybe[text_hashes >> np.uint64(64 - FILTER_BITS)])
        ranks = np.searchsorted(wanted, text_hashes[places])
        ranks[ranks == wanted.size] = 0
        for hit in np.flatnonzero(wanted[ranks] == text_hashes[places]):
            at, begin = int(places[hit]), int(order[ranks[hit]])
            span = symbols[begin : begin + length].tobytes()
            if piece[at : at + length].tobytes() == span:
                return Copied(span, begin, start + at)
    return None


def hashes(symbols: npt.NDArray[np.uint8], length: int) -> Hashes:
    """Hashes modulo 2**64 of the `length` symbols from each position: (N - length + 1,)."""
    hashed: Hashes = symbols.astype(np.uint64) + np.uint64(1)
    power, factor = 1, BASE
    while 2 * power <= length:
        hashed = hashed[:-power] * np.uint64(factor) + hashed[power:]
        power, factor = 2 * power, factor * factor % 2**64
    if rest := length - power:  # two that overlap
        hashed = hashed[:-rest] * np.uint64(factor) + hashed[rest:]
    return hashed
