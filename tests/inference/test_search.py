"""The search against one in plain Python, which predicts each hypothesis anew; and that what is
searched together, in pieces, or leaves early changes nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from minidark import DataError, Network, Predictor, predict
from minidark.backend import Array
from minidark.data.pairs import END
from minidark.inference import search
from minidark.inference.predict import AHEAD, LENGTH_PENALTY
from minidark.network.frozen import Frozen
from tests.helpers import network, randomize

TAB = ord("\t")
SYMBOLS = 14
MOST = 6
LAYERS = ["gru output=7 tanh=1", "gru output=7 tanh=1 reset_after=1", "lstm output=6",
          "rnn output=8 activation=tanh"]  # fmt: skip


def make(*layers: str, seed: int = 0, dtype: str = "float64", sharp: float = 2) -> Network:
    net = network(
        f"net inputs={SYMBOLS} batch=3 time_steps={MOST}", *(layers or LAYERS[:1]),
        f"connected output={SYMBOLS} activation=linear", "softmax", dtype=dtype, seed=seed,
    )  # fmt: skip
    randomize(net.layers, seed)
    net.parameters()[-1].value[...] *= sharp
    return net


def drawn(count: int, longest: int = 9, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    return [bytes(rng.choice([1, 2, 3, 4, 5], n).tolist()) for n in lengths]


Found = tuple[bytes, float, bool]


def by_hand(
    net: Network, source: bytes, beam: int, n_best: int, penalty: float, most: int
) -> list[Found]:
    """Targets, scores and whether they were cut, for one source."""

    def rank(score: float, length: int) -> float:
        return score / length**penalty

    # Of each hypothesis: its symbols with the end mark, score, whether it has ended, was cut.
    kept: list[tuple[bytes, float, bool, bool]] = [(b"", 0.0, False, False)]
    while True:
        candidates: list[tuple[bytes, float, bool, bool]] = []
        for text, score, ended, cut in kept:
            if ended:
                candidates.append((text, score, ended, cut))
                continue
            p = net.twin(1).predict(np.array([*source, TAB, *text]))[-1]
            full = len(text) == most
            for symbol in [END] if full else range(SYMBOLS):
                forced = full and p.argmax() != END
                more = (text + bytes([symbol]), score + math.log(p[symbol]), symbol == END, forced)
                candidates.append(more)
        kept = sorted(candidates, key=lambda c: -rank(c[1], len(c[0])))[:beam]
        finished = [c for c in kept if c[2]]
        hopes = [rank(c[1], len(c[0]) + 1) for c in kept if not c[2]]
        if len(finished) >= n_best or not hopes:
            nth = finished[min(n_best, len(finished)) - 1]
            if all(rank(nth[1], len(nth[0])) >= hope for hope in hopes):
                return [(text[:-1], score, cut) for text, score, _, cut in finished[:n_best]]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (2, 1), (4, 3), (12, 5)])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
def test_targets_are_those_of_a_search_by_hand(
    layer: str, beam: int, n_best: int, penalty: float
) -> None:
    net = make(layer, seed=beam)
    sources = drawn(12, seed=n_best)
    found = Predictor(net, beam, n_best, length_penalty=penalty).search(sources)
    for source, predictions in zip(sources, found, strict=True):
        wanted = by_hand(net, source, beam, n_best, penalty, MOST)
        assert [(p.target, p.cut) for p in predictions] == [(t, cut) for t, _, cut in wanted]
        scores = [score for _, score, _ in wanted]
        assert [p.score for p in predictions] == pytest.approx(scores, rel=1e-9)


def test_they_are_in_a_network_that_is_no_chain() -> None:
    net = make("connected output=5 activation=linear", "gru output=5 tanh=1", "route layers=-1,-2",
               "rnn output=5 activation=tanh", "shortcut from=0")  # fmt: skip
    sources = drawn(12)
    for source, found in zip(sources, Predictor(net, 3, 2).search(sources), strict=True):
        wanted = by_hand(net, source, 3, 2, LENGTH_PENALTY, MOST)
        assert [p.target for p in found] == [target for target, *_ in wanted]


@pytest.mark.usefixtures("each_backend")
def test_they_are_on_a_gpu_too() -> None:
    net = make(dtype="float32")
    sources = drawn(11)
    found = Predictor(net, 3, 2, length_penalty=0.5).search(sources)
    for source, predictions in zip(sources, found, strict=True):
        wanted = by_hand(net, source, 3, 2, 0.5, MOST)
        assert [p.target for p in predictions] == [target for target, *_ in wanted]


def test_a_penalty_prefers_longer_targets() -> None:
    lengths: list[float] = []
    for penalty in (0.0, 0.5, 1.0, 3.0):
        of_all = [
            len(target)
            for seed in range(6)
            for target in predict(make(seed=seed), drawn(40), beam=5, length_penalty=penalty)
        ]
        lengths.append(float(np.mean(of_all)))
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0] + 0.5


def test_the_default_is_no_penalty_for_greedy_search() -> None:
    net, sources = make(seed=3), drawn(60)
    assert LENGTH_PENALTY > 0
    assert predict(net, sources, beam=4) == predict(
        net, sources, beam=4, length_penalty=LENGTH_PENALTY
    )
    assert Predictor(net).rules.length_penalty == 0
    for penalty in (0.0, 2.0):  # one hypothesis has no rival
        assert predict(net, sources, length_penalty=penalty) == predict(net, sources)


@pytest.mark.parametrize("penalty", [-0.1, 10.1, math.inf, math.nan])
def test_a_penalty_that_is_none_is_refused(penalty: float) -> None:
    with pytest.raises(DataError, match=r"length_penalty \S+ is not from 0 to 10"):
        predict(make(), [b"\x01"], length_penalty=penalty)


# --- together, in pieces, and early -------------------------------------------------------


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("beam", [1, 4])
def test_targets_do_not_depend_on_how_many_are_searched_at_once(
    kernels: str, beam: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "fast":
        pytest.importorskip("numba", reason="the fast kernels need numba")
    net = make("gru output=20 tanh=1", "gru output=9", dtype="float32")
    net.backend.use_kernels(kernels)
    sources = [*drawn(150, 30), b"", *drawn(20, 3)]
    wanted = [next(Predictor(net, beam).search([source]))[0] for source in sources]
    for ahead, at_once in [(1024, 256), (7, 256), (1024, 12), (50, 20)]:
        monkeypatch.setattr("minidark.inference.predict.AHEAD", ahead)
        monkeypatch.setattr("minidark.inference.predict.AT_ONCE", at_once)
        found = [best for best, *_ in Predictor(net, beam).search(sources)]
        assert [p.target for p in found] == [p.target for p in wanted]
        scores = [p.score for p in wanted]
        np.testing.assert_allclose([p.score for p in found], scores, rtol=1e-4, atol=1e-5)


def test_sources_that_are_done_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sources = make(), drawn(200, 3)
    streams: list[int] = []
    original = Network.stepping

    def watched(self: Network) -> Frozen:
        streams.append(self.streams)
        return original(self)

    monkeypatch.setattr(Network, "stepping", watched)
    monkeypatch.setattr("minidark.inference.predict.AT_ONCE", 400)
    predictor = Predictor(net, 2, max_length=40, length_penalty=0)
    found = [p for found in predictor.search(sources) for p in found]
    assert streams[0] == 400
    assert len(streams) > 2
    assert all(4 * after <= 3 * before for before, after in pairwise(streams))
    monkeypatch.setattr(search, "LEAST_LINES", 10**9)
    stayed = [p for found in predictor.search(sources) for p in found]
    assert streams[-1] == 400
    assert [p.target for p in stayed] == [p.target for p in found]
    assert [p.score for p in stayed] == pytest.approx([p.score for p in found], rel=1e-9)


@pytest.mark.parametrize("layers", [
    *([layer] for layer in LAYERS[:3]), ["rnn output=6 activation=tanh elman=1"],
    ["gru output=7 tanh=1", "attention heads=1 output=7"],
])  # fmt: skip
def test_weights_are_packed_once_for_a_search_and_again_for_the_next(
    layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="the fast kernels need numba")
    packs: Any = pytest.importorskip("minidark.backend.compiled.packs")
    net = make(*layers, dtype="float32")
    net.backend.use_kernels("fast")
    packed: list[Array] = []
    original = packs.panels_of_transposed

    def watched(weights: Array, *how: Any) -> Any:
        packed.append(weights)
        return original(weights, *how)

    monkeypatch.setattr(packs, "panels_of_transposed", watched)

    def found(at_once: int) -> tuple[list[bytes], list[float], int]:
        packed.clear()
        predictor = Predictor(net, 2)
        predictor.at_once = at_once
        best = [first for first, *_ in predictor.search(drawn(30))]
        return [p.target for p in best], [p.score for p in best], len(packed)

    *together, once = found(10**9)
    *apart, again = found(4)
    assert again == once > 0
    assert apart[0] == together[0]
    for parameter in net.parameters():
        parameter.value[...] *= -0.7
    changed = found(10**9)
    net.backend.use_kernels("numpy")
    targets, scores, none = found(10**9)
    assert none == 0
    assert changed[0] == targets != together[0]
    np.testing.assert_allclose(changed[1], scores, rtol=1e-4, atol=1e-5)


def test_a_source_is_read_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make("lstm output=9", "gru output=7 reset_after=1")
    sources = [*drawn(5, 60), *(bytes([1, 2, 3] * n) for n in (20, 21, 21))]
    passes: list[tuple[int, ...]] = []
    original = Network.forward

    def watched(self: Network, x: Any, train: bool = False) -> Array:
        passes.append(x.shape)
        return original(self, x, train)

    whole = [p for found in Predictor(net, 3, 2).search(sources) for p in found]
    monkeypatch.setattr(search, "WINDOW", 16)
    monkeypatch.setattr(Network, "forward", watched)
    parts = [p for found in Predictor(net, 3, 2).search(sources) for p in found]
    assert [p.target for p in parts] == [p.target for p in whole]
    assert [p.score for p in parts] == pytest.approx([p.score for p in whole], rel=1e-9)
    assert max(steps for steps, _ in passes) == 16
    two = [(steps, lines) for steps, lines in passes if lines == 2]  # of one length, together
    assert two == [(16, 2), (16, 2), (16, 2), (15, 2), (1, 2)]


def test_outputs_within_a_source_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make("gru output=5", "connected output=6 activation=tanh", "rnn output=4")
    seen: list[tuple[str, int]] = []
    for layer in net.layers:
        original = type(layer).forward

        def watched(self: Any, x: Array, *, train: bool = False, original: Any = original) -> Array:
            seen.append((self.name, len(x)))
            return original(self, x, train=train)

        monkeypatch.setattr(type(layer), "forward", watched)
    next(Predictor(net).search([b"\x01" * 20]))
    longest = {name: max(steps for n, steps in seen if n == name) for name, _ in seen}
    assert {name: longest[name] for name in ("0.gru", "1.connected", "2.rnn")} == {
        "0.gru": 20, "1.connected": 20, "2.rnn": 20,
    }  # fmt: skip
    assert longest["4.softmax"] == 1


def test_without_a_state_only_the_last_symbol_matters() -> None:
    net = make("connected output=5 activation=tanh")
    found = predict(net, [b"\x01", b"\x02\x03\x04"], beam=2)
    assert found[0] == found[1]
    assert [(found[0].encode())] == [by_hand(net, b"\x01", 2, 1, LENGTH_PENALTY, MOST)[0][0]]


def test_few_symbols_are_fewer_than_a_wide_beam() -> None:
    net = make(seed=1)
    (found,) = Predictor(net, 60, 60, max_length=1, length_penalty=0).search([b"\x01"])
    assert len(found) == SYMBOLS  # the empty target, and each symbol but the end mark
    assert {p.target for p in found} == {b"", *(bytes([s]) for s in range(SYMBOLS) if s != END)}


@pytest.mark.parametrize("count", [1, 3, 8, 9, 14])
def test_the_likeliest_are_in_order(count: int) -> None:
    p = np.random.default_rng(count).random((4, 3, SYMBOLS))
    wanted = np.argsort(-p, axis=2)[:, :, :count]
    symbols, values = search._likeliest(p.copy(), count)
    np.testing.assert_array_equal(symbols, wanted)
    np.testing.assert_array_equal(values, np.take_along_axis(p, wanted, axis=2))


def test_more_sources_than_are_read_ahead_keep_their_order() -> None:
    net, sources = make(), drawn(AHEAD + 90, 5)
    taken: list[int] = []

    def watched() -> Any:
        for n, source in enumerate(sources):
            taken.append(n)
            yield source

    found = []
    for number, (best, *_) in enumerate(Predictor(net).search(watched())):
        found.append(best.text)
        assert len(taken) == (AHEAD if number < AHEAD else len(sources))
    assert found == predict(net, sources[:AHEAD]) + predict(net, sources[AHEAD:])


def test_sources_before_a_wrong_one_are_answered() -> None:
    good = [b"\x01", b"\x02", b"\x01\x02"]
    search = Predictor(make()).search([*good, b"\t", b"\x03"])
    found = [next(search)[0].target for _ in good]
    with pytest.raises(DataError, match="line 4 contains the separator"):
        next(search)
    assert found == [best.target for best, *_ in Predictor(make()).search(good)]
