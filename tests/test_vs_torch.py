"""Layers beside PyTorch's: the same numbers, and the same gradients, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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


CASES = {
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
