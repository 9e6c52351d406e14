"""Byte pairs: symbols for what often stands together, learned from a text.

The first 256 symbols are the bytes. Each further one is the pair of symbols that was the most
frequent in the text when all earlier pairs had been put together. So a symbol is a word, a part of
one or a letter, and a network that reads as many symbols has read two or three times as much text.

Pairs stay within pieces: a word with the blank before it, or what is between words. What a symbol
is does not hang on what comes after its piece, and no symbol is a part of two words.

A network with a `[bytepairs]` layer keeps its pairs there. Lengths and costs are those of
characters, that is bytes, all the same: `BytePairText` tells how many are in its symbols.

Source: Gage 1994, "A new algorithm for data compression"; Sennrich, Haddow and Birch 2016,
arXiv:1508.07909. Their pairs begin with letters, these with bytes, so that every text has symbols.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

import numpy as np

from minidark.cfg.options import BYTES
from minidark.data.text import Ids, Symbols, TextInMemory
from minidark.errors import CfgError, DataError, WeightsError
from minidark.layers.bytepairs import BytePairsLayer
from minidark.network import Network

LETTER = rb"0-9A-Za-z_'\x80-\xff"  # of UTF-8 too
PIECES = re.compile(  # a word with the blank before it, other blanks, or anything else; not longer
    rb" ?[%(l)b]{1,64}| {1,64}(?![%(l)b])|[^ %(l)b]{1,64}" % {b"l": LETTER}
)
LONGEST = 65  # bytes of a piece, and so of a symbol
LEARNED_FROM = 2**22  # bytes; more text has hardly other pairs
READ = 2**20  # bytes at a time
MOST_KEPT = 2**18  # pieces whose symbols are remembered

Pair = tuple[int, int]
Rank = tuple[int, int, int]

log = logging.getLogger(__name__)


class BytePairs:
    """Symbols for bytes, and back. pairs: the two parts of symbol 256, of symbol 257, and so on;
    without any, each byte is a symbol.

    `names` has the bytes of each symbol, and `lengths` how many these are."""

    def __init__(self, pairs: Sequence[Pair]):
        self.pairs = pairs
        self.names = [bytes([byte]) for byte in range(BYTES)]
        for a, b in pairs:
            self.names.append(self.names[a] + self.names[b])
        self.lengths = np.array([len(name) for name in self.names])
        self._numbers = {pair: BYTES + i for i, pair in enumerate(pairs)}
        self._kept: dict[bytes, list[int]] = {}

    def encode(self, data: bytes) -> Ids:
        """The symbols of a text (N,)."""
        if not self.pairs:
            return np.frombuffer(data, np.uint8).astype(np.intp)
        return np.array([s for piece in PIECES.findall(data) for s in self._piece(piece)], np.intp)

    def decode(self, symbols: Sequence[int] | Ids) -> bytes:
        """The text of symbols (N,)."""
        return b"".join(self.names[symbol] for symbol in symbols)

    def spell(self, symbols: Ids) -> Ids:
        """Their bytes, each an id."""
        return np.array([*self.decode(symbols)], np.intp) if self.pairs else symbols

    def offsets(self, symbols: Ids, begin: int) -> Ids:
        """Where each of them (N,) begins in a text, if the first does at `begin`."""
        if not self.pairs:
            return np.arange(begin, begin + symbols.size)
        lengths = self.lengths[symbols]
        offsets: Ids = begin + np.cumsum(lengths) - lengths
        return offsets

    def _piece(self, piece: bytes) -> list[int]:
        """Its symbols: pairs are put together in the order in which they were learned."""
        symbols = self._kept.get(piece)
        if symbols is None:
            symbols = [*piece]
            while found := [n for p in pairwise(symbols) if (n := self._numbers.get(p))]:
                first = min(found)
                symbols = _joined(symbols, self.pairs[first - BYTES], first)
            if len(self._kept) < MOST_KEPT:
                self._kept[piece] = symbols
        return symbols


def learn(data: bytes, count: int) -> list[Pair]:
    """The `count` pairs of a text, by the symbols that they are of. Raises DataError for a text
    that has fewer which stand in it twice."""
    frequency = Counter(PIECES.findall(data))
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
                f"this text has {len(learned)} pairs of symbols that stand in it twice or more, "
                f"not {count}; give more text, or [net] inputs={BYTES + len(learned)}"
            )
        new = BYTES + len(learned)
        learned.append(best)
        made: set[Pair] = set()  # of the new symbol: no other pair becomes more frequent
        for at in where.pop(best):  # pieces that have it, or had; those come out as they went in
            symbols, n = pieces[at]
            for pair in pairwise(symbols):
                counts[pair] -= n
            symbols = _joined(symbols, best, new)
            for pair in pairwise(symbols):
                counts[pair] += n
                where[pair].add(at)
                if new in pair:
                    made.add(pair)
            pieces[at] = symbols, n
        for pair in made:
            heappush(ranks, _rank(pair, counts))
    return learned


def _rank(pair: Pair, counts: Counter[Pair]) -> Rank:
    """What sorts pairs: the most frequent first, of those the one of the latest symbols."""
    return -counts[pair], -pair[0], -pair[1]


def _most_frequent(ranks: list[Rank], counts: Counter[Pair]) -> Pair | None:
    """Takes it from a heap of ranks; None where none stands there twice. What was once as frequent
    as the heap has it may be less so by now, and goes back in its new place: the counts of pairs
    fall, once they are made."""
    while ranks:
        count, a, b = heappop(ranks)
        pair = -a, -b
        if counts[pair] == -count:
            return pair if counts[pair] > 1 else None
        heappush(ranks, _rank(pair, counts))
    return None


def _joined(symbols: list[int], pair: Pair, number: int) -> list[int]:
    """With that pair's symbol in place of each pair, from the first on."""
    joined: list[int] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] = number
        else:
            joined.append(symbol)
    return joined


def byte_pairs(net: Network) -> BytePairs:
    """Those of a network's [bytepairs]; none without one. Raises WeightsError where they have not
    been learned, or are damaged."""
    layer = net.layers[0]
    if not isinstance(layer, BytePairsLayer):
        return BytePairs(())
    pairs = net.backend.asnumpy(layer.pairs.value)
    if not pairs.any():
        raise WeightsError(f"{layer.name} has learned no pairs; `minidark train` does")
    for number, pair in enumerate(pairs):
        if not ((pair >= 0) & (pair < BYTES + number) & (pair % 1 == 0)).all():
            raise _damaged(layer, number, f"{pair[0]:g} and {pair[1]:g}, not two symbols before it")
    known: list[Pair] = [(a, b) for a, b in pairs.astype(int).tolist()]
    lengths = [1] * BYTES
    for number, (a, b) in enumerate(known):  # before any name is made: each can be twice the last
        lengths.append(lengths[a] + lengths[b])
        if lengths[-1] > LONGEST:
            raise _damaged(layer, number, f"longer than the {LONGEST} bytes that a symbol can have")
    return BytePairs(known)


def check_symbols(
    net: Network, tokenized: bool, flag: str = "--tokenized", path: Path | str | None = None
) -> None:
    """Raise CfgError where a text of bytes, or of tokens, does not give this network's symbols.
    flag: what reads tokens; path: the cfg's, for the message."""
    if net.layers[0].gives_ids:
        if tokenized:
            raise CfgError(f"[bytepairs] learns its symbols from bytes; take out {flag}", path)
    elif net.inputs > BYTES and not tokenized:
        raise CfgError(
            f"inputs={net.inputs}, and a text of bytes has {BYTES} symbols; {flag} reads integers",
            path,
        )


def _damaged(layer: BytePairsLayer, number: int, what: str) -> WeightsError:
    return WeightsError(f"{layer.pairs.name}[{number}] is {what}; these weights are damaged")


class BytePairText(TextInMemory):
    """A text as the symbols of a network with a [bytepairs], held in memory: two or four bytes a
    symbol. What the network has not learned yet, it learns from all but the last `valid_fraction`
    of the text. Raises DataError."""

    def __init__(self, text: Symbols, net: Network, valid_fraction: float):
        learn_from(text, net, valid_fraction)
        pairs = byte_pairs(net)
        self.lengths = pairs.lengths
        kind = np.min_scalar_type(net.inputs - 1)
        pieces = [pairs.encode(data).astype(kind) for data in _bytes(text, text.size)]
        super().__init__(np.concatenate(pieces), net.inputs, text.identity())

    def characters(self, begin: int, end: int) -> int:
        return self.characters_of(self.ids[begin:end])

    def characters_of(self, symbols: Ids) -> int:
        return int(self.lengths[symbols].sum())

    def place(self, character: int) -> int:
        return int(np.searchsorted(np.cumsum(self.lengths[self.ids]), character, side="right"))


def learn_from(text: Symbols, net: Network, valid_fraction: float) -> None:
    """Fill a [bytepairs] that is empty, from all but the last `valid_fraction` of a text of bytes,
    or its first 4 MiB."""
    layer = net.layers[0]
    assert isinstance(layer, BytePairsLayer)
    if not net.backend.asnumpy(layer.pairs.value).any():
        most = text.split(valid_fraction)[0].end
        data = b"".join(_bytes(text, min(most, LEARNED_FROM)))
        count = layer.inputs - BYTES
        log.info("learning %s byte pairs from %s characters", f"{count:,}", f"{len(data):,}")
        layer.pairs.value[...] = net.backend.asarray(learn(data, count))


def _bytes(text: Symbols, end: int) -> Iterator[bytes]:
    for at in range(0, end, READ):
        yield text.read(at, min(at + READ, end)).astype(np.uint8).tobytes()
