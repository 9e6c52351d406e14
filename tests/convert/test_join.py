"""Joined networks: against the softmax of the mean of what goes into those of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import CfgError, Network, WeightsError, load_weights
from minidark.backend import Array
from minidark.convert.join import join
from minidark.layers.base import Stored
from minidark.layers.softmax import SoftmaxLayer
from tests.helpers import network, randomize

SYMBOLS = 9
END = (f"connected output={SYMBOLS} activation=linear", "softmax")
NETWORKS: dict[str, tuple[str, ...]] = {
    "gru": ("gru output=5 tanh=1", "dropout", "gru output=4", "dropout", *END),
    "lstm": ("lstm output=5", "lstm output=3 batch_normalize=1", *END),
    "rnn": ("rnn output=5 hidden=7 shortcut=1 logistic=1", *END),
    "rnn, default widths": ("rnn", *END),
    "elman": ("rnn output=5 activation=tanh elman=1", "rnn output=4 hidden=4 elman=1", *END),
    "connected": ("conn output=6 batch_normalize=1 activation=elu", "lstm output=5", *END),
    "between": ("gru output=5", "batchnorm", "activation activation=tanh", "logistic", *END),
    "temperature": ("gru output=5", END[0], "softmax temperature=1.5"),
    "no softmax": ("gru output=5", END[0]),
    "connected alone": END,
    "cost": ("gru output=5", *END, "cost"),
    "groups": ("gru output=5", END[0], "softmax groups=3"),
    "residual": ("gru output=4", "gru output=4", "shortcut from=0 activation=tanh", *END),
    "over the past": (
        "gru output=4",
        "attention heads=2 output=4 memory=3",
        "shortcut from=0",
        *END,
    ),
    "keys": ("attention heads=2 keys=3 memory=3", "gru output=4", *END),
    "heads of the inputs": ("gru output=4", "attention heads=2 key=0 value=0", *END),
    "side by side": (
        "gru output=4",
        "rnn output=3",
        "route layers=0,-1",
        "lstm output=4",
        "route layers=-1,0",
        "batchnorm",
        "attention output=3",
        "route layers=3,-1",
        *END,
    ),
    "symbols beside features": ("dropout", "gru output=4", "route layers=0,1", *END),
    "tied": (
        "connected output=4 activation=linear",
        "gru output=4",
        "connected tied=0 activation=linear",
        "softmax",
    ),
    "first without a width": ("dropout", "activation activation=elu", "gru output=4", *END),
}


def made(*layers: str, seed: int = 0) -> Network:
    net = network(f"net inputs={SYMBOLS} batch=2", *layers, dtype="float64")
    randomize(net.layers, seed)
    net.seen = 10 * (seed + 1)
    return net


def saved(folder: Path, layers: tuple[str, ...], count: int) -> list[Path]:
    paths = [folder / f"{seed}.weights" for seed in range(count)]
    for seed, path in enumerate(paths):
        made(*layers, seed=seed).save_weights(path)
    return paths


def logits(net: Network, ids: Array) -> Array:
    """What goes into the softmax, or comes out where there is none."""
    x = ids if net.layers[0].reads_ids else np.eye(SYMBOLS)[ids]

    def step(i: int, x: Array) -> Array:
        layer = net.layers[i]
        return x if layer.type in ("softmax", "cost") else layer.forward(x)

    return net.graph.forward(x, step)


def softmax(net: Network, x: Array) -> Array:
    for layer in net.layers:
        if isinstance(layer, SoftmaxLayer):
            p = np.exp(x.reshape(*x.shape[:-1], layer.groups, -1) / layer.temperature)
            return (p / p.sum(axis=-1, keepdims=True)).reshape(x.shape)
    return x


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_it_expects_the_mean(tmp_path: Path, layers: tuple[str, ...], count: int) -> None:
    paths = saved(tmp_path, layers, count)
    joined = join(made(*layers), paths)
    alone = [made(*layers) for _ in paths]
    for net, path in zip(alone, paths, strict=True):
        load_weights(net, path)
    ids = np.random.default_rng(1).integers(0, SYMBOLS, (7, 2))
    for part in (ids[:4], ids[4:]):  # the state is carried
        mean = np.mean([logits(net, part) for net in alone], axis=0)
        wanted = softmax(joined, mean)
        np.testing.assert_allclose(joined.predict(part), wanted, rtol=1e-12, atol=1e-14)
    assert joined.seen == 10 * count


def test_zeros_keep_them_apart(tmp_path: Path) -> None:
    layers = ("gru output=2", "gru output=3", *END)
    joined = join(made(*layers), saved(tmp_path, layers, 2))
    one, two = (made(*layers, seed=seed) for seed in range(2))
    name = "1.gru.uz.weights"
    wanted = np.zeros((6, 4))
    wanted[:3, :2], wanted[3:, 2:] = value(one, name), value(two, name)
    np.testing.assert_allclose(value(joined, name), wanted, rtol=1e-6)


def value(net: Network, name: str) -> np.ndarray:
    array = net[name]
    assert isinstance(array, Stored)
    return np.asarray(array.value)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("gru output=9", "softmax"), "0.gru: to join networks, the last layer with weights must"),
        (("connected output=9", "softmax"), "0.connected: to join networks, the last layer with"),
        (
            ("connected output=9 activation=linear batch_normalize=1", "softmax"),
            "0.connected: to join networks, .* without batch_normalize",
        ),
        (("gru output=9", "softmax noloss=1", *END), "1.softmax: a .softmax. here would mix"),
        (("batchnorm", "gru output=9", *END), "0.batchnorm: a .batchnorm. here would mix"),
        (
            ("dropout", "gru output=4", "route layers=0,1", "batchnorm", *END),
            "3.batchnorm: a .batchnorm. here would mix",
        ),
        ((END[0], "activation activation=tanh", "softmax"), "1.activation: a .activation. cannot"),
        (("attention heads=3 value=0", *END), "0.attention: a .attention. here would mix"),
        (
            ("gru output=4", "gru output=4", "route layers=0,1", "attention value=0", *END),
            "3.attention: a .attention. here would mix",
        ),
        (
            (
                "gru output=3",
                "gru output=4",
                "gru output=1",
                "route layers=0,2",
                "shortcut from=1",
                *END,
            ),
            "4.shortcut: a .shortcut. here would mix",
        ),
        (
            (
                "connected output=4 activation=linear",
                "gru output=4",
                "connected tied=0 activation=linear",
                *END,
            ),
            "2.connected: a .connected. here would mix",
        ),
        ((END[0], "dropout", "softmax"), "1.dropout: a .dropout. cannot follow the averaging"),
        (("gru output=9 dontload=1", *END), "0.gru: the weight files leave out arrays of this"),
        (("gru output=9 dontsave=1", *END), "0.gru: the weight files leave out arrays of this"),
    ],
)
def test_what_cannot_be_joined_is_told(
    tmp_path: Path, layers: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CfgError, match=message):
        join(made(*layers), [tmp_path / "none.weights"] * 2)


def test_nothing_is_no_network() -> None:
    with pytest.raises(WeightsError, match="no weight files to join"):
        join(made(*END), [])


@pytest.mark.parametrize("other", [False, True])
def test_all_have_the_same_byte_pairs(tmp_path: Path, other: bool) -> None:
    paths = [tmp_path / f"{seed}.weights" for seed in range(3)]
    for seed, path in enumerate(paths):
        net = network("net inputs=259", "bytepairs", "gru output=3", "connected output=259 "
                      "activation=linear", "softmax", seed=seed)  # fmt: skip
        value(net, "0.bytepairs.pairs")[...] = [[1, 2], [3, 4], [256, 5 + other * (seed == 2)]]
        net.save_weights(path)
    if other:
        with pytest.raises(WeightsError, match=r"2.weights: its byte pairs differ .*0.weights"):
            join(net, paths)
    else:
        assert value(join(net, paths), "0.bytepairs.pairs").tolist() == [[1, 2], [3, 4], [256, 5]]
