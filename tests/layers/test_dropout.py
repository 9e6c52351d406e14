"""Dropout: what it keeps, in training and outside it."""

from __future__ import annotations

import numpy as np
import pytest

from minidark.layers import make_dropout_layer


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_training_zeroes_a_share_and_scales_the_rest(probability: float) -> None:
    layer = make_dropout_layer(10, 500, probability, rng=np.random.default_rng(1))
    x = np.random.default_rng(2).uniform(1, 2, (20, 10, 500)).astype(np.float32)
    y = layer.forward(x, train=True)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - probability), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - probability, abs=0.005)  # four deviations
    assert y.dtype == np.float32
    dx = layer.backward(np.ones_like(x))
    assert dx is not None
    np.testing.assert_allclose(dx, kept / (1 - probability), rtol=1e-6)


def test_something_stays_however_likely_it_is_to_go() -> None:
    layer = make_dropout_layer(10, 5000, 0.9999999, rng=np.random.default_rng(1))
    assert layer.forward(np.ones((20, 10, 5000), np.float32), train=True).any()


def test_each_pass_draws_anew() -> None:
    layer = make_dropout_layer(1, 1000)
    x = np.ones((1, 1, 1000), np.float32)
    first = layer.forward(x, train=True)
    assert (first != layer.forward(x, train=True)).mean() == pytest.approx(0.5, abs=0.1)


def test_inference_is_the_identity_and_draws_nothing() -> None:
    layer, fresh = (make_dropout_layer(1, 100, rng=np.random.default_rng(3)) for _ in range(2))
    x = np.random.default_rng(4).normal(size=(2, 1, 100)).astype(np.float32)
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.forward(x, train=True), fresh.forward(x, train=True))
