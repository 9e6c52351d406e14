"""How well a network predicts a text: its cost on symbols it did not learn from.

Two ways. `evaluate` splits a part of a text into streams that run side by side, for the
validation during training; `measure` reads a text from its beginning to its end as one stream,
as darknet's `rnn valid` does, and `readings` shows how surprising each symbol was. And
`evaluate_pairs` for pairs.

Source: darknet examples/rnn.c (valid_char_rnn).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from minidark.backend import Array, Scalar
from minidark.data.bytepairs import BytePairs, byte_pairs
from minidark.data.pairs import Pairs
from minidark.data.text import Ids, Part, Symbols
from minidark.errors import DataError
from minidark.inference.cache import remembering, topmost
from minidark.network import Network

WINDOW = 128  # steps at a time
WARM = 100  # symbols that each stream reads before it is scored
MOST = 2**19  # symbols that are scored, 5 % of 10 MiB: more text is not slower to validate on
WORD_ENDS = np.array([*b" \n\t"])


@dataclass(frozen=True, slots=True)
class Pieces:
    """What `evaluate` reads of a part: from each of `starts` (S,) on, `warm` symbols unscored and
    then `length` that are scored."""

    starts: npt.NDArray[np.intp]  # offsets in the text
    warm: int
    length: int

    @property
    def scored(self) -> int:
        """Symbols, over all pieces."""
        return self.starts.size * self.length

    def characters(self, text: Symbols) -> int:
        """That are scored."""
        begins = self.starts + self.warm
        return sum(text.characters(int(b), int(b) + self.length) for b in begins)

    @classmethod
    def of(cls, part: Part, streams: int = 32, most: int = MOST) -> Pieces:
        """`streams` pieces (fewer where the part is short), evenly spaced.

        Together they are the part, but for fewer than `streams` symbols at its end, or where it
        has more than `most` symbols, the first `most / streams` of each stretch: always the same
        ones, so that costs compare. Raises DataError for a part of fewer than two symbols.
        """
        if part.size < 2:
            raise DataError(f"{part.size} symbols are too few to validate on")
        streams = max(1, min(streams, part.size // (4 * WARM)))  # warming up stays a small part
        spacing = part.size // streams
        length = min(spacing, max(2, most // streams))
        begins = part.begin + spacing * np.arange(streams)
        warm = min(WARM, int(begins[0]))
        if not warm:  # the first symbol of the text has none before it to predict it from
            warm, length = 1, length - 1
            begins += 1
        return cls(begins - warm, warm, length)


def evaluate(net: Network, part: Part, streams: int = 32, most: int = MOST) -> float:
    """The mean cost (nats per character, for a softmax) over `part`, each symbol predicted from
    those before it; of a part larger than `most`, over symbols from all of it.

    The part is read in pieces, side by side; see `Pieces.of`. Each begins with the WARM symbols
    before it, where the text has them, unscored. Raises DataError for fewer than two symbols.
    """
    pieces = Pieces.of(part, streams, most)
    one = net.twin(pieces.starts.size)
    cost: Scalar = 0.0
    last = pieces.warm + pieces.length - 1
    for at in range(0, last, WINDOW):
        steps = min(WINDOW, last - at)
        symbols = np.stack(
            [part.text.read(int(s), int(s) + steps + 1) for s in pieces.starts + at], axis=1
        )
        y = one.forward(symbols[:-1])
        unscored = max(0, min(steps, pieces.warm - 1 - at))
        if unscored < steps:
            cost += net.cost(y[unscored:], symbols[1 + unscored :])
    return float(cost) / pieces.characters(part.text)


@dataclass(frozen=True, slots=True)
class PairsMeasure:
    """`nats` is the summed cost over `symbols`, those of targets and their end marks; `exact` of
    the `pairs` are predicted symbol by symbol."""

    pairs: int
    symbols: int
    nats: float
    exact: int


def evaluate_pairs(net: Network, pairs: Pairs, numbers: Ids, streams: int = 64) -> PairsMeasure:
    """Over the pairs of these numbers, each symbol predicted from the true ones before it.

    That a network would write the whole target by itself, likeliest symbol after likeliest symbol,
    is known without letting it: as long as it has written the truth, it has read the truth.
    """
    numbers = numbers[np.argsort(pairs.lengths()[numbers], kind="stable")]
    one = net.twin(min(streams, max(1, numbers.size)))
    cost: Scalar = 0.0
    symbols = exact = 0
    for at in range(0, numbers.size, one.streams):
        batch = pairs.batch(numbers[at : at + one.streams], one.streams)
        one.reset_state()
        y = one.forward(batch.x)
        cost += net.cost(y, batch.truth)
        likeliest = net.backend.asnumpy(y.argmax(axis=-1))
        right = (likeliest == batch.truth) | (batch.truth < 0)
        exact += int(right.all(axis=0)[: batch.pairs].sum())
        symbols += batch.symbols
    return PairsMeasure(numbers.size, symbols, float(cost), exact)


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


@dataclass(frozen=True, slots=True)
class Reading:
    """Some symbols (N,) of a text, the `offsets` (N,) that they begin at, and what was thought of
    each before it was seen: probabilities p (N, O). `nats` is their summed cost, `last` the symbol
    before them."""

    offsets: Ids
    last: int
    symbols: Ids
    p: Array
    nats: float

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """How surprising each symbol was (N,)."""
        hit = self.p[np.arange(self.symbols.size), self.symbols]
        return -np.log2(np.maximum(hit, np.finfo(hit.dtype).tiny).astype(np.float64))


def readings(
    net: Network, blocks: Iterable[Ids], seed: bytes = b"\n\n", cache: int = 0
) -> Iterator[Reading]:
    """Read `seed`, then the symbols of `blocks`, one after another, and score every one but the
    first, some at a time, so that a text need not be in memory.

    One stream from zero state; `net` is left as it was. cache: with a memory of so many symbols
    beside it, see `cache`. Raises DataError for fewer than two.
    """
    one, pairs = net.twin(1), byte_pairs(net)
    read_on = _remembering(one, cache) if cache else one.forward
    if seed:
        read_on(pairs.encode(seed)[:, None])
    read, begin, last = 0, 0, np.empty(0, np.intp)
    for block in blocks:
        symbols = np.concatenate([last, block])
        for at in range(0, symbols.size - 1, WINDOW):
            window = symbols[at : at + WINDOW + 1]
            y = read_on(window[:-1, None])
            nats = float(net.cost(y, window[1:, None]))
            offsets = pairs.offsets(window, begin)
            begin = int(offsets[-1])
            p = net.backend.asnumpy(y[:, 0])
            yield Reading(offsets[1:], int(window[0]), window[1:], p, nats)
        read += block.size
        last = symbols[-1:]
    if read < 2:
        raise DataError(f"{read} characters: two or more are needed to predict one")


def _remembering(one: Network, length: int) -> Callable[[Ids], Array]:
    """Its `forward` of ids (T, 1), with a cache."""
    read, top = remembering(one, 1, length), one.layers.index(topmost(one.layers))

    def read_on(ids: Ids) -> Array:
        y, shown = one.traced(ids)
        states = shown[top][one.layers[top].traced_state]
        for t, symbols in enumerate(ids):
            y[t] = read(symbols, y[t], states[t])
        return y

    return read_on


@dataclass(slots=True)
class Tally:
    """Adds readings up. A word ends at a space, newline or tab; a token is a word, and counts as a
    character."""

    pairs: BytePairs = field(default_factory=lambda: BytePairs(()))  # that the symbols are of
    tokenized: bool = False
    characters: int = 0
    words: int = 1
    nats: float = 0.0

    def add(self, reading: Reading) -> None:
        spelled = self.pairs.spell(reading.symbols)
        self.characters += spelled.size
        self.words += int(np.isin(spelled, WORD_ENDS).sum())
        self.nats += reading.nats

    def measure(self) -> Measure:
        words = self.characters if self.tokenized else self.words
        return Measure(self.characters, words, self.nats)


def measure(net: Network, symbols: Ids, seed: bytes = b"\n\n") -> Measure:
    """Read `seed`, then the symbols (N,); score every symbol but the first; see `readings`."""
    tally = Tally(byte_pairs(net))
    for reading in readings(net, [symbols], seed):
        tally.add(reading)
    return tally.measure()


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
