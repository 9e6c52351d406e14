"""What counts as the same: the largest difference over two calls with the state carried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, MinidarkError, Network
from minidark.backend import Array
from minidark.convert import keras, torch
from minidark.convert.fold import in_float64
from minidark.convert.found import Found, Trial
from minidark.convert.proof import Proven, Write, compared, drawn_symbols, written
from tests.convert.nets import GRAPHS, RECURRENT, folded
from tests.helpers import network, randomize

Change = Callable[[list[Array]], list[Array]]


def own(change: Change, carried: bool = True) -> Write:
    """A model that is the network itself, but for what is changed of its outputs."""

    def write(net: Network, calls: Sequence[Array]) -> Proven:
        twin, found = net.twin(1), []
        for x in calls:
            found.append(twin.forward(x))
            if not carried:
                twin.reset_state()
        return b"model", change(found)

    return write


def test_the_network_itself_differs_by_nothing() -> None:
    net = folded(RECURRENT["mixed"])
    same = own(lambda found: found)
    for symbols in (drawn_symbols(7), np.array([3])):
        data, difference = written(net, same, symbols)
        assert data == b"model"
        assert difference is not None
        assert difference < 1e-6
    assert drawn_symbols(7).shape == (1000,)
    assert set(drawn_symbols(7)) == set(range(7))


def add(amount: float) -> Change:
    def change(found: list[Array]) -> list[Array]:
        found[-1][-1, 0, 0] += amount
        return found

    return change


def test_the_largest_difference_of_the_last_character_is_found() -> None:
    net = folded(RECURRENT["gru"])
    _, difference = written(net, own(add(5e-6)), drawn_symbols(7))
    assert difference == pytest.approx(5e-6, rel=0.1)


@pytest.mark.parametrize(
    "write",
    [
        own(add(2e-5)),
        own(add(np.nan)),
        own(lambda found: [y[:, :, :-1] for y in found]),
        own(lambda found: found, carried=False),
    ],
    ids=["more than rounding", "NaN", "another shape", "a state that is not carried"],
)
def test_what_differs_more_is_an_error(write: Write) -> None:
    with pytest.raises(MinidarkError, match=r"differs from predict by .* no file was saved"):
        written(folded(RECURRENT["gru"]), write, drawn_symbols(7))


def test_outputs_beyond_1_are_compared_as_a_share_of_them() -> None:
    net = network("net inputs=7", "connected output=2 activation=linear", dtype="float32")
    net.parameters()[0].value[...] = 1e6
    _, difference = written(net, own(add(5)), drawn_symbols(7))
    assert difference == pytest.approx(5e-6, rel=0.1)


def chaotic(*layers: str, gain: float = 3) -> Network:
    net = network("net inputs=20", *layers, dtype="float32")
    randomize(net.layers, 1)
    for p in net.parameters():
        p.value[...] *= gain
    return net


FEW = drawn_symbols(20)[:200]
LSTM = ("lstm output=32", "connected output=20 activation=linear", "softmax")


def in_torch(wrong: Callable[[Any], None] = lambda lstm: None) -> Write:
    """torch's own nn.LSTM of an LSTM network, but for what is changed in it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def write(net: Network, calls: Sequence[Array]) -> Proven:
        lstm, head = torch.nn.LSTM(20, 32), torch.nn.Linear(32, 20)
        parts = [torch.from_numpy(p.value.copy()) for p in net.parameters()]
        names = [p.name.split(".", 2)[-1] for p in net.parameters()]
        mine = dict(zip(names, parts, strict=False))
        state = {
            f"{kind}_{side}_l0": torch.cat([mine[f"{letter}{gate}.{part}"] for gate in "ifgo"])
            for side, letter in (("ih", "u"), ("hh", "w"))
            for kind, part in (("weight", "weights"), ("bias", "biases"))
        }
        lstm.load_state_dict(state)
        head.load_state_dict({"weight": mine["weights"], "bias": mine["biases"]})
        found, carried = [], None
        with torch.no_grad():
            wrong(torch.nn.ModuleList([lstm, head]))
            for x in calls:
                y, carried = lstm(torch.from_numpy(x), carried)
                found.append(torch.softmax(head(y), -1).numpy())
        return b"model", found

    return write


def test_a_chaotic_network_is_proven_where_float32_itself_loses_all() -> None:
    """Its outputs in float32 and float64 have nothing in common in the end."""
    net = chaotic(*LSTM)
    wide = in_float64(net).twin(1).forward(FEW[:, None])
    own = net.twin(1).forward(FEW[:, None])
    assert np.abs(own - wide).max() > 0.5
    _, difference = written(net, in_torch(), FEW)
    assert difference is not None
    assert difference > 0.1


def swap_gates(module: Any) -> None:
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        array = getattr(module[0], name)
        array[:64] = array[:64].roll(32, 0)


def swap_two_units(module: Any) -> None:
    module[1].weight[:, :2] = module[1].weight[:, :2].flip(1)


def drop_bias(module: Any) -> None:
    module[1].bias[3] -= 1e-3


def drop_gate_bias(module: Any) -> None:
    module[0].bias_hh_l0[40] -= 1e-3


WRONG = {f.__name__: f for f in (swap_gates, swap_two_units, drop_bias, drop_gate_bias)}


@pytest.mark.parametrize("gain", [1, 3])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_is_refused_however_chaotic_the_network(name: str, gain: float) -> None:
    net = chaotic(*LSTM, gain=gain)
    written(net, in_torch(), FEW)
    with pytest.raises(MinidarkError, match=r"differs from predict by .* no file was saved"):
        written(net, in_torch(WRONG[name]), FEW)


def test_swapped_layers_are_refused() -> None:
    net = chaotic("gru output=20 tanh=1", "gru output=20 tanh=1", "softmax", gain=1)

    def write(net: Network, calls: Sequence[Array]) -> Proven:
        other = chaotic("gru output=20 tanh=1", "gru output=20 tanh=1", "softmax", gain=1)
        for a, b in zip(other.layers[:2], net.layers[1::-1], strict=True):
            for x, y in zip(a.parameters(), b.parameters(), strict=True):
                x.value[...] = y.value
        twin = other.twin(1)
        return b"model", [twin.forward(x) for x in calls]

    with pytest.raises(MinidarkError, match="differs from predict by"):
        written(net, write, FEW)


def test_a_tolerance_stands_for_what_rounding_explains() -> None:
    net = folded(RECURRENT["gru"])
    _, difference = written(net, own(add(2e-4)), drawn_symbols(7), tolerance=3e-4)
    assert difference == pytest.approx(2e-4, rel=1e-2)
    with pytest.raises(
        MinidarkError, match=r"at character 1,000 of 1,000, where the limit is 1e-05"
    ):
        written(net, own(add(2e-4)), drawn_symbols(7), tolerance=1e-5)


def test_a_program_that_is_missing_proves_nothing() -> None:
    net = folded(RECURRENT["gru"])
    assert written(net, lambda net, calls: (b"model", []), drawn_symbols(7)) == (b"model", None)


def test_a_network_that_is_not_finite_itself_is_told_first() -> None:
    net = network("net inputs=7", "connected output=2 activation=linear", dtype="float32")
    net.parameters()[0].value[...] = np.nan
    with pytest.raises(MinidarkError, match=r"^predict returns NaN or infinity within 1,000 cha"):
        written(net, own(lambda found: found), drawn_symbols(7))


# --- models that were read ----------------------------------------------------


def read_from(net: Network, change: Change, steps: int | None = None, **facts: bool) -> Found:
    """What a reader finds in a model that is the network itself, but for what is changed."""

    def run(symbols: Array) -> Array:
        outputs = net.twin(symbols.shape[1]).forward(symbols)
        return change([outputs])[0]

    found = Found.begin("model")
    found.trial = Trial(run, steps)
    for fact, value in facts.items():
        setattr(found, fact, value)
    return found


@pytest.mark.parametrize("steps", [None, 7, 1500])
def test_a_model_that_was_read_is_compared_at_each_step(steps: int | None) -> None:
    net = folded(RECURRENT["mixed"])
    assert compared(net, read_from(net, lambda found: found, steps)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(MinidarkError, match=r"model: the model differs from predict by 0\.0005"):
        compared(net, read_from(net, add(5e-4), steps))


def test_a_model_may_give_its_last_step_alone() -> None:
    net = folded(RECURRENT["gru"])
    last = read_from(net, lambda found: [found[0][-1:]], 20, last_only=True)
    assert compared(net, last) == pytest.approx(0, abs=1e-6)
    first = read_from(net, lambda found: [found[0][:1]], 20, last_only=True)
    with pytest.raises(MinidarkError, match="differs from predict"):
        compared(net, first)


@pytest.mark.parametrize("fact", ["completed", "logarithms"])
def test_a_model_may_give_logits_or_logarithms(fact: str) -> None:
    net = folded(RECURRENT["gru"])
    logs = read_from(net, lambda found: [np.log(found[0]) + (fact == "completed")], **{fact: True})
    assert compared(net, logs) == pytest.approx(0, abs=1e-6)
    with pytest.raises(MinidarkError, match="differs from predict"):
        compared(net, read_from(net, lambda found: found, **{fact: True}))


def test_a_model_that_cannot_run_is_not_compared() -> None:
    assert compared(folded(RECURRENT["gru"]), Found.begin("model")) is None


def test_the_architecture_is_told_in_a_line() -> None:
    found = Found.begin("model")
    found.set_inputs(65)
    found.add("connected", output=32, activation="linear")
    found.came_from("nn.Embedding")
    found.add("gru", output=8, tanh=1, reset_after=1)
    found.add("connected", output=65, activation="linear")
    found.end_in_softmax()
    assert found.understood() == (
        "65 inputs, connected 32 (nn.Embedding), gru 8 tanh=1 reset_after=1, connected 65, "
        "softmax (added: the model gives logits)"
    )


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("write", "program"), [(keras.write, "Keras"), (torch.write, "PyTorch")])
def test_a_format_for_chains_of_layers_refuses_a_graph(
    name: str, write: Write, program: str
) -> None:
    does = {"graph": "2.shortcut reads other layers", "tied": "2.connected shares weights"}[name]
    with pytest.raises(CfgError) as error:
        write(folded(GRAPHS[name]), [])
    assert str(error.value) == (
        f"layer {does}; minidark writes only plain chains of layers for {program}; .onnx holds "
        "this network"
    )
