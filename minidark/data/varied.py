"""Byte-pair dropout: training data is cut into symbols in several ways.

With the usual cut, a rare word is one rare symbol. With others, a network learns the parts of the
word too, memorises less, and understands words that it has not seen. The sources of pairs are cut
anew in each epoch. A text is cut in 1 + COPIES ways before training, all of which stay in memory.

Source: Provilkov, Emelianenko and Voita 2020, arXiv:1910.13267 (BPE-dropout). Each step that joins
two symbols omits each pair with this probability. For speed, an epoch has at most CUTS random cuts
of a piece of text beside the usual one, and each occurrence takes one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from random import Random

import numpy as np

from minidark.data.bytepairs import PIECES, BytePairs, EncodedText
from minidark.data.pairs import Pairs
from minidark.data.text import Ids, Part

CUTS = 4  # random cuts of a piece
COPIES = 8  # random cuts of a text


def varied(pairs: Pairs, dropout: float, seed: int, epoch: int, longest: int) -> Pairs:
    """These pairs in an epoch: only the symbols of the sources differ. They depend on seed and
    epoch. A pair that would be longer than `longest` symbols keeps the usual cut."""
    rng, byte_pairs = Random((seed % 2**64 << 64) + epoch), pairs.byte_pairs
    kind = np.min_scalar_type(len(byte_pairs.names) - 1)
    sources = []
    cut = _cut(pairs.sources, byte_pairs, dropout, rng)
    for source, symbols, others in zip(pairs.sources, cut, pairs.counted(), strict=True):
        fits = symbols.size + others <= longest
        sources.append((symbols if fits else byte_pairs.encode(source)).astype(kind))
    return pairs.with_sources(sources)


class VariedText(EncodedText):
    """The training part of a text, 1 + COPIES times one after another: with the usual cut, then
    with random ones, which depend on the seed."""

    def __init__(self, part: Part, byte_pairs: BytePairs, dropout: float, seed: int):
        rng, usual = Random(seed % 2**64), part.text.read(part.begin, part.end)
        data = byte_pairs.decode(usual)
        others = (next(_cut([data], byte_pairs, dropout, rng)) for _ in range(COPIES))
        super().__init__(chain([usual], others), byte_pairs, part.text.identity())


def _cut(
    lines: Iterable[bytes], byte_pairs: BytePairs, dropout: float, rng: Random
) -> Iterator[Ids]:
    """The symbols (N,) of each line, with random cuts."""
    cuts: dict[bytes, list[list[int]]] = {}
    for line in lines:
        symbols: list[int] = []
        for piece in PIECES.findall(line):
            known = cuts.get(piece)
            if known is None:
                known = cuts[piece] = [byte_pairs.cut(piece)]
            number = int(rng.random() * (1 + CUTS))
            if number >= len(known):
                number = len(known)
                known.append(byte_pairs.cut(piece, lambda: rng.random() < dropout))
            symbols += known[number]
        yield np.array(symbols, np.intp)
