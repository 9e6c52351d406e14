"""How often the device is launched and waited for: a speed measure that needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark import Network, Text, generate, train
from minidark.backend import Array, get_backend
from minidark.inference.generate import BLOCK, Sampler
from minidark.network.nonfinite import check_finite
from minidark.network.parser import build_network
from tests.fakecp import COUNTS
from tests.helpers import planned
from tests.stand_in import host, needs_compiler, put_in_place

pytestmark = [needs_compiler, pytest.mark.slow]

I, S, T = 12, 4, 6  # noqa: E741  the shape alphabet's inputs
NET = f"net inputs={I} batch={S} time_steps={T} learning_rate=.01"
READ_OUT = (f"connected output={I} activation=linear", "softmax")
MOST_LAUNCHES_A_STEP = 12  # of a GRU, forward and backward together


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch)


def make(*sections: str, device: str = "cuda") -> Network:
    return build_network(planned(*sections), 3, get_backend(device))


def ids(seed: int, steps: int = T) -> tuple[Array, Array]:
    both = np.random.default_rng(seed).integers(0, I, (2, steps, S))
    return both[0], both[1]


def launches_a_step(layer: str, widest: int = 0) -> float:
    """What a training pass takes for each further step, where kernels take cells of so many units
    whole."""
    found = []
    for steps in (10, 20):
        net = make(NET, layer, *READ_OUT)
        net.backend.widest = widest
        net.accumulate(*ids(0, steps))
        COUNTS.reset()
        net.accumulate(*ids(1, steps))
        found.append(COUNTS.launches)
    return (found[1] - found[0]) / 10


@pytest.mark.parametrize("layer", ["gru output=8 tanh=1", "gru output=8"])
def test_a_gru_step_takes_few_launches(layer: str) -> None:
    assert launches_a_step(layer) <= MOST_LAUNCHES_A_STEP


def test_an_lstm_step_takes_fewer() -> None:
    assert launches_a_step("lstm output=8") <= 6


def test_a_gru_step_with_the_reset_after_the_product_takes_fewer() -> None:
    assert launches_a_step("gru output=8 reset_after=1") <= 6


@pytest.mark.parametrize("layer", [
    "gru output=8", "gru output=8 reset_after=1", "lstm output=8", "rnn output=8",
    "rnn output=8 elman=1",
])  # fmt: skip
def test_a_step_of_a_sequence_that_is_taken_whole_takes_none(layer: str) -> None:
    assert launches_a_step(layer, widest=8) == 0
    assert launches_a_step(layer, widest=7) > 0
    assert launches_a_step(f"{layer} batch_normalize=1", widest=8) > 0


EVERY_LAYER = [
    (NET, "gru output=8 tanh=1", *READ_OUT),
    (f"{NET} adam=1", "gru output=8", "gru output=8", *READ_OUT),
    (f"{NET} adam=1 clip_norm=.01", "lstm output=8", "dropout", *READ_OUT),
    (f"{NET} adam=1", "gru output=8 tanh=1 reset_after=1", *READ_OUT),
    (NET, "gru output=8 tanh=1 reset_after=1 batch_normalize=1", *READ_OUT),
    (NET, "rnn output=8 activation=tanh shortcut=1", *READ_OUT),
    (NET, "rnn output=8 activation=leaky", "activation activation=plse", *READ_OUT),
    (f"{NET} adam=1", "rnn output=8 activation=tanh elman=1", *READ_OUT),
    (NET, "rnn output=8 activation=elu elman=1 batch_normalize=1", *READ_OUT),
    (NET, "gru output=8 batch_normalize=1", "batchnorm", *READ_OUT),
    (NET, "conn output=8 batch_normalize=1 activation=elu", *READ_OUT),
    (NET, READ_OUT[0], "logistic"),
    (NET, READ_OUT[0], "cost type=sse"),
    (NET, READ_OUT[0], "cost type=smooth"),
    (NET, "activation activation=stair", READ_OUT[0], "cost type=L1"),
]


@pytest.mark.parametrize("steps", [6, 10])  # fewer than are taken whole, and more
@pytest.mark.parametrize("sections", EVERY_LAYER, ids=" | ".join)
def test_nothing_waits_within_a_batch_and_the_cpu_agrees(
    sections: tuple[str, ...], steps: int
) -> None:
    net, cpu = make(*sections), make(*sections, device="cpu")
    for seed in range(3):
        COUNTS.reset()
        with fakecp.without_waiting():
            cost = net.train_batch(*ids(seed, steps))
        assert COUNTS.uploads == 2 + sum(layer.type == "dropout" for layer in net.layers)
        assert COUNTS.downloads == COUNTS.waits == 0
        assert host(cost) == pytest.approx(cpu.train_batch(*ids(seed, steps)), rel=1e-5)
    for ours, theirs in zip(net.parameters(), cpu.parameters(), strict=True):
        np.testing.assert_allclose(host(ours.value), theirs.value, rtol=1e-4, atol=1e-5)


def test_rows_without_truth_are_found_before_the_device_has_them() -> None:
    net, cpu = (make(NET, "gru output=8", *READ_OUT, device=d) for d in ("cuda", "cpu"))
    x, truth = ids(0)
    truth[:3] = truth[4, 1] = -1
    COUNTS.reset()
    with fakecp.without_waiting():
        cost = net.train_batch(x, truth)
    assert COUNTS.downloads == COUNTS.waits == 0
    assert host(cost) == pytest.approx(cpu.train_batch(x, truth), rel=1e-5)
    for ours, theirs in zip(net.parameters(), cpu.parameters(), strict=True):
        np.testing.assert_allclose(host(ours.value), theirs.value, rtol=1e-4, atol=1e-5)


def test_streams_are_reordered_without_waiting() -> None:
    net = make(NET, "lstm output=8", "gru output=8", *READ_OUT)
    frozen = net.frozen(S)
    symbols = net.backend.asids(ids(0)[0][0])
    frozen(symbols)
    before = [host(s).copy() for layer in frozen.layers for s in layer.states.values()]
    COUNTS.reset()
    with fakecp.without_waiting():
        frozen.reorder(net.backend.asids([3, 3, 0, 1]))
    after = [host(s) for layer in frozen.layers for s in layer.states.values()]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old[[3, 3, 0, 1]])
    assert len(after) == 3


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Text]:
    data = (np.cumsum(np.random.default_rng(0).integers(1, 3, 2000)) % I).astype(np.uint8)
    path = tmp_path / "text"
    path.write_bytes(data.tobytes())
    with Text([path], I) as opened:
        yield opened


@pytest.mark.parametrize("subdivisions", [1, 2])
def test_training_waits_once_for_each_report(text: Text, subdivisions: int) -> None:
    net = make(
        f"{NET} adam=1 clip_norm=1".replace(
            "batch=4", f"batch={4 * subdivisions} subdivisions={subdivisions}"
        ),
        "gru output=8 tanh=1",
        *READ_OUT,
    )
    COUNTS.reset()
    for number, _ in enumerate(train(net, text, 5, valid_fraction=0), start=1):
        assert COUNTS.waits == number
    assert COUNTS.downloads == 1  # of the last batch, cost and gradients' lengths together


def test_a_validation_waits_once(text: Text) -> None:
    net = make(NET, "gru output=8 tanh=1", *READ_OUT)
    COUNTS.reset()
    (report,) = train(net, text, 1, valid_fraction=0.5)
    assert report.valid_loss is not None
    assert COUNTS.waits == 2  # for the cost of the batch, and for that of the part held out


def sampled(device: str, length: int, **limits: Any) -> list[list[int]]:
    """The texts of S streams."""
    net = make(NET, "gru output=8 tanh=1", *READ_OUT, device=device)
    sampler = Sampler(net, 0.9, range(S), **limits)
    sampler.read([1, 2])
    COUNTS.reset()
    return [*sampler.rows(length)]


@pytest.mark.parametrize("limits", [{}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 4, "top_p": 0.6}])
def test_sampling_moves_nothing_for_each_character(limits: dict[str, Any]) -> None:
    """A block of starts and one for ids are uploaded, and a block of symbols comes back."""
    symbols = sampled("cuda", BLOCK, **limits)
    assert (COUNTS.uploads, COUNTS.downloads) == (2, 1)
    sampled("cuda", 3 * BLOCK, **limits)
    assert (COUNTS.uploads, COUNTS.downloads) == (6, 3)
    assert symbols == sampled("cpu", BLOCK, **limits)


def test_generate_is_the_cpus() -> None:
    texts = [
        generate(make(NET, "lstm output=8", *READ_OUT, device=device), b"\x01", 40, 1.0, 5)
        for device in ("cuda", "cpu")
    ]
    assert texts[0] == texts[1]


def test_weights_go_to_files_and_come_back(tmp_path: Path) -> None:
    sections = (NET, "gru output=8 batch_normalize=1", *READ_OUT)
    net, cpu = make(*sections), make(*sections, device="cpu")
    for one in (net, cpu):
        one.save_weights(tmp_path / one.backend.name)
        check_finite(one)
    assert (tmp_path / "cuda").read_bytes() == (tmp_path / "cpu").read_bytes()
