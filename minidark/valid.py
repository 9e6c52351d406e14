"""How well a network predicts a text: its cost on symbols it did not learn from.

Two ways. `evaluate` splits a part of a text into streams that run side by side, for the
validation during training; `measure` reads a text from its beginning to its end as one stream,
as darknet's `rnn valid` does.

Source: darknet examples/rnn.c (valid_char_rnn).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minidark.backend import Scalar
from minidark.errors import DataError
from minidark.network import Network
from minidark.text import Ids, Part

WINDOW = 128  # steps at a time
WARM = 100  # symbols that each stream reads before it is scored
WORD_ENDS = np.array([*b" \n\t"])


def evaluate(net: Network, part: Part, streams: int = 32) -> float:
    """The mean cost (nats per symbol, for a softmax) over `part`, each symbol predicted from
    those before it.

    The part is cut into `streams` pieces (fewer where it is short) that are read side by side.
    Each first reads the WARM symbols before its piece, where the text has them, unscored. Fewer
    than `streams` symbols at the part's end are left out. Raises DataError for fewer than two.
    """
    if part.size < 2:
        raise DataError(f"{part.size} symbols are too few to validate on")
    streams = max(1, min(streams, part.size // (4 * WARM)))  # so that warming up stays a small part
    length = part.size // streams
    begins = part.begin + length * np.arange(streams)
    warm = min(WARM, int(begins[0]))
    starts = begins - warm
    one = net.twin(streams)
    cost: Scalar = 0.0
    for at in range(0, warm + length - 1, WINDOW):
        steps = min(WINDOW, warm + length - 1 - at)
        symbols = np.stack(
            [part.text.read(int(s), int(s) + steps + 1) for s in starts + at], axis=1
        )
        y = one.forward(symbols[:-1])
        unscored = max(0, min(steps, warm - 1 - at)) if warm else 0
        if unscored < steps:
            cost += net.cost(y[unscored:], symbols[1 + unscored :])
    predicted = length if warm else length - 1
    return float(cost) / (predicted * streams)


@dataclass(frozen=True, slots=True)
class Measure:
    """`nats` is the summed cost over `characters` predicted ones, in `words` words."""

    characters: int
    words: int
    nats: float

    @property
    def bits_per_character(self) -> float:
        return self.nats / math.log(2) / self.characters

    @property
    def perplexity(self) -> float:
        return _exp(self.nats / self.characters)

    @property
    def word_perplexity(self) -> float:
        return _exp(self.nats / self.words)


def measure(net: Network, symbols: Ids, seed: bytes = b"\n\n") -> Measure:
    """Read `seed`, then the symbols (N,); score every symbol but the first.

    One stream from zero state; `net` is left as it was. A word ends at a space, newline or tab.
    """
    if symbols.size < 2:
        raise DataError(f"{symbols.size} characters: two or more are needed to predict one")
    one = net.twin(1)
    if seed:
        one.predict(np.frombuffer(seed, dtype=np.uint8))
    nats: Scalar = 0.0
    for at in range(0, symbols.size - 1, WINDOW):
        window = symbols[at : at + WINDOW + 1, None]
        nats += net.cost(one.forward(window[:-1]), window[1:])
    words = 1 + int(np.isin(symbols[1:], WORD_ENDS).sum())
    return Measure(symbols.size - 1, words, float(nats))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
