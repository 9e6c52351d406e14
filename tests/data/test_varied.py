"""Byte-pair dropout: other symbols of the same bytes, which depend on seed and epoch alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from minidark import Pairs, Text
from minidark.data.bytepairs import BytePairs, byte_pairs
from minidark.data.varied import COPIES, CUTS, varied
from minidark.training.feeds import PairsFeed, TextFeed
from tests.helpers import network

LINES = b"".join(b"banana band %d\tban\n" % n for n in range(200))
KNOWN = BytePairs([(98, 97), (256, 110), (97, 110)])  # ba, ban, an


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(LINES)
    return Pairs(path).encoded(KNOWN)


def sources(pairs: Pairs) -> list[list[int]]:
    return [pairs._symbols_of(n)[0].tolist() for n in range(len(pairs))]


def first_word(symbols: list[int]) -> tuple[int, ...]:
    return tuple(symbols[: symbols.index(ord(" "))])


def test_symbols_differ_and_spell_the_same(pairs: Pairs) -> None:
    other = varied(pairs, 0.5, seed=1, epoch=0, longest=40)
    assert sources(other) != sources(pairs)
    assert [KNOWN.decode(symbols) for symbols in sources(other)] == pairs.sources
    targets = [other._symbols_of(n)[1].tolist() for n in range(len(other))]
    assert targets == [[257]] * 200
    assert sources(pairs)[0] == KNOWN.encode(pairs.sources[0]).tolist()


def test_they_depend_on_seed_and_epoch(pairs: Pairs) -> None:
    def drawn(seed: int, epoch: int) -> list[list[int]]:
        return sources(varied(pairs, 0.5, seed, epoch, 40))

    assert drawn(1, 2) == drawn(1, 2)
    assert drawn(1, 2) != drawn(1, 3)
    assert drawn(1, 2) != drawn(2, 2)


def test_each_of_few_cuts_is_about_as_frequent(pairs: Pairs) -> None:
    found = Counter(map(first_word, sources(varied(pairs, 0.5, 1, 0, 40))))
    assert 1 < len(found) <= 1 + CUTS
    usual = first_word(sources(pairs)[0])
    assert found[usual] >= 200 / (1 + CUTS) / 2  # 40 expected, if no random cut is the usual one


def test_nothing_is_omitted_with_probability_0_and_all_with_almost_1(pairs: Pairs) -> None:
    assert sources(varied(pairs, 0.0, 1, 0, 40)) == sources(pairs)
    most = sum(map(len, sources(varied(pairs, 0.999, 1, 0, 40))))
    usual, spelled = sum(map(len, sources(pairs))), sum(map(len, pairs.sources))
    assert most == pytest.approx(usual / (1 + CUTS) + spelled * CUTS / (1 + CUTS), rel=0.05)


def test_a_pair_that_would_be_too_long_keeps_the_usual_cut(pairs: Pairs) -> None:
    longest = int(pairs.lengths().max())
    other = varied(pairs, 0.9, 1, 0, longest)
    assert other.lengths().max() == longest


CELLS = ("gru output=5 tanh=1", "connected output=259 activation=linear", "softmax")


def test_an_epoch_begins_alike_after_a_move(pairs: Pairs) -> None:
    net = network("net inputs=259 batch=3 time_steps=40", "bytepairs dropout=.4", *CELLS)
    net.layers[0].arrays()[0].value[...] = KNOWN.pairs
    one, other = (PairsFeed(pairs, net, 5, 0.1) for _ in range(2))
    passes = [one.next() for _ in range(2 * len(one.order))]
    assert len({batch.x.tobytes() for batch in passes}) > len(one.order)
    for at in (1, len(one.order) + 2):
        other.move([at // len(one.order), at % len(one.order)])
        np.testing.assert_array_equal(other.next().x, passes[at].x)


def test_validation_takes_the_usual_cut(pairs: Pairs) -> None:
    net = network("net inputs=259 batch=3 time_steps=40", "bytepairs dropout=.9", *CELLS)
    net.layers[0].arrays()[0].value[...] = KNOWN.pairs
    feed = PairsFeed(pairs, net, 5, 0.2)
    assert sources(feed.held) == sources(pairs)
    assert byte_pairs(net).encode(b"banana").tolist() == KNOWN.encode(b"banana").tolist()


def text_feed(path: Path, dropout: float, seed: int = 5) -> TextFeed:
    net = network("net inputs=259 batch=3 time_steps=40", f"bytepairs dropout={dropout}", *CELLS)
    net.layers[0].arrays()[0].value[...] = KNOWN.pairs
    with Text(path, 256) as text:
        return TextFeed(text, net, seed, 0.25)


def test_a_text_is_cut_in_several_ways(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(LINES)
    usual, other = (text_feed(path, dropout) for dropout in (0, 0.5))
    ids = other.streams.part.text.read(0, other.streams.part.size)
    part = usual.streams.part
    whole = part.text.read(part.begin, part.end)
    assert ids[: whole.size].tolist() == whole.tolist()
    assert KNOWN.decode(ids) == (1 + COPIES) * KNOWN.decode(whole)
    assert ids.size > 1.1 * (1 + COPIES) * whole.size
    assert other.size == usual.size
    assert other.epoch_passes == Fraction(ids.size, (1 + COPIES) * 3 * 40)
    held = [
        feed.held_out.text.read(feed.held_out.begin, feed.held_out.end) for feed in (usual, other)
    ]
    assert held[0].tolist() == held[1].tolist()
    again = text_feed(path, 0.5)
    assert again.streams.part.text.read(0, ids.size).tolist() == ids.tolist()
    another = text_feed(path, 0.5, seed=6)
    assert another.streams.part.text.read(0, ids.size).tolist() != ids.tolist()


def test_a_word_is_cut_as_usual_once(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, cut = Counter[bytes](), BytePairs.cut

    def counted(self: BytePairs, piece: bytes, *omits: Callable[[], bool]) -> list[int]:
        usual[piece] += not omits
        return cut(self, piece, *omits)

    monkeypatch.setattr(BytePairs, "cut", counted)
    varied(pairs, 0.5, 1, 0, 40)
    assert usual[b"banana"] == 1
