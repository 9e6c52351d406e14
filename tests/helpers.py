"""What several test modules need: networks in a few words, and their gradients."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, load_network
from minidark.backend import Array, get_backend
from minidark.cfg.plan import Plan, plan_cfg
from minidark.layers import CostLayer, Layer
from minidark.network.parser import build_network


@dataclass
class Place:
    """Where the networks of these helpers are made, and how a test holds them. The fixture
    `each_backend` moves it."""

    device: str
    begin: Callable[[str], None]  # called with the dtype of a network that is about to be made
    held: Callable[[Any], Any]  # a network as a test holds it


PLACE = Place("cpu", lambda dtype: None, lambda net: net)


def cfg(*sections: str) -> str:
    """Cfg text of sections written in one line each: "gru output=4 tanh=1"."""
    blocks = []
    for section in sections:
        name, *pairs = section.split()
        blocks.append("\n".join([f"[{name}]", *pairs]))
    return "\n\n".join(blocks) + "\n"


def planned(*sections: str) -> Plan:
    """The plan of such sections; doubts about them are not heard."""

    def ignore(message: str, line: int) -> None:
        del message, line

    return plan_cfg(cfg(*sections).encode(), warn=ignore)


def network(
    *sections: str, dtype: str = "float64", seed: int = 0, precision: str = "float32"
) -> Network:
    """The network of such sections; doubts about them are not heard."""

    PLACE.begin(dtype)
    plan = planned(*sections)
    backend = get_backend(PLACE.device, dtype, precision=precision)
    return PLACE.held(build_network(plan, seed, backend))


def loaded(cfg: Path, weights: Path, dtype: str = "float32") -> Network:
    """The network of two files."""
    PLACE.begin(dtype)
    return PLACE.held(load_network(cfg, weights, dtype=dtype, device=PLACE.device))


def randomize(layers: Sequence[Layer], seed: int = 0) -> None:
    """Distinct values for every stored array, all of a size that keeps gates half open."""
    rng = np.random.default_rng(seed)
    for layer in layers:
        for array in layer.arrays():  # the dialect that holds every array
            shape = array.value.shape
            array.value[...] = {
                "weights": lambda shape: rng.normal(0, 0.6, shape),
                "biases": lambda shape: rng.normal(0, 0.4, shape),
                "scales": lambda shape: rng.uniform(0.5, 1.5, shape),
                "rolling_mean": lambda shape: rng.normal(0, 0.3, shape),
                "rolling_variance": lambda shape: rng.uniform(0.5, 2, shape),
                "pairs": lambda shape: rng.uniform(0, 256, shape) // 1,
            }[array.kind](shape)


def cost_layer(net: Network) -> tuple[int, CostLayer]:
    """The layer whose cost is descended, and where it stands: the last, or the one before it
    where that has a cost of its own and a [cost] follows."""
    *_, before, last = [None, *net.layers]
    if isinstance(before, CostLayer) and before.has_cost and last.type == "cost":
        return len(net.layers) - 2, before
    assert isinstance(last, CostLayer)
    return len(net.layers) - 1, last


def objective(net: Network, x: Array, truth: Array) -> float:
    """What training descends, of one training pass over x."""
    _, layer = cost_layer(net)
    return float(layer.objective(net.forward(x, train=True), truth))


def input_gradient(net: Network, x: Array, truth: Array) -> Array:
    """One training pass, layer by layer: adds to the gradients; that of the input comes back."""
    if not net.graph.is_chain:
        gradient = net.input_gradient(x, truth)
        assert gradient is not None
        return gradient
    at, layer = cost_layer(net)
    y = net.forward(x, train=True)
    gradient = layer.cost(y, truth)[1]
    for below in reversed(net.layers[:at]):
        gradient = below.backward(gradient)
        assert gradient is not None
    return gradient


def gradients(net: Network) -> dict[str, Array]:
    """A copy of every parameter's gradient, by name."""
    return {p.name: p.grad.copy() for p in net.parameters()}


def values(net: Network) -> dict[str, Array]:
    """A copy of every parameter, by name."""
    return {p.name: p.value.copy() for p in net.parameters()}


def states(net: Network) -> list[Array]:
    """A copy of every state of every layer."""
    return [state.copy() for layer in net.layers for state in layer.states.values()]


def one_hot(ids: Array, width: int) -> Array:
    rows: Array = np.eye(width)[ids]
    return rows


def snapshot(net: Network) -> list[Array]:
    """A copy of everything that a load may change."""
    stored = [a.value.copy() for layer in net.layers for a in layer.arrays()]
    return [np.array(net.seen), *stored]


def assert_same(ours: list[Array], theirs: list[Array]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@contextlib.contextmanager
def forbidden(name: str, data: bytes) -> Iterator[Path]:
    """A file that nobody may read, and this process without the rights of root for a while."""
    if not hasattr(os, "seteuid"):
        pytest.skip("this platform has other permissions")
    was = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, name)
        path.write_bytes(data)
        path.chmod(0)
        try:
            if was == 0:
                os.seteuid(65534)
            yield path
        finally:
            os.seteuid(was)
