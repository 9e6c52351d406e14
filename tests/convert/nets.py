"""Networks to convert, with distinct weights, and how to run one in two calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import numpy as np

from minidark import Network
from minidark.backend import Array
from minidark.convert import workers
from minidark.convert.fold import denormalize
from minidark.layers.activations import ACTIVATIONS
from minidark.layers.rnn import ElmanLayer
from tests.helpers import network, randomize

INPUTS = 7
NET = f"net inputs={INPUTS} batch=3"
KERAS = {  # what Keras has a counterpart of
    "gru": (NET, "gru output=5 tanh=1", "softmax"),
    "logistic gru": (NET, "gru output=5", "gru output=4 tanh=1 batch_normalize=1"),
    "gru of torch's form": (NET, "gru output=5 tanh=1 reset_after=1", "softmax"),
    "logistic gru of torch's form": (
        NET, "gru output=5 reset_after=1", "gru output=4 tanh=1 reset_after=1 batch_normalize=1",
    ),
    "lstm": (NET, "lstm output=5", "lstm output=4 batch_normalize=1", "logistic"),
    "elman rnn": (NET, "rnn output=5 activation=tanh elman=1", "softmax"),
    "elman rnns": (
        NET, "rnn output=5 elman=1 batch_normalize=1", "rnn output=6 activation=tanh elman=1",
    ),
    "mixed": (
        NET, "lstm output=4", "batchnorm", "dropout", "gru output=6 tanh=1",
        "connected output=6 activation=leaky batch_normalize=1", "activation activation=tanh",
        "connected output=6 activation=linear", "softmax groups=2 temperature=.5", "cost",
    ),
}  # fmt: skip
RECURRENT = KERAS | {
    "rnn": (NET, "rnn output=5 activation=tanh", "softmax"),
    "rnns": (
        NET, "rnn output=5 hidden=4 activation=leaky shortcut=1 logistic=1 batch_normalize=1",
        "rnn output=3 activation=logistic logistic=2", "softmax",
    ),
}  # fmt: skip
ELMAN = {
    name: (NET, f"rnn output=9 activation={name} elman=1", "connected output=4 activation=linear")
    for name in ACTIVATIONS
}
GRAPHS = {  # layers that read several others, or share weights
    "graph": (
        NET, "gru output=4 tanh=1", "lstm output=4 batch_normalize=1", "shortcut from=-2",
        "route layers=0,-1,1", "connected output=4 activation=tanh",
        "shortcut from=1 activation=elu", "route layers=0",
        "connected output=7 activation=linear", "softmax",
    ),
    "tied": (
        NET, "connected output=4 activation=linear", "gru output=4 tanh=1",
        "connected tied=-2 activation=tanh", "connected output=4", "connected tied=0", "softmax",
    ),
}  # fmt: skip
ACTIVATED = {
    name: (NET, f"connected output=9 activation={name}", f"activation activation={name}")
    for name in ACTIVATIONS
}


def folded(sections: tuple[str, ...], seed: int = 0) -> Network:
    """A network of three streams without batch norm in its sublayers, its weights distinct."""
    net = network(*sections, dtype="float32")
    randomize(net.layers, seed)
    if len(net.layers) == 2 and not net.layers[0].states:  # to reach every piece of an activation
        net.layers[0].parameters()[1].value[...] *= 6
    for layer in net.layers:  # most activations have no bound, and the state must not grow
        if isinstance(layer, ElmanLayer):
            layer.sublayers["self"].weights[...] *= 0.3
    net.seen = 12
    return denormalize(net)


def inputs(streams: int, seed: int = 1) -> list[Array]:
    """Of two calls, 7 steps and 1, between which states are carried."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (steps, streams, INPUTS)).astype(np.float32) for steps in (7, 1)]


def begin(net: Network, streams: int, seed: int = 2) -> tuple[Network, list[Array]]:
    """A twin whose states are no zeros, and copies of those, layer by layer."""
    twin, rng = net.twin(streams), np.random.default_rng(seed)
    for layer in twin.layers:
        for state in layer.states.values():
            state[...] = rng.normal(0, 0.5, state.shape)
    return twin, [state.copy() for layer in twin.layers for state in layer.states.values()]


def after(net: Network) -> list[Array]:
    return [state for layer in net.layers for state in layer.states.values()]


@contextlib.contextmanager
def worker_here() -> Iterator[None]:
    """Runs workers in this process, which saves their start."""

    def run(script: str, folder: str, limit: float | None = None) -> None:
        worker = import_module(f"minidark.convert.{script.removesuffix('.py')}")
        with patch.object(worker, "limit", lambda size: None):
            worker.main(Path(folder))

    with patch.object(workers, "_run", run):
        yield
