"""What every layer keeps, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, MinidarkError
from minidark.backend import Array
from minidark.cfg.options import LAYER_TYPES
from minidark.layers import Layer, make_gru_layer, make_lstm_layer, make_rnn_layer
from tests.helpers import network, one_hot, randomize
from tests.layers.scalar_reference import Reference

pytestmark = pytest.mark.usefixtures("each_backend")

I, T, S = 6, 4, 3  # noqa: E741  the shape alphabet's inputs

CASES = [
    "gru output=4",
    "gru output=4 tanh=1",
    "gru output=5 batch_normalize=1",
    "gru output=4 reset_after=1",
    "gru output=4 tanh=1 reset_after=1",
    "gru output=5 tanh=1 batch_normalize=1 reset_after=1",
    "lstm output=4",
    "lstm output=5 batch_normalize=1",
    "rnn output=4 activation=tanh",
    "rnn output=4 activation=leaky shortcut=1 batch_normalize=1",
    "rnn output=4 hidden=5 activation=tanh",
    "rnn output=4 activation=elu logistic=1",
    "rnn output=4 hidden=3 activation=logistic logistic=2",
    "rnn output=4 activation=tanh elman=1",
    "rnn output=4 activation=leaky elman=1 hidden=4",
    "rnn output=5 batch_normalize=1 elman=1",
    "attention",
    "attention over=source memory=7 output=4",
    "attention heads=2 memory=5 keys=4 output=5",
    "attention heads=3 memory=3 query=0",
    "attention heads=2 memory=2 key=0 output=3",
    "attention heads=2 keys=4 memory=6 value=0",
    "attention over=source memory=2 query=0 key=0 value=0",
    "connected output=4",
    "conn output=4 activation=tanh batch_normalize=1",
    "softmax",
    "softmax groups=3 temperature=.5",
    "soft groups=2 noloss=1",
    "dropout probability=.5",
    "dropout probability=0",
    "activation activation=tanh",
    "activation",
    "batchnorm",
    "logistic",
    "cost",
    "route layers=-1,0",
    "shortcut from=0",
    "shortcut from=-2 activation=tanh",
]
BELOW = {  # layers that a case reads, whose outputs are I wide together
    "route": ("connected output=4", "connected output=2"),
    "shortcut": ("connected output=3", "connected output=3"),
}
TRAINABLE_BY_REFERENCE = [case for case in CASES if case != "dropout probability=.5"]
WITH_STATE = [case for case in CASES if case.split()[0] in ("gru", "lstm", "rnn", "attention")]


def build(case: str, streams: int = S) -> tuple[Layer, Any]:
    """The layer of a section, in float64 with distinct arrays, and the section's options."""
    net = network(f"net inputs={I} batch={streams}", *BELOW.get(case.split()[0], ()), case)
    randomize(net.layers)
    return net.layers[-1], net.layer_options[-1]


def sequences(n: int = 1, steps: int = T, streams: int = S) -> list[Array]:
    rng = np.random.default_rng(7)
    return [rng.normal(0, 1, (steps, streams, I)) for _ in range(n)]


def same(a: Array, b: Any) -> None:
    np.testing.assert_allclose(a, np.asarray(b), rtol=1e-12, atol=1e-13)


def copies(layer: Layer) -> list[Array]:
    return [array.value.copy() for array in layer.arrays()]


def state_copies(layer: Layer) -> list[Array]:
    return [state.copy() for state in layer.states.values()]


def train_once(layer: Layer, x: Array) -> tuple[Array, Array, list[Array]]:
    """Outputs, input gradient and parameter gradients of one training pass."""
    y = layer.forward(x, train=True)
    dx = layer.backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))
    assert dx is not None
    return y, dx, [p.grad.copy() for p in layer.parameters()]


def test_every_type_in_the_table_has_a_case() -> None:
    types = set(LAYER_TYPES) - {"bytepairs"}  # computes nothing; tests/data/test_bytepairs.py
    assert {case.split()[0] for case in CASES} == types


@pytest.mark.parametrize("case", CASES)
def test_inference_equals_the_scalar_reference(case: str) -> None:
    layer, options = build(case)
    reference = Reference(layer, options)
    for x in sequences(2):  # the second with the state that the first left
        same(layer.forward(x), reference.forward(x.tolist()))


@pytest.mark.parametrize("case", TRAINABLE_BY_REFERENCE)
def test_training_equals_the_scalar_reference_and_rolls_alike(case: str) -> None:
    layer, options = build(case)
    reference = Reference(layer, options)
    for x in sequences(2):
        same(layer.forward(x, train=True), reference.forward(x.tolist(), train=True))
    for array in layer.stored_arrays():
        same(array.value, reference.arrays[array.name.removeprefix(f"{layer.name}.")])


@pytest.mark.parametrize("case", TRAINABLE_BY_REFERENCE)
def test_a_second_batch_after_an_update_uses_the_new_parameters_and_the_old_state(
    case: str,
) -> None:
    layer, options = build(case)
    reference = Reference(layer, options)
    first, second = sequences(2)
    train_once(layer, first)
    reference.forward(first.tolist(), train=True)
    for p in layer.parameters():
        p.value -= 0.3 * p.grad
        p.grad[...] = 0
    reference.read(layer)
    fresh = build(case)[0]
    for array, value in zip(fresh.arrays(), copies(layer), strict=True):
        array.value[...] = value
    for state, value in zip(fresh.states.values(), state_copies(layer), strict=True):
        state[...] = value
    y, dx, grads = train_once(layer, second)
    same(y, reference.forward(second.tolist(), train=True))
    _, dx_fresh, grads_fresh = train_once(fresh, second)
    same(dx, dx_fresh)
    for ours, theirs in zip(grads, grads_fresh, strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_twice_the_steps_equal_two_calls(case: str) -> None:
    whole, halves = build(case)[0], build(case)[0]
    (x,) = sequences(steps=2 * T)
    parts = np.concatenate([halves.forward(x[:T]), halves.forward(x[T:])])
    same(whole.forward(x), parts)
    for a, b in zip(state_copies(whole), state_copies(halves), strict=True):
        same(a, b)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("case", TRAINABLE_BY_REFERENCE)
def test_permuted_streams_permute_outputs(case: str, train: bool) -> None:
    layer, permuted = build(case)[0], build(case)[0]
    order = [2, 0, 1]
    for x in sequences(2):
        y = layer.forward(x, train=train)
        same(permuted.forward(x[:, order], train=train), y[:, order])


@pytest.mark.parametrize("case", WITH_STATE)
def test_resetting_one_stream_touches_only_it(case: str) -> None:
    layer, kept, fresh = (build(case)[0] for _ in range(3))
    first, second = sequences(2)
    layer.forward(first)
    kept.forward(first)
    layer.reset_state(1)
    y, untouched, from_zero = (a.forward(second) for a in (layer, kept, fresh))
    same(y[:, [0, 2]], untouched[:, [0, 2]])
    same(y[:, 1], from_zero[:, 1])
    assert not np.allclose(untouched[:, 1], from_zero[:, 1]), "the state was without effect"
    layer.reset_state()
    same(layer.forward(second), from_zero)


@pytest.mark.parametrize("case", CASES)
def test_a_twin_leaves_no_trace(case: str) -> None:
    layer, alone = build(case)[0], build(case)[0]
    first, second = sequences(2)
    (other,) = sequences(streams=2)
    for one in (layer, alone):
        one.forward(first)
    y = layer.forward(second, train=True)
    arrays, states = copies(layer), state_copies(layer)
    layer.twin(2).forward(other)
    for before, now in zip(arrays + states, copies(layer) + state_copies(layer), strict=True):
        np.testing.assert_array_equal(before, now)
    same(y, alone.forward(second, train=True))
    dy = np.ones_like(y)
    dx, dx_alone = layer.backward(dy.copy()), alone.backward(dy.copy())
    assert dx is not None
    same(dx, dx_alone)
    for p, q in zip(layer.parameters(), alone.parameters(), strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("case", CASES)
def test_a_twin_starts_from_zero_and_follows_the_parameters(case: str) -> None:
    layer, options = build(case)
    layer.forward(sequences()[0])
    twin = layer.twin(2)
    for p in layer.parameters():
        p.value *= 0.5
    reference = Reference(twin, options)
    for x in sequences(2, streams=2):
        same(twin.forward(x), reference.forward(x.tolist()))


@pytest.mark.parametrize("case", CASES)
def test_a_traced_forward_shows_what_the_scalar_loops_come_by(case: str) -> None:
    layer, options = build(case)
    reference, twin = Reference(layer, options), layer.twin(S)
    for x in sequences(2):  # the state goes on
        reference.shown.clear()
        reference.forward(x.tolist())
        y, shown = layer.traced(x)
        np.testing.assert_array_equal(y, twin.forward(x))
        assert list(shown) == (list(reference.shown[0]) if case in WITH_STATE else [])
        for name, values in shown.items():
            same(values, [step[name] for step in reference.shown])
    assert layer.saved is None


@pytest.mark.parametrize("case", CASES)
def test_forward_and_backward_write_neither_x_nor_parameters(case: str) -> None:
    layer, _ = build(case)
    (x,) = sequences()
    kept, parameters = x.copy(), [p.value.copy() for p in layer.parameters()]
    layer.forward(x)
    np.testing.assert_array_equal(x, kept)
    train_once(layer, x)
    np.testing.assert_array_equal(x, kept)
    for p, before in zip(layer.parameters(), parameters, strict=True):
        np.testing.assert_array_equal(p.value, before)


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_an_earlier_call_do_not_change(case: str) -> None:
    layer, _ = build(case)
    first, second = sequences(2)
    arrays: list[Array] = []
    kept: list[Array] = []
    for outputs in (lambda: [layer.forward(first)], lambda: train_once(layer, first)[:2]):
        arrays += outputs()
        kept += [array.copy() for array in arrays[len(kept) :]]
        layer.reset_state()
        layer.forward(second)
        train_once(layer, second)
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("case", [case for case in CASES if build(case)[0].reads_ids])
@pytest.mark.parametrize("steps", [1, T])  # fewer and more rows than there are inputs
def test_ids_are_one_hot_rows(case: str, steps: int) -> None:
    by_id, by_row = build(case)[0], build(case)[0]
    ids = np.random.default_rng(3).integers(0, I, (steps, S))
    for train in (False, True):
        same(
            by_id.forward(ids, train=train),
            by_row.forward(one_hot(ids, I), train=train),
        )
    dy = np.cos(np.arange(by_id.outputs * ids.size)).reshape(*ids.shape, by_id.outputs)
    by_id.backward(dy.copy(), need_dx=False)
    by_row.backward(dy.copy(), need_dx=False)
    for p, q in zip(by_id.parameters(), by_row.parameters(), strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("case", CASES)
def test_gradients_add_up_and_do_not_depend_on_whether_dx_is_asked_for(case: str) -> None:
    once, twice = build(case)[0], build(case)[0]
    (x,) = sequences()
    _, _, grads = train_once(once, x)
    for _ in range(2):
        twice.reset_state()
        y = twice.forward(x, train=True)
        dy = np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        twice.backward(dy, need_dx=False)
    for p, grad in zip(twice.parameters(), grads, strict=True):
        same(p.grad, 2 * grad)


@pytest.mark.parametrize("case", [c for c in CASES if c.split()[0] not in ("cost", "route")])
def test_backward_without_a_training_forward_is_an_error(case: str) -> None:
    layer, _ = build(case)
    y = layer.forward(sequences()[0])
    message = f"{layer.name}: backward needs a forward with train=True before it"
    with pytest.raises(MinidarkError) as error:
        layer.backward(np.ones_like(y))
    assert str(error.value) == message
    train_once(layer, sequences()[0])
    with pytest.raises(MinidarkError) as error:  # one backward for each forward
        layer.backward(np.ones_like(y))
    assert str(error.value) == message


@pytest.mark.parametrize("make", [make_gru_layer, make_lstm_layer, make_rnn_layer])
def test_factories_count_rows_and_take_darknets_arguments_in_order(
    make: Callable[..., Layer],
) -> None:
    layer = make(12, 6, 5, 4)
    assert (layer.streams, layer.inputs, layer.outputs) == (3, 6, 5)
    y = layer.forward(np.zeros((4, 3, 6), np.float32))
    assert y.shape == (4, 3, 5)
    assert y.dtype == np.float32
    with pytest.raises(CfgError) as error:
        make(10, 6, 5, 4)
    assert str(error.value) == "batch=10 rows are not whole streams of 4 time steps"


@pytest.mark.parametrize("option", [{"hidden": 6}, {"shortcut": True}, {"self_activation": "elu"}])
def test_an_option_that_elman_lacks_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(CfgError) as error:
        make_rnn_layer(12, 6, 5, 4, elman=True, **option)
    assert str(error.value) == "elman=1 has no hidden, shortcut or self_activation"
    assert make_rnn_layer(12, 6, 5, 4, elman=True, hidden=5).work() == 5 * (6 + 5)
