"""The search against brute force, greedy against a loop, and against teacher forcing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from minidark import (
    CfgError,
    DataError,
    DivergedError,
    Network,
    Pairs,
    Predictor,
    predict,
    train,
)
from minidark.data.pairs import END
from minidark.inference.valid import evaluate_pairs
from tests.conftest import WriteText
from tests.helpers import network, randomize, states, values

TAB = ord("\t")
SYMBOLS = 12  # a tab is 9, a line feed 10
READ_OUT = (f"connected output={SYMBOLS} activation=linear", "softmax")
SOURCES = [b"\x01\x02\x03", b"\x04", b"\x05\x06", b"\x07\x07\x07\x07\x07"]


def make(
    layer: str = "gru output=6 tanh=1", dtype: str = "float64", seed: int = 0, sharp: float = 1
) -> Network:
    net = network(
        f"net inputs={SYMBOLS} batch=3 time_steps=4", layer, *READ_OUT, dtype=dtype, seed=seed
    )
    randomize(net.layers, seed)
    net.parameters()[-1].value[...] *= sharp
    return net


def probability(net: Network, source: bytes, target: bytes) -> float:
    """Log probability of a target and its end mark, by one symbol after another."""
    one = net.twin(1)
    y = one.predict(np.array([*source, TAB, *target]))
    wanted = [*target, END]
    return sum(math.log(y[at, s]) for at, s in enumerate(wanted, start=len(source)))


# --- the best of all ----------------------------------------------------------------------

LONGEST = 2
TARGETS = [
    bytes(t)
    for length in range(LONGEST + 1)
    for t in itertools.product([s for s in range(SYMBOLS) if s != END], repeat=length)
]  # 133 of them


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("layer", ["gru output=6 tanh=1", "lstm output=5", "rnn output=6"])
def test_a_beam_that_holds_all_finds_the_best_of_all(layer: str) -> None:
    net = make(layer, sharp=3)
    beam = len(TARGETS)
    found = Predictor(net, beam, 10, max_length=LONGEST, length_penalty=0).search(SOURCES)
    for source, predictions in zip(SOURCES, found, strict=True):
        scores = {target: probability(net, source, target) for target in TARGETS}
        best = sorted(scores, key=lambda t: -scores[t])[:10]
        assert [p.target for p in predictions] == best
        for p in predictions:
            assert p.score == pytest.approx(scores[p.target], rel=1e-9)


def test_a_narrow_beam_keeps_the_likeliest_beginnings() -> None:
    """Against the same search, one source at a time, with lists."""
    for seed in range(6):
        net = make(seed=seed, sharp=2)
        for source, found in zip(
            SOURCES, Predictor(net, 3, 3, length_penalty=0).search(SOURCES), strict=True
        ):
            beginnings: list[tuple[float, bytes, bool]] = [(0.0, b"", False)]
            for length in range(5):
                ends = [b for b in beginnings if b[2]]
                for score, text, ended in beginnings:
                    if ended:
                        continue
                    p = net.twin(1).predict(np.array([*source, TAB, *text]))[-1]
                    for symbol in [END] if length == 4 else range(SYMBOLS):
                        ended = symbol == END
                        more = text if ended else text + bytes([symbol])
                        ends.append((score + math.log(p[symbol]), more, ended))
                beginnings = sorted(ends, key=lambda b: -b[0])[:3]
            assert [p.target for p in found] == [text for _, text, _ in beginnings]
            scores = [score for score, _, _ in beginnings]
            assert [p.score for p in found] == pytest.approx(scores, rel=1e-9)


def test_a_wider_beam_finds_what_greedy_misses() -> None:
    gained = 0
    for seed in range(20):
        net = make(seed=seed, sharp=2)
        greedy, wide = (
            [best.score for best, *_ in Predictor(net, k, length_penalty=0).search(SOURCES)]
            for k in (1, 200)
        )
        assert all(w >= g - 1e-12 for g, w in zip(greedy, wide, strict=True))
        gained += sum(w > g + 1e-9 for g, w in zip(greedy, wide, strict=True))
    assert gained > 10


# --- greedy -------------------------------------------------------------------------------


def greedy(net: Network, source: bytes, most: int) -> tuple[bytes, bool]:
    """The likeliest symbol, again and again, and whether it had to be ended."""
    one = net.twin(1)
    p = one.predict(np.array([*source, TAB]))[-1]
    written: list[int] = []
    while (symbol := int(p.argmax())) != END:
        if len(written) == most:
            return bytes(written), True
        written.append(symbol)
        p = one.predict(np.array([symbol]))[-1]
    return bytes(written), False


@pytest.mark.usefixtures("each_backend")
def test_a_beam_of_one_is_greedy() -> None:
    cut = []
    for seed in range(12):
        net = make(seed=seed, sharp=2)
        for source, (best,) in zip(
            SOURCES, Predictor(net, max_length=6).search(SOURCES), strict=True
        ):
            assert (best.target, best.cut) == greedy(net, source, 6)
            assert best.score == pytest.approx(probability(net, source, best.target), rel=1e-9)
            cut.append(best.cut)
    assert {True, False} == {*cut}


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("beam", [1, 4])
def test_sources_do_not_depend_on_those_beside_them(kernels: str, beam: int) -> None:
    if kernels == "fast":
        pytest.importorskip("numba", reason="the fast kernels need numba")
    net = make(dtype="float32", sharp=2)
    net.backend.use_kernels(kernels)
    rng = np.random.default_rng(0)
    many = [bytes(rng.choice([1, 2, 3, 4], n).tolist()) for n in rng.integers(0, 9, 90)]
    predictor = Predictor(net, beam, max_length=5)
    assert predictor.at_once < 90 or beam == 1
    together = [found[0] for found in predictor.search(many)]
    alone = [next(predictor.search([source]))[0] for source in many]
    assert [p.target for p in together] == [p.target for p in alone]
    np.testing.assert_allclose([p.score for p in together], [p.score for p in alone], rtol=1e-4)


# --- teacher forcing ----------------------------------------------------------------------


def test_exact_by_teacher_forcing_is_exact_by_writing(write_text: WriteText) -> None:
    """Half learned, so that some are exact and some are not."""
    rng = np.random.default_rng(0)
    drawn = {bytes(rng.integers(1, 5, rng.integers(1, 4)).tolist()) for _ in range(200)}
    lines = b"".join(source + b"\t" + source[::-1] + b"\n" for source in sorted(drawn))
    pairs = Pairs(write_text(lines))
    net = network(
        f"net inputs={SYMBOLS} batch=16 time_steps=8 adam=1 learning_rate=.02 decay=0",
        "gru output=24 tanh=1", *READ_OUT, dtype="float32",
    )  # fmt: skip
    shares = []
    for batches in (10, 40, 80, 120):
        list(train(net, pairs, batches, valid_fraction=0))
        measured = evaluate_pairs(net, pairs, np.arange(len(pairs)))
        written = predict(net, pairs.sources)
        right = [p.encode() == t for p, t in zip(written, pairs.targets, strict=True)]
        for number, exact in enumerate(right):
            assert evaluate_pairs(net, pairs, np.array([number])).exact == exact
        assert measured.exact == sum(right)
        shares.append(sum(right) / len(right))
    assert any(0.1 < share < 0.9 for share in shares)


# --- what comes in ------------------------------------------------------------------------


def test_an_empty_source_has_an_empty_target() -> None:
    found = list(Predictor(make(), 3, 2).search([b"", b"\x01", b""]))
    assert [[p.target for p in found[at]] for at in (0, 2)] == [[b"", b""]] * 2
    assert found[0][0].score == 0
    assert found[1] == next(Predictor(make(), 3, 2).search([b"\x01"]))
    assert list(Predictor(make()).search([])) == []


def test_the_network_is_left_as_it_was() -> None:
    net = make()
    net.predict(np.zeros((2, 3), int))
    before, weights = states(net), values(net)
    predict(net, SOURCES, beam=3)
    for a, b in zip(states(net), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"\x01\t", "line 3 contains the separator '\\t'; a source is only the part before it"),
        (b"\x01\n", "line 3 contains a line feed, the end mark"),
        (b"\x0c", "line 3 contains byte 12; this network's symbols are 0 to 11"),
        (b"\xff", "line 3 is not UTF-8: byte 255 at 0"),
        ("\x01é", "line 3 contains byte 195; this network's symbols are 0 to 11"),
        ("\udc80", "line 3 is not UTF-8: byte 128 at 0"),
    ],
)
def test_a_line_that_is_no_source_is_named(source: Any, message: str) -> None:
    search = Predictor(make()).search([b"\x01", source], first=2)
    with pytest.raises(DataError) as error:
        list(search)
    assert str(error.value) == message


@pytest.mark.parametrize("source", ["\x01\x02", b"\x01\x02"])
def test_one_string_is_not_taken_for_several(source: Any) -> None:
    with pytest.raises(DataError, match="sources is a single string; pass a list of strings"):
        predict(make(), source)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"beam": 2, "n_best": 3}, "n_best 3 is not from 1 to the beam, 2"),
        ({"n_best": 0}, "n_best 0 is not from 1 to the beam, 1"),
        ({"max_length": 0}, "max_length 0 is not 1 or more"),
        ({"separator": "\x0b"}, "the separator '\\x0b' are not among"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(keywords: dict[str, Any], message: str) -> None:
    small = network("net inputs=11 batch=1", "connected output=11", "softmax")
    with pytest.raises(DataError) as error:
        Predictor(small, **keywords)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("connected output=12", "logistic"), "does not end in a plain"),
        (("connected output=12", "softmax groups=2"), "does not end in a plain"),
        (("connected output=11", "softmax"), "11 outputs and 12 inputs"),
    ],
)
def test_a_network_that_predicts_no_symbols_is_refused(
    layers: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CfgError, match=message):
        predict(network(f"net inputs={SYMBOLS} batch=1", *layers), [b"\x01"])


def test_damaged_weights_are_told() -> None:
    net = make()
    net.parameters()[-1].value[...] = np.nan
    with pytest.raises(DivergedError, match="these weights are damaged"):
        predict(net, [b"\x01"])


def test_text_that_is_no_utf8_is_shown_all_the_same() -> None:
    net = network("net inputs=256 batch=1 time_steps=3", "connected output=256", "softmax")
    net.parameters()[0].value[0xC3] = 50
    assert predict(net, ["a"]) == ["\ufffd\ufffd\ufffd"]
