"""Layers beside PyTorch's: the same numbers, and the same gradients, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidark import Network
from minidark.backend import Array
from minidark.layers import Layer
from tests.helpers import network, randomize

torch: Any = pytest.importorskip("torch", reason="torch is not installed; the extra 'peers' has it")

pytestmark = pytest.mark.slow

I, H, T, S = 6, 5, 7, 3  # noqa: E741  the shape alphabet's inputs


def build(section: str) -> tuple[Layer, dict[str, Any]]:
    """A layer, and its parameters as tensors by the names within it."""
    (layer,) = network(f"net inputs={I} batch={S}", section).layers
    randomize([layer])
    tensors = {
        p.name.removeprefix(f"{layer.name}."): torch.tensor(p.value, requires_grad=True)
        for p in layer.parameters()
    }
    return layer, tensors


def tensor(array: Array) -> Any:
    return torch.tensor(array, requires_grad=True)


def lstm(tensors: dict[str, Any], x: Any, h: Any, c: Any) -> Any:
    """torch's own, whose gates stand in the order i f g o."""
    weights = [torch.cat([tensors[f"{side}{k}.weights"] for k in "ifgo"]) for side in "uw"]
    biases = [torch.cat([tensors[f"{side}{k}.biases"] for k in "ifgo"]) for side in "uw"]
    y, h, c = torch.lstm(
        x, (h[None], c[None]), [*weights, *biases], True, 1, 0.0, True, False, False
    )
    return y, (h[0], c[0])


def gru(tensors: dict[str, Any], x: Any, h: Any, act: Any) -> Any:
    """The reset before the product, which torch's own cannot express."""

    def sub(name: str, v: Any) -> Any:
        return v @ tensors[f"{name}.weights"].T + tensors[f"{name}.biases"]

    y = []
    for row in x:
        z = torch.sigmoid(sub("uz", row) + sub("wz", h))
        r = torch.sigmoid(sub("ur", row) + sub("wr", h))
        c = act(sub("uh", row) + sub("wh", r * h))
        h = z * h + (1 - z) * c
        y.append(h)
    return torch.stack(y), (h,)


def torchs_gru(layer: Layer, dtype: Any) -> Any:
    """nn.GRU with the arrays of a layer: its gates stand in the order r z n."""
    module = torch.nn.GRU(layer.inputs, layer.outputs, dtype=dtype)
    own = {p.name.removeprefix(f"{layer.name}."): p.value for p in layer.parameters()}
    with torch.no_grad():
        for tensor, value in zip(module.parameters(), packed(own, GRU), strict=True):
            tensor.copy_(torch.tensor(value))
    return module


GRU = [  # the arrays that make up each parameter of nn.GRU
    [f"{side}{gate}.{kind}" for gate in "rzh"] for kind in ("weights", "biases") for side in "uw"
]


def packed(arrays: dict[str, Array], names: list[list[str]]) -> list[Array]:
    """One array for each list of names."""
    return [np.concatenate([arrays[name] for name in parts]) for parts in names]


def reset_after(tensors: dict[str, Any], x: Any, h: Any) -> Any:
    """torch's own."""
    parts = [torch.cat([tensors[name] for name in names]) for names in GRU]
    y, h = torch.gru(x, h[None], parts, True, 1, 0.0, True, False, False)
    return y, (h[0],)


def elman(tensors: dict[str, Any], x: Any, s: Any, act: Any) -> Any:
    """The equation, written out for any activation."""

    def sub(name: str, v: Any) -> Any:
        return v @ tensors[f"{name}.weights"].T + tensors[f"{name}.biases"]

    y = []
    for row in x:
        s = act(sub("input", row) + sub("self", s))
        y.append(s)
    return torch.stack(y), (s,)


RNN = [f"{side}.{kind}" for kind in ("weights", "biases") for side in ("input", "self")]


def torchs_elman(tensors: dict[str, Any], x: Any, s: Any, act: Any) -> Any:
    """torch's own: act is torch.rnn_tanh or torch.rnn_relu."""
    parts = [tensors[name] for name in RNN]
    y, s = act(x, s[None], parts, True, 1, 0.0, True, False, False)
    return y, (s[0],)


CASES = {
    "rnn output=5 activation=tanh elman=1": lambda tensors, x, state: torchs_elman(
        tensors, x, state[0], torch.rnn_tanh
    ),
    "rnn output=5 activation=relu elman=1": lambda tensors, x, state: torchs_elman(
        tensors, x, state[0], torch.rnn_relu
    ),
    "rnn output=5 elman=1": lambda tensors, x, state: elman(tensors, x, state[0], torch.sigmoid),
    "rnn output=5 activation=elu elman=1": lambda tensors, x, state: elman(
        tensors, x, state[0], torch.nn.functional.elu
    ),
    "gru output=5 tanh=1 reset_after=1": lambda tensors, x, state: reset_after(tensors, x, *state),
    "lstm output=5": lambda tensors, x, state: lstm(tensors, x, *state),
    "gru output=5": lambda tensors, x, state: gru(tensors, x, state[0], torch.sigmoid),
    "gru output=5 tanh=1": lambda tensors, x, state: gru(tensors, x, state[0], torch.tanh),
}


def same(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("section", CASES)
def test_outputs_states_and_gradients_are_torchs(section: str) -> None:
    layer, tensors = build(section)
    rng = np.random.default_rng(4)
    for state in layer.states.values():
        state[...] = rng.normal(0, 1, state.shape)
    for _ in range(2):  # the second batch with the state that the first left
        x, dy = tensor(rng.normal(0, 1, (T, S, I))), rng.normal(0, 1, (T, S, H))
        theirs, their_states = CASES[section](
            tensors, x, [torch.tensor(state) for state in layer.states.values()]
        )
        (theirs * torch.tensor(dy)).sum().backward()  # adds to the gradients, as ours does
        same(layer.forward(x.detach().numpy(), train=True), theirs)
        dx = layer.backward(dy)
        assert dx is not None
        same(dx, x.grad)
        for ours, state in zip(layer.states.values(), their_states, strict=True):
            same(ours, state)
        for p in layer.parameters():
            same(p.grad, tensors[p.name.removeprefix(f"{layer.name}.")].grad)


@pytest.mark.parametrize("kernels", ["numpy", "auto"])
def test_500_steps_of_a_gru_are_those_of_torchs(kernels: str) -> None:
    net = network(
        "net inputs=20 batch=3", "gru output=64 tanh=1 reset_after=1 init=orthogonal",
        dtype="float32",
    )  # fmt: skip
    net.backend.use_kernels(kernels)
    (layer,) = net.layers
    rng = np.random.default_rng(5)
    for p in layer.parameters():
        if p.kind == "biases":
            p.value[...] = rng.normal(0, 0.3, p.value.shape)
    x = rng.normal(0, 1, (500, 3, 20)).astype(np.float32)
    with torch.no_grad():
        theirs, _ = torchs_gru(layer, torch.float32)(torch.tensor(x))
    np.testing.assert_allclose(layer.forward(x), theirs.numpy(), rtol=0, atol=2e-6)
    np.testing.assert_allclose(layer.states["state"], theirs[-1].numpy(), rtol=0, atol=2e-6)


NET = "net inputs=9 batch=4 time_steps=8 adam=1 learning_rate=.01 decay=0 eps=1e-8"
HEAD = ("connected output=9 activation=linear", "softmax")


def follow(net: Network, cell: Any, names: list[list[str]]) -> None:
    """Train both, the network and torch's cell, with the network's arrays at first. names: those of
    the cell's parameters within the layer."""
    layer, head = net.layers[:2]
    linear = torch.nn.Linear(12, 9, dtype=torch.float64)
    biases, weights = head.parameters()
    own = {p.name.removeprefix(f"{layer.name}."): p.value for p in layer.parameters()}
    trained = [*cell.parameters(), *linear.parameters()]

    def ours() -> list[Array]:
        return [*packed(own, names), weights.value, biases.value]

    with torch.no_grad():
        for tensor, array in zip(trained, ours(), strict=True):
            tensor.copy_(torch.tensor(array))
    adam = torch.optim.Adam(trained, lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    rng, h = np.random.default_rng(6), torch.zeros(1, 4, 12, dtype=torch.float64)
    for _ in range(50):
        ids, truth = rng.integers(0, 9, (2, 8, 4))
        y, h = cell(torch.eye(9, dtype=torch.float64)[ids], h.detach())
        scores = linear(y).reshape(-1, 9)
        cost = torch.nn.functional.cross_entropy(
            scores, torch.tensor(truth.reshape(-1)), reduction="sum"
        )
        adam.zero_grad()
        cost.backward()
        adam.step()
        assert net.train_batch(ids, truth) == pytest.approx(float(cost.detach()), rel=1e-10)
    for array, tensor in zip(ours(), trained, strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=0, atol=1e-10)


def test_50_batches_leave_the_weights_that_nn_gru_has_after_them() -> None:
    net = network(NET, "gru output=12 tanh=1 reset_after=1", *HEAD)
    randomize(net.layers)
    follow(net, torch.nn.GRU(9, 12, dtype=torch.float64), GRU)


@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_50_batches_leave_the_weights_that_nn_rnn_has_after_them(act: str) -> None:
    net = network(NET, f"rnn output=12 activation={act} elman=1 init=orthogonal", *HEAD)
    follow(net, torch.nn.RNN(9, 12, nonlinearity=act, dtype=torch.float64), [[n] for n in RNN])
