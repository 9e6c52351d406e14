"""[attention]: what a step sees, however a stream is cut into passes, and its memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, MinidarkError, Network, Predictor
from minidark.backend import Array
from minidark.convert.proof import written
from minidark.data.pairs import Pairs
from minidark.inference.trace import trace
from minidark.layers import attention, attention_window, make_attention_layer
from minidark.report.look import Look
from minidark.training.feeds import feed
from tests.conftest import WriteText
from tests.helpers import network, randomize
from tests.layers.scalar_reference import Reference

pytestmark = pytest.mark.usefixtures("each_backend")

I, T, S = 6, 13, 4  # noqa: E741  the shape alphabet's inputs
END = 5  # the separator in these tests
CASES = [
    "attention memory=20",
    "attention memory=13",
    "attention memory=4 heads=2",
    "attention memory=1 value=0",
    "attention memory=5 heads=3 query=0 output=4",
    f"attention over=source separator={END} memory=20",
    f"attention over=source separator={END} memory=4 heads=2 keys=5 output=3",
    f"attention over=source separator={END} memory=1 query=0 key=0 value=0",
    f"attention over=source separator={END} memory=3 key=0",
]
CUTS = [[0, T], [0, 1, T], [0, 5, 6, T], [*range(T + 1)]]


def build(case: str, streams: int = S) -> tuple[Any, Any]:
    """The layer of a section in float64, with distinct arrays, and its options."""
    net = network(f"net inputs={I} batch={streams}", case)
    randomize(net.layers)
    return net.layers[0], net.layer_options[0]


def stream(steps: int = T) -> tuple[Array, Array]:
    """x (T, S, I) and symbols (T, S). Separators: at step 6 and 9, 0, none, and T - 1."""
    rng = np.random.default_rng(3)
    symbols = rng.integers(0, END, (steps, S))
    symbols[[6, 9, 0, steps - 1], [0, 0, 1, 3]] = END
    return rng.normal(0, 1, (steps, S, I)), symbols


def same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a, np.asarray(b), rtol=1e-11, atol=1e-12)


def passes(layer: Any, x: Array, symbols: Array, cuts: list[int]) -> Array:
    outputs = []
    for begin, end in pairwise(cuts):
        layer.watch(symbols[begin:end])
        outputs.append(layer.forward(x[begin:end]))
    return np.concatenate(outputs)


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_each_step_sees_what_a_loop_over_its_stream_sees(case: str, cuts: list[int]) -> None:
    layer, options = build(case)
    x, symbols = stream()
    wanted = Reference(layer, options).forward_attention(x.tolist(), False, symbols.tolist())
    same(passes(layer, x, symbols, cuts), wanted)


@pytest.mark.parametrize("case", CASES)
def test_the_weights_that_are_traced_are_those_of_the_loop(case: str) -> None:
    layer, options = build(case)
    x, symbols = stream()
    reference = Reference(layer, options)
    reference.forward_attention(x.tolist(), False, symbols.tolist())
    shown = []
    for begin, end in pairwise([0, 4, 11, T]):
        layer.watch(symbols[begin:end])
        shown.append(layer.traced(x[begin:end])[1]["attention"])
    found = np.concatenate(shown)
    same(found, [step["attention"] for step in reference.shown])
    same(found.sum(axis=2), np.ones((T, S)))


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_frozen_steps_are_a_pass(case: str, cuts: list[int]) -> None:
    """Also where passes and steps take turns, and a stream is reset between them."""
    layer, _ = build(case)
    whole, _ = build(case)
    x, symbols = stream()
    step = layer.frozen(False)
    found, wanted = [], []
    for number, (begin, end) in enumerate(pairwise(cuts)):
        wanted.append(passes(whole, x, symbols, [begin, end]))
        if number % 3 == 1:
            found.append(passes(layer, x, symbols, [begin, end]))
        else:
            for t in range(begin, end):
                layer.watch(symbols[t : t + 1])
                found.append(step(device(layer, x[t]))[None])
        if number % 5 == 4:
            layer.reset_state(2)
            whole.reset_state(2)
    same(np.concatenate([host(layer, y) for y in found]), np.concatenate(wanted))
    for name, state in whole.states.items():
        same(layer.states[name], state)


def device(layer: Any, x: Array) -> Array:
    """`frozen` of a hosted layer is not hosted."""
    return layer.backend.xp.asarray(x)


def host(layer: Any, y: Any) -> Array:
    return np.array(layer.backend.asnumpy(y))


@pytest.mark.parametrize("case", CASES)
def test_reordered_steps_are_those_of_reordered_streams(case: str) -> None:
    """Streams that were copied, and then read on differently, are not taken for equal."""
    layer, _ = build(case)
    x, symbols = stream()
    orders = np.random.default_rng(1).integers(0, S, (T, S))
    orders[[2, 3]] = [[0, 0, 0, 3], [1, 0, 2, 3]]
    histories: list[list[tuple[Array, int]]] = [[] for _ in range(S)]  # inputs and symbols
    step = layer.frozen(False)
    for t in range(T):
        layer.watch(symbols[t : t + 1])
        between = t == 7  # a pass between the steps
        y = layer.forward(x[t : t + 1])[0] if between else host(layer, step(device(layer, x[t])))
        for s in range(S):
            histories[s] = [*histories[s], (x[t, s], symbols[t, s])]
        alone, _ = build(case)
        alone.watch(np.array([[history[i][1] for history in histories] for i in range(t + 1)]))
        rows = np.array([[history[i][0] for history in histories] for i in range(t + 1)])
        same(y, alone.forward(rows)[-1])
        layer.reorder(layer.backend.asids(orders[t]))
        histories = [histories[s] for s in orders[t]]


@pytest.mark.parametrize("whole", [0, 1])  # 0: always in blocks
@pytest.mark.parametrize("kept", [0, 1 << 24])  # 0: weights are computed again
@pytest.mark.parametrize("case", CASES)
def test_blocks_of_a_long_pass_are_the_whole(
    case: str, kept: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for small in (False, True):
        layer, _ = build(case)
        x, symbols = stream()
        passes(layer, x[:3], symbols[:3], [0, 3])  # a memory to begin from
        if small:
            monkeypatch.setattr(attention_window, "WHOLE", 0 if whole == 0 else 1 << 16)
            monkeypatch.setattr(attention_window, "BLOCK_STEPS", 3)
            monkeypatch.setattr(attention, "KEPT_SCORES", kept)
        layer.watch(symbols[3:])
        y = layer.forward(x[3:], train=True)
        dx = layer.backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))
        results.append([y, dx, *(p.grad.copy() for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        same(a, b)


def test_a_block_sees_only_what_its_steps_see() -> None:
    at = np.arange(1000)[:, None]
    window = attention_window.Window(0, np.maximum(0, at - 9), at, np.array([1000]))
    blocks = [*window.blocks(1, 10)]
    assert len(blocks) == 4
    assert [rows.stop - rows.start for _, rows in blocks] == [256, 265, 265, 241]


@pytest.mark.parametrize("case", [CASES[2], CASES[6]])
def test_shards_share_the_memory_and_twins_do_not(case: str) -> None:
    layer, _ = build(case)
    alone, _ = build(case)
    x, symbols = stream()
    wanted = passes(alone, x, symbols, [0, 4, T])
    parts = [slice(0, 1), slice(1, 4)]
    for begin, end in ((0, 4), (4, T)):
        for part in parts:
            shard = layer.shard(part)
            y = passes(shard, x[:, part], symbols[:, part], [begin, end])
            same(y, wanted[begin:end, part])
    for name, state in alone.states.items():
        same(layer.states[name], state)
    twin = layer.twin(2)
    assert {n: s.shape for n, s in twin.states.items()} == {
        n: (2, *s.shape[1:]) for n, s in layer.states.items()
    }
    assert not any(state.any() for state in twin.states.values())


def test_counts_stay_small_and_keep_their_slot() -> None:
    layer, _ = build("attention memory=3")
    x, symbols = stream(40)
    for t in range(40):
        passes(layer, x[t : t + 1], symbols[t : t + 1], [0, 1])
        count = float(layer.states["count"][0, 0])
        assert count == (t + 1 if t < 5 else 3 + (t + 1) % 3)
        same(layer.states["memory"][:, t % 3], x[t])


def test_symbols_of_another_shape_are_an_error() -> None:
    layer, _ = build(CASES[5])
    x, symbols = stream()
    layer.watch(symbols[:3])
    with pytest.raises(MinidarkError, match=r"^0\.attention: symbols \(3, 4\) for 13 steps of 4"):
        layer.forward(x)


# --- in a network -------------------------------------------------------------------------

NET = ("net inputs=12 batch=3 time_steps=12", "gru output=6 tanh=1")
OUT = ("connected output=12 activation=linear", "softmax")
SOURCE = "attention over=source memory=9 output=5"


def made(section: str = SOURCE, dtype: str = "float64") -> Network:
    net = network(*NET, section, *OUT, dtype=dtype)
    randomize(net.layers)
    return net


def test_a_network_shows_its_symbols_in_every_kind_of_pass() -> None:
    net = made()
    ids = np.random.default_rng(0).integers(0, 9, (10, 3))
    ids[[3, 5], [0, 1]] = 9
    twin = net.twin(3)
    y = twin.forward(ids)
    assert twin.layers[1].states["passed"][:, 0].tolist() == [1, 1, 0]
    same(net.twin(3).forward(np.eye(12)[ids]), y)
    same(net.twin(3).traced(ids)[0], y)
    same(net.twin(3).forward(ids, train=True), y)
    frozen = net.frozen(3)
    same([net.backend.asnumpy(frozen(net.backend.asids(row))).copy() for row in ids], y)
    other = ids.copy()
    other[3, 0] = 8
    assert not np.allclose(net.twin(3).forward(other)[9, 0], y[9, 0])


def test_gradients_do_not_cross_the_separator() -> None:
    """No step sees another one after the separator, but each sees the source."""
    layer = make_attention_layer(12, 4, separator=9, steps=12)
    x = np.random.default_rng(1).normal(0, 1, (12, 1, 4)).astype(np.float32)
    layer.watch(np.array([0, 0, 0, 9, *[0] * 8])[:, None])
    y = layer.forward(x, train=True)
    dy = np.zeros_like(y)
    dy[8] = 1
    dx = layer.backward(dy)
    assert dx is not None
    assert np.flatnonzero(np.abs(dx).sum(axis=(1, 2))).tolist() == [0, 1, 2, 3, 8]


def test_pairs_with_another_separator_are_refused(write_text: WriteText) -> None:
    net = made()
    message = (
        r"^2\.attention: separator=9 ends a source, but the pairs have '\|'; set separator=124 in "
        r"\[attention\], or --separator$"
    )
    wide = network("net inputs=256 batch=2 time_steps=9", "gru output=4", "attention over=source",
                   "connected output=256", "softmax")  # fmt: skip
    path = write_text(b"a|b\nc|d\n")
    with pytest.raises(CfgError, match=message.replace("2", "1", 1)):
        feed(Pairs(path, "|"), wide, 0, 0.0)
    with pytest.raises(CfgError, match=message.replace("2", "1", 1)):
        Predictor(wide, separator="|")
    assert Predictor(net)
    assert Predictor(network(NET[0], "gru output=4", "attention", *OUT))


@pytest.mark.parametrize("beam", [1, 3])
def test_a_prediction_does_not_depend_on_those_beside_it(beam: int) -> None:
    net = network("net inputs=64 batch=2 time_steps=9", NET[1], SOURCE,
                  "connected output=64 activation=linear", "softmax")  # fmt: skip
    randomize(net.layers, 4)
    sources = ["!#%", "'", '"+-/&&&', "*", "()"]
    together = [*Predictor(net, beam, max_length=6).search(sources)]
    for source, targets in zip(sources, together, strict=True):
        ((alone, *_),) = Predictor(net, beam, max_length=6).search([source])
        assert alone.target == targets[0].target
        assert alone.score == pytest.approx(targets[0].score, rel=1e-9)


def test_no_other_format_is_written() -> None:
    message = r"^1\.attention: its memory of earlier steps has no counterpart in this format yet"
    with pytest.raises(MinidarkError, match=message):
        written(made(), lambda net, calls: (b"", []), np.zeros(3, np.intp))


def test_a_page_shows_the_weights_of_each_column() -> None:
    net = network("net inputs=12 batch=1", NET[1], "attention memory=4", *OUT)
    randomize(net.layers)
    traced = trace(net, np.arange(10) % 9, b"")
    assert [layer.name for layer in traced.layers] == ["0.gru", "1.attention"]
    weights = traced.layers[1].values["attention"]
    assert weights.shape == (10, 4)
    assert [row.nonzero()[0].tolist() for row in weights[:3]] == [[0], [0, 1], [0, 1, 2]]
    figures = Look(traced).figures()
    assert [row["layer"] for row in figures["saturation"]][-1] == "1.attention"


# --- the cfg ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("attention heads=4", 5, "heads=4 does not divide 6 inputs"),
        ("attention keys=5 heads=4 value=0", 6, "heads=4 does not divide 6 inputs"),
        (
            "attention keys=4 query=0",
            5,
            "keys=4 of 1 heads are 4 wide; without query they must be as wide as the 6 inputs",
        ),
        (
            "attention heads=2 keys=4 key=0",
            6,
            "keys=4 of 2 heads are 8 wide; without key they must be as wide as the 6 inputs",
        ),
        ("attention over=all", 5, "over='all' is not one of past, source"),
        ("attention memory=0", 5, "memory='0' is less than 1"),
    ],
)
def test_widths_that_do_not_fit_are_refused_at_their_line(
    section: str, line: int, message: str
) -> None:
    with pytest.raises(CfgError) as error:
        network(f"net inputs={I}", section)
    assert (error.value.line, error.value.message) == (line, message)


def test_the_factory_refuses_them_too() -> None:
    with pytest.raises(CfgError, match=r"^heads=4 does not divide 6 inputs$"):
        make_attention_layer(3, 6, heads=4)


def test_the_arrays_are_stored_in_the_order_of_the_sublayers() -> None:
    net = network(f"net inputs={I}", "attention heads=2 keys=4 output=5")
    names = [array.name for array in net.layers[0].stored_arrays()]
    assert names == [
        f"0.attention.{part}.{kind}"
        for part in ("query", "key", "value", "output")
        for kind in ("biases", "weights")
    ]
    assert [p.value.shape for p in net.parameters()[1::2]] == [(8, 6)] * 3 + [(5, 8)]


def test_a_bias_of_key_has_no_effect_and_no_gradient() -> None:
    net = made("attention output=5")
    ids = np.random.default_rng(0).integers(0, 12, (2, 12, 3))
    y = net.twin(3).forward(ids[0])
    (biases,) = (p for p in net.parameters() if p.name == "1.attention.key.biases")
    biases.value[...] += 3
    same(net.twin(3).forward(ids[0]), y)
    net.accumulate(*ids)
    assert not biases.grad.any()


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("case", CASES)
def test_streams_that_are_taken_over_go_on(case: str, steps: int) -> None:
    """By a wider layer, then by a narrower one, as in a beam search."""
    one, _ = build(case)
    alone, _ = build(case)
    x, symbols = stream()
    passes(one, x[:8], symbols[:8], [0, 8])
    wide, origin = one.twin(2 * S), np.repeat([2, 0, 1, 3], 2)
    for begin in (0, S):  # in two parts
        part = slice(begin, begin + S)
        wide.take(part, one, wide.backend.asids(origin[part]))
    step = wide.frozen(False)
    for t in range(8, 8 + steps):
        wide.watch(symbols[t : t + 1, origin])
        step(device(wide, x[t][origin]))
    narrow, rest = one.twin(3), np.array([5, 0, 7])
    narrow.take(slice(None), wide, narrow.backend.asids(rest))
    step, origin = narrow.frozen(False), origin[rest]
    wanted = passes(alone, x, symbols, [0, T])[:, origin]
    for t in range(8 + steps, T):
        narrow.watch(symbols[t : t + 1, origin])
        same(host(narrow, step(device(narrow, x[t][origin]))), wanted[t])
