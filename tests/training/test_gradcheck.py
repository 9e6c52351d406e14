"""The check of gradients: sound layers pass it, and a backward that is a little wrong does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import CfgError
from minidark.backend import Array
from minidark.cfg.plan import Plan
from minidark.layers.connected import ConnectedLayer
from minidark.layers.dropout import DropoutLayer
from minidark.layers.gru import GruLayer
from minidark.layers.lstm import LstmLayer
from minidark.layers.rnn import RnnLayer
from minidark.layers.softmax import SoftmaxLayer
from minidark.training.gradcheck import Row, check_gradients, shrunk
from tests.helpers import planned
from tests.layers.test_gradients import ENDS, PLAIN, RECURRENT

NET = "net inputs=5 batch=4 time_steps=20 subdivisions=2"
END = ("connected output=5 activation=linear", "softmax")


def wrong(plan: Plan, seed: int = 0) -> list[str]:
    rows = [*check_gradients(plan, seed)]
    assert rows
    return [row.name for row in rows if not row.passed]


@pytest.mark.parametrize("layer", [*RECURRENT[::6], *PLAIN[::9]])
def test_a_sound_layer_passes(layer: str) -> None:
    assert wrong(planned(NET, "connected output=5 activation=tanh", layer, *END)) == []


@pytest.mark.parametrize("end", ENDS[::5])
def test_a_sound_end_passes(end: tuple[str, ...]) -> None:
    assert wrong(planned(NET, "gru output=6 tanh=1", *end)) == []


@pytest.mark.parametrize("width", [40, 60])  # narrow enough, and shrunk
def test_an_attention_between_links_passes(width: int) -> None:
    gru = f"gru output={width} tanh=1 reset_after=1"
    layers = (
        f"connected output={width} activation=linear", gru, "attention over=source heads=2",
        "route layers=-1,-2", f"connected output={width} activation=tanh", gru,
        "shortcut from=-2", "connected output=64 activation=linear tied=0", "softmax",
    )  # fmt: skip
    assert wrong(planned("net inputs=64 batch=8 time_steps=20", *layers)) == []


def test_groups_of_a_wide_softmax_keep_two_members_each() -> None:
    net = "net inputs=128 batch=2 time_steps=3"
    plan = planned(net, "gru output=16 tanh=1", "connected output=128", "softmax groups=32")
    assert wrong(shrunk(plan)) == []


@pytest.mark.parametrize("seed", range(3))
def test_kinks_are_no_mistakes(seed: int) -> None:
    layers = ("rnn output=20 activation=relu", "connected output=40 activation=leaky")
    assert wrong(planned(NET, *layers, "activation activation=hardtan", *END), seed) == []


def scaled(kind: type[Any], name: str, factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    """`backward` of a layer, whose gradient of one array is off by a factor."""

    def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
        sound = kind.backward

        def backward(self: Any, dy: Array, *, need_dx: bool = True) -> Array | None:
            dx: Array | None = sound(self, dy, need_dx=need_dx)
            if name == "input":
                return None if dx is None else factor * dx
            for p in self.parameters():
                p.grad[...] *= factor if p.name.endswith(name) else 1
            return dx

        monkeypatch.setattr(kind, "backward", backward)

    return break_it


@pytest.mark.parametrize("factor", [0.0, 1.001])
@pytest.mark.parametrize(
    ("kind", "layer", "array"),
    [
        (GruLayer, "gru output=6 tanh=1", "wh.weights"),
        (GruLayer, "gru output=6", "uz.biases"),
        (LstmLayer, "lstm output=6", "wf.weights"),
        (RnnLayer, "rnn output=6 activation=tanh", "self.biases"),
        (RnnLayer, "rnn output=6 activation=tanh batch_normalize=1", "output.scales"),
        (GruLayer, "gru output=6", "input"),
    ],
)
def test_a_gradient_that_is_off_fails_by_name(
    kind: type[Any], layer: str, array: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(kind, array, factor)(monkeypatch)
    failed = wrong(planned(NET, layer, *END))
    assert {
        name.removesuffix(", ids").rpartition(layer.split()[0] + ".")[2] for name in failed
    } == {array}


def test_a_wrong_gradient_on_the_way_down_fails_all_below(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled(ConnectedLayer, "input", 1.001)(monkeypatch)
    failed = set(wrong(planned(NET, "gru output=6", "connected output=5", "softmax")))
    assert {"0.gru.wz.weights", "0.gru.uh.biases", "input"} <= failed
    assert not any("connected" in name for name in failed)


def test_a_state_that_is_forgotten_on_the_way_back_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = GruLayer._backward_steps

    def forgetful(self: GruLayer, s: Any, dy: Array) -> Array:
        half = len(dy) // 2
        for part in (slice(half, None), slice(0, half)):
            dh = sound(self, type(s)(s.x[part], s.gates[part], s.states[part.start or 0:],
                                s.inner[part], s.u, s.w), dy[part])  # fmt: skip
        return dh

    monkeypatch.setattr(GruLayer, "_backward_steps", forgetful)
    assert "0.gru.wz.weights" in wrong(planned(NET, "gru output=6 tanh=1", *END))


@pytest.mark.parametrize("layer", ["gru output=6", "lstm output=6",
                                   "rnn output=6 hidden=5 activation=tanh shortcut=1"])  # fmt: skip
def test_the_states_that_are_carried_in_have_rows(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(NET, layer, "gru output=5 tanh=1", *END)
    names = [row.name for row in check_gradients(plan) if "carried in" in row.name]
    name, states = layer.split()[0], ["state", "cell"] if "lstm" in layer else ["state"]
    wanted = [*(f"0.{name}.{state}, carried in" for state in states), "1.gru.state, carried in"]
    assert names[: len(wanted)] == wanted
    kind: Any = {"gru": GruLayer, "lstm": LstmLayer, "rnn": RnnLayer}[name]
    sound = kind.backward

    def backward(self: Any, dy: Array, *, need_dx: bool = True) -> Array | None:
        dx: Array | None = sound(self, dy, need_dx=need_dx)
        self.dstates = {name: 1.001 * gradient for name, gradient in self.dstates.items()}
        return dx

    monkeypatch.setattr(kind, "backward", backward)
    failed = wrong(plan)
    assert set(wanted[: len(states)]) <= set(failed)
    assert all("carried in" in name for name in failed)


def test_dropout_is_checked_with_one_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(NET, "gru output=6", "dropout probability=.4", *END)
    assert wrong(plan) == []
    monkeypatch.setattr(DropoutLayer, "backward", lambda self, dy, *, need_dx=True: dy)
    assert "0.gru.uz.weights" in wrong(plan)


def test_a_wrong_cost_gradient_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = SoftmaxLayer.cost

    def cost(self: SoftmaxLayer, y: Array, truth: Array) -> tuple[Any, Array]:
        value, gradient = sound(self, y, truth)
        return value, gradient + 1e-4

    monkeypatch.setattr(SoftmaxLayer, "cost", cost)
    assert "1.connected.biases" in wrong(planned(NET, "gru output=6", *END))


def test_below_stopbackward_nothing_is_compared() -> None:
    plan = planned(NET, "gru output=6", "gru output=5 stopbackward=1", "gru output=4", *END)
    rows = {row.name: row for row in check_gradients(plan)}
    assert rows["0.gru.uz.weights"].error is rows["1.gru.wz.weights"].error is None
    assert rows["2.gru.uz.weights"].error is not None
    assert "input" not in rows
    assert all(row.passed for row in rows.values())


def test_the_first_layer_is_checked_with_ids_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(NET, "gru output=6", *END)
    names = [row.name for row in check_gradients(plan)]
    assert "0.gru.uz.weights, ids" in names
    assert "1.connected.weights, ids" not in names


def test_a_wide_network_is_checked_narrow_with_the_same_layers() -> None:
    plan = planned("net inputs=256 batch=64 time_steps=32", "rnn output=300 hidden=400",
                   "gru output=256", "connected output=255", "softmax groups=5")  # fmt: skip
    small = shrunk(plan)
    assert [layer.size.outputs for layer in small.layers] == [45, 45, 45, 45]
    assert (small.net.row_inputs, small.net.streams, small.net.time_steps) == (45, 3, 4)
    assert [s.type for s in small.sections] == [s.type for s in plan.sections]
    assert wrong(plan) == []
    untouched = planned(NET, "gru output=6", *END)
    assert [layer.options for layer in shrunk(untouched).layers] == [
        layer.options for layer in untouched.layers
    ]


def test_a_network_without_a_cost_has_no_gradients() -> None:
    with pytest.raises(CfgError, match="no cost"):
        [*check_gradients(planned(NET, "gru output=6"))]


def test_a_row_without_a_number_does_not_pass() -> None:
    assert not Row("a", (1,), 6, float("inf")).passed
    assert not Row("a", (1,), 6, float(np.nan)).passed
