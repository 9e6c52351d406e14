"""What a plan says of a network is so once it is made."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidark import CfgError, Network
from minidark.backend import get_backend
from minidark.cfg.plan import MOST_DOUBTS, Plan, plan_cfg, plan_network
from minidark.cfg.sections import MOST_SECTIONS, format_sections, parse_sections
from minidark.network.parser import build_network
from tests.cfg.test_fit import LAYERS, NET
from tests.helpers import cfg, network
from tests.selection import examples

PLANS = settings(max_examples=examples(60), deadline=None, derandomize=True)


def ignore(message: str, line: int) -> None:
    del message, line


def planned(*sections: str) -> Plan:
    return plan_cfg(cfg(*sections).encode(), warn=ignore)


def made(plan: Plan) -> Network:
    return build_network(plan, 0, get_backend("cpu"))


@PLANS
@given(NET, LAYERS, st.sampled_from([0, 1]))
def test_the_parameters_of_a_plan_are_those_of_the_network(
    net: str, layers: list[str], adam: int
) -> None:
    plan = planned(f"{net} adam={adam}", *layers)
    network = made(plan)
    stored = [a for layer in network.layers for a in layer.arrays()]
    trained = sum(p.value.size for p in network.parameters())
    assert plan.trained == trained
    assert plan.parameter_bytes(4) == sum(a.value.nbytes for a in stored) + 4 * trained * (2 + adam)
    states = sum(state.nbytes for layer in network.layers for state in layer.states.values())
    kept = sum(layer.size.kept for layer in plan.layers)
    assert plan.pass_bytes(4) == states + 4 * kept
    assert [layer.size.outputs for layer in plan.layers] == [la.outputs for la in network.layers]


@pytest.mark.parametrize("cell", ["gru tanh=1", "lstm", "rnn", "connected"])
def test_a_training_pass_keeps_what_the_plan_says_and_no_multiple_of_it(cell: str) -> None:
    lines = ("net inputs=64 batch=16 time_steps=64", f"{cell} output=128", "softmax")
    net = network(*lines, dtype="float32")
    ids = np.random.default_rng(0).integers(0, 64, (64, 16))
    net.forward(ids, train=True)  # what the first pass makes for good
    tracemalloc.start()
    y = net.forward(ids, train=True)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y.shape == (64, 16, 128)
    plan = planned(*lines)  # its states were made with the layers
    least = 4 * plan.net.rows * sum(layer.size.kept for layer in plan.layers)
    assert least <= peak
    assert kept <= 4 * least


@pytest.mark.parametrize(
    "cell", ["gru", "lstm", "rnn", "rnn hidden=3", "connected", "gru batch_normalize=1"]
)
def test_kept_counts_the_arrays_that_a_layer_saves(cell: str) -> None:
    lines = ("net inputs=9 batch=4 time_steps=1", f"{cell} output=5", "softmax")
    layer = network(*lines).layers[0]
    y = layer.forward(np.zeros((1, 4, 9)), train=True)
    saved = layer.saved
    names = {*getattr(type(saved), "__slots__", ())} - {"x"}  # that is of the layer below
    arrays = [getattr(saved, name) for name in names] if cell[0] != "c" else [y]
    kept = [a[-1].size // 4 for a in arrays if isinstance(a, np.ndarray)]  # states: T + 1 steps
    assert sum(kept) == planned(*lines).layers[0].size.kept


@PLANS
@given(NET, LAYERS)
def test_a_plan_written_as_text_is_the_same_plan(net: str, layers: list[str]) -> None:
    plan = planned(net, *layers)
    again = plan_cfg(format_sections(plan.sections).encode(), warn=ignore)
    assert again.net == plan.net
    assert [(la.options, la.inputs, la.size) for la in again.layers] == [
        (la.options, la.inputs, la.size) for la in plan.layers
    ]


def test_a_plan_may_be_larger_than_the_machine() -> None:
    sections = parse_sections(cfg("net inputs=9", "gru output=99999999").encode(), None, ignore)
    assert plan_network(sections, None, ignore).trained == 3 * 99999999 * (9 + 99999999 + 2)


def test_overrides_are_in_the_plan_and_may_be_what_is_too_large() -> None:
    data = cfg("net inputs=9", "gru output=4").encode()
    assert plan_cfg(data, overrides=["gru.output=5"]).layers[0].size.outputs == 5
    with pytest.raises(CfgError, match=r"^a\.cfg as overridden: this network needs [0-9,.]+ GiB"):
        plan_cfg(data, "a.cfg", overrides=["gru.output=99999999"])


def test_numbers_of_eight_bytes_take_twice_as_much() -> None:
    plan = planned("net inputs=9 batch=2 time_steps=3", "gru output=4", "lstm output=3")
    assert plan.parameter_bytes(8) == 2 * plan.parameter_bytes(4)
    assert plan.pass_bytes(8) == 2 * plan.pass_bytes(4)


def test_as_many_sections_and_doubts_as_are_allowed() -> None:
    lines = ["gru"] * (MOST_SECTIONS - 1)
    assert len(planned("net inputs=1", *lines).layers) == MOST_SECTIONS - 1
    with pytest.raises(CfgError, match="more than 1,000 sections; not a cfg"):
        planned("net inputs=1", *lines, "gru")
    unknown = " ".join(f"k{i}=1" for i in range(MOST_DOUBTS))
    assert planned(f"net inputs=1 {unknown} {unknown}", "gru").net.inputs == 1
    assert plan_cfg(cfg(f"net inputs=1 {unknown}", "gru").encode()).net.inputs == 1
    with pytest.raises(CfgError, match="more than 100 warnings; not a cfg"):
        plan_cfg(cfg(f"net inputs=1 {unknown} more=1", "gru").encode())
