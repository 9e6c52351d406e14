"""Runs whose weights are averaged: the mean is what is validated, saved and left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import Network, Text, load_weights, train
from minidark.backend import Array
from minidark.inference.valid import evaluate
from minidark.training.backups import Backups
from tests.helpers import network

SYMBOLS = 8


def make(*keys: str) -> Network:
    net = f"net inputs={SYMBOLS} batch=2 time_steps=5 learning_rate=.1"
    layers = ("gru output=4 tanh=1", f"connected output={SYMBOLS} activation=linear", "softmax")
    return network(" ".join([net, *keys]), *layers, dtype="float32", seed=3)


AVERAGED = ("average=.9",)


def means_of(net: Network) -> dict[str, Array]:
    return {p.name: net.learner.optimizer.slot(p, "average").copy() for p in net.parameters()}


def values_of(net: Network) -> dict[str, Array]:
    return {p.name: p.value.reshape(-1).copy() for p in net.parameters()}


def test_the_mean_of_the_weights_is_what_is_validated(text: Text) -> None:
    net = make(*AVERAGED)
    run = train(net, text, 12, seed=1, valid_fraction=0.2)
    for _ in range(11):
        next(run)
    twin = make(*AVERAGED)
    last = next(run)
    for p, (name, mean) in zip(twin.parameters(), means_of(net).items(), strict=True):
        assert p.name == name
        p.value[...] = mean.reshape(p.value.shape)
    assert last.valid_loss == pytest.approx(evaluate(twin, text.split(0.2)[1]), rel=1e-12)
    for p in twin.parameters():
        p.value[...] = values_of(net)[p.name].reshape(p.value.shape)
    assert last.valid_loss != pytest.approx(evaluate(twin, text.split(0.2)[1]), rel=1e-4)


def test_the_mean_of_the_weights_is_what_is_saved_and_what_is_left(
    text: Text, tmp_path: Path
) -> None:
    net, saved = make(*AVERAGED), make()
    with Backups(net, tmp_path, "a.cfg") as backups:
        for report in train(net, text, 12, seed=1, valid_fraction=0.2):
            values = values_of(net)
            backups.after(report)
            assert {n: v.tobytes() for n, v in values_of(net).items()} == {
                n: v.tobytes() for n, v in values.items()
            }
    means = means_of(net)
    load_weights(saved, tmp_path / "a_final.weights")
    for name, value in values_of(net).items():
        np.testing.assert_array_equal(value, means[name])
        np.testing.assert_allclose(values_of(saved)[name], means[name], rtol=1e-6)
        assert (value != values[name]).any()


def test_a_run_with_a_mean_goes_on_to_the_same_bytes(text: Text) -> None:
    whole, part, rest = make(*AVERAGED), make(*AVERAGED), make(*AVERAGED)
    for _ in train(whole, text, 12, seed=1):
        pass
    run = train(part, text, 12, seed=1)
    for _ in range(5):
        next(run)
    for _ in train(rest, text, 12, resume=run.checkpoint()):
        pass
    for name, value in values_of(whole).items():
        np.testing.assert_array_equal(value, values_of(rest)[name])
