"""Batch norm: what it refuses, and its rolling statistics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from minidark import CfgError, load_network
from tests.helpers import cfg, input_gradient, network, randomize, states
from tests.layers.scalar_reference import Reference

pytestmark = pytest.mark.usefixtures("each_backend")

ONE_ROW = (
    "layer {}: batch_normalize cannot train on one row at a time, "
    "its variance needs two; give [net] a batch of two or more streams"
)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("gru output=4 batch_normalize=1", "1.gru"),
        ("lstm output=4 batch_normalize=1", "1.lstm"),
        ("rnn output=4 batch_normalize=1", "1.rnn"),
    ],
)
def test_a_recurrent_norm_does_not_train_on_one_stream(layer: str, name: str) -> None:
    net = network("net inputs=3 batch=1 time_steps=4", "activation", layer)
    with pytest.raises(CfgError) as error:
        net.forward(np.ones((4, 1, 3)), train=True)
    assert str(error.value) == ONE_ROW.format(name)


@pytest.mark.parametrize(
    ("layer", "name"),
    [("connected output=4 batch_normalize=1", "1.connected"), ("batchnorm", "1.batchnorm")],
)
def test_a_plain_norm_does_not_train_on_one_row(layer: str, name: str) -> None:
    net = network("net inputs=3 batch=1", "activation", layer)
    net.forward(np.array([[[1.0, 2, 3]], [[2, 2, 4]]]), train=True)  # two time steps are two rows
    with pytest.raises(CfgError) as error:
        net.forward(np.ones((1, 1, 3)), train=True)
    assert str(error.value) == ONE_ROW.format(name)


@pytest.mark.parametrize("layer", ["gru", "lstm", "rnn", "connected"])
def test_one_stream_loads_and_infers(layer: str, tmp_path: Path) -> None:
    several = network("net inputs=3 batch=2", f"{layer} output=4 batch_normalize=1")
    randomize(several.layers)
    several.save_weights(tmp_path / "net.weights")
    (tmp_path / "one.cfg").write_text(
        cfg("net inputs=3 batch=1", f"{layer} output=4 batch_normalize=1")
    )
    one = load_network(tmp_path / "one.cfg", tmp_path / "net.weights")
    x = np.random.default_rng(0).normal(size=(5, 1, 3))
    wanted = several.predict(np.concatenate([x, x], axis=1))[:, :1]
    np.testing.assert_allclose(one.predict(x), wanted, rtol=1e-5, atol=1e-6)


def test_rolling_statistics_move_a_hundredth_of_the_way_to_the_batchs() -> None:
    net = network("net inputs=2 batch=2 time_steps=2", "batchnorm")
    arrays = {a.kind: a.value for a in net.layers[0].stored_arrays()}
    arrays["rolling_mean"][...] = [10, -10]
    arrays["rolling_variance"][...] = [2, 3]
    # Four rows: means 4 and 1; squares of the distances sum to 20 and 12, over 3.
    net.forward(np.array([[[1.0, 1], [3, -1]], [[5, 1], [7, 3]]]), train=True)
    np.testing.assert_allclose(arrays["rolling_mean"], [9.9 + 0.04, -9.9 + 0.01])
    np.testing.assert_allclose(
        arrays["rolling_variance"], [1.98 + 0.01 * 20 / 3, 2.97 + 0.01 * 8 / 3]
    )


def test_a_recurrent_norm_rolls_once_for_each_step() -> None:
    net = network("net inputs=1 batch=2 time_steps=2", "rnn output=1 batch_normalize=1")
    arrays = {a.name: a.value for a in net.layers[0].stored_arrays()}
    arrays["0.rnn.input.weights"][...] = 1
    net.forward(np.array([[[1.0], [3]], [[0], [10]]]), train=True)
    mean = 0.99 * (0.01 * 2) + 0.01 * 5
    variance = 0.99 * (0.01 * 2) + 0.01 * 50
    np.testing.assert_allclose(arrays["0.rnn.input.rolling_mean"], [mean])
    np.testing.assert_allclose(arrays["0.rnn.input.rolling_variance"], [variance])


def test_inference_does_not_roll() -> None:
    net = network("net inputs=3 batch=2", "gru output=4 batch_normalize=1", "batchnorm")
    randomize(net.layers)
    arrays = [a for layer in net.layers for a in layer.stored_arrays()]
    before = [a.value.copy() for a in arrays]
    net.predict(np.random.default_rng(0).normal(size=(6, 2, 3)))
    assert any(state.any() for state in states(net))
    for array, kept in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array.value, kept, err_msg=array.name)


def test_a_feature_that_never_varies_trains() -> None:
    net = network("net inputs=2 batch=3", "batchnorm", "connected output=2", "softmax")
    randomize(net.layers)
    x = np.array([[[1.0, 0.5], [1, -2], [1, 3]]])
    net.train_batch(x, np.array([[0, 1, 0]]))
    assert all(np.isfinite(p.value).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("divisor", "least"),
    [("cpu", 1 / (math.sqrt(2) + 1e-3)), ("gpu", 1 / math.sqrt(12))],
)
def test_both_divisors_are_those_worked_out_by_hand(divisor: str, least: float) -> None:
    """Rows .001 below and above their mean have variance 2e-6 (over rows - 1), so that
    .001 / (sqrt(2e-6) + 1e-6) = 1 / (sqrt(2) + .001), and .001 / sqrt(1.2e-5) = 1 / sqrt(12).
    Infers with rolling mean 3 and variance 9e-6: .012 / .003001, and .012 / sqrt(1.9e-5)."""
    net = network(f"net inputs=1 batch=2 batchnorm={divisor}", "batchnorm")
    arrays = {a.kind: a.value for a in net.layers[0].arrays()}
    arrays["scales"][...], arrays["biases"][...] = 5, 7
    y = net.forward(np.array([[[0.499], [0.501]]]), train=True)
    np.testing.assert_allclose(y, [[[7 - 5 * least], [7 + 5 * least]]], rtol=1e-11)
    arrays["rolling_mean"][...], arrays["rolling_variance"][...] = 3, 9e-6
    inferred = {"cpu": 0.012 / 0.003001, "gpu": 0.012 / math.sqrt(1.9e-5)}[divisor]
    y = net.predict(np.array([[[3.012], [3.0]]]))
    np.testing.assert_allclose(y.reshape(-1), [7 + 5 * inferred, 7], rtol=1e-11)


@pytest.mark.parametrize("divisor", ["cpu", "gpu"])
def test_a_gradient_through_both_divisors_is_that_worked_out_by_hand(divisor: str) -> None:
    """Of three rows with normalized n, dn and divisor D, whose root is R:
    dv = (dn - mean(dn)) / D - n sum(dn n) / (2 R)."""
    net = network(f"net inputs=1 batch=3 batchnorm={divisor}", "batchnorm", "cost")
    values = [0.001, 0.002, 0.006]
    mean = 0.003
    variance = (0.002**2 + 0.001**2 + 0.003**2) / 2
    root = math.sqrt(variance + (1e-5 if divisor == "gpu" else 0))
    division = root + (1e-6 if divisor == "cpu" else 0)
    n = [(v - mean) / division for v in values]
    truth = [0.5, -1.0, 0.25]
    dn = [a - b for a, b in zip(n, truth, strict=True)]  # half of the squares' derivative
    along = sum(a * b for a, b in zip(dn, n, strict=True))
    wanted = [
        (a - sum(dn) / 3) / division - b * along / (2 * root) for a, b in zip(dn, n, strict=True)
    ]
    found = input_gradient(net, np.array(values).reshape(1, 3, 1), np.array(truth).reshape(1, 3, 1))
    np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-9)


@pytest.mark.parametrize(
    "layer",
    [
        "gru output=4 batch_normalize=1", "lstm output=4 batch_normalize=1", "batchnorm",
        "rnn output=4 activation=tanh batch_normalize=1", "connected output=4 batch_normalize=1",
    ],
)  # fmt: skip
def test_every_layer_divides_as_the_key_says(layer: str) -> None:
    """Against a loop over Python's floats, with variances that the two divisors tell apart."""
    net = network("net inputs=3 batch=2 time_steps=3 batchnorm=gpu", layer)
    randomize(net.layers)
    for array in net.layers[0].arrays():
        if array.kind == "rolling_variance":
            array.value[...] *= 1e-3
    one = net.layers[0]
    reference = Reference(one, net.layer_options[0], gpu=True)
    x = np.random.default_rng(1).normal(size=(3, 2, 3)) * 0.01
    wanted = reference.forward(x.tolist())
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-9, atol=1e-12)
    net.reset_state()
    reference = Reference(one, net.layer_options[0], gpu=True)
    wanted = reference.forward(x.tolist(), train=True)
    np.testing.assert_allclose(net.forward(x, train=True), wanted, rtol=1e-9, atol=1e-12)
