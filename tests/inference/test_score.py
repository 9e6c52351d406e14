"""Edits, rates and classes, against their definitions."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidark import DataError, Network, Pairs, score
from minidark.inference.score import Score, ScoredPair, edits
from tests.conftest import WriteText
from tests.helpers import network, randomize

LETTERS = st.text("ab각é", max_size=6)


@given(LETTERS, LETTERS)
def test_edits_are_the_fewest(a: str, b: str) -> None:
    @functools.cache
    def fewest(i: int, j: int) -> int:
        """From the first i characters of a to the first j of b."""
        if not i or not j:
            return i + j
        return min(
            fewest(i - 1, j) + 1,
            fewest(i, j - 1) + 1,
            fewest(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    assert edits(a, b) == fewest(len(a), len(b))


def scored(*triples: tuple[str, str]) -> Score:
    """Of targets and what was predicted."""
    pairs = [
        ScoredPair(n, f"s{n}", target, predicted, edits(target, predicted))
        for n, (target, predicted) in enumerate(triples, start=1)
    ]
    return Score(pairs, 0.5, 0.5)


def test_rates_are_of_characters_and_not_of_bytes() -> None:
    found = scored(("일이삼", "일이사"), ("일", "일"), ("ab", "abcd"))
    assert found.exact == pytest.approx(1 / 3)
    assert found.character_error_rate == pytest.approx((1 + 0 + 2) / (3 + 1 + 2))


def test_the_worst_are_farthest_off_for_their_length() -> None:
    found = scored(("abcd", "abcx"), ("ab", "xy"), ("ab", "ab"), ("cd", "zz"), ("a", "xyz"))
    assert [pair.line for pair in found.worst(3)] == [5, 2, 4]
    assert [pair.line for pair in found.worst(99)] == [5, 2, 4, 1]
    assert found.worst(0) == []


def test_few_targets_that_come_again_are_classes() -> None:
    found = scored(("yes", "yes"), ("no", "yes"), ("no", "no"), ("yes", "yess"), ("no", "no"))
    assert found.classes == ["no", "yes"]
    assert found.confusion() == {"no": {"no": 2, "yes": 1}, "yes": {"yes": 1, "yess": 1}}
    assert scored(("a", "a"), ("b", "b"), ("c", "c")).classes == []
    assert scored(*[(str(n % 21), "x") for n in range(100)]).classes == []
    assert len(scored(*[(str(n % 20), "x") for n in range(100)]).classes) == 20


def make() -> Network:
    net = network(
        "net inputs=16 batch=4 time_steps=9", "gru output=5 tanh=1",
        "connected output=16 activation=linear", "softmax", dtype="float64",
    )  # fmt: skip
    randomize(net.layers)
    return net


def test_a_score_is_of_what_the_network_predicts(write_text: WriteText) -> None:
    net = make()
    pairs = Pairs(write_text(b"\x01\x02\t\x03\n\x04\t\x05\x06\n\x07\x08\x0b\t\x01\x01\x01\n"))
    found = score(net, pairs)
    nats = symbols = 0.0
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        line = [*source, ord("\t"), *target]
        y = net.twin(1).predict(np.array(line))
        for at, symbol in enumerate([*target, ord("\n")], start=len(source)):
            nats -= math.log(y[at, symbol])
            symbols += 1
    assert found.nats == pytest.approx(nats / symbols, rel=1e-12)
    assert [pair.source.encode() for pair in found.pairs] == pairs.sources
    assert [pair.line for pair in found.pairs] == [1, 2, 3]


def test_pairs_with_other_symbols_than_the_networks_are_refused(write_text: WriteText) -> None:
    with pytest.raises(
        DataError, match="line 1 contains byte 99; this network's symbols are 0 to 15"
    ):
        score(make(), Pairs(write_text(b"\x01\tc\n")))
