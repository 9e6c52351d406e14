"""What a cache expects, against loops over all that was read; and who reads with one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark import BackendError, CfgError, DataError, Network
from minidark.backend import Array
from minidark.inference.cache import Cache
from minidark.inference.generate import Sampler, generate, sample, sample_many
from minidark.inference.valid import Reading, readings
from tests import stand_in
from tests.helpers import network, randomize

SYMBOLS = 9
LENGTH = 7
SEED = b"\x01\x02"
TEXT = np.random.default_rng(2).integers(0, 4, 40)
LAYERS = ["gru output=5 tanh=1", "lstm output=5", "rnn output=5 hidden=6 activation=tanh"]


def make(layer: str = LAYERS[0]) -> Network:
    below = "gru output=6 tanh=1"  # whose state is not the one to remember by
    end = (f"connected output={SYMBOLS} activation=linear", "softmax")
    net = network(f"net inputs={SYMBOLS}", below, layer, *end)
    randomize(net.layers)
    return net


def by_loops(net: Network, symbols: list[int], length: int) -> list[list[float]]:
    """The probabilities after each symbol."""
    one, past, expected = net.twin(1), [], []
    state: list[float] = []
    for symbol in symbols:
        if state:
            past.append((state, symbol))
        p = one.predict(np.array([symbol]))[0].tolist()
        state = one.layers[1].states["state"][0].tolist()
        weight = [0.0] * SYMBOLS
        for other, followed in past[-length:]:
            dot = sum(a * b for a, b in zip(state, other, strict=True))
            cosine = dot / math.hypot(*state) / math.hypot(*other)
            weight[followed] += math.exp(16 * (cosine - 1))
        if any(weight):
            p = [0.8 * a + 0.2 * b / sum(weight) for a, b in zip(p, weight, strict=True)]
        expected.append(p)
    return expected


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("length", [1, LENGTH, 1000])
def test_a_text_is_read_with_what_it_has_said_before(layer: str, length: int) -> None:
    net = make(layer)
    found: list[Reading] = [*readings(net, [TEXT[:11], TEXT[11:]], SEED, length)]
    wanted = by_loops(net, [*SEED, *TEXT.tolist()], length)[len(SEED) : -1]
    np.testing.assert_allclose(np.concatenate([r.p for r in found]), wanted, rtol=1e-9)
    nats = -sum(math.log(p[s]) for p, s in zip(wanted, TEXT[1:], strict=True))
    assert sum(r.nats for r in found) == pytest.approx(nats, rel=1e-9)


def test_a_name_is_expected_once_it_has_been_read() -> None:
    net, name = make(), [5, 8, 6, 7]  # symbols of which the text has no other
    text = np.array([*TEXT[:20], *name, *TEXT[:20], *name])
    without, remembered = (sum(r.nats for r in readings(net, [text], SEED, n)) for n in (0, 100))
    assert remembered < without - 1


def drawn(net: Network, length: int, **kwargs: int) -> list[int]:
    return [*sample(net, SEED, length, 1.0, 3, **kwargs)]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_sample_is_drawn_with_what_it_has_said_before(layer: str) -> None:
    net = make(layer)
    symbols = drawn(net, 30, cache=LENGTH)
    sampler = Sampler(net, 1.0, [3], cache=LENGTH)
    p = np.stack([sampler.after(np.array([s])) for s in (*SEED, *symbols)])[:, 0]
    np.testing.assert_allclose(p, by_loops(net, [*SEED, *symbols], LENGTH), rtol=1e-9)
    assert symbols != drawn(net, 30)


def test_each_of_many_samples_has_its_own() -> None:
    net = make()
    together = sample_many(net, SEED, 20, 1.0, range(3, 6), cache=LENGTH)
    assert together == [[*sample(net, SEED, 20, 1.0, srand, cache=LENGTH)] for srand in (3, 4, 5)]


def test_none_leaves_everything_as_it_is() -> None:
    net = make()
    assert generate(net, SEED, 30, srand=1, cache=0) == generate(net, SEED, 30, srand=1)


def test_what_cannot_have_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="the cache length is -1"):
        Cache(make(), -1)
    with pytest.raises(CfgError, match=r"no \[gru\]"):
        Cache(network("net inputs=4", "connected output=4", "softmax"), 5)
    stand_in.put_in_place(monkeypatch)
    from minidark.backend import get_backend
    from minidark.network.parser import build_network
    from tests.helpers import planned

    plan = planned(f"net inputs={SYMBOLS}", f"gru output={SYMBOLS}", "softmax")
    with pytest.raises(BackendError, match="needs the CPU"):
        Cache(build_network(plan, 0, get_backend("cuda", "float32")), 5)


def test_the_oldest_makes_room() -> None:
    cache = Cache(make(), 3)
    states = np.eye(5)
    even: Array = np.full(SYMBOLS, 1 / SYMBOLS)
    for symbol, state in zip((0, 1, 2, 3, 4), states, strict=True):
        p = cache.read(symbol, even, state)
    assert sorted(cache.symbols.tolist()) == [2, 3, 4]
    assert p[1] == pytest.approx(0.8 / SYMBOLS)
    assert p[3] > p[1]
