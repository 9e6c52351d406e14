"""A traced network: its outputs are those of predict, its bits those of valid, and nothing of it
is moved. What each layer shows is held to scalar loops in tests/layers/test_contract.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark import DataError, DivergedError, Network
from minidark import trace as public
from minidark.backend import Array
from minidark.inference.trace import Trace, trace
from minidark.inference.valid import measure
from tests.helpers import network, randomize, states, values

pytestmark = pytest.mark.usefixtures("each_backend")

SYMBOLS = 12
MIXTURE = (
    f"net inputs={SYMBOLS} batch=3 time_steps=4",
    "gru output=5 tanh=1 batch_normalize=1",
    "dropout probability=.5",
    "lstm output=4",
    "rnn output=6 hidden=3 activation=tanh",
    f"connected output={SYMBOLS} activation=linear",
    "softmax temperature=.8",
)
TEXT = np.random.default_rng(3).integers(0, SYMBOLS, 30)
SEED = b"\n\n"


def traced(net: Network, symbols: Array, seed: bytes = SEED) -> Trace:
    """Of the network itself, where a test holds one on the stand-in for a GPU by a wrapper."""
    return trace(getattr(net, "thing", net), symbols, seed)


@pytest.fixture
def net() -> Network:
    net = network(*MIXTURE)
    randomize(net.layers)
    return net


def test_outputs_are_those_of_predict_after_the_seed(net: Network) -> None:
    result = traced(net, TEXT)
    one = net.twin(1)
    one.predict(np.array([*SEED]))
    np.testing.assert_array_equal(result.outputs, one.predict(TEXT))
    np.testing.assert_array_equal(result.symbols, TEXT)


def test_layers_with_state_are_shown_by_name_and_feed_the_next(net: Network) -> None:
    result = traced(net, TEXT)
    shown = {
        layer.name: (layer.type, {name: rows.shape for name, rows in layer.values.items()})
        for layer in result.layers
    }
    n = TEXT.size
    assert shown == {
        "0.gru": ("gru", dict.fromkeys("zrch", (n, 5))),
        "2.lstm": ("lstm", dict.fromkeys("ifogch", (n, 4))),
        "3.rnn": ("rnn", dict.fromkeys(("input", "self", "s"), (n, 3))),
    }
    # The LSTM alone, on the state that the GRU shows: so dropout is off, and h is what goes up.
    lstm = net.layers[2].twin(1)
    gru = traced(net, np.concatenate([[*SEED], TEXT]), b"").layers[0].values["h"]
    y = lstm.forward(gru[:, None])
    np.testing.assert_allclose(np.asarray(y)[2:, 0], result.layers[1].values["h"], rtol=1e-12)


def test_an_elman_network_shows_the_state_alone_which_is_its_output() -> None:
    net = network(f"net inputs={SYMBOLS}", "rnn output=4 activation=tanh elman=1", "softmax")
    randomize(net.layers)
    (shown,) = traced(net, TEXT).layers
    assert [*shown.values] == ["s"]
    y = net.layers[0].twin(1).forward(np.concatenate([[*SEED], TEXT])[:, None])
    np.testing.assert_allclose(np.asarray(y)[2:, 0], shown.values["s"], rtol=1e-12)


def test_the_network_is_left_as_it_was(net: Network) -> None:
    net.predict(np.arange(9).reshape(3, 3))
    before = states(net), values(net), net.seen
    traced(net, TEXT)
    assert all((a == b).all() for a, b in zip(before[0], states(net), strict=True))
    assert all((before[1][name] == value).all() for name, value in values(net).items())
    assert net.seen == before[2]


def test_bits_are_those_of_valid(net: Network) -> None:
    surprise = traced(net, TEXT).surprise()
    assert surprise.shape == (TEXT.size - 1,)
    np.testing.assert_allclose(surprise.mean(), measure(net, TEXT, SEED).bits_per_character)


def test_an_impossible_symbol_surprises_by_a_finite_number_of_bits(net: Network) -> None:
    result = traced(net, TEXT)
    result.outputs[0] = 0
    assert result.surprise()[0] == pytest.approx(-math.log2(np.finfo(np.float64).tiny))


def test_it_is_public() -> None:
    assert public is trace


@pytest.mark.parametrize("symbols", [[], [1], [[1, 2], [3, 4]], [0.5, 1.0]])
def test_what_is_no_text_is_refused(net: Network, symbols: list[float]) -> None:
    with pytest.raises(DataError, match="at least two are needed"):
        traced(net, np.array(symbols))


def test_a_symbol_that_the_network_has_not_is_refused(net: Network) -> None:
    with pytest.raises(DataError, match=f"contains symbol {SYMBOLS}"):
        traced(net, np.array([1, SYMBOLS]))


def test_a_symbol_that_is_not_predicted_has_no_surprise() -> None:
    net = network("net inputs=12", "gru output=3", "softmax")
    with pytest.raises(DataError, match="contains symbol 5; this network predicts 0 to 2"):
        traced(net, np.array([1, 5])).surprise()


def test_damaged_weights_are_told_by_layer(net: Network) -> None:
    next(p for p in net.parameters() if p.name == "2.lstm.uo.biases").value[1] = np.nan
    with pytest.raises(DivergedError, match=r"^2\.lstm's o is NaN or infinite; these weights"):
        traced(net, TEXT, b"")
