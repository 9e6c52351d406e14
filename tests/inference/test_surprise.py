"""The most surprising symbols: against all of them, sorted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark.inference.surprise import AFTER, BEFORE, Worst
from minidark.inference.valid import readings
from tests.helpers import network, randomize

SYMBOLS = 12
NET = network(f"net inputs={SYMBOLS}", "gru output=6", f"connected output={SYMBOLS} "
              "activation=linear", "softmax")  # fmt: skip
randomize(NET.layers)
TEXT = np.random.default_rng(0).integers(0, SYMBOLS, 700)


def probabilities() -> list[list[float]]:
    """Of each symbol but the first, one at a time from zero state."""
    one = NET.twin(1)
    return [one.predict(np.array([symbol]))[0].tolist() for symbol in TEXT[:-1]]


@pytest.mark.parametrize("most", [1, 5, 130, 699, 2000])
@pytest.mark.parametrize("block", [3, 64, 700])
def test_the_most_surprising_symbols_are_found_with_their_contexts(most: int, block: int) -> None:
    worst = Worst(most)
    for reading in readings(NET, [TEXT[at : at + block] for at in range(0, 700, block)], b""):
        worst.add(reading)
    p = probabilities()
    bits = [-math.log2(row[symbol]) for row, symbol in zip(p, TEXT[1:], strict=True)]
    order = sorted(range(699), key=lambda n: (-bits[n], n))[:most]
    found = worst.found()
    assert [s.offset for s in found] == [n + 1 for n in order]
    for n, surprise in zip(order, found, strict=True):
        at = n + 1
        assert surprise.bits == pytest.approx(bits[n], rel=1e-12)
        assert surprise.symbol == TEXT[at]
        assert surprise.likeliest == int(np.argmax(p[n]))
        assert surprise.probability == pytest.approx(max(p[n]), rel=1e-12)
        np.testing.assert_array_equal(surprise.before, TEXT[max(0, at - BEFORE) : at])
        np.testing.assert_array_equal(surprise.after, TEXT[at + 1 : at + 1 + AFTER])


def test_of_equal_ones_the_first_is_kept() -> None:
    even = network(f"net inputs={SYMBOLS}", f"connected output={SYMBOLS} activation=linear",
                   "softmax")  # fmt: skip
    for p in even.parameters():
        p.value[...] = 0
    worst = Worst(3)
    for reading in readings(even, [TEXT[at : at + 50] for at in range(0, 700, 50)], b""):
        worst.add(reading)
    assert [s.offset for s in worst.found()] == [1, 2, 3]
