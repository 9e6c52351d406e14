"""Batch norm: what it refuses, and its rolling statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import CfgError, load_network
from tests.helpers import cfg, network, randomize, states

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
