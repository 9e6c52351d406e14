"""darknet's arithmetic, to the last bit. What is printed by it: cli/test_rnn.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import MinidarkError, load_network
from minidark.backend import Array
from minidark.cfg.options import LAYER_TYPES
from minidark.inference.exact import STEPS, ExactNetwork, Input, Row, activate
from minidark.layers.activations import ACTIVATIONS
from tests.golden_cases import GOLDEN, TEXT_CASES, arrays, names
from tests.helpers import network, randomize, states

# AlexeyAB's darknet multiplies in another order.
CASES = [
    name
    for name in names("*", "net.weights")
    if name not in TEXT_CASES and not name.startswith("alexey_")
]


def is_one_hot(x: Array) -> bool:
    return bool((np.sort(x, axis=1) == np.eye(1, x.shape[1], x.shape[1] - 1)).all())


SYMBOL_CASES = [name for name in CASES if is_one_hot(arrays(name)["x"])]
ROW_CASES = [name for name in CASES if name not in SYMBOL_CASES]


def golden(name: str) -> ExactNetwork:
    return ExactNetwork(load_network(GOLDEN / name / "net.cfg", GOLDEN / name / "net.weights"))


@pytest.mark.parametrize("name", SYMBOL_CASES)
def test_outputs_are_darknets_bit_for_bit(name: str) -> None:
    one, case = golden(name), arrays(name)
    y = np.stack([one.predict(int(symbol)) for symbol in case["x"].argmax(axis=1)])
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, case["y"])


@pytest.mark.parametrize("name", ROW_CASES)
def test_layers_over_any_numbers_are_darknets_bit_for_bit(name: str) -> None:
    one, case = golden(name), arrays(name)
    for row, wanted in zip(case["x"], case["y"], strict=True):
        y: Input = row
        for layer, state in zip(one.layers, one.states, strict=True):
            y = STEPS[layer.type](one, layer, state, y)
        np.testing.assert_array_equal(y, wanted)


def test_every_cell_and_every_activation_is_among_the_cases() -> None:
    texts = "\n".join((GOLDEN / name / "net.cfg").read_text() for name in CASES)
    # A [logistic] layer is the activation of that name, a [cost] passes through.
    assert [t for t in STEPS if f"[{t}]" not in texts] == ["logistic", "cost"]
    assert [a for a in ACTIVATIONS if f"activation={a}\n" not in texts] == []


# --- activations, as the C has them -------------------------------------------------------

F = np.float32


def _stair(x: F) -> float:
    n = math.floor(x)
    return math.floor(x / 2.0) if n % 2 == 0 else float(F(x - F(n))) + math.floor(x / 2.0)


def _plse(x: F) -> float:
    if x < -4:
        return 0.01 * float(F(x + F(4)))
    return 0.01 * float(F(x - F(4))) + 1 if x > 4 else 0.125 * float(x) + 0.5


def _lhtan(x: F) -> float:
    if x < 0:
        return 0.001 * float(x)
    return 0.001 * float(F(x - F(1))) + 1 if x > 1 else float(x)


def _tanh(x: F) -> float:
    e = math.exp(2 * float(x))
    return (e - 1) / (e + 1)


# Constants are double, x is float, and what a function returns is rounded to float.
IN_C: dict[str, Callable[[F], float]] = {
    "logistic": lambda x: 1.0 / (1.0 + math.exp(-float(x))),
    "loggy": lambda x: 2.0 / (1.0 + math.exp(-float(x))) - 1,
    "relu": lambda x: float(x) * (x > 0),
    "elu": lambda x: (x >= 0) * float(x) + (x < 0) * (math.exp(float(x)) - 1),
    "selu": lambda x: (
        (x >= 0) * 1.0507 * float(x) + (x < 0) * 1.0507 * 1.6732 * (math.exp(float(x)) - 1)
    ),
    "relie": lambda x: float(x) if x > 0 else 0.01 * float(x),
    "ramp": lambda x: float(x) * (x > 0) + 0.1 * float(x),
    "linear": lambda x: float(x),
    "tanh": _tanh,
    "plse": _plse,
    "leaky": lambda x: float(x) if x > 0 else 0.1 * float(x),
    "stair": _stair,
    "hardtan": lambda x: -1.0 if x < -1 else 1.0 if x > 1 else float(x),
    "lhtan": _lhtan,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_rounds_where_the_c_rounds(name: str) -> None:
    rng = np.random.default_rng(1)
    x: Row = np.concatenate([
        rng.normal(0, size, 1000) for size in (1e-8, 1e-4, 0.1, 1, 10)
    ]).astype(F)  # fmt: skip
    wanted = np.array([IN_C[name](value) for value in x]).astype(F)
    np.testing.assert_array_equal(activate(name, x), wanted)


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_large_numbers_do_not_overflow(name: str) -> None:
    ends = activate(name, np.array([-1000, 1000], F))
    np.testing.assert_array_equal(ends, {"logistic": [0, 1], "tanh": [-1, 1]}[name])


@pytest.mark.parametrize(
    ("name", "last", "value"),
    [("tanh", 354.8, 1.0), ("elu", 709.7, 710.5), ("selu", 709.7, 710.5 * 1.0507)],
)
def test_they_stay_finite_beyond_where_c_makes_nan(name: str, last: float, value: float) -> None:
    """C's exp overflows: its tanh is infinity over infinity, its elu has 0 times infinity."""
    expressions: dict[str, Callable[[Any], Any]] = {
        "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
        "elu": lambda x: (x >= 0) * x + (x < 0) * (np.exp(x) - 1),
        "selu": lambda x: (x >= 0) * 1.0507 * x + (x < 0) * 1.0507 * 1.6732 * (np.exp(x) - 1),
    }
    c = expressions[name]
    there, beyond = np.float64(last), np.float64(710.5)
    with np.errstate(all="ignore"):
        assert np.isfinite(c(there))
        assert np.isnan(c(beyond))
        assert np.isnan(c(there + 0.2))
    found = activate(name, np.array([there, beyond], F))
    np.testing.assert_allclose(found.tolist(), [float(c(np.float64(F(there)))), value], rtol=1e-6)


# --- beside Network.predict ---------------------------------------------------------------

SYMBOLS = 20
END = (f"connected output={SYMBOLS} activation=linear", "softmax")
NETWORKS: dict[str, tuple[str, ...]] = {
    "gru": ("gru output=7", *END),
    "gru tanh": ("gru output=7 tanh=1", "gru output=5", *END),
    "gru norm": ("gru output=7 tanh=1 batch_normalize=1", *END),
    "lstm": ("lstm output=6", "lstm output=8 batch_normalize=1", *END),
    "rnn": ("rnn output=6 activation=tanh shortcut=1", "rnn output=4 activation=leaky", *END),
    "rnn hidden": ("rnn output=6 hidden=9 logistic=1 activation=elu batch_normalize=1", *END),
    "rnn loggy": ("rnn output=6 logistic=2 activation=tanh", *END),
    "connected": ("connected output=9 activation=loggy batch_normalize=1", *END),
    "ends": (f"gru output={SYMBOLS}", "dropout", "activation activation=elu", "cost"),
    "softmax first": ("softmax", "gru output=4", *END),
    "activation first": ("activation activation=tanh", "lstm output=4", *END),
    "groups": ("dropout", "lstm output=8", END[0], "softmax groups=4 temperature=.6"),
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_agrees_with_predict(layers: tuple[str, ...], seed: int) -> None:
    net, wide = (network(f"net inputs={SYMBOLS}", *layers, dtype=f"float{b}") for b in (32, 64))
    randomize(net.layers, seed)
    for mine, its in zip(wide.layers, net.layers, strict=True):
        for a, b in zip(mine.arrays(), its.arrays(), strict=True):
            a.value[...] = b.value
    symbols = np.random.default_rng(seed).integers(0, SYMBOLS, 30)
    one = ExactNetwork(net)
    y = np.stack([one.predict(int(symbol)) for symbol in symbols])
    np.testing.assert_allclose(y, wide.predict(symbols), rtol=1e-6, atol=1e-6)


def text_network(*layers: str) -> ExactNetwork:
    net = network(f"net inputs={SYMBOLS}", *(layers or NETWORKS["gru tanh"]), dtype="float32")
    randomize(net.layers)
    return ExactNetwork(net)


def test_reset_state_begins_anew() -> None:
    one = text_network()
    first = [one.predict(symbol) for symbol in (3, 5, 3)]
    assert (first[0] != first[2]).any(), "a state that carries nothing would show nothing"
    one.reset_state()
    for symbol, wanted in zip((3, 5, 3), first, strict=True):
        np.testing.assert_array_equal(one.predict(symbol), wanted)


def test_the_network_keeps_its_own_state_and_two_do_not_meet() -> None:
    net = network("net inputs=20 batch=3", *NETWORKS["lstm"], dtype="float32")
    randomize(net.layers)
    net.predict(np.array([[1, 2, 3]]))
    before = states(net)
    one, other = ExactNetwork(net), ExactNetwork(net)
    wanted = other.predict(4)
    other.reset_state()
    one.after([5, 6])
    np.testing.assert_array_equal(other.predict(4), wanted)
    for mine, its in zip(states(net), before, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_after_is_predict_symbol_by_symbol() -> None:
    one, other = text_network(), text_network()
    for symbol in (7, 0, 19):
        wanted = other.predict(symbol)
    np.testing.assert_array_equal(one.after([7, 0, 19]), wanted)


def test_outputs_are_kept_layer_by_layer() -> None:
    one = text_network()
    y = one.predict(3)
    assert [o.shape for o in one.outputs] == [(7,), (5,), (SYMBOLS,), (SYMBOLS,)]
    np.testing.assert_array_equal(one.outputs[0], one.states[0]["state"])
    np.testing.assert_array_equal(one.outputs[-1], y)
    assert y.sum() == pytest.approx(1, abs=1e-6)


def test_a_temperature_takes_the_place_of_the_cfgs() -> None:
    net = network(f"net inputs={SYMBOLS}", "gru output=5", END[0], "softmax temperature=2")
    same = network(f"net inputs={SYMBOLS}", "gru output=5", END[0], "softmax temperature=.5")
    for each in (net, same):
        randomize(each.layers)
    wanted = ExactNetwork(same).predict(3)
    np.testing.assert_array_equal(ExactNetwork(net, 0.5).predict(3), wanted)
    assert (ExactNetwork(net).predict(3) != wanted).any()


@pytest.mark.parametrize("keys", ["", "tanh=1", "tanh=1 batch_normalize=1"])
def test_a_reset_after_the_product_is_what_predict_computes(keys: str) -> None:
    net = network(f"net inputs={SYMBOLS}", f"gru output=5 reset_after=1 {keys}", dtype="float32")
    randomize(net.layers)
    one, symbols = ExactNetwork(net), np.arange(SYMBOLS)
    found = np.stack([one.predict(symbol) for symbol in symbols.tolist()])
    np.testing.assert_allclose(found, net.predict(symbols[:, None])[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("keys", ["", "activation=tanh", "activation=tanh batch_normalize=1"])
def test_so_is_one_activation_of_the_sum(keys: str) -> None:
    net = network(f"net inputs={SYMBOLS}", f"rnn output=5 elman=1 {keys}", dtype="float32")
    randomize(net.layers)
    one, symbols = ExactNetwork(net), np.arange(SYMBOLS)
    found = np.stack([one.predict(symbol) for symbol in symbols.tolist()])
    np.testing.assert_allclose(found, net.predict(symbols[:, None])[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("type_", sorted({*LAYER_TYPES} - {*STEPS, "conn", "soft"}))
def test_a_layer_that_darknet_cannot_run_here_is_refused(type_: str) -> None:
    keys = {"route": " layers=0", "shortcut": " from=0"}.get(type_, "")
    below = ("connected", "connected") if keys else ()
    net = network("net inputs=300", *below, type_ + keys, "gru output=4")
    with pytest.raises(MinidarkError) as error:
        ExactNetwork(net)
    assert (
        str(error.value)
        == f"{len(below)}.{type_}: exact darknet arithmetic does not support this layer"
    )


@pytest.mark.parametrize("layers", [("gru output=4",), ("softmax",)])
@pytest.mark.parametrize("symbol", [20, 255, -1])
def test_a_symbol_that_the_network_does_not_have_is_refused(
    layers: tuple[str, ...], symbol: int
) -> None:
    with pytest.raises(MinidarkError, match=f"{symbol}.*0 to 19"):
        text_network(*layers).predict(symbol)
