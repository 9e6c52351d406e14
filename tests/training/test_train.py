"""The training loop: its reports, when it validates and stops, and that it repeats exactly."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import (
    CfgError,
    DataError,
    DivergedError,
    MinidarkError,
    Network,
    Text,
    generate,
    train,
)
from minidark.backend import Array
from minidark.inference.valid import evaluate, measure
from minidark.training.report import StepReport
from tests.conftest import WriteText
from tests.helpers import network, states, values

pytestmark = pytest.mark.usefixtures("each_backend")

SYMBOLS = 8
NET = f"net inputs={SYMBOLS} batch=2 time_steps=5 learning_rate=.1"
LAYERS = ("gru output=4 tanh=1", f"connected output={SYMBOLS} activation=linear", "softmax")


@pytest.fixture
def text(write_text: WriteText) -> Iterator[Text]:
    """4,000 symbols that depend on those before them."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 3, 4000)
    data = (np.cumsum(steps) % SYMBOLS).astype(np.uint8).tobytes()
    with Text([write_text(data)], SYMBOLS) as opened:
        yield opened


def make(*keys: str, layers: tuple[str, ...] = LAYERS) -> Network:
    return network(" ".join([NET, *keys]), *layers, dtype="float32", seed=3)


# --- reports ------------------------------------------------------------------------------


def test_reports_count_and_average(text: Text) -> None:
    net = make("policy=step step=2 scale=.5")
    reports = list(train(net, text, 5, valid_fraction=0))
    assert [r.batch for r in reports] == [1, 2, 3, 4, 5]
    assert [r.last for r in reports] == [False] * 4 + [True]
    assert [r.symbols for r in reports] == [10, 20, 30, 40, 50]
    assert [r.epochs for r in reports] == pytest.approx([n * 10 / 4000 for n in range(1, 6)])
    assert [r.rate for r in reports] == pytest.approx([0.1, 0.05, 0.05, 0.025, 0.025])
    average = reports[0].loss
    for report in reports:
        average = average if report.batch == 1 else 0.9 * average + 0.1 * report.loss
        assert report.average == pytest.approx(average)
        assert report.loss == pytest.approx(math.log(SYMBOLS), rel=0.5)
    seconds = [r.seconds for r in reports]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.parametrize("subdivisions", [1, 2])
def test_a_batch_is_subdivisions_passes_of_the_next_symbols(
    text: Text, subdivisions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.data.text.RESTART", 0.0)
    keys = f"batch={2 * subdivisions} subdivisions={subdivisions}"
    net = network(NET.replace("batch=2", keys), *LAYERS)
    passes, costs = watch(net, monkeypatch)
    reports = list(train(net, text, 3, valid_fraction=0))
    assert len(passes) == 3 * subdivisions
    for (_, truth), (x, _) in itertools.pairwise(passes):
        np.testing.assert_array_equal(x[0], truth[-1])
    for x, truth in passes:
        assert x.shape == truth.shape == (5, 2)
        np.testing.assert_array_equal(x[1:], truth[:-1])
    whole = text.read(0, text.size).tobytes()
    for stream in range(2):
        ids = np.concatenate([passes[0][0][:1], *(truth for _, truth in passes)])[:, stream]
        assert ids.tobytes() in whole + whole
    for n, report in enumerate(reports):
        of_batch = costs[n * subdivisions : (n + 1) * subdivisions]
        assert report.loss == pytest.approx(sum(of_batch) / (10 * subdivisions))
        assert report.symbols == 10 * subdivisions * (n + 1)


def test_the_gradients_length_is_of_every_tenth_batch_validations_and_the_last(text: Text) -> None:
    net = make()
    net.seen = 3 * 10  # validations come after batches 103, 203, ...
    reports = [*train(net, text, 211, valid_fraction=0.05)]
    measured = [r.batch for r in reports if r.gradient_norms is not None]
    assert measured == sorted([*range(10, 211, 10), 203, 211])
    assert [r.batch for r in reports if r.valid_loss is not None] == [203, 211]


def test_it_is_that_of_the_batchs_update(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make()
    norms: list[float] = []
    original = net.learner.update

    def watched(measure: bool) -> None:
        norms.append(net.learner.gradient_norm())
        original(measure)

    monkeypatch.setattr(net.learner, "update", watched)
    for report in train(net, text, 20, valid_fraction=0):
        if report.gradient_norms is not None:
            assert math.hypot(*report.gradient_norms.values()) == pytest.approx(norms[-1])


def watch(
    net: Network, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None] = lambda: None
) -> tuple[list[tuple[Array, Array]], list[float]]:
    """What goes into train_batch, and the costs that come out of it."""
    passes: list[tuple[Array, Array]] = []
    costs: list[float] = []
    original = net.train_batch

    def watched(x: Any, truth: Any, **keywords: Any) -> float:
        before()
        passes.append((x, truth))
        costs.append(float(original(x, truth, **keywords)))
        return costs[-1]

    monkeypatch.setattr(net, "train_batch", watched)
    return passes, costs


@pytest.mark.parametrize("restart", [0.0, 1.0])
def test_a_stream_that_begins_anew_has_a_cleared_state(
    text: Text, restart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.data.text.RESTART", restart)
    net = make()
    carried: list[bool] = []
    passes, _ = watch(net, monkeypatch, lambda: carried.append(any(s.any() for s in states(net))))
    list(train(net, text, 6, valid_fraction=0))
    assert carried == [False] + 5 * [restart == 0]
    follows = [(x[0] == truth[-1]).all() for (_, truth), (x, _) in itertools.pairwise(passes)]
    assert all(follows) == (restart == 0)


@pytest.mark.parametrize("policy", ["constant", "random", "exp gamma=.5"])
def test_the_reported_rate_is_the_one_the_update_used(text: Text, policy: str) -> None:
    net = make(f"policy={policy} adam=1 eps=1e-20 decay=0")
    previous = values(net)
    for report in train(net, text, 2, seed=1, valid_fraction=0):
        if report.batch == 1:  # Adam's first step moves every parameter by the rate
            for name, value in values(net).items():
                if name.startswith("1."):
                    moved = np.abs(value - previous[name])
                    np.testing.assert_allclose(moved, report.rate, rtol=1e-3, atol=1e-7)


def test_training_goes_on_from_the_batches_seen(text: Text) -> None:
    net = make()
    assert [r.batch for r in train(net, text, 2, valid_fraction=0)] == [1, 2]
    assert [r.batch for r in train(net, text, 5, valid_fraction=0)] == [3, 4, 5]
    assert list(train(net, text, 5, valid_fraction=0)) == []


# --- the same again -----------------------------------------------------------------------


def weights_after(net: Network, reports: Iterator[StepReport], path: Path) -> bytes:
    for _ in reports:
        pass
    net.save_weights(path)
    return path.read_bytes()


NOISY = ("dropout probability=.2", "gru output=4 tanh=1 batch_normalize=1", *LAYERS[1:])


def test_a_seed_gives_the_same_weights_byte_for_byte(text: Text, tmp_path: Path) -> None:
    def run(seed: int) -> bytes:
        net = make("policy=random", layers=NOISY)
        return weights_after(net, train(net, text, 40, seed=seed), tmp_path / "net.weights")

    assert run(1) == run(1) != run(2)
    assert run(-1) == run(2**64 - 1)


def test_sampling_and_validation_meanwhile_leave_no_trace(text: Text, tmp_path: Path) -> None:
    def looked_at(net: Network) -> Iterator[StepReport]:
        for report in train(net, text, 20, seed=1, valid_fraction=0):
            evaluate(net, text.part(100, 900))
            measure(net, text.read(0, 50), b"\x01")
            generate(net, b"\x01", 10, srand=report.batch)
            yield report

    alone, watched = (make("policy=random", layers=NOISY) for _ in range(2))
    path = tmp_path / "net.weights"
    plain = weights_after(alone, train(alone, text, 20, seed=1, valid_fraction=0), path)
    assert weights_after(watched, looked_at(watched), path) == plain


# --- validation ---------------------------------------------------------------------------


def test_validation_comes_now_and_then_and_at_the_end(text: Text) -> None:
    net = make()
    reports = list(train(net, text, 430, valid_fraction=0.05))  # 200 symbols are held out
    # Each hundred batches are 1,000 symbols; ten times the 200 must go before.
    assert [r.batch for r in reports if r.valid_loss is not None] == [200, 400, 430]
    assert [r.valid_symbols for r in reports if r.valid_loss is not None] == [200] * 3
    assert {r.valid_symbols for r in reports if r.valid_loss is None} == {None}
    held_out = text.part(3800, 4000)
    assert reports[-1].valid_loss == evaluate(net, held_out)


def test_much_held_out_text_is_validated_on_by_half_a_million_symbols(
    write_text: WriteText,
) -> None:
    with Text([write_text(bytes(2**20 + 100))], SYMBOLS) as text:
        *_, last = train(make(), text, 1, valid_fraction=0.9)
    assert last.valid_symbols == 2**19


def test_nothing_is_learned_from_a_text_that_changes_while_it_is_read(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text(bytes(range(SYMBOLS)) * 500)
    with Text([path], SYMBOLS) as text:
        net = make()
        training = train(net, text, 10)
        next(training)
        before, read = (values(net), net.seen), text.read

        def overtaken(start: int, stop: int) -> Any:
            Path(path).write_bytes(bytes(reversed(range(SYMBOLS))) * 500)
            return read(start, stop)

        monkeypatch.setattr(text, "read", overtaken)
        with pytest.raises(DataError, match="its bytes have changed since the start"):
            next(training)
        after = values(net), net.seen
    np.testing.assert_equal(after, before)
    with pytest.raises(MinidarkError, match="after a complete batch"):
        training.checkpoint()


def test_held_out_text_is_not_trained_on(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = text.read

    def watched(start: int, stop: int) -> Any:
        read.append(stop)
        return original(start, stop)

    training = train(make(), text, 200, valid_fraction=0.5)
    training.rehearse()  # which validates, on a network that is thrown away
    monkeypatch.setattr(text, "read", watched)
    for report in training:
        if not report.last:
            assert max(read) <= 2000
    assert max(read) == 4000


@pytest.mark.parametrize("fraction", [0.0, 0.049])  # none, and 196 symbols, which say nothing
def test_too_little_held_out_is_never_validated_on(text: Text, fraction: float) -> None:
    reports = list(train(make(), text, 210, valid_fraction=fraction))
    assert len(reports) == 210
    assert all(r.valid_loss is None and not r.best for r in reports)
    with pytest.raises(DataError, match="patience needs a validation"):
        train(make(), text, 210, valid_fraction=fraction, patience=1)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate every second batch."""
    module = importlib.import_module("minidark.training.validation")
    monkeypatch.setattr(module, "VALIDATE_EVERY", 2)
    monkeypatch.setattr(module, "VALIDATE_SHARE", 0)


@pytest.mark.usefixtures("often")
def test_best_marks_each_new_lowest_validation(text: Text) -> None:
    lowest, marked = math.inf, []
    for report in train(make("adam=1"), text, 61, valid_fraction=0.1):
        if report.valid_loss is None:
            assert not report.best
            continue
        assert report.batch % 2 == 0 or report.last
        assert report.best == (report.valid_loss < lowest)
        lowest = min(lowest, report.valid_loss)
        marked.append(report.best)
    assert {True, False} == set(marked)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("baseline", [None, True, False])
def test_the_best_is_better_than_the_weights_that_a_run_begins_with(
    text: Text, baseline: bool | None
) -> None:
    net = make("adam=1")
    [*train(net, text, 60, valid_fraction=0.1)]
    net.seen = 0 if baseline else net.seen
    net.options = dataclasses.replace(net.options, learning_rate=1.0)  # of no use any more
    worse = [*train(net, text, net.batches_seen + 9, valid_fraction=0.1, baseline=baseline)]
    assert any(report.valid_loss is not None for report in worse)
    assert any(report.best for report in worse) == (baseline is False)


def test_weights_that_validate_to_no_number_are_told_before_the_first_batch(text: Text) -> None:
    net = make(layers=("gru output=6 batch_normalize=1", *LAYERS[1:]))
    for array in net.layers[0].stored_arrays():
        if array.name.endswith("rolling_variance"):
            array.value[...] = -1
    with pytest.raises(DivergedError, match="batch 0: the validation cost is nan"):
        train(net, text, 5, valid_fraction=0.1, baseline=True)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_after_that_many_validations_without_a_new_lowest(
    text: Text, patience: int
) -> None:
    net = network(NET.replace(".1", "0"), *LAYERS)  # a rate of zero: it never falls
    reports = list(train(net, text, 100, valid_fraction=0.1, patience=patience))
    assert reports[-1].batch == 2 + 2 * patience
    assert [r.batch for r in reports if r.last] == [reports[-1].batch]
    assert [r.batch for r in reports if r.best] == [2]
    assert len(list(train(network(NET.replace(".1", "0"), *LAYERS), text, 20))) == 20


# --- what cannot be trained ---------------------------------------------------------------


def test_a_text_shorter_than_a_window_is_refused(write_text: WriteText) -> None:
    with Text([write_text(bytes(5))], SYMBOLS) as text, pytest.raises(DataError) as error:
        next(train(make(), text, 1))
    assert str(error.value) == (
        "5 characters to train on; a window of time_steps=5 needs 6: "
        "use more text or a smaller time_steps"
    )
    with Text([write_text(bytes(6))], SYMBOLS) as text:
        assert next(train(make(), text, 1)).symbols == 10


def test_a_network_of_other_outputs_than_inputs_is_refused(text: Text) -> None:
    net = make(layers=("gru output=4", "softmax"))
    with pytest.raises(CfgError) as error:
        next(train(net, text, 1))
    assert str(error.value) == (
        "the last layer has 4 outputs; to predict the next of 8 symbols (inputs=8) it needs 8"
    )


DIVERGED = (
    "batch 1: the loss is nan; {} is the first with NaN or infinity; "
    "try a lower learning_rate, or --clip-norm 1"
)


@pytest.mark.parametrize("name", ["0.gru.ur.weights", "1.connected.biases"])
def test_a_loss_that_is_not_a_number_ends_the_run(text: Text, name: str) -> None:
    net = make()
    (bad,) = (p for p in net.parameters() if p.name == name)
    bad.value[...] = np.nan
    reports = train(net, text, 2)
    with pytest.raises(DivergedError) as error:
        next(reports)
    # On a GPU the weights have moved before the loss is seen, and the first of all is bad too.
    first = name if net.backend.name == "cpu" else "0.gru.uz.biases"
    assert str(error.value) == DIVERGED.format(first)
    assert list(reports) == []


@pytest.mark.parametrize("solver", ["learning_rate=1e30", "learning_rate=1e38 momentum=1"])
def test_a_run_that_diverges_says_so_and_nothing_else(text: Text, solver: str) -> None:
    rate, *rest = solver.split()
    net = network(
        " ".join([NET.replace("learning_rate=.1", rate), *rest]),
        "rnn output=4 activation=linear",
        *LAYERS[1:],
        dtype="float32",
    )
    said = (
        r"^batch \d+: the loss is (nan|inf); 0\.rnn\.state is the first with NaN or infinity; try "
    )
    said = said if net.backend.name == "cpu" else said.replace("state", "input.biases")
    with pytest.raises(DivergedError, match=said):
        list(train(net, text, 50, valid_fraction=0))
