"""What a network promises to its callers."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import DataError, MinidarkError, Network
from minidark.backend import Array
from minidark.cfg import options
from minidark.layers.activations import ACTIVATIONS
from minidark.layers.cost import COST_TYPES
from tests.helpers import gradients, network, one_hot, randomize, states, values

pytestmark = pytest.mark.usefixtures("each_backend")

I, T, S = 5, 4, 2  # noqa: E741  the shape alphabet's inputs

NET = f"net inputs={I} batch={S} time_steps={T} learning_rate=.1 decay=.01"
LAYERS = ("gru output=4 tanh=1", f"connected output={I} activation=linear", "softmax")


def make(*layers: str, net: str = NET, dtype: str = "float64") -> Network:
    made = network(net, *(layers or LAYERS), dtype=dtype)
    randomize(made.layers)
    return made


def batch(seed: int = 0, steps: int = T, streams: int = S) -> tuple[Array, Array]:
    """Ids of inputs and of truths."""
    ids = np.random.default_rng(seed).integers(0, I, (2, steps, streams))
    return ids[0], ids[1]


def same(a: Array, b: Array, name: str = "") -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name)


def same_by_name(a: dict[str, Array], b: dict[str, Array]) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        same(array, b[name], name)


# --- what comes in and out ----------------------------------------------------------------


@pytest.mark.parametrize("layers", [LAYERS, ("activation", *LAYERS)])  # the second reads no ids
def test_predict_takes_rows_and_ids_of_streams_and_of_one_stream(layers: tuple[str, ...]) -> None:
    x = batch(steps=7)[0]
    wanted = make(*layers).predict(one_hot(x, I))
    assert wanted.shape == (7, S, I)
    same(wanted.sum(axis=-1), np.ones((7, S)))
    same(make(*layers).predict(x), wanted)
    for stream in range(S):
        for of_one in (x[:, stream], one_hot(x[:, stream], I)):
            alone = make(*layers, net=f"net inputs={I} batch=1")
            same(alone.predict(of_one), wanted[:, stream])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_ids_of_any_integer_dtype_are_ids(dtype: type) -> None:
    x, truth = batch()
    same(make().predict(x.astype(dtype)), make().predict(x))
    same(make().predict(x.tolist()), make().predict(x))
    assert make().accumulate(x.astype(dtype), truth.astype(dtype)) == make().accumulate(x, truth)


@pytest.mark.parametrize(("dtype", "given"), [("float32", "float64"), ("float64", "float32")])
def test_arrays_come_back_in_the_networks_dtype(dtype: str, given: str) -> None:
    net = make(dtype=dtype)
    assert net.predict(np.ones((T, S, I), given)).dtype == dtype
    net.accumulate(np.ones((T, S, I), given), np.ones((T, S, I), given))
    assert {p.grad.dtype.name for p in net.parameters()} == {dtype}


@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_any_number_of_steps_is_accepted(steps: int) -> None:
    net, in_pieces = make(), make()
    x, truth = batch(steps=steps)
    y = net.predict(x)
    same(y, np.concatenate([in_pieces.predict(row[None]) for row in x]))
    assert net.train_batch(x, truth) > 0
    assert net.seen == steps * S


TEXT = "{} is text; its ids are numpy.frombuffer(bytes, numpy.uint8)"
SHAPE = "x has shape {}; expected (T, 2, 5) with T >= 1"
IDS_SHAPE = "x has shape {}; expected (T, 2) with T >= 1"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 3, 5)), SHAPE.format("(4, 3, 5)")),
        (np.zeros((4, 2, 6)), SHAPE.format("(4, 2, 6)")),
        (np.zeros((0, 2, 5)), SHAPE.format("(0, 2, 5)")),
        (np.zeros((4, 5)), SHAPE.format("(4, 5)")),
        (np.zeros((4, 2, 5, 1)), SHAPE.format("(4, 2, 5, 1)")),
        (np.zeros(4), SHAPE.format("(4,)")),
        (np.float64(0), SHAPE.format("()")),
        (np.zeros((4, 3), int), IDS_SHAPE.format("(4, 3)")),
        (np.zeros((4, 2, 5), int), IDS_SHAPE.format("(4, 2, 5)")),
        (np.zeros((0, 2), int), IDS_SHAPE.format("(0, 2)")),
        (np.zeros(4, int), IDS_SHAPE.format("(4,)")),
        ([[0, 5]], "x contains symbol 5; this network's are 0 to 4"),
        ([[0, 1], [-1, 9]], "x contains symbol -1; this network's are 0 to 4"),
        (np.zeros((4, 2), bool), "x has dtype bool; expected floats, or integer ids"),
        (np.zeros((4, 2), complex), "x has dtype complex128; expected floats, or integer ids"),
        ([["a", "b"]], TEXT.format("x")),
        (b"abc", TEXT.format("x")),
    ],
)
def test_what_does_not_fit_is_refused_and_moves_nothing(x: Any, message: str) -> None:
    net = make()
    net.predict(batch()[0])
    before = states(net)
    with pytest.raises(DataError) as error:
        net.predict(x)
    assert str(error.value) == message
    for state, kept in zip(states(net), before, strict=True):
        same(state, kept)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.zeros((4, 2, 6)), "truth has shape (4, 2, 6); expected (4, 2, 5)"),
        (np.zeros((3, 2, 5)), "truth has shape (3, 2, 5); expected (4, 2, 5)"),
        (np.zeros((4, 3), int), "truth has shape (4, 3); expected (4, 2)"),
        (np.zeros((4, 2, 5), int), "truth has shape (4, 2, 5); expected (4, 2)"),
        (np.full((4, 2), 5), "truth contains symbol 5; this network's are 0 to 4"),
        (np.full((4, 2), -2), "truth contains symbol -2; this network's are 0 to 4"),
        (np.full((4, 2), -1), "truth is -1 (none) in every row"),
        (np.zeros((4, 2), bool), "truth has dtype bool; expected floats, or integer ids"),
        (np.zeros((4, 2), complex), "truth has dtype complex128; expected floats, or integer ids"),
        ([["a", "b"]] * 4, TEXT.format("truth")),
    ],
)
def test_a_truth_that_does_not_fit_is_refused_and_leaves_no_gradient(
    truth: Any, message: str
) -> None:
    net, fresh = make(), make()
    with pytest.raises(DataError) as error:
        net.accumulate(batch()[0], truth)
    assert str(error.value) == message
    net.reset_state()
    net.train_batch(*batch())
    fresh.train_batch(*batch())
    same_by_name(values(net), values(fresh))


def test_what_predict_returns_is_the_callers_own() -> None:
    net, untouched = make("gru output=4"), make("gru output=4")
    x = batch()[0]
    net.predict(x)[...] = 100
    untouched.predict(x)
    same(net.predict(x), untouched.predict(x))


def test_what_forward_returns_is_the_callers_own() -> None:
    net, untouched = make(), make()
    x, truth = batch()
    net.forward(x, train=True)[...] = 100
    assert net.backward(truth) == untouched.accumulate(x, truth)
    same_by_name(gradients(net), gradients(untouched))


# --- state --------------------------------------------------------------------------------


def test_state_carries_over_from_call_to_call_in_inference_and_in_training() -> None:
    net, carried = make(), make()
    x, truth = batch(steps=2 * T)
    y = net.predict(x)
    same(carried.predict(x[:T]), y[:T])
    carried.accumulate(x[T:], truth[T:])
    for a, b in zip(states(net), states(carried), strict=True):
        same(a, b)


def test_reset_state_of_one_stream_and_of_all() -> None:
    x = batch()[0]
    net, kept = make(), make()
    from_zero = net.predict(x)
    after = net.predict(x)
    assert not np.allclose(from_zero, after)
    net.reset_state()
    same(net.predict(x), from_zero)
    kept.predict(x)
    kept.reset_state(stream=1)
    y = kept.predict(x)
    same(y[:, 0], after[:, 0])
    same(y[:, 1], from_zero[:, 1])


@pytest.mark.parametrize("stream", [-1, 2])
def test_reset_state_of_a_stream_that_is_not_there_is_refused(stream: int) -> None:
    with pytest.raises(DataError) as error:
        make().reset_state(stream=stream)
    assert str(error.value) == f"stream {stream} is not one of this network's 2"


def test_a_twin_accumulates_into_the_same_gradients() -> None:
    net, alone = make(), make(net=NET.replace(f"batch={S}", "batch=3"))
    x, truth = batch(streams=3)
    assert net.twin(3).accumulate(x, truth) == alone.accumulate(x, truth)
    same_by_name(gradients(net), gradients(alone))


@pytest.mark.parametrize("kind", options.LAYER_TYPES)
def test_what_options_say_of_a_layer_is_so_of_the_layer(kind: str) -> None:
    below = ("connected", "connected") if kind in ("route", "shortcut") else ()
    keys = {"route": " layers=0", "shortcut": " from=0"}.get(kind, "")
    net = network("net inputs=300 batch=2 time_steps=1", *below, kind + keys)
    said, layer = net.layer_options[-1], net.layers[-1]
    assert said.gives_symbols == layer.gives_ids
    assert (said.reads_symbols or said.gives_symbols) == layer.reads_ids
    assert said.is_recurrent == bool(layer.states)
    assert said.has_cost == layer.has_cost
    assert said.normalizes == bool(layer.norms)


def test_the_names_that_a_cfg_may_say_are_those_of_the_layers() -> None:
    assert tuple(ACTIVATIONS) == options.ACTIVATIONS
    assert tuple(COST_TYPES) == options.COST_TYPES


def test_a_copy_over_the_same_layers_counts_and_learns_for_itself() -> None:
    net = make()
    other = copy.copy(net)
    x, truth = batch()
    other.train_batch(x, truth)
    assert (net.seen, other.seen) == (0, T * S)
    assert net.learner.rate == 0.0
    assert other.learner.rate == pytest.approx(0.1)
    assert copy.copy(other).seen == other.seen
    same_by_name(values(net), values(other))


@pytest.mark.parametrize("kind", ["network", "twin", "shard"])
def test_the_memory_of_a_network_is_free_as_soon_as_nobody_has_it(kind: str) -> None:
    net = make()
    kinds: dict[str, Callable[[], Network]] = {
        "network": make,
        "twin": net.twin,
        "shard": lambda: net.shard(slice(0, 1)),
    }
    kept = kinds[kind]()
    kept.reset_state()
    gone = weakref.ref(kept)
    del kept
    assert gone() is None


def test_a_twin_infers_beside_training_and_leaves_no_trace() -> None:
    layers = ("dropout probability=.3", "gru output=4 batch_normalize=1", *LAYERS[1:])
    net, alone = make(*layers), make(*layers)
    net.train_batch(*batch(1))
    alone.train_batch(*batch(1))
    x, truth = batch(2)
    others = batch(3, streams=3)[0]
    net.forward(x, train=True)
    twin = net.twin(3)
    first = twin.predict(others)
    assert not np.allclose(twin.predict(others), first)
    twin.reset_state()
    same(twin.predict(others), first)
    net.backward(truth)
    alone.accumulate(x, truth)
    same_by_name(gradients(net), gradients(alone))
    for a, b in zip(states(net), states(alone), strict=True):
        same(a, b)
    net.update()
    twin.reset_state()
    after = twin.predict(others)  # it follows the parameters
    assert not np.allclose(after, first)
    same(after, net.twin(3).predict(others))


# --- parameters ---------------------------------------------------------------------------


def test_parameters_are_named_in_the_order_of_the_file() -> None:
    net = make(
        "gru output=4 batch_normalize=1",
        "lstm output=3",
        "rnn output=3 batch_normalize=1",
        "dropout",
        "conn output=4 batch_normalize=1",
        "batchnorm",
        "connected output=5",
        "soft",
    )
    kinds, normed = ("biases", "weights"), ("biases", "weights", "scales")
    assert [p.name for p in net.parameters()] == [
        *(f"0.gru.{s}.{k}" for s in ("wz", "wr", "wh", "uz", "ur", "uh") for k in normed),
        *(
            f"1.lstm.{s}.{k}"
            for s in ("wi", "wf", "wo", "wg", "ui", "uf", "uo", "ug")
            for k in kinds
        ),
        *(f"2.rnn.{s}.{k}" for s in ("input", "self", "output") for k in normed),
        *(f"4.connected.{k}" for k in normed),
        "5.batchnorm.biases",
        "5.batchnorm.scales",
        "6.connected.biases",
        "6.connected.weights",
    ]
    shapes = {p.name: p.value.shape for p in net.parameters()}
    assert shapes["0.gru.uz.weights"] == (4, I)
    assert shapes["1.lstm.wf.weights"] == (3, 3)
    assert shapes["6.connected.weights"] == (5, 4)
    stored = [a.name for layer in net.layers for a in layer.stored_arrays()]
    assert "0.gru.uz.rolling_mean" in stored
    assert "2.rnn.self.rolling_variance" in stored


def test_layers_say_their_type_and_sizes() -> None:
    net = make("rnn output=4 hidden=3", "conn output=6", "soft")
    assert [(layer.type, layer.inputs, layer.outputs) for layer in net.layers] == [
        ("rnn", I, 4),
        ("connected", 4, 6),
        ("softmax", 6, 6),
    ]
    assert (net.inputs, net.outputs, net.streams) == (I, 6, S)


@pytest.mark.parametrize("layer", ["gru", "lstm", "rnn", "connected"])
def test_parameters_are_live_also_through_reshape(layer: str) -> None:
    layers = (f"{layer} output=4 batch_normalize=1", *LAYERS[1:])
    net, other = network(NET, *layers), make(*layers)
    x, truth = batch()
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        ours.value.reshape(-1)[...] = theirs.value.reshape(-1)
    same(net.forward(x, train=True), other.forward(x, train=True))
    net.backward(truth)
    for p in net.parameters():  # the gradients, too: what is written is what update uses
        p.grad.reshape(-1)[...] = 0.5
    before = values(net)
    net.update()
    for p in net.parameters():
        decay = 0.01 * before[p.name] if p.kind == "weights" else 0
        same(p.value, before[p.name] - 0.1 * (0.5 / (T * S) + decay), p.name)


# --- training -----------------------------------------------------------------------------


def test_accumulate_is_forward_and_backward() -> None:
    net, in_two = make(), make()
    x, truth = batch()
    y = in_two.forward(x, train=True)
    cost = in_two.backward(truth)
    hit = y[np.arange(T)[:, None], np.arange(S), truth]
    assert cost == pytest.approx(-float(np.log(hit).sum()), rel=1e-12)
    assert net.accumulate(x, truth) == cost
    same_by_name(gradients(net), gradients(in_two))
    assert make().accumulate(one_hot(x, I), one_hot(truth, I)) == pytest.approx(cost, rel=1e-12)


def test_a_row_without_truth_costs_nothing_and_counts_nowhere(each_backend: str) -> None:
    """Against passes over the rows that have one: the gradient of a sum is the sum of theirs."""
    x, truth = batch()
    y = make().predict(x)
    masked = truth.copy()
    masked[0, 0] = masked[2:, 1] = -1
    rows = [(t, s) for t in range(T) for s in range(S) if masked[t, s] >= 0]
    wanted = -sum(math.log(y[t, s, truth[t, s]]) for t, s in rows)
    net, one_by_one = make(), make()
    assert net.cost(y, masked) == pytest.approx(wanted, rel=1e-12)
    assert net.accumulate(x, masked) == pytest.approx(wanted, rel=1e-12)
    for t, s in rows:
        alone = np.full((T, S), -1)
        alone[t, s] = truth[t, s]
        one_by_one.reset_state()
        one_by_one.accumulate(x, alone)
    same_by_name(gradients(net), gradients(one_by_one))
    assert net.learner.gradient_norm() == pytest.approx(
        one_by_one.learner.gradient_norm(), rel=1e-12
    )
    plain = make()
    plain.accumulate(x, truth)
    factor = T * S / len(rows)  # the norm is of the mean over the rows that count
    lengths = [sum((g**2).sum() for g in gradients(n).values()) ** 0.5 for n in (net, plain)]
    ratio = lengths[0] / lengths[1] * factor
    assert net.learner.gradient_norm() / plain.learner.gradient_norm() == pytest.approx(
        ratio, rel=1e-10
    )


def test_the_sgd_divisor_is_the_rows_with_a_truth_and_seen_what_is_told() -> None:
    net = make(net=f"net inputs={I} batch={S} time_steps={T} learning_rate=.1 decay=0 momentum=0")
    x, truth = batch()
    truth[1:] = -1
    before = values(net)
    probe = make()
    probe.accumulate(x, truth)
    net.train_batch(x, truth, rows=T * S)
    for name, value in values(net).items():
        same(value, before[name] - 0.1 * gradients(probe)[name] / S, name)
    assert (net.seen, net.batches_seen) == (T * S, 1)
    net.train_batch(x, truth)
    assert net.seen == T * S + S


def test_cost_is_what_backward_would_return_and_changes_nothing() -> None:
    net = make()
    x, truth = batch()
    cost = net.cost(net.predict(x), truth)
    assert not any(p.grad.any() for p in net.parameters())
    net.reset_state()
    assert net.accumulate(x, truth) == cost


@pytest.mark.parametrize("solver", ["", " adam=1"])
def test_accumulate_then_update_is_train_batch_but_for_seen(solver: str) -> None:
    net, whole = (make(net=NET + solver) for _ in range(2))
    for seed in range(3):
        assert net.accumulate(*batch(seed)) == whole.train_batch(*batch(seed))
        assert any(p.grad.any() for p in net.parameters())
        net.update()
        assert not any(p.grad.any() for p in (*net.parameters(), *whole.parameters()))
        assert (net.seen, whole.seen) == (0, (seed + 1) * T * S)
    same_by_name(values(net), values(whole))


def test_a_layer_is_told_when_its_gradients_are_whole_and_those_below_are_to_come() -> None:
    net, whole = make(), make()
    whole.accumulate(*batch())
    last = {p.name: p.grad.copy() for p in whole.parameters()}
    told = []

    def done(number: int) -> None:
        told.append(number)
        for i, layer in enumerate(net.layers):
            for p in layer.parameters():
                np.testing.assert_array_equal(p.grad, last[p.name] if i >= number else 0)

    net.accumulate(*batch(), done=done)
    assert told == sorted(told, reverse=True)
    assert {i for i, layer in enumerate(net.layers) if layer.parameters()} <= {*told}


@pytest.mark.parametrize("solver", ["", " adam=1"])
def test_subdivisions_update_after_the_last_pass_as_accumulating_them_does(solver: str) -> None:
    halves = make(net=f"{NET.replace('batch=2', 'batch=4')} subdivisions=2{solver}")
    whole = make(net=NET + solver)
    assert halves.streams == whole.streams == S
    start = values(halves)
    for seed in (0, 2):
        halves.train_batch(*batch(seed))
        same_by_name(values(halves), start)
        halves.train_batch(*batch(seed + 1))
        whole.accumulate(*batch(seed))
        whole.accumulate(*batch(seed + 1))
        whole.update()
        same_by_name(values(halves), values(whole))
        start = values(halves)
    assert halves.seen == 4 * T * S
    assert halves.batches_seen == 2


def test_after_a_pass_that_diverged_the_weights_stay_until_it_is_dropped(
    monkeypatch: pytest.MonkeyPatch, each_backend: str
) -> None:
    if each_backend != "cpu":
        pytest.skip("on a GPU train_batch does not wait for the cost")
    net = make(net=f"{NET.replace('batch=2', 'batch=4')} subdivisions=2")
    start = values(net)
    accumulate, costs = net.accumulate, iter([math.inf, 0.0, 0.0, 0.0])

    def diverges(*args: Array) -> float:
        accumulate(*args)
        return next(costs)

    monkeypatch.setattr(net, "accumulate", diverges)
    for seed in range(3):
        net.train_batch(*batch(seed))
        same_by_name(values(net), start)
    net.learner.drop_gradients()
    monkeypatch.undo()
    fresh = make(net=f"{NET.replace('batch=2', 'batch=4')} subdivisions=2")
    fresh.seen = net.seen
    for one in (net, fresh):
        one.reset_state()
        one.train_batch(*batch(0))
        one.train_batch(*batch(1))
    same_by_name(values(net), values(fresh))
    assert not np.allclose(values(net)["0.gru.uz.weights"], start["0.gru.uz.weights"])


def test_the_mean_is_over_the_rows_accumulated_whatever_their_number() -> None:
    net = make(net=f"net inputs={I} batch={S} time_steps={T} learning_rate=.1 decay=0 momentum=0")
    x, truth = batch(steps=9)
    before = values(net)
    net.accumulate(x[:3], truth[:3])
    net.accumulate(x[3:], truth[3:])
    grads = gradients(net)
    net.update()
    for name, value in values(net).items():
        same(value, before[name] - 0.1 * grads[name] / (9 * S), name)


def test_a_layers_learning_rate_scales_its_step_alone() -> None:
    plain, scaled = make(), make("gru output=4 tanh=1 learning_rate=.25", *LAYERS[1:])
    before = values(plain)
    for net in (plain, scaled):
        net.train_batch(*batch())
    assert scaled.learning_rate() == pytest.approx(0.1)
    moved = values(scaled)
    for name, value in values(plain).items():
        factor = 0.25 if name.startswith("0.gru") else 1.0
        step = value - before[name]
        assert step.any()
        np.testing.assert_allclose(moved[name] - before[name], factor * step, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("solver", ["momentum=0", "adam=1 momentum=0"])
def test_stopbackward_leaves_no_gradient_at_and_below_it_but_weights_decay(solver: str) -> None:
    net_line = f"{NET} {solver}"
    layers = ("gru output=4", "rnn output=4 activation=tanh{}", *LAYERS[1:])
    whole = make(*(layer.format("") for layer in layers), net=net_line)
    stopped = make(*(layer.format(" stopbackward=1") for layer in layers), net=net_line)
    assert stopped.accumulate(*batch()) == whole.accumulate(*batch())
    wanted = gradients(whole)
    for name, gradient in gradients(stopped).items():
        below = name.startswith(("0.", "1."))
        same(gradient, 0 * gradient if below else wanted[name], name)
    before = values(stopped)
    stopped.update()
    for p in stopped.parameters():
        w = before[p.name]
        decay = 0.01 * w
        if not p.name.startswith(("0.", "1.")):
            assert not np.allclose(p.value, w)
        elif solver.startswith("adam"):  # decays biases, too, and its first step is the rate
            same(p.value, w - 0.1 * T * S * decay / (T * S * np.abs(decay) + 1e-7), p.name)
        else:
            same(p.value, w - 0.1 * decay if p.kind == "weights" else w, p.name)


@pytest.mark.parametrize(
    "layers",
    [LAYERS, (*LAYERS, "cost"), ("gru output=4", "gru output=4 stopbackward=1", *LAYERS[1:])],
)
def test_after_a_batch_no_layer_holds_on_to_its_forward(layers: tuple[str, ...]) -> None:
    net = make(*layers)
    net.train_batch(*batch())
    assert [layer.saved for layer in net.layers] == [None] * len(layers)


@pytest.mark.parametrize("clip_norm", [0.01, 1000.0])
def test_clip_norm_shortens_the_mean_gradient_where_it_is_longer(clip_norm: float) -> None:
    net_line = f"net inputs={I} batch={S} learning_rate=.5 momentum=0 decay=0"
    plain, clipped = make(net=net_line), make(net=f"{net_line} clip_norm={clip_norm}")
    before = values(plain)
    for net in (plain, clipped):
        net.accumulate(*batch())
    squares = sum(float((g**2).sum()) for g in gradients(plain).values())
    norm = squares**0.5 / (T * S)
    assert plain.learner.gradient_norm() == pytest.approx(norm, rel=1e-12)
    assert clipped.learner.gradient_norm() == pytest.approx(norm, rel=1e-12)
    for net in (plain, clipped):
        net.update()
    shorter = min(1.0, clip_norm / norm)
    after = values(plain)
    for name, value in values(clipped).items():
        np.testing.assert_allclose(
            value, before[name] + shorter * (after[name] - before[name]), rtol=1e-10, atol=1e-14
        )


@pytest.mark.parametrize("clip_norm", [0, 0.01])
def test_an_update_that_measures_keeps_each_layers_gradient_norm(clip_norm: float) -> None:
    net = make(net=f"net inputs={I} batch={S} clip_norm={clip_norm}")
    net.accumulate(*batch())
    squares: dict[str, float] = dict.fromkeys(["0.gru", "1.connected"], 0)
    for p in net.parameters():
        layer = ".".join(p.name.split(".")[:2])
        squares[layer] += sum(float(g) ** 2 for g in p.grad.flat)
    net.update(measure=True)
    assert net.learner.norms == pytest.approx({n: s**0.5 / (T * S) for n, s in squares.items()})
    net.accumulate(*batch())
    net.update()
    assert net.learner.norms == {}


def test_dropout_draws_from_the_networks_generator() -> None:
    layers = ("dropout probability=.5", *LAYERS)
    costs = [network(NET, *layers, seed=seed).accumulate(*batch()) for seed in (1, 1)]
    assert costs[0] == costs[1]
    net = make(*layers)
    first = net.accumulate(*batch())
    net.reset_state()
    assert net.accumulate(*batch()) != first


# --- costs --------------------------------------------------------------------------------


def test_predict_of_a_network_that_ends_in_cost_is_the_layer_before_it() -> None:
    x = batch()[0]
    with_cost = make("gru output=4", "connected output=3 activation=tanh", "cost scale=3")
    without = make("gru output=4", "connected output=3 activation=tanh")
    same(with_cost.predict(x), without.predict(x))


@pytest.mark.parametrize("end", ["softmax", "softmax temperature=2", "logistic"])
def test_cost_behind_a_layer_with_its_own_adds_nothing(end: str) -> None:
    plain = make(*LAYERS[:2], end)
    followed = make(*LAYERS[:2], end, "cost type=L1 scale=7")
    x, truth = batch()
    for net in (plain, followed):  # a second batch, for what the first may have left behind
        net.train_batch(x, truth)
    assert followed.accumulate(x, truth) == plain.accumulate(x, truth)
    same_by_name(gradients(followed), gradients(plain))
    same(followed.predict(x), plain.predict(x))


def test_cost_behind_a_softmax_without_loss_is_the_cost() -> None:
    net = make(*LAYERS[:2], "softmax noloss=1", "cost")
    x, truth = batch()
    y = net.forward(x, train=True)
    assert net.backward(truth) == pytest.approx(float(((y - one_hot(truth, I)) ** 2).sum()))


@pytest.mark.parametrize("end", ["activation", "softmax noloss=1"])
def test_a_network_without_a_cost_does_not_train(end: str) -> None:
    net = make(*LAYERS[:2], end)
    with pytest.raises(MinidarkError) as error:
        net.accumulate(*batch())
    assert str(error.value) == (
        "this network has no cost; end the cfg in [softmax], [logistic] or [cost]"
    )
    assert net.predict(batch()[0]).shape == (T, S, I)


# --- out of order -------------------------------------------------------------------------


def test_backward_needs_a_training_forward() -> None:
    net = make()
    x, truth = batch()
    net.predict(x)
    net.forward(x)
    for _ in range(2):
        with pytest.raises(MinidarkError) as error:
            net.backward(truth)
        assert str(error.value) == "call forward with train=True before backward"
        net.accumulate(x, truth)  # and one backward uses it up


@pytest.mark.parametrize("between", ["objective", "accumulate", "input_gradient"])
def test_backward_is_refused_after_another_training_pass(between: str) -> None:
    """Its saved values are of that pass, and the outputs of the one before."""
    net = make()
    x, truth = batch()
    net.forward(x, train=True)
    getattr(net, between)(x[::-1], truth)
    counted = net.accumulated
    with pytest.raises(MinidarkError, match="call forward with train=True before backward"):
        net.backward(truth)
    assert net.accumulated == counted


def test_update_needs_gradients() -> None:
    net = make()
    for _ in range(2):
        with pytest.raises(MinidarkError) as error:
            net.update()
        assert str(error.value) == "call accumulate before update: there is no gradient"
        net.train_batch(*batch())
