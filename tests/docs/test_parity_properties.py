"""What holds for every recurrent network of a cfg, drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidark import Network, generate, load_network
from minidark.convert.fold import denormalize
from minidark.inference.exact import ExactNetwork
from minidark.layers.activations import ACTIVATIONS
from minidark.weights.darknet import save_weights
from minidark.weights.header import ORDERS
from tests.helpers import cfg, randomize
from tests.selection import examples

SYMBOLS = 13
DRAWN = settings(
    max_examples=examples(60),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Those whose outputs stay small: others grow from step to step, and rounding with them.
SQUASHING = ["logistic", "loggy", "tanh", "hardtan"]


@st.composite
def recurrent(draw: st.DrawFn) -> str:
    cell = draw(st.sampled_from(["gru", "lstm", "rnn"]))
    own = {
        "gru": ["tanh=1", "update_bias=.5", "init=orthogonal"],
        "lstm": ["forget_bias=1", "init=orthogonal"],
        "rnn": [
            f"activation={draw(st.sampled_from(SQUASHING))}",
            f"hidden={draw(st.integers(1, 9))}",
            f"logistic={draw(st.integers(0, 2))}",
        ],
    }[cell]
    options = draw(st.lists(st.sampled_from([*own, "batch_normalize=1"]), unique=True))
    return " ".join([cell, f"output={draw(st.integers(1, 9))}", *options])


@st.composite
def between(draw: st.DrawFn) -> str:
    activation = draw(st.sampled_from(sorted(ACTIVATIONS)))
    norm = draw(st.integers(0, 1))
    return draw(
        st.sampled_from([
            "dropout probability=.3",
            f"activation activation={activation}",
            f"connected output={draw(st.integers(1, 9))} batch_normalize={norm}",
        ])
    )  # fmt: skip


END = st.sampled_from(["softmax", "softmax temperature=.7", "softmax groups=13"])
LAYERS = st.builds(
    lambda first, rest, end: [first, *rest, f"connected output={SYMBOLS} activation=linear", end],
    recurrent(),
    st.lists(recurrent() | between(), max_size=3),
    END,
)
SEEDS = st.integers(0, 2**31 - 1)


def drawn(folder: Path, layers: list[str], seed: int) -> Network:
    """The network of a cfg file of these layers; its numbers are not those it began with."""
    (folder / "net.cfg").write_text(cfg(f"net inputs={SYMBOLS}", *layers))
    net = load_network(folder / "net.cfg", seed=seed)
    randomize(net.layers, seed)
    net.seen = seed
    return net


def saved(net: Network, path: Path, order: str = "pjreddie") -> bytes:
    save_weights(net, path, order)
    return path.read_bytes()


def text(seed: int, length: int = 8) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(0, SYMBOLS, length)


@DRAWN
@given(LAYERS, SEEDS)
def test_a_saved_network_predicts_and_generates_the_same(
    tmp_path: Path, layers: list[str], seed: int
) -> None:
    net = drawn(tmp_path, layers, seed)
    net.save_weights(tmp_path / "net.weights")
    again = load_network(tmp_path / "net.cfg", tmp_path / "net.weights", seed=seed + 1)
    assert again.seen == net.seen
    np.testing.assert_array_equal(again.predict(text(seed)), net.predict(text(seed)))
    if not net.gives_distribution:
        return
    sampled = [generate(each, b"\x01\x02", 20, 1.0, srand=seed) for each in (net, again, net)]
    assert sampled[0] == sampled[1] == sampled[2]
    assert len(sampled[0]) == 22


@DRAWN
@given(LAYERS, SEEDS)
def test_a_saved_cfg_makes_the_same_network(tmp_path: Path, layers: list[str], seed: int) -> None:
    net = drawn(tmp_path, layers, seed)
    net.save_cfg(tmp_path / "again.cfg")
    net.save_weights(tmp_path / "net.weights")
    again = load_network(tmp_path / "again.cfg", tmp_path / "net.weights")
    np.testing.assert_array_equal(again.predict(text(seed)), net.predict(text(seed)))


@DRAWN
@given(LAYERS, SEEDS)
def test_a_folded_network_predicts_the_same(tmp_path: Path, layers: list[str], seed: int) -> None:
    stairs = [layer.replace("=stair", "=tanh") for layer in layers]  # a step may fall either way
    net = drawn(tmp_path, stairs, seed)
    found, wanted = denormalize(net).predict(text(seed)), net.predict(text(seed))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@DRAWN
@given(LAYERS, SEEDS, st.sampled_from(ORDERS))
def test_a_file_read_and_written_is_the_same_bytes(
    tmp_path: Path, layers: list[str], seed: int, order: str
) -> None:
    written = saved(drawn(tmp_path, layers, seed), tmp_path / "one.weights", order)
    read = load_network(tmp_path / "net.cfg", tmp_path / "one.weights")
    assert saved(read, tmp_path / "two.weights", order) == written


@DRAWN
@given(LAYERS, SEEDS, st.sampled_from(ORDERS))
def test_a_file_converted_there_and_back_is_the_same_bytes(
    tmp_path: Path, layers: list[str], seed: int, order: str
) -> None:
    other = ORDERS[1 - ORDERS.index(order)]
    net = drawn(tmp_path, layers, seed)
    written = saved(net, tmp_path / "one.weights", order)
    there = load_network(tmp_path / "net.cfg", tmp_path / "one.weights")
    turned = saved(there, tmp_path / "two.weights", other)
    assert len(turned) == len(written)
    assert turned[8:12] != written[8:12]
    back = load_network(tmp_path / "net.cfg", tmp_path / "two.weights")
    assert saved(back, tmp_path / "three.weights", order) == written
    back.settle_batchnorm(net.batchnorm)  # in place of what the other header says
    np.testing.assert_array_equal(back.predict(text(seed)), net.predict(text(seed)))


@DRAWN
@given(LAYERS, SEEDS)
def test_darknets_arithmetic_agrees_with_predict(
    tmp_path: Path, layers: list[str], seed: int
) -> None:
    smooth = [layer.replace("=stair", "=tanh") for layer in layers]
    net = drawn(tmp_path, smooth, seed)
    one = ExactNetwork(net)
    found = np.stack([one.predict(int(symbol)) for symbol in text(seed)])
    np.testing.assert_allclose(found, net.predict(text(seed)), rtol=1e-5, atol=1e-5)
