"""Layers that run step by step with packed weights, against whole sequences in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minidark.backend import Array, numpy_kernels, threads
from minidark.inference.generate import sample, sample_many
from tests.helpers import network, randomize, values
from tests.selection import examples

pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
compiled: Any = pytest.importorskip("minidark.backend.compiled")

I, T = 9, 12  # noqa: E741  the shape alphabet's inputs
LAYERS = [
    "gru output=5",
    "gru output=70 tanh=1",
    "gru output=5 reset_after=1",
    "gru output=70 tanh=1 reset_after=1",
    "lstm output=5",
    "lstm output=70",
    "rnn output=5 hidden=7 activation=tanh",
    "rnn output=5 activation=relu elman=1",
    "rnn output=70 activation=tanh elman=1",
    "rnn output=5 activation=elu elman=1",
    "rnn output=5 activation=tanh elman=1 batch_normalize=1",
    "connected output=70 activation=tanh",
    "connected output=3 activation=linear",
    "gru output=5 batch_normalize=1",
    "gru output=5 batch_normalize=1 reset_after=1",
]
FEW, MANY = 3, 30  # streams, on either side of where they are what threads share


@pytest.fixture(params=[1, 2], autouse=True)
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How many threads; two take any work, however small."""
    threads.set_threads(request.param)
    monkeypatch.setattr("minidark.backend.compiled.threads.LEAST", 1)
    yield request.param
    threads._count = None


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("streams", [1, FEW, MANY])
def test_frozen_steps_equal_a_sequence(layer: str, streams: int) -> None:
    fast, wide = (
        network(f"net inputs={I} batch={streams}", layer, "gru output=6", dtype=dtype)
        for dtype in ("float32", "float64")
    )
    for net in (fast, wide):
        randomize(net.layers)
    for p, q in zip(fast.parameters(), wide.parameters(), strict=True):
        if "elman" in layer:  # of weights of one, 70 units amplify rounding from step to step
            p.value *= min(1, (2 / p.value.shape[-1]) ** 0.5)
        q.value[...] = p.value
    ids = np.random.default_rng(0).integers(0, I, (T, streams))
    step = fast.frozen(streams)
    y = np.stack([step(row).copy() for row in ids])
    np.testing.assert_allclose(y, wide.predict(ids), rtol=0, atol=2e-5)
    assert not any(state.any() for one in fast.layers for state in one.states.values())


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("layer", [
    "gru output=5", "gru output=5 reset_after=1", "lstm output=70", "rnn output=5 hidden=7",
    "rnn output=5 elman=1",
])  # fmt: skip
def test_a_reordered_stream_goes_on_where_another_was(layer: str, kernels: str) -> None:
    net = network(f"net inputs={I}", layer, "gru output=6", "softmax", dtype="float32")
    net.backend.use_kernels(kernels)
    randomize(net.layers)
    first, second = np.random.default_rng(0).integers(0, I, (2, T, FEW))
    order = np.array([2, 0, 2])
    step = net.frozen(FEW)
    for row in first:
        step(row)
    step.reorder(order)
    y = [step(row).copy() for row in second][-1]
    wanted = net.twin(FEW).predict(np.concatenate([first[:, order], second]))[-1]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-6)


def test_temperature_is_of_the_steps_alone() -> None:
    net = network(f"net inputs={I}", "connected output=4", "softmax temperature=2", dtype="float32")
    randomize(net.layers)
    ids = np.array([1])
    cold, own = net.frozen(temperature=0.1)(ids), net.frozen()(ids).copy()
    assert cold.max() > own.max() + 0.1
    np.testing.assert_allclose(own[0], net.predict(ids[:, None])[0, 0], rtol=1e-5)


# --- many texts side by side ----------------------------------------------------------------


@pytest.mark.parametrize("layer", [
    "gru output=70 tanh=1", "gru output=150 tanh=1 reset_after=1", "lstm output=20",
    "lstm output=150", "rnn output=150 activation=tanh elman=1",
])  # fmt: skip
def test_texts_side_by_side_are_those_one_by_one(layer: str) -> None:
    net = network(f"net inputs={I}", layer, f"connected output={I}", "softmax", dtype="float32")
    randomize(net.layers)
    kept = values(net)
    together = sample_many(net, [1, 2], examples(40), 1.0, range(100, 100 + MANY))
    alone = [[*sample(net, [1, 2], examples(40), 1.0, srand)] for srand in range(100, 100 + MANY)]
    assert together == alone
    assert len({tuple(text) for text in together}) > MANY // 2
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, kept[name])


@pytest.mark.parametrize("layer", [
    "gru output=150 tanh=1", "gru output=150 tanh=1 reset_after=1", "lstm output=150",
    "rnn output=150 activation=tanh elman=1",
])  # fmt: skip
def test_a_streams_numbers_do_not_depend_on_threads_or_on_others(layer: str) -> None:
    net = network(f"net inputs={I}", layer, layer, dtype="float32")
    randomize(net.layers)
    ids = np.random.default_rng(0).integers(0, I, (examples(200), MANY))
    found = set()
    for streams in (1, 2, FEW, MANY):
        for threads_ in (1, 2, 3):
            threads.set_threads(threads_)
            step = net.frozen(streams)
            for row in ids:
                y = step(row[:streams])
            found.add(y[0].tobytes())
    assert len(found) == 1


def test_texts_of_no_length_are_empty() -> None:
    net = network(f"net inputs={I}", f"connected output={I}", "softmax", dtype="float32")
    assert sample_many(net, [1], 0, 1.0, range(3)) == [[], [], []]


# --- drawing --------------------------------------------------------------------------------


def draws(kernels: Any, p: Array, starts: Array) -> list[int]:
    ids = np.full(len(p), 77)
    kernels.draw(p, starts, ids)
    result: list[int] = ids.tolist()
    return result


def test_draws_of_many_streams_are_numpys() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(90, 0.1), size=500).astype(np.float32)
    p[3], p[4], p[5, 2] = 0, np.inf, np.nan
    starts = rng.random(500, np.float32)
    starts[:10] = [0, 1, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]
    ours = draws(compiled, p, starts)
    assert ours == draws(numpy_kernels, p, starts)
    assert ours[3:6] == [89, -1, -1]
    assert len(set(ours)) > 50
