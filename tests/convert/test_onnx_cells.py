"""Recurrent layers in basic operators: right where they are nn.RNN or a cell, else refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidark import WeightsError
from tests.convert.nets import worker_here
from tests.convert.test_onnx import normal, session

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from minidark.convert.onnx_chain import read_model  # noqa: E402
from minidark.convert.proof import compared  # noqa: E402

T, S, I, H = 4, 2, 5, 3  # noqa: E741
Nodes = list[list[Any]]  # each: operator, inputs, outputs, attributes
NOT_KNOWN = "is part of a recurrent step in basic operators that minidark does not recognize"

WEIGHTS = {
    "W": normal(I, H), "b": normal(H, seed=1), "R": normal(H, H, seed=2), "c": normal(H, seed=3),
    "R2": normal(H, H, seed=4), "V": normal(H, 6, seed=5),
}  # fmt: skip


def model(nodes: Nodes, inputs: dict[str, Any], outputs: list[str], **more: Any) -> bytes:
    helper = onnx.helper
    numbers = {f"i{i}": np.array([i]) for i in range(T + 1)}
    made = [helper.make_node(k, i, o, **attributes) for k, i, o, attributes in nodes]
    graph = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [onnx.numpy_helper.from_array(a, n) for n, a in (WEIGHTS | numbers | more).items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


# --- nn.RNN, step by step ---------------------------------------------------------------------


def rnn(head: bool = True) -> Nodes:
    """As dynamo=True writes nn.RNN: h0 is R s + c of a zero state."""
    nodes: Nodes = [["MatMul", ["x", "W"], ["xw"], {}], ["Add", ["xw", "b"], ["u"], {}]]
    for t in range(T):
        nodes += [
            ["Slice", ["u", f"i{t}", f"i{t + 1}", "i0"], [f"cut{t}"], {}],
            ["Squeeze", [f"cut{t}", "i0"], [f"u{t}"], {}],
        ]
        if t:
            nodes += [
                ["MatMul", [f"s{t - 1}", "R"], [f"r{t}"], {}],
                ["Add", [f"r{t}", "c"], [f"h{t}"], {}],
            ]
        nodes += [
            ["Add", [f"h{t}", f"u{t}"], [f"v{t}"], {}],
            ["Tanh", [f"v{t}"], [f"s{t}"], {}],
        ]
    nodes.append(["Concat", [f"s{t}" for t in range(T)], ["all"], {"axis": 0}])
    return [*nodes, ["MatMul", ["all", "V"], ["y"], {}]] if head else nodes


H0 = np.broadcast_to(WEIGHTS["c"], (1, S, H)).copy()


def loop(change: Callable[[dict[str, list[Any]]], None] = lambda nodes: None, **more: Any) -> bytes:
    """The model, after `change` has changed its nodes, which it gets by their first output."""
    nodes = rnn()
    change({node[2][0]: node for node in nodes})
    return model(nodes, {"x": [T, S, I]}, ["y"], **({"h0": H0} | more))


def test_a_loop_over_the_steps_of_an_rnn_is_that_layer() -> None:
    data = loop()
    found = read_model(data, "a.onnx")
    assert [s.type for s in found.sections] == ["net", "rnn", "connected"]
    x = np.random.default_rng(9).normal(0, 1, (T, S, I)).astype(np.float32)
    (y,) = session(data).run(None, {"x": x})
    net = found.network()
    np.testing.assert_allclose(net.twin(S).forward(x), y, rtol=0, atol=1e-6)
    assert found.trial is not None
    assert found.trial.steps == T
    with worker_here():
        difference = compared(net, found)
    assert difference is not None
    assert difference < 1e-6


def other_product(nodes: dict[str, list[Any]]) -> None:
    nodes["r2"][1][1] = "R2"


def other_biases(nodes: dict[str, list[Any]]) -> None:
    nodes["h2"][1][1] = "b"


def other_activation(nodes: dict[str, list[Any]]) -> None:
    nodes["s2"][0] = "Relu"


def older_state(nodes: dict[str, list[Any]]) -> None:
    nodes["r3"][1][0] = "s1"


def late_steps(nodes: dict[str, list[Any]]) -> None:
    nodes["v2"][1][1], nodes["v3"][1][1] = "u1", "u2"


def repeated_step(nodes: dict[str, list[Any]]) -> None:
    nodes["v2"][1][1] = "u1"


def reversed_outputs(nodes: dict[str, list[Any]]) -> None:
    nodes["all"][1].reverse()


def swapped_outputs(nodes: dict[str, list[Any]]) -> None:
    nodes["all"][1][:2] = ["s1", "s0"]


def missing_output(nodes: dict[str, list[Any]]) -> None:
    del nodes["all"][1][1]


def side_by_side(nodes: dict[str, list[Any]]) -> None:
    nodes["all"][3]["axis"] = 1


def difference_of_states(nodes: dict[str, list[Any]]) -> None:
    nodes["v2"][0] = "Sub"


WRONG = [
    other_product, other_biases, other_activation, older_state, late_steps, repeated_step,
    reversed_outputs, swapped_outputs, missing_output, side_by_side, difference_of_states,
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_a_loop_with_one_other_step_is_refused(change: Any) -> None:
    with pytest.raises(WeightsError, match=f"{NOT_KNOWN}|paths part"):
        read_model(loop(change), "a.onnx")


@pytest.mark.parametrize(
    "h0", [H0 + np.float32(1e-3), H0 * 0, H0[:, :, :1]], ids=["more", "zero", "one number"]
)
def test_a_loop_that_begins_with_another_state_is_refused(h0: Any) -> None:
    said = "its states begin with other numbers than zero"
    with pytest.raises(WeightsError, match=said):
        read_model(loop(h0=h0), "a.onnx")


def test_a_loop_of_two_layers_gives_its_last_step() -> None:
    """The second one reads the first one's states; the head reads its last state alone."""
    second = [
        [k, [f"2{i}" if i[0] in "uxrhvs" and i not in WEIGHTS else i for i in ins],
         [f"2{o}" for o in outs], dict(attributes)]
        for k, ins, outs, attributes in rnn(head=False)
    ]  # fmt: skip
    for node in second:
        node[1] = [{"2x": "all", "W": "R2", "2cut": "2cut"}.get(name, name) for name in node[1]]
        node[1] = [f"2{name}" if name.startswith("cut") else name for name in node[1]]
    nodes = [*rnn(head=False), *second[:-1], ["MatMul", [f"2s{T - 1}", "V"], ["y"], {}]]
    data = model(nodes, {"x": [T, S, I]}, ["y"], h0=H0, **{"2h0": H0})
    found = read_model(data, "a.onnx")
    assert [s.type for s in found.sections] == ["net", "rnn", "rnn", "connected"]
    assert found.last_only
    x = np.random.default_rng(9).normal(0, 1, (T, S, I)).astype(np.float32)
    (y,) = session(data).run(None, {"x": x})
    mine = found.network().twin(S).forward(x)[-1:]
    np.testing.assert_allclose(mine, y, rtol=0, atol=1e-6)


# --- cells ------------------------------------------------------------------------------------


def gates(count: int, split: str = "") -> Nodes:
    """W x + b as x0, x1, ... and R h + c as h0, h1, ...; or the sum of both as `split`0, ..."""
    products: Nodes = [
        ["Gemm", ["x", "W"], ["x_"], {"transB": 1}],
        ["Gemm", ["h", "R", "c"], ["h_"], {"transB": 1}],
    ]
    if split:
        both = [["Add", ["h_", "x_"], ["sum"], {}]]
        return [*products, *both, _split("sum", split, count)]
    return [*products, _split("x_", "x", count), _split("h_", "h", count)]


def _split(name: str, letter: str, count: int) -> list[Any]:
    outputs = [f"{letter}{i}" for i in range(count)]
    return ["Split", [name], outputs, {"axis": 1, "num_outputs": count}]


def gru() -> Nodes:
    return [
        *gates(3),
        ["Add", ["x0", "h0"], ["r_"], {}], ["Sigmoid", ["r_"], ["r"], {}],
        ["Add", ["h1", "x1"], ["z_"], {}], ["Sigmoid", ["z_"], ["z"], {}],
        ["Mul", ["h2", "r"], ["hr"], {}], ["Add", ["x2", "hr"], ["n_"], {}],
        ["Tanh", ["n_"], ["n"], {}], ["Sub", ["h", "n"], ["d"], {}],
        ["Mul", ["d", "z"], ["dz"], {}], ["Add", ["n", "dz"], ["next"], {}],
        ["MatMul", ["next", "V"], ["y"], {}],
    ]  # fmt: skip


def lstm() -> Nodes:
    return [
        *gates(4, "g"),
        ["Sigmoid", ["g0"], ["i"], {}], ["Sigmoid", ["g1"], ["f"], {}],
        ["Tanh", ["g2"], ["n"], {}], ["Sigmoid", ["g3"], ["o"], {}],
        ["Mul", ["f", "k"], ["fk"], {}], ["Mul", ["i", "n"], ["in"], {}],
        ["Add", ["in", "fk"], ["nextk"], {}], ["Tanh", ["nextk"], ["m"], {}],
        ["Mul", ["o", "m"], ["next"], {}], ["MatMul", ["next", "V"], ["y"], {}],
    ]  # fmt: skip


def cell(kind: str, change: Callable[[dict[str, list[Any]]], None] = lambda nodes: None) -> bytes:
    nodes, count = (gru(), 3) if kind == "gru" else (lstm(), 4)
    change({name: node for node in nodes for name in node[2]})
    weights = {
        "W": normal(count * H, I), "R": normal(count * H, H, seed=2), "c": normal(count * H, seed=3)
    }  # fmt: skip
    states = {"h": ["S", H]} if kind == "gru" else {"h": ["S", H], "k": ["S", H]}
    outputs = ["y", "next"] if kind == "gru" else ["y", "next", "nextk"]
    return model(nodes, {"x": ["S", I], **states}, outputs, **weights)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_cell_with_states_is_that_layer(kind: str) -> None:
    data = cell(kind)
    found = read_model(data, "a.onnx")
    assert [s.type for s in found.sections] == ["net", kind, "connected"]
    assert not found.last_only
    net, run = found.network().twin(S), session(data)
    states = [np.zeros((S, H), np.float32)] * (1 if kind == "gru" else 2)
    for x in np.random.default_rng(9).normal(0, 1, (6, S, I)).astype(np.float32):
        y, *states = run.run(None, {"x": x, **dict(zip("hk", states, strict=False))})
        np.testing.assert_allclose(net.forward(x[None])[0], y, rtol=0, atol=1e-6)
    with worker_here():
        difference = compared(found.network(), found)
    assert difference is not None
    assert difference < 1e-6


def swap_gates(nodes: dict[str, list[Any]]) -> None:
    outputs = nodes["x1"][2] if "x1" in nodes else nodes["g1"][2]
    outputs[0], outputs[1] = outputs[1], outputs[0]


def other_order_of_sub(nodes: dict[str, list[Any]]) -> None:
    nodes["d"][1].reverse()


def reset_before(nodes: dict[str, list[Any]]) -> None:
    nodes["hr"][1][0] = "h1"


def another_state(nodes: dict[str, list[Any]]) -> None:
    nodes["fk"][1][1] = "h"


def logistic_cell(nodes: dict[str, list[Any]]) -> None:
    nodes["m"][0] = "Sigmoid"


def scaled_product(nodes: dict[str, list[Any]]) -> None:
    nodes["h_"][3]["alpha"] = 2.0


def split_streams(nodes: dict[str, list[Any]]) -> None:
    nodes["x0" if "x0" in nodes else "g0"][3]["axis"] = 0


WRONG_CELLS = [
    ("gru", swap_gates), ("gru", other_order_of_sub), ("gru", reset_before),
    ("gru", scaled_product), ("gru", split_streams), ("lstm", split_streams),
    ("lstm", swap_gates), ("lstm", another_state), ("lstm", logistic_cell),
    ("lstm", scaled_product),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), WRONG_CELLS)
def test_a_cell_with_one_other_operation_is_refused(kind: str, change: Any) -> None:
    with pytest.raises(WeightsError, match=NOT_KNOWN):
        read_model(cell(kind, change), "a.onnx")
