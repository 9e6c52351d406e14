"""The output of `darknet rnn`, line by line: valid, validtactic, vec.

Each function generates lines in darknet's formats and arithmetic (`minidark.inference.exact`); even
sums use C's float.

Source: darknet examples/rnn.c (valid_char_rnn, valid_tactic_rnn, vec_char_rnn).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from minidark.errors import DataError
from minidark.inference.exact import ExactNetwork
from minidark.network import Network

LOG2 = float(np.float32(math.log(2)))
WORD_ENDS = b" \n\t"


class FloatSum:
    """Sum of a text's log2 probabilities in C's float."""

    def __init__(self) -> None:
        self.total = np.float32(0)

    def add(self, p: np.float32) -> None:
        log = math.log(p) if p > 0 else -math.inf
        self.total = np.float32(float(self.total) + log / LOG2)

    def bits_per(self, count: int) -> float:
        return float(-self.total / np.float32(count))

    def perplexity_per(self, count: int) -> float:
        bits = self.bits_per(count)
        return 2.0**bits if bits < 1024 else math.inf


def valid_lines(
    net: Network, symbols: Iterable[int], seed: bytes, *, tokenized: bool = False
) -> Iterator[str]:
    """After `seed`, a line for each symbol except the first. tokenized: each symbol is a word."""
    one, total, words = ExactNetwork(net), FloatSum(), 1
    one.read(seed)
    for count, (current, following) in enumerate(_pairs(symbols, net), start=1):
        total.add(one.predict(current)[following])
        words = count if tokenized else words + (following in WORD_ENDS)
        yield (
            f"{count} BPC: {total.bits_per(count):4.4f}   "
            f"Perplexity: {total.perplexity_per(count):4.4f}    "
            f"Word Perplexity: {total.perplexity_per(words):4.4f}"
        )


def validtactic_lines(net: Network, symbols: Iterable[int], seed: bytes) -> Iterator[str]:
    """A line for each symbol between `>>` and a full stop at the end of a line."""
    one, total, count, words, inside = ExactNetwork(net), FloatSum(), 0, 1, False
    one.read(seed)
    for current, following in _pairs(symbols, net):
        p = one.predict(current)
        pair = bytes((current, following))
        if pair == b".\n":
            inside = False
        if not inside:
            if pair == b">>":
                inside = True
                words += 1
            continue
        count += 1
        total.add(p[following])
        yield (
            f"{count} {words} Perplexity: {total.perplexity_per(count):4.4f}    "
            f"Word Perplexity: {total.perplexity_per(words):4.4f}"
        )


def vec_lines(
    net: Network, lines: Iterable[bytes], seed: bytes, *, as_darknet: bool
) -> Iterator[bytes]:
    """For each line, the line and the first layer's output after `seed`, the line and a space.

    as_darknet: spaces and tabs of the line are dropped, a carriage return stays, and the state
    carries over from line to line, because darknet's reset does nothing on a CPU. Otherwise each
    line starts from zero state.
    """
    one = ExactNetwork(net)
    for line in lines:
        if as_darknet:
            text = bytes(c for c in line if c not in b" \t\n")
        else:
            text = line.rstrip(b"\r\n")
            one.reset_state()
        one.read(seed + text + b" ")
        yield text + "".join(f",{value:g}" for value in one.outputs[0]).encode()


def _pairs(symbols: Iterable[int], net: Network) -> Iterator[tuple[int, int]]:
    """Each symbol and the next one."""
    previous: int | None = None
    for offset, symbol in enumerate(symbols):
        if symbol >= min(net.inputs, net.outputs):
            raise DataError(
                f"byte {symbol} at offset {offset}; this network's symbols are 0 to "
                f"{min(net.inputs, net.outputs) - 1}"
            )
        if previous is not None:
            yield previous, symbol
        previous = symbol
