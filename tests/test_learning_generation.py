"""The measure of the benchmark on texts: windows against one symbol after another."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.learning.generation import groups, windowed
from minidark.data.bytepairs import byte_pairs
from tests.helpers import network, randomize

DATA = b"the cat sat on the mat, and the hat sat on the cat. " * 6
SIZE, DRAWN, SEED = 11, 7, 3


@pytest.mark.parametrize("pairs", [0, 4])
def test_windows_are_read_from_zero_states_and_scored_but_for_their_first_symbol(
    pairs: int,
) -> None:
    first = ("bytepairs",) if pairs else ()
    width = f"output={256 + pairs}"
    net = network(f"net inputs={256 + pairs}", *first, f"gru {width} tanh=1", "softmax")
    if pairs:
        net.layers[0].arrays()[0].value[...] = [[*pair] for pair in (b"th", b"at", b"he", b"on")]
    randomize(net.layers[1 if pairs else 0 :])
    nats, characters = 0.0, 0
    for begin in np.random.default_rng(SEED).integers(0, len(DATA) - SIZE, DRAWN):
        symbols = byte_pairs(net).encode(DATA[begin : begin + SIZE + 1])
        one = net.twin(1)
        for symbol, following in pairwise(symbols):
            p = one.predict(np.array([symbol]))[0]
            nats -= math.log(p[following])
            characters += len(byte_pairs(net).names[following])
    found = windowed(net, DATA, SIZE, SEED, DRAWN)
    assert found == pytest.approx(nats / characters, rel=1e-9)


def test_no_seed_is_in_two_ensembles() -> None:
    assert groups(1, 1) == [(1,)]
    assert groups(3, 1) == [(1,), (2,), (3,)]
    assert groups(2, 3) == [(1, 2, 3), (4, 5, 6)]
