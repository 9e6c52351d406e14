"""Sampling: darknet's draws, and what surrounds them. The texts themselves: test_golden.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, DataError, DivergedError, MinidarkError, Network, generate
from minidark.backend import Array, get_backend
from minidark.glibc_rand import RAND_MAX, GlibcRand
from minidark.inference.generate import Sampler, can_generate, sample, sample_many, until_full_stop
from tests.helpers import gradients, network, randomize, states, values

KERNELS = [get_backend(kernels=name).kernels for name in ("numpy", "auto")]
SYMBOLS = 20
LAYERS = ("gru output=6 tanh=1", f"connected output={SYMBOLS} activation=linear", "softmax")


def make(*layers: str, inputs: int = SYMBOLS) -> Network:
    net = network(f"net inputs={inputs} batch=3", *(layers or LAYERS), dtype="float32")
    randomize(net.layers)
    return net


def sample_array(p: Array, r: int) -> int:
    """darknet's, in C's float: what rand() gave is r."""
    floats = [np.float32(0) if float(value) < 1e-4 else np.float32(value) for value in p]
    total = np.float32(0)
    for value in floats:
        total = np.float32(total + value)
    scale = np.float32(1.0 / float(total))
    left = np.float32(np.float32(r) / np.float32(RAND_MAX))
    for i, value in enumerate(floats):
        left = np.float32(left - np.float32(value * scale))
        if left <= 0:
            return i
    return len(floats) - 1


class Fixed(GlibcRand):
    """A generator that gives one number for ever."""

    def __init__(self, value: int):
        super().__init__()
        self.value = value

    def rand(self) -> int:
        return self.value


def draw(p: Array, rand: GlibcRand) -> int:
    """A symbol drawn from p (O,), by each set of kernels, which must agree."""
    start = np.array([np.float32(rand.rand()) / np.float32(RAND_MAX)])
    found = set()
    for kernels in KERNELS:
        ids = np.zeros(1, np.intp)
        kernels.draw(p[None], start, ids)
        found.add(int(ids[0]))
    (symbol,) = found
    return symbol


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0])
def test_draw_is_darknets_sample_array(sharpness: float) -> None:
    rng, rand, again = np.random.default_rng(1), GlibcRand(5), GlibcRand(5)
    for _ in range(300):
        logits = sharpness * rng.normal(size=256)
        p = (np.exp(logits) / np.exp(logits).sum()).astype(np.float32)
        kept = p.copy()
        assert draw(p, rand) == sample_array(p, again.rand())
        np.testing.assert_array_equal(p, kept)


@pytest.mark.parametrize(
    ("p", "r", "symbol"),
    [
        ([0.5, 0.5], 0, 0),
        ([0.0, 1.0], 0, 0),  # a draw of zero takes the first, whatever it holds
        ([0.0, 1.0], 1, 1),
        ([0.5, 0.5], RAND_MAX // 2, 0),
        ([0.5, 0.5], RAND_MAX // 2 + 2**8, 1),
        ([0.9, 9e-5, 0.1], RAND_MAX, 2),
        ([0.9999, 9.9e-5], RAND_MAX, 0),  # less than 1e-4 is never drawn
        ([0.9999, 1.0e-4], RAND_MAX, 0),  # nor is 1e-4, which is a little less in float32
        ([0.9999, 1.0001e-4], RAND_MAX, 1),
        ([0.25, 0.25], RAND_MAX, 1),  # the sum is scaled to 1
    ],
)
def test_draw_at_the_edges(p: list[float], r: int, symbol: int) -> None:
    array = np.array(p, np.float32)
    assert draw(array, Fixed(r)) == symbol == sample_array(array, r)


def test_a_rest_after_the_last_symbol_is_the_last_symbol() -> None:
    found = 0
    for seed in range(200):
        p = np.random.default_rng(seed).dirichlet(np.ones(50)).astype(np.float32)
        p[-1] = 0
        symbol = draw(p, Fixed(RAND_MAX))
        assert symbol == sample_array(p, RAND_MAX)
        found += symbol == 49
    assert found > 0, "no rounding left a rest"


def test_text_begins_with_the_seed_and_has_the_length_asked_for() -> None:
    net = make()
    assert generate(net, b"\x03\x04", 0, srand=1) == b"\x03\x04"
    text = generate(net, b"\x03\x04", 30, srand=1)
    assert text[:2] == b"\x03\x04"
    assert len(text) == 32
    assert max(text) < SYMBOLS


def test_a_seed_may_be_a_string_in_utf8() -> None:
    net = make(inputs=256)
    assert generate(net, "é", 20, srand=1) == generate(net, "é".encode(), 20, srand=1)


def test_the_same_srand_gives_the_same_text() -> None:
    net = make()
    texts = [generate(net, b"\n", 200, 1.0, srand) for srand in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_without_srand_each_text_is_another() -> None:
    net = make()
    assert generate(net, b"\n", 200, 1.0) != generate(net, b"\n", 200, 1.0)


def by_hand(net: Network, seed: bytes, length: int, choose: Any) -> bytes:
    """Symbol by symbol from zero state."""
    one, text = net.twin(1), bytearray(seed)
    for symbol in seed[:-1]:
        one.predict(np.array([symbol]))
    for _ in range(length):
        text.append(choose(one.predict(np.array([text[-1]]))[0]))
    return bytes(text)


@pytest.mark.parametrize("seed", [b"\n", b"\x01\x02\x03"])
def test_temperature_zero_takes_the_likeliest(seed: bytes) -> None:
    net = make("gru output=6 tanh=1", LAYERS[1], "softmax temperature=3")
    wanted = by_hand(net, seed, 50, np.argmax)
    assert len(set(wanted)) > 3, "the same symbol again and again would show little"
    assert {generate(net, seed, 50, 0, srand) for srand in (1, 2)} == {wanted}


def test_the_draws_of_building_the_network_are_passed_over_first() -> None:
    net = make()
    rand = GlibcRand(9)
    for _ in range(3 * 6 * (SYMBOLS + 6) + SYMBOLS * 6):
        rand.rand()
    wanted = by_hand(net, b"\x02", 100, lambda p: draw(p, rand))
    assert generate(net, b"\x02", 100, 1.0, 9) == wanted


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_temperature_overrides_the_cfgs(temperature: float) -> None:
    cold = make(*LAYERS[:2], "softmax temperature=.1")
    same = make(*LAYERS[:2], f"softmax temperature={temperature}")
    rand = GlibcRand(9)
    rand.skip(3 * 6 * (SYMBOLS + 6) + SYMBOLS * 6)
    wanted = by_hand(same, b"\x02", 100, lambda p: draw(p, rand))
    assert generate(cold, b"\x02", 100, temperature, 9) == wanted
    assert cold.predict(np.array([[1, 1, 1]])).max() > 0.9, "its own temperature is as it was"


def test_the_network_is_left_as_it_was() -> None:
    layers = ("dropout", "gru output=6 batch_normalize=1", *LAYERS[1:])
    net, untouched = make(*layers), make(*layers)
    x, truth = np.array([[5, 6, 7]]), np.array([[7, 8, 9]])
    for one in (net, untouched):
        one.train_batch(x, truth)
        one.accumulate(x, truth)
    generate(net, b"\x01\x02", 50, 0.5, 3)
    for a, b in zip(states(net), states(untouched), strict=True):
        np.testing.assert_array_equal(a, b)
    for found, wanted in ((gradients(net), gradients(untouched)), (values(net), values(untouched))):
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    assert net.seen == untouched.seen
    assert net.train_batch(x, truth) == untouched.train_batch(x, truth)
    assert generate(net, b"\x01", 50, 0.5, 3) == generate(untouched, b"\x01", 50, 0.5, 3)


def assert_drawn_from(likeliest: Callable[[Array], list[int]], **limits: Any) -> None:
    """What is sampled is among the `likeliest`, and is at some time the last of them."""
    net, last, found = make(), 3, 0
    one = net.twin(1)
    for symbol in sample(net, bytes([last]), 300, 1.0, 4, **limits):
        kept = likeliest(one.predict(np.array([last]))[0])
        assert symbol in kept
        found += symbol == kept[-1]
        last = symbol
    assert found > 0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_draws_from_the_k_likeliest(k: int) -> None:
    assert_drawn_from(lambda p: np.argsort(-p)[:k].tolist(), top_k=k)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_top_p_draws_from_the_fewest_that_hold_the_share(share: float) -> None:
    def likeliest(p: Array) -> list[int]:
        order: list[int] = np.argsort(-p).tolist()
        n = 1
        while sum(float(p[i]) for i in order[:n]) < share:
            n += 1
        return order[:n]

    assert_drawn_from(likeliest, top_p=share)


def test_limits_that_leave_all_change_nothing() -> None:
    net = make()
    plain = generate(net, b"\x03", 200, 1.0, 4)
    assert generate(net, b"\x03", 200, 1.0, 4, top_k=SYMBOLS) == plain
    assert generate(net, b"\x03", 200, 1.0, 4, top_k=1000) == plain
    assert generate(net, b"\x03", 200, 1.0, 4, top_p=1.0) == plain
    assert generate(net, b"\x03", 200, 1.0, 4, top_k=1) == generate(net, b"\x03", 200, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": b""}, "the seed is empty; sampling needs at least one symbol"),
        ({"seed": ""}, "the seed is empty; sampling needs at least one symbol"),
        ({"seed": b"\x01\x14\x02"}, "the seed contains byte 20; this network's are 0 to 19"),
        ({"seed": b"\x01", "length": -1}, "length -1 is negative"),
        ({"seed": b"\x01", "temperature": -0.5}, "temperature -0.5 is not 0 or more"),
        ({"seed": b"\x01", "temperature": float("nan")}, "temperature nan is not 0 or more"),
        ({"seed": b"\x01", "top_k": 0}, "top-k 0 is not 1 or more"),
        ({"seed": b"\x01", "top_p": 0.0}, "top-p 0.0 is not above 0 and at most 1"),
        ({"seed": b"\x01", "top_p": 1.5}, "top-p 1.5 is not above 0 and at most 1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        generate(make(), **arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (300, 300, "300 symbols do not fit into bytes; name them with a tokens file"),
        (10, 20, "20 outputs, but only 10 inputs to read them"),
    ],
)
def test_networks_whose_outputs_are_no_symbols_are_refused(
    inputs: int, outputs: int, message: str
) -> None:
    net = make(f"connected output={outputs}", "softmax", inputs=inputs)
    with pytest.raises(MinidarkError) as error:
        generate(net, b"\x01")
    assert str(error.value) == message


NO_DISTRIBUTIONS = {
    "logits": ["connected output=20 activation=linear"],
    "logistic": ["connected output=20 activation=linear", "logistic"],
    "softmax in groups": ["connected output=20 activation=linear", "softmax groups=2"],
    "hidden state": ["gru output=20"],
    "squared cost": ["connected output=20 activation=linear", "cost type=sse"],
    "behind softmax": ["connected output=20", "softmax noloss=1", "activation activation=relu"],
}


@pytest.mark.parametrize("name", NO_DISTRIBUTIONS)
def test_only_darknets_own_sampler_draws_from_outputs_that_are_no_distribution(name: str) -> None:
    net = make(*NO_DISTRIBUTIONS[name])
    said = rf"^layer {net.layers[-1].name} does not output probabilities of symbols; end the "
    with pytest.raises(CfgError, match=said):
        generate(net, b"\x01", 5, 0)
    with pytest.raises(CfgError, match=said):
        sample_many(net, [1], 5, 1.0, [1, 2])
    assert not can_generate(net)
    sampler = Sampler(net, 1.0, [1], exact=True)
    sampler.read(b"\x01")
    assert len(sampler.draw()) == 1


@pytest.mark.parametrize(
    "end", [["softmax"], ["softmax", "cost"], ["softmax noloss=1"], ["softmax", "dropout"]]
)
def test_a_softmax_is_drawn_from_whatever_trains_it(end: list[str]) -> None:
    net = make("connected output=20 activation=linear", *end)
    assert can_generate(net)
    plain = make("connected output=20 activation=linear", "softmax")
    assert generate(net, b"\x01", 30, 1.0, 9) == generate(plain, b"\x01", 30, 1.0, 9)


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_damaged_weights_are_told_at_any_temperature(temperature: float) -> None:
    net = make()
    net.parameters()[0].value[0] = np.nan
    with pytest.raises(DivergedError, match="NaN or infinite; these weights are damaged"):
        generate(net, b"\x01", 5, temperature)


def test_a_seed_below_zero_is_no_symbol() -> None:
    with pytest.raises(DataError, match="the seed contains byte -1"):
        sample(make(), [-1], 3, 1.0, 1)


# --- the sampler --------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_a_sampler_reads_and_draws_as_generate_does(exact: bool) -> None:
    net = make()
    sampler = Sampler(net, 0.8, [5], exact=exact)
    sampler.read(b"\x01")
    sampler.read(b"\x02\x03")
    assert bytes(sampler.symbols(60)) == generate(net, b"\x01\x02\x03", 60, 0.8, 5)[3:]


def test_a_sampler_goes_on_after_symbols_that_it_did_not_draw() -> None:
    sampler, wanted = Sampler(make(), 0, [1]), make().twin(1)
    sampler.read([4, 5])
    wanted.predict(np.array([4]))
    assert sampler.draw() == [wanted.predict(np.array([5])).argmax()]
    sampler.read([6, 7])
    wanted.predict(np.array([6]))
    assert sampler.draw() == [wanted.predict(np.array([7])).argmax()]


def test_exact_draws_leave_the_network_as_it_was() -> None:
    net = make()
    net.predict(np.array([[1, 2, 3]]))
    before = states(net)
    sampler = Sampler(net, 1.0, [1], exact=True)
    sampler.read([1])
    assert len(list(sampler.symbols(5))) == 5
    for a, b in zip(states(net), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("exact", [False, True])
def test_a_sampler_refuses_symbols_that_are_not_the_networks(exact: bool) -> None:
    sampler = Sampler(make(), 1.0, [1], exact=exact)
    with pytest.raises(DataError) as error:
        sampler.read([3, 20])
    assert str(error.value) == "the seed contains byte 20; this network's are 0 to 19"


@pytest.mark.parametrize(
    ("drawn", "last", "kept"),
    [
        (b"one.\ntwo", ord("x"), b"one."),
        (b"one. \ntwo", ord("x"), b"one. \ntwo"),
        (b"\ntwo", ord("."), b""),
        (b"\ntwo", ord("x"), b"\ntwo"),
        (b"\ntwo.\n", -1, b"\ntwo."),
        (b"..\n", ord("x"), b".."),
        (b".", ord("x"), b"."),
        (b"", ord("."), b""),
    ],
)
def test_symbols_end_at_a_line_break_after_a_full_stop(
    drawn: bytes, last: int, kept: bytes
) -> None:
    assert bytes(until_full_stop(iter(drawn), last)) == kept


def test_nothing_is_drawn_beyond_the_full_stop() -> None:
    symbols = iter(b"a.\nbc")
    assert bytes(until_full_stop(symbols, 0)) == b"a."
    assert bytes(symbols) == b"bc"
