"""Analytic gradients against central differences of the objective, along random directions.

In float64, for every layer and every option: of the input and of each parameter, with a state
that is not zero carried in. The seeds keep clear of the kinks of the piecewise activations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minidark import Network
from minidark.backend import Array
from minidark.cfg.options import LAYER_TYPES
from minidark.layers.activations import ACTIVATIONS
from minidark.layers.dropout import DropoutLayer
from tests.helpers import (
    cost_layer,
    gradients,
    input_gradient,
    network,
    objective,
    one_hot,
    randomize,
    values,
)

pytestmark = pytest.mark.usefixtures("each_backend")

I, T, S = 5, 4, 3  # noqa: E741  the shape alphabet's inputs
STEP = 3e-5
FOURTH_ORDER = np.array([1, -8, 8, -1]) / 12  # a norm over three rows bends too much for less
DIRECTIONS = 3
TOLERANCE = 1e-6

BELOW = "connected output=5 activation=tanh"
READ_OUT = (f"connected output={I} activation=linear", "softmax")
ATTENTION = [  # memories shorter than a pass, and longer
    "attention output=4",
    "attention memory=3",
    "attention heads=2 keys=3 memory=2 output=4",
    "attention heads=5 memory=6 query=0 output=4",
    "attention memory=3 key=0",
    "attention heads=5 keys=2 memory=5 value=0",
    "attention memory=3 query=0 key=0 value=0 output=3",
    "attention over=source separator=2 memory=3 output=4",
    "attention over=source separator=2 heads=2 keys=3",
]
NO_EFFECT = ".key.biases"  # they add the same number to all scores of a step
RECURRENT = [
    "gru output=4",
    "gru output=4 tanh=1",
    "gru output=4 batch_normalize=1",
    "gru output=4 batch_normalize=1 tanh=1",
    "gru output=4 reset_after=1",
    "gru output=4 tanh=1 reset_after=1",
    "gru output=4 batch_normalize=1 tanh=1 reset_after=1",
    "lstm output=4",
    "lstm output=4 batch_normalize=1",
    *(f"rnn output=4 activation={a}" for a in ("logistic", "tanh", "elu", "leaky", "relie")),
    "rnn output=4 activation=tanh shortcut=1",
    "rnn output=4 hidden=6 activation=tanh",
    "rnn output=4 hidden=3 activation=tanh",
    "rnn output=4 activation=tanh logistic=1",
    "rnn output=4 activation=tanh logistic=2",
    "rnn output=4 activation=tanh batch_normalize=1",
    "rnn output=4 hidden=6 activation=leaky logistic=1 shortcut=1 batch_normalize=1",
    *(f"rnn output=4 elman=1 activation={a}" for a in ACTIVATIONS),
    "rnn output=4 elman=1 activation=tanh batch_normalize=1",
    *ATTENTION,
]
PLAIN = [
    *(f"connected output=4 activation={a}" for a in ACTIVATIONS),
    *(f"connected output=4 activation={a} batch_normalize=1" for a in ("tanh", "leaky", "linear")),
    *(f"activation activation={a}" for a in ACTIVATIONS),
    "batchnorm",
    "dropout probability=.4",
    "softmax noloss=1",
    "softmax",
    "logistic",
]
ENDS = [
    ("softmax",),
    ("softmax temperature=.5",),
    ("softmax temperature=2",),
    ("softmax smoothing=.3",),
    ("softmax smoothing=.1 temperature=.5",),
    ("connected output=6 activation=linear", "softmax groups=3 smoothing=.2"),
    ("connected output=6 activation=linear", "softmax groups=3 temperature=.7"),
    ("connected output=6 activation=linear", "softmax groups=2"),
    ("connected output=6 activation=linear", "softmax groups=3 noloss=1 temperature=.7", "cost"),
    ("logistic",),
    ("cost",),
    ("cost type=sse scale=.3",),
    ("cost type=L1 scale=.3",),
    ("cost type=smooth",),
    ("cost type=smooth scale=.3",),
    ("softmax noloss=1", "cost scale=2"),
    ("softmax noloss=1 temperature=.5", "cost type=L1"),
    (f"connected output={I} activation=linear", "softmax", "cost"),
    ("logistic", "cost type=L1"),
]
GRU, EMBEDDING = "gru output=4 tanh=1", "connected output=4 activation=linear"
TIED = "connected tied=0 activation=linear"
GRAPHS = [  # layers below the read-out, or the whole network where it ends in a cost
    (GRU, GRU, "shortcut from=-2"),
    (GRU, "lstm output=4", "shortcut from=0 activation=tanh", "rnn output=4 activation=tanh"),
    (GRU, "gru output=3", "route layers=-1,-2", "gru output=5 reset_after=1"),
    (GRU, "connected output=3 activation=tanh", "route layers=0", GRU, "route layers=-1,1,-2"),
    (GRU, GRU, "route layers=0", "shortcut from=1", "gru output=4", "shortcut from=0"),
    (GRU, "shortcut from=-1", "route layers=-1,-1,0"),  # one layer read twice
    (BELOW, "dropout probability=.3", "batchnorm", "shortcut from=0", "softmax noloss=1"),
    (GRU, GRU, "shortcut from=0", GRU, "shortcut from=-2", GRU, "shortcut from=-2"),
    (EMBEDDING, GRU, TIED, "softmax"),
    (EMBEDDING, GRU, "route layers=0,1", "connected output=4 activation=tanh",
     "shortcut from=0", "connected tied=-5 activation=tanh", "softmax temperature=.5"),
    (GRU, EMBEDDING, "gru output=4", "connected tied=1", "connected tied=-3 activation=tanh"),
    (EMBEDDING, TIED, "gru output=4", TIED, "cost"),  # three uses of one matrix
]  # fmt: skip
STACKS = [
    ("gru output=4 tanh=1", "gru output=3", "rnn output=3 activation=tanh"),
    ("rnn output=4 activation=tanh", "lstm output=3", "gru output=4"),
    ("lstm output=4", "lstm output=3 batch_normalize=1"),
    ("gru output=4 tanh=1 reset_after=1", "gru output=3 reset_after=1", "gru output=4 tanh=1"),
    ("rnn output=4 activation=tanh", "rnn output=3 activation=tanh shortcut=1"),
    ("rnn output=4 activation=tanh elman=1", "rnn output=3 elman=1", "gru output=4 tanh=1"),
    ("gru output=4", "dropout probability=.3", "connected output=4 activation=tanh", "batchnorm"),
]


def costs(layers: tuple[str, ...]) -> bool:
    return layers[-1].split()[0] in ("softmax", "cost") and "noloss" not in layers[-1]


def nets() -> list[tuple[str, ...]]:
    """[net] and layers of every network that is checked."""
    several = f"net inputs={I} batch={S} time_steps={T}"
    one_stream = f"net inputs={I} batch=1 time_steps={2 * T}"
    return [
        *((several, layer, *READ_OUT) for layer in RECURRENT),
        *((several, BELOW, layer, *READ_OUT) for layer in PLAIN),
        *((several, BELOW, *end) for end in ENDS),
        *((several, *stack, *READ_OUT) for stack in STACKS),
        *((several, *graph, *(() if costs(graph) else READ_OUT)) for graph in GRAPHS),
        *((one_stream, layer, *READ_OUT) for layer in RECURRENT if "batch_norm" not in layer),
        (one_stream, "connected output=4 activation=tanh batch_normalize=1", *READ_OUT),
        *((f"{several} batchnorm=gpu", layer, *READ_OUT) for layer in RECURRENT if "norm" in layer),
        (f"{several} batchnorm=gpu", BELOW, "batchnorm", *READ_OUT),
    ]


def prepare(sections: tuple[str, ...], seed: int = 0) -> tuple[Network, Array, Array]:
    """A network with distinct arrays, x, and a truth whose rows are distributions: one for each
    group of a softmax, because p - truth is the gradient for such only."""
    net = network(*sections)
    randomize(net.layers, seed)
    rng = np.random.default_rng(seed + 1)
    steps = net.options.time_steps
    x = rng.normal(0, 1, (steps, net.streams, I))
    groups = getattr(net.layer_options[-1], "groups", 1)
    truth = rng.dirichlet(np.ones(net.outputs // groups), (steps, net.streams, groups))
    return net, x, truth.reshape(steps, net.streams, net.outputs)


def rewind(net: Network, state: float) -> None:
    """The state that every pass begins from, and the same dropout mask for each."""
    rng = np.random.default_rng(5)
    for layer in net.layers:
        layer.reset_state()
        for name, value in (layer.random_states(rng) if state else {}).items():
            layer.states[name][...] = value
        if isinstance(layer, DropoutLayer):
            layer.rng = np.random.default_rng(6)


def error_along_directions(function: Callable[[], float], value: Array, gradient: Array) -> float:
    """How far differences of `function` are from gradient . direction, relative to that."""
    rng = np.random.default_rng(8)
    numeric, analytic = [], []
    kept = value.copy()
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(value.shape)
        direction /= np.linalg.norm(direction)
        found = []
        for steps in (-2, -1, 1, 2):
            value[...] = kept + steps * STEP * direction
            found.append(function())
        value[...] = kept
        numeric.append(np.dot(FOURTH_ORDER, found) / STEP)
        analytic.append(float((gradient * direction).sum()))
    wrong = np.linalg.norm(np.subtract(numeric, analytic))
    return float(wrong / np.linalg.norm(analytic))


def assert_gradients(net: Network, x: Array, truth: Array, state: float) -> None:
    def descended() -> float:
        rewind(net, state)
        return objective(net, x, truth)

    rewind(net, state)
    net.accumulate(x, truth)
    grads = gradients(net)
    rewind(net, state)
    errors = {"x": error_along_directions(descended, x, input_gradient(net, x, truth))}
    for p in net.parameters():
        if p.name.endswith(NO_EFFECT):
            assert not grads[p.name].any()
            continue
        assert grads[p.name].any(), f"the gradient of {p.name} is zero"
        errors[p.name] = error_along_directions(descended, p.value, grads[p.name])
    wrong = {name: error for name, error in errors.items() if not error <= TOLERANCE}
    assert not wrong


def test_every_layer_type_is_among_the_networks() -> None:
    checked = {section.split()[0] for sections in nets() for section in sections[1:]}
    assert checked | {"conn", "soft", "bytepairs"} == set(LAYER_TYPES)


@pytest.mark.parametrize("sections", nets(), ids=" | ".join)
def test_gradients_are_the_derivatives_of_the_objective(sections: tuple[str, ...]) -> None:
    assert_gradients(*prepare(sections), state=0.5)


@pytest.mark.parametrize("layer", [layer for layer in RECURRENT if "batch_norm" in layer])
def test_gradients_hold_where_batch_norm_meets_the_zero_state(layer: str) -> None:
    several = f"net inputs={I} batch={S} time_steps={T}"
    assert_gradients(*prepare((several, layer, *READ_OUT)), state=0.0)


@pytest.mark.parametrize("layer", [*RECURRENT, *PLAIN])
def test_ids_as_input_give_the_gradients_of_one_hot_rows(layer: str) -> None:
    sections = (f"net inputs={I} batch={S} time_steps={T}", layer, *READ_OUT)
    by_id, by_row = prepare(sections)[0], prepare(sections)[0]
    ids, truth = np.random.default_rng(2).integers(0, I, (2, T, S))
    costs = []
    for net, x, t in ((by_id, ids, truth), (by_row, one_hot(ids, I), one_hot(truth, I))):
        rewind(net, 0.5)
        costs.append(net.accumulate(x, t))
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)
    wanted = gradients(by_row)
    for name, gradient in gradients(by_id).items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("layer", ["gru output=4 tanh=1", "lstm output=4", "rnn output=4"])
@pytest.mark.parametrize("end", ["softmax", "softmax temperature=.5", "cost type=smooth"])
def test_rows_without_truth_are_not_in_the_objective(layer: str, end: str) -> None:
    net, x, _ = prepare((f"net inputs={I} batch={S} time_steps={T}", layer, READ_OUT[0], end))
    truth = np.random.default_rng(3).integers(0, I, (T, S))
    truth[:2, 0] = truth[3, 1] = truth[:, 2] = -1
    there = truth >= 0
    _, cost = cost_layer(net)

    def descended() -> float:
        rewind(net, 0.5)
        y = net.forward(x, train=True)  # boolean masks, which the network does not use
        return float(cost.objective(y[there][:, None], truth[there][:, None]))

    rewind(net, 0.5)
    net.accumulate(x, truth)
    for p, gradient in zip(net.parameters(), gradients(net).values(), strict=True):
        assert error_along_directions(descended, p.value, gradient) <= TOLERANCE, p.name


@pytest.mark.parametrize("layer", RECURRENT)
def test_a_carried_state_changes_the_gradients(layer: str) -> None:
    found = []
    for state in (0.0, 0.5):
        net, x, truth = prepare((f"net inputs={I} batch={S} time_steps={T}", layer, *READ_OUT))
        rewind(net, state)
        net.accumulate(x, truth)
        found.append(gradients(net))
        assert values(net).keys() == found[-1].keys()
    for name, gradient in found[0].items():
        if name.endswith(NO_EFFECT):
            continue
        assert not np.allclose(gradient, found[1][name], rtol=1e-6, atol=0), name
