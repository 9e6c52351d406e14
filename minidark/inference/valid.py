"""Measures how well a network predicts a text or pairs that it was not trained on.

`evaluate` splits part of a text into streams that run side by side, for validation during training.
`measure` reads a text as one stream, like darknet's `rnn valid`; `readings` yields the surprise of
each symbol. `evaluate_pairs` is for pairs.

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
from minidark.data.pairs import Batch, Pairs
from minidark.data.text import Ids, Part, Symbols
from minidark.errors import DataError, number_of
from minidark.inference.cache import remembering, topmost
from minidark.inference.search import read_without_outputs
from minidark.network import Network

WINDOW = 128  # steps at a time
WARM = 100  # symbols that each stream reads before it is scored
LONG = 8192  # steps of pairs that are still read in one pass
GROUP_ROWS = 1 << 16  # steps of all pairs of a group together, unless it is a single pair
MOST = 2**19  # largest number of scored symbols (5 % of 10 MiB), which bounds the time
LAST_OF_ASCII = 127
WORD_ENDS = np.array([*b" \n\t"])


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of a part that `evaluate` reads: from each of `starts` (S,), first `warm` unscored
    symbols, then `length` scored ones."""

    starts: npt.NDArray[np.intp]  # offsets in the text
    warm: int
    length: int

    @property
    def scored(self) -> int:
        """Scored symbols of all pieces."""
        return self.starts.size * self.length

    def characters(self, text: Symbols) -> int:
        """Scored characters."""
        begins = self.starts + self.warm
        return sum(text.characters(int(b), int(b) + self.length) for b in begins)

    @classmethod
    def of(cls, part: Part, streams: int = 32, most: int = MOST) -> Pieces:
        """`streams` evenly spaced pieces, or fewer if the part is short.

        Together they cover the part, except fewer than `streams` symbols at its end. If the part
        has more than `most` symbols, each piece is the first `most / streams` of its stretch:
        always the same ones, so that costs are comparable. Raises DataError for a part of fewer
        than two symbols.
        """
        if part.size < 2:
            raise DataError(f"{part.size} symbols are too few for a validation")
        streams = max(1, min(streams, part.size // (4 * WARM)))  # keeps the warm-up short
        spacing = part.size // streams
        length = min(spacing, max(2, most // streams))
        begins = part.begin + spacing * np.arange(streams)
        warm = min(WARM, int(begins[0]))
        if not warm:  # nothing precedes the first symbol of the text
            warm, length = 1, length - 1
            begins += 1
        return cls(begins - warm, warm, length)


def evaluate(net: Network, part: Part, streams: int = 32, most: int = MOST) -> float:
    """Mean cost (for a softmax, nats per character) over `part`, each symbol given those before it.
    If the part has more than `most` symbols, over evenly spread pieces of it.

    The pieces are read side by side; see `Pieces.of`. Each begins with up to WARM unscored symbols
    before it. Raises DataError for fewer than two symbols.
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
    """`nats` is the summed cost over `symbols`, those of targets and end marks, which have this
    many `characters`; `exact` of the `pairs` are predicted symbol by symbol."""

    pairs: int
    symbols: int
    characters: int
    nats: float
    exact: int


def evaluate_pairs(
    net: Network,
    pairs: Pairs,
    numbers: Ids,
    streams: int = 64,
    done: Callable[[int], None] = lambda pairs: None,
) -> PairsMeasure:
    """Evaluate the pairs with these numbers, each symbol given the true ones before it. done:
    called with the number of evaluated pairs.

    This also shows whether greedy search would write the exact target: as long as every symbol is
    right, the true symbols are the predicted ones.
    """
    pairs = pairs.encoded(byte_pairs(net))
    lengths = pairs.lengths()
    numbers = numbers[np.argsort(lengths[numbers], kind="stable")]
    one, cost = net.twin(1), 0.0
    symbols = exact = evaluated = 0
    for group in _groups(lengths[numbers], streams):
        if one.streams != len(group):
            one = net.twin(len(group))
        one.reset_state()
        batch = pairs.batch(numbers[group], len(group))
        nats, right = _measured(one, batch)
        cost += nats
        exact += int(right.all(axis=0).sum())
        symbols += batch.symbols
        evaluated += len(group)
        done(evaluated)
    characters = int(pairs.characters()[numbers].sum())
    return PairsMeasure(numbers.size, symbols, characters, cost, exact)


def _groups(lengths: npt.NDArray[np.intp], streams: int) -> Iterator[range]:
    """Ranges of up to `streams` pairs that are read side by side, of ascending lengths. The longest
    pair of a group is at most about twice as long as the shortest one, which bounds the padding,
    and a group of long pairs has fewer, which bounds the memory."""
    begin = 0
    while begin < lengths.size:
        end = min(begin + streams, lengths.size)
        within = lengths[begin:end]
        similar = within <= 2 * within[0] + WINDOW
        few = within * np.arange(1, within.size + 1) <= GROUP_ROWS
        end = begin + max(1, int(np.cumprod(similar & few).sum()))
        yield range(begin, end)
        begin = end


def _measured(one: Network, batch: Batch) -> tuple[float, npt.NDArray[np.bool_]]:
    """The summed cost of a batch, and which symbols (T, S) are right; those without a truth are.
    Long pairs are read in windows."""
    steps = len(batch.x)
    window = steps if steps <= LONG else WINDOW
    cost: Scalar = 0.0
    right = np.ones(batch.truth.shape, bool)
    for at in range(0, steps, window):
        x, truth = (ids[at : at + window] for ids in (batch.x, batch.truth))
        counted = np.nonzero(truth >= 0)
        if not counted[0].size:
            read_without_outputs(one, x)
            continue
        nats, y = one.measured(x, truth)
        cost += nats
        likeliest = one.backend.asnumpy(y.argmax(axis=-1)).reshape(-1)
        right[at : at + window][counted] = likeliest == truth[counted]
    return float(cost), right


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
    """Some symbols (N,) of a text, the `offsets` (N,) where they begin, and the probabilities p (N,
    O) predicted for each. `nats` is their summed cost, `last` the symbol before them."""

    offsets: Ids
    last: int
    symbols: Ids
    p: Array
    nats: float

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """Surprise of each symbol in bits (N,)."""
        hit = self.p[np.arange(self.symbols.size), self.symbols]
        return -np.log2(np.maximum(hit, np.finfo(hit.dtype).tiny).astype(np.float64))


def readings(
    net: Network, blocks: Iterable[Ids], seed: bytes = b"\n\n", cache: int = 0
) -> Iterator[Reading]:
    """Read `seed`, then the symbols of `blocks` in order, and score all but the first, in windows,
    so that the text need not be in memory.

    Uses one stream from zero state; leaves `net` unchanged. cache: use a cache of this many
    symbols, see `cache`. Raises DataError for fewer than two symbols.
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
        raise DataError(f"{number_of(read, 'character')}; at least two are needed")


def _remembering(one: Network, length: int) -> Callable[[Ids], Array]:
    """`forward` of ids (T, 1) with a cache."""
    read, top = remembering(one, 1, length), one.layers.index(topmost(one.layers))

    def read_on(ids: Ids) -> Array:
        y, traced = one.traced(ids)
        states = traced[top][one.layers[top].traced_state]
        for t, symbols in enumerate(ids):
            y[t] = read(symbols, y[t], states[t])
        return y

    return read_on


@dataclass(slots=True)
class Tally:
    """Sums up readings. A word ends at a space, newline or tab. A token counts as a word and as a
    character. A character is a byte; `multibyte`: some are parts of what a reader calls one."""

    pairs: BytePairs = field(default_factory=lambda: BytePairs(()))  # byte pairs of the symbols
    tokenized: bool = False
    characters: int = 0
    words: int = 1
    nats: float = 0.0
    multibyte: bool = False

    def add(self, reading: Reading) -> None:
        spelled = self.pairs.spell(reading.symbols)
        self.characters += spelled.size
        self.words += int(np.isin(spelled, WORD_ENDS).sum())
        self.nats += reading.nats
        self.multibyte |= not self.tokenized and bool(spelled.max() > LAST_OF_ASCII)

    def measure(self) -> Measure:
        words = self.characters if self.tokenized else self.words
        return Measure(self.characters, words, self.nats)


def measure(net: Network, symbols: Ids, seed: bytes = b"\n\n") -> Measure:
    """Read `seed`, then the symbols (N,); score every symbol but the first. See `readings`."""
    tally = Tally(byte_pairs(net))
    for reading in readings(net, [symbols], seed):
        tally.add(reading)
    return tally.measure()


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
