"""Byte pairs: symbols for frequent sequences of bytes, learned from a text.

The first 256 symbols are the bytes. Each further symbol is the most frequent pair of symbols in the
text after all earlier pairs were merged. So a symbol is a word, part of a word or a letter, and the
same number of symbols covers two or three times as much text.

Pairs stay within pieces: a word with the space before it, or the characters between words. So the
symbols of a piece do not depend on the text after it, and no symbol spans two words.

From lines of pairs, symbols are learned within each source and each target. So no symbol contains
the separator or the line feed between them.

A network with a `[bytepairs]` layer stores its pairs there. Lengths and costs still count
characters, that is bytes: `BytePairText` has the number in its symbols.

Source: Gage 1994, "A new algorithm for data compression"; Sennrich, Haddow and Birch 2016,
arXiv:1508.07909. Their pairs start from letters; these start from bytes, so that every text has
symbols.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

import numpy as np

from minidark.cfg.options import BYTES
from minidark.data.identity import Identity
from minidark.data.text import Ids, Symbols, TextInMemory
from minidark.errors import CfgError, DataError, WeightsError
from minidark.layers.bytepairs import BytePairsLayer
from minidark.network import Network

LETTER = rb"0-9A-Za-z_'\x80-\xff"  # includes bytes of UTF-8 sequences
PIECES = re.compile(  # a word with the space before it, other spaces, or anything else
    rb" ?[%(l)b]{1,64}| {1,64}(?![%(l)b])|[^ %(l)b]{1,64}" % {b"l": LETTER}
)
LONGEST = 65  # bytes of a piece, and so of a symbol
LEARNED_FROM = 2**22  # bytes; more text hardly changes the pairs
READ = 2**20  # bytes at a time
MOST_KEPT = 2**18  # size of the cache of encoded pieces

Pair = tuple[int, int]
Rank = tuple[int, int, int]

log = logging.getLogger(__name__)


class BytePairs:
    """Converts bytes to symbols and back. pairs: the two parts of symbol 256, of symbol 257, and so
    on; without pairs, each byte is a symbol.

    `names` has the bytes of each symbol, `lengths` their number.
    """

    def __init__(self, pairs: Sequence[Pair]):
        self.pairs = pairs
        self.names = [bytes([byte]) for byte in range(BYTES)]
        for a, b in pairs:
            self.names.append(self.names[a] + self.names[b])
        self.lengths = np.array([len(name) for name in self.names])
        self._numbers = {pair: BYTES + i for i, pair in enumerate(pairs)}
        self._cache: dict[bytes, list[int]] = {}

    def encode(self, data: bytes) -> Ids:
        """The symbols (N,) of a text."""
        if not self.pairs:
            return np.frombuffer(data, np.uint8).astype(np.intp)
        return np.array([s for piece in PIECES.findall(data) for s in self._piece(piece)], np.intp)

    def decode(self, symbols: Sequence[int] | Ids) -> bytes:
        """The text of symbols (N,)."""
        return b"".join(self.names[symbol] for symbol in symbols)

    def spell(self, symbols: Ids) -> Ids:
        """The bytes of symbols, as ids."""
        return np.array([*self.decode(symbols)], np.intp) if self.pairs else symbols

    def offsets(self, symbols: Ids, begin: int) -> Ids:
        """The offset of each symbol (N,) in a text, if the first begins at `begin`."""
        if not self.pairs:
            return np.arange(begin, begin + symbols.size)
        lengths = self.lengths[symbols]
        offsets: Ids = begin + np.cumsum(lengths) - lengths
        return offsets

    def _piece(self, piece: bytes) -> list[int]:
        """The symbols of a piece, which is kept."""
        symbols = self._cache.get(piece)
        if symbols is None:
            symbols = self.cut(piece)
            if len(self._cache) < MOST_KEPT:
                self._cache[piece] = symbols
        return symbols

    def cut(self, piece: bytes, omits: Callable[[], bool] = lambda: False) -> list[int]:
        """The symbols of a piece: pairs are merged in the order in which they were learned. omits:
        called for each pair that could be merged in a step; whether the step passes it over."""
        symbols = [*piece]
        while matches := [
            n for p in pairwise(symbols) if (n := self._numbers.get(p)) and not omits()
        ]:
            first = min(matches)
            symbols = _joined(symbols, self.pairs[first - BYTES], first)
        return symbols


def learn(data: bytes, count: int) -> list[Pair]:
    """Learn `count` pairs from a text. Raises DataError if fewer pairs occur twice."""
    return learn_from_pieces(Counter(PIECES.findall(data)), count)


def learn_from_pieces(frequency: Counter[bytes], count: int) -> list[Pair]:
    """Learn `count` pairs from pieces of a text and their frequencies. Raises DataError if fewer
    pairs occur twice."""
    pieces = [([*piece], n) for piece, n in frequency.items()]
    counts: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for at, (symbols, n) in enumerate(pieces):
        for pair in pairwise(symbols):
            counts[pair] += n
            where[pair].add(at)
    ranks = [_rank(pair, counts) for pair in counts]
    heapify(ranks)
    learned: list[Pair] = []
    while len(learned) < count:
        best = _most_frequent(ranks, counts)
        if best is None:
            raise DataError(
                f"this text has only {len(learned)} pairs of symbols that occur twice, but the cfg "
                f"asks for {count}; use more text, or [net] inputs={BYTES + len(learned)}"
            )
        new = BYTES + len(learned)
        learned.append(best)
        made: set[Pair] = set()  # pairs with the new symbol; no other pair becomes more frequent
        for at in where.pop(best):  # pieces that contain the pair, or did; the latter do not change
            symbols, n = pieces[at]
            joined = _joined(symbols, best, new)
            if len(joined) == len(symbols):
                continue
            for pair in _ended(symbols, best):
                counts[pair] -= n
            for pair in pairwise(joined):
                if new in pair:
                    counts[pair] += n
                    where[pair].add(at)
                    made.add(pair)
            pieces[at] = joined, n
        for pair in made:
            heappush(ranks, _rank(pair, counts))
    return learned


def _rank(pair: Pair, counts: Counter[Pair]) -> Rank:
    """Sort key of pairs: the most frequent first, then the one of the latest symbols."""
    return -counts[pair], -pair[0], -pair[1]


def _most_frequent(ranks: list[Rank], counts: Counter[Pair]) -> Pair | None:
    """Pop the most frequent pair from a heap of ranks; None if no pair occurs twice. Counts only
    fall after a pair was added, so an outdated rank is pushed back with its new count."""
    while ranks:
        count, a, b = heappop(ranks)
        pair = -a, -b
        if counts[pair] == -count:
            return pair if counts[pair] > 1 else None
        heappush(ranks, _rank(pair, counts))
    return None


def _ended(symbols: list[int], pair: Pair) -> Iterator[Pair]:
    """The pairs that are no more when each occurrence of `pair` is joined, from the left: itself,
    and those with the symbols before and after it."""
    at, joined = 0, 0  # the end of the last occurrence
    while at < len(symbols) - 1:
        if (symbols[at], symbols[at + 1]) != pair:
            at += 1
            continue
        if at > joined:
            yield symbols[at - 1], symbols[at]
        yield pair
        at = joined = at + 2
        if at < len(symbols):
            yield symbols[at - 1], symbols[at]


def _joined(symbols: list[int], pair: Pair, number: int) -> list[int]:
    """The symbols with each occurrence of the pair replaced by its symbol, from the left."""
    joined: list[int] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] = number
        else:
            joined.append(symbol)
    return joined


def byte_pairs(net: Network) -> BytePairs:
    """The pairs of a network's [bytepairs], empty without one. Raises WeightsError if they have not
    been learned or are damaged."""
    layer = net.layers[0]
    if not isinstance(layer, BytePairsLayer):
        return BytePairs(())
    pairs = net.backend.asnumpy(layer.pairs.value)
    if not pairs.any():
        raise WeightsError(f"{layer.name} has no pairs yet; `minidark train` learns them")
    for number, pair in enumerate(pairs):
        if not ((pair >= 0) & (pair < BYTES + number) & (pair % 1 == 0)).all():
            raise _damaged(layer, number, f"{pair[0]:g} and {pair[1]:g}, not two earlier symbols")
    known: list[Pair] = [(a, b) for a, b in pairs.astype(int).tolist()]
    lengths = [1] * BYTES
    for number, (a, b) in enumerate(
        known
    ):  # checked before names are made: each can double the length
        lengths.append(lengths[a] + lengths[b])
        if lengths[-1] > LONGEST:
            raise _damaged(layer, number, f"longer than {LONGEST} bytes, the limit for a symbol")
    return BytePairs(known)


def byte_pair_dropout(net: Network) -> float:
    """The probability of omitting a pair in training; 0 without a [bytepairs]."""
    layer = net.layers[0]
    return layer.dropout if isinstance(layer, BytePairsLayer) else 0.0


def check_symbols(
    net: Network, tokenized: bool, flag: str = "--tokenized", path: Path | str | None = None
) -> None:
    """Raise CfgError if a text of bytes, or of tokens, does not match this network's symbols. flag:
    the option for tokens; path: the cfg's; both for the message."""
    if net.layers[0].gives_ids:
        if tokenized:
            raise CfgError(f"[bytepairs] learns its symbols from bytes; omit {flag}", path)
    elif net.inputs > BYTES and not tokenized:
        raise CfgError(
            f"inputs={net.inputs}, but a text of bytes has {BYTES} symbols; {flag} reads integers",
            path,
        )


def _damaged(layer: BytePairsLayer, number: int, what: str) -> WeightsError:
    return WeightsError(f"{layer.pairs.name}[{number}] is {what}; these weights are damaged")


class EncodedText(TextInMemory):
    """Symbols of byte pairs (N,), in memory: two or four bytes a symbol. cuts: its parts, in
    order."""

    def __init__(self, cuts: Iterable[Ids], byte_pairs: BytePairs, identity: Identity):
        inputs, self.lengths = len(byte_pairs.names), byte_pairs.lengths
        kind = np.min_scalar_type(inputs - 1)
        super().__init__(np.concatenate([cut.astype(kind) for cut in cuts]), inputs, identity)

    def characters(self, begin: int, end: int) -> int:
        return self.characters_of(self.ids[begin:end])

    def characters_of(self, symbols: Ids) -> int:
        return int(self.lengths[symbols].sum())

    def place(self, character: int) -> int:
        return int(np.searchsorted(np.cumsum(self.lengths[self.ids]), character, side="right"))


class BytePairText(EncodedText):
    """A text as symbols of a network with a [bytepairs]. If the network has no pairs yet, it learns
    them from all but the last `valid_fraction` of the text. Raises DataError."""

    def __init__(self, text: Symbols, net: Network, valid_fraction: float):
        learn_from(text, net, valid_fraction)
        pairs = byte_pairs(net)
        super().__init__(map(pairs.encode, _bytes(text, text.size)), pairs, text.identity())


def learn_from(text: Symbols, net: Network, valid_fraction: float) -> None:
    """Fill an empty [bytepairs] from all but the last `valid_fraction` of a text of bytes, at most
    its first 4 MiB."""
    if _is_empty(net):
        most = text.split(valid_fraction)[0].end
        data = b"".join(_bytes(text, min(most, LEARNED_FROM)))
        _fill(net, Counter(PIECES.findall(data)), len(data))


def learn_from_lines(groups: Iterable[Sequence[bytes]], net: Network) -> BytePairs:
    """The pairs of a network's [bytepairs]. If it is empty, it learns them from these groups of
    lines, such as a source and its target: from at most 4 MiB, evenly spread over the groups."""
    if _is_empty(net):
        chosen = [*groups]
        total = sum(len(line) for lines in chosen for line in lines)
        if total > LEARNED_FROM:
            count = len(chosen) * LEARNED_FROM // total
            chosen = [chosen[n * len(chosen) // count] for n in range(count)]
        learned = [line for lines in chosen for line in lines]
        pieces = Counter(piece for line in learned for piece in PIECES.findall(line))
        _fill(net, pieces, sum(map(len, learned)))
    return byte_pairs(net)


def _is_empty(net: Network) -> bool:
    """Whether the network has a [bytepairs] without pairs."""
    layer = net.layers[0]
    if not isinstance(layer, BytePairsLayer):
        return False
    return not net.backend.asnumpy(layer.pairs.value).any()


def _fill(net: Network, pieces: Counter[bytes], characters: int) -> None:
    """Learn the pairs of a [bytepairs] from the pieces of a text of this many characters."""
    layer = net.layers[0]
    assert isinstance(layer, BytePairsLayer)
    count = layer.inputs - BYTES
    log.info("learning %s byte pairs from %s characters", f"{count:,}", f"{characters:,}")
    layer.pairs.value[...] = net.backend.asarray(learn_from_pieces(pieces, count))


def _bytes(text: Symbols, end: int) -> Iterator[bytes]:
    for at in range(0, end, READ):
        yield text.read(at, min(at + READ, end)).astype(np.uint8).tobytes()
