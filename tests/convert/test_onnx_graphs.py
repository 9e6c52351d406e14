"""ONNX graphs around the layers: symbols, states, axes and constants that the graph computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from minidark import BackendError, WeightsError
from minidark.convert.onnx_values import AxesError, Length, Sizes
from minidark.convert.proof import compared
from tests.convert.nets import worker_here
from tests.convert.test_onnx import normal

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from minidark.convert.onnx_chain import read_model  # noqa: E402

T, S, V, E, H = 4, 3, 6, 5, 2
Nodes = Sequence[tuple[Any, ...]]  # operator, inputs, outputs, and attributes if there are any
INT64, INT32, FLOAT = 7, 6, 1


def gru(inputs: int, prefix: str = "") -> dict[str, Any]:
    arrays = {"W": normal(1, 3 * H, inputs), "R": normal(1, 3 * H, H, seed=1)}
    return {f"{prefix}{name}": array for name, array in arrays.items()} | {
        f"{prefix}B": normal(1, 6 * H, seed=2)
    }


CONSTANTS: dict[str, Any] = {
    "emb": normal(V, E, seed=5), "head": normal(H, V, seed=6), "bias": normal(V, seed=7),
    "0": np.array([0]), "1": np.array([1]), "2": np.array([2]), "3": np.array([3]),
    "-1": np.array([-1]), "end": np.array([2**63 - 1]), "first": np.array(0), "second": np.array(1),
    "last": np.array(-1), "offon": np.array([0, 1], np.float32), "depth": np.array(V),
    "row": np.arange(V), "H": np.array([H]), "two": np.array([2]),
} | gru(E)  # fmt: skip
EMBEDDED: Nodes = [("Gather", ["emb", "x"], ["e"])]
GRU: Nodes = [
    ("GRU", ["e", "W", "R", "B"], ["all", "h"], {"hidden_size": H, "linear_before_reset": 1})
]
SQUEEZED: Nodes = [("Squeeze", ["all", "1"], ["s"])]
HEAD: Nodes = [("MatMul", ["s", "head"], ["p"]), ("Add", ["p", "bias"], ["y"])]


def graph(
    nodes: Nodes,
    shape: Sequence[int | str] = ("T", "S"),
    kind: int = INT64,
    outputs: Sequence[str] = ("y",),
    states: Mapping[str, Sequence[Any]] | None = None,
    opset: int = 18,
    **more: Any,
) -> Any:
    """A model with the input x of this kind and shape, and the states as further inputs."""
    helper = onnx.helper
    value = helper.make_tensor_value_info
    constants = CONSTANTS | more
    used = {name for node in nodes for name in node[1]}
    made = [helper.make_node(n[0], n[1], n[2], **(n[3] if len(n) > 3 else {})) for n in nodes]
    values = [value("x", kind, shape)]
    values += [value(name, FLOAT, dims) for name, dims in (states or {}).items()]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in constants.items() if n in used]
    ends = [value(name, FLOAT, None) for name in outputs]
    opsets = [helper.make_opsetid("", opset)]
    made_graph = helper.make_graph(made, "g", values, ends, tensors)
    return helper.make_model(made_graph, opset_imports=opsets, ir_version=8)


def read(model: Any) -> Any:
    return read_model(model.SerializeToString(), "a.onnx")


def check(model: Any, layers: str) -> Any:
    """Compare the network with onnxruntime."""
    found = read(model)
    assert [section.type for section in found.sections[1:]] == layers.split()
    with worker_here():
        difference = compared(found.network(), found)
    assert difference is not None
    assert difference < 1e-6
    return found


# --- symbols ----------------------------------------------------------------------------------

ONE_HOT: dict[str, Nodes] = {
    "OneHot": [("OneHot", ["x", "depth", "offon"], ["e"])],
    "Equal": [
        ("Unsqueeze", ["x", "-1"], ["u"]), ("Equal", ["u", "row"], ["q"]),
        ("Cast", ["q"], ["i"], {"to": INT64}), ("Cast", ["i"], ["e"], {"to": FLOAT}),
    ],
    "a row first": [
        ("Unsqueeze", ["x", "2"], ["u"]), ("Equal", ["row", "u"], ["q"]),
        ("Cast", ["q"], ["e"], {"to": FLOAT}),
    ],
    "the axis moved": [
        ("OneHot", ["x", "depth", "offon"], ["o"], {"axis": 0}),
        ("Transpose", ["o"], ["e"], {"perm": [1, 2, 0]}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_HOT)
def test_symbols_as_one_hot_rows_are_the_networks_inputs(name: str) -> None:
    model = graph([*ONE_HOT[name], *GRU, *SQUEEZED, *HEAD], **gru(V))
    found = check(model, "gru connected softmax")
    assert found.sections[0].pairs["inputs"].value == str(V)


@pytest.mark.parametrize("kind", [INT64, INT32])
def test_an_embedding_is_a_linear_layer(kind: int) -> None:
    found = check(
        graph([*EMBEDDED, *GRU, *SQUEEZED, *HEAD], kind=kind), "connected gru connected softmax"
    )
    assert "connected 5 (an embedding)" in found.understood()


def test_weights_that_are_also_inputs_are_constants() -> None:
    """As old exporters list initializers."""
    model = graph([*EMBEDDED, *GRU, *SQUEEZED, *HEAD])
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.insert(0, value)
    check(model, "connected gru connected softmax")


# --- axes -------------------------------------------------------------------------------------

DIRECTION: dict[str, Nodes] = {
    "Squeeze": SQUEEZED,
    "constants": [
        ("Transpose", ["all"], ["t"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["t", "lengths"], ["s"]),
    ],
    "lengths in the graph": [
        ("Transpose", ["all"], ["t"], {"perm": [0, 2, 1, 3]}), ("Shape", ["t"], ["n"]),
        ("Slice", ["n", "0", "2"], ["n01"]), ("Slice", ["n", "2", "3"], ["n2"]),
        ("Slice", ["n", "3", "end"], ["n3"]), ("Mul", ["n2", "n3"], ["n23"]),
        ("Concat", ["n01", "n23"], ["shape"], {"axis": 0}), ("Reshape", ["t", "shape"], ["s"]),
    ],
    "copied lengths": [
        ("Transpose", ["all"], ["t"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["t", "copied"], ["s"]),
    ],
    "steps and streams joined": [
        ("Reshape", ["all", "joined"], ["s"]),
    ],
    "flat rows": [
        ("Squeeze", ["all", "1"], ["q"]), ("Flatten", ["q"], ["s"], {"axis": 2}),
    ],
}  # fmt: skip
LENGTHS: dict[str, Any] = {
    "lengths": np.array([T, S, H]), "copied": np.array([0, 0, -1]), "joined": np.array([-1, H]),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(T, S), ("T", "S"), (T, "S"), ("T", S)])
@pytest.mark.parametrize("name", DIRECTION)
def test_the_axis_of_directions_may_go_in_any_way(name: str, shape: Any) -> None:
    model = graph([*EMBEDDED, *GRU, *DIRECTION[name], *HEAD], shape, **LENGTHS)
    found = check(model, "connected gru connected softmax")
    fixed = shape[0] == T or name == "constants"
    assert found.trial.steps == (T if fixed else None)


LAST: dict[str, Nodes] = {
    "Gather": [("Gather", ["q", "last"], ["s"], {"axis": 0})],
    "Gather of one": [("Gather", ["q", "-1"], ["s"], {"axis": 0})],
    "Slice": [("Slice", ["q", "-1", "end", "0"], ["s"])],
    "a fixed Slice": [("Slice", ["q", "3", "end", "0"], ["s"])],
    "its state": [("Squeeze", ["h", "0"], ["s"])],
    "all of it": [("Slice", ["q", "0", "end", "0"], ["s"])],
}


@pytest.mark.parametrize("name", LAST)
def test_a_head_on_the_last_step(name: str) -> None:
    nodes = [*EMBEDDED, *GRU, ("Squeeze", ["all", "1"], ["q"]), *LAST[name], *HEAD]
    found = check(graph(nodes, (T, "S")), "connected gru connected softmax")
    assert found.last_only == (name != "all of it")


REFUSED: dict[str, tuple[Nodes, str]] = {
    "a step in the middle": (
        [("Squeeze", ["all", "1"], ["q"]), ("Gather", ["q", "second"], ["s"])],
        "it is part of a recurrent step in basic operators",
    ),
    "another step than the last": (
        [("Squeeze", ["all", "1"], ["q"]), ("Slice", ["q", "2", "3", "0"], ["s"])],
        "it is part of a recurrent step in basic operators",
    ),
    "two steps": (
        [("Squeeze", ["all", "1"], ["q"]), ("Slice", ["q", "2", "end", "0"], ["s"])],
        "it reads a part of an axis, which is more than one step",
    ),
    "steps backwards": (
        [("Squeeze", ["all", "1"], ["q"]), ("Slice", ["q", "0", "end", "0", "-1"], ["s"])],
        "it reads steps or streams in another order",
    ),
    "features joined with time": (
        [("Transpose", ["all"], ["t"], {"perm": [1, 2, 0, 3]}), ("Reshape", ["t", "far"], ["s"])],
        "the last axis before it is not that of the features",
    ),
    "features in halves": (
        [("Reshape", ["all", "halves"], ["s"])],
        "it joins or splits other axes than time and streams",
    ),
    "the axis of streams taken away": (
        [("Squeeze", ["all", "2"], ["s"])],
        "it takes away an axis of another length than 1",
    ),
    "the features taken away": (
        [("Squeeze", ["all", "3"], ["s"])],
        "it takes away the axis of the features",
    ),
    "lengths that are not followed": (
        [("Shape", ["all"], ["n"]), ("Range", ["n", "n", "n"], ["r"]),
         ("Reshape", ["all", "r"], ["s"])],
        "minidark does not follow how its lengths are computed",
    ),
    "a residual connection": (
        [*SQUEEZED[:0], ("Squeeze", ["all", "1"], ["q"]), ("Tanh", ["q"], ["t"]),
         ("Add", ["q", "t"], ["s"])],
        "the model is no chain: its paths part",
    ),
    "side by side": (
        [("Squeeze", ["all", "1"], ["q"]), ("Concat", ["q", "q"], ["s"], {"axis": 2})],
        "the model is no chain: its paths part",
    ),
    "two branches": (
        [("Squeeze", ["all", "1"], ["q"]), ("Tanh", ["q"], ["t"]), ("Relu", ["q"], ["s"])],
        "",
    ),
    "the cell of a GRU": ([("Squeeze", ["nothing", "1"], ["s"])], "no node before it computes"),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, (_, said) in REFUSED.items() if said])
def test_other_uses_of_the_outputs_are_refused(name: str) -> None:
    nodes, said = REFUSED[name]
    more: dict[str, Any] = {"far": np.array([1, S, T * H]), "halves": np.array([2 * T, S, H // 2])}
    with pytest.raises(WeightsError, match=said):
        read(graph([*EMBEDDED, *GRU, *nodes, *HEAD], (T, S), **more))


def test_a_branch_that_no_output_needs_is_left_out() -> None:
    nodes, _ = REFUSED["two branches"]
    found = read(graph([*EMBEDDED, *GRU, *nodes, *HEAD], (T, S)))
    assert [s.type for s in found.sections[1:]] == [
        "connected", "gru", "activation", "connected", "softmax",
    ]  # fmt: skip


A, B, F = ("0",), ("1",), ("features",)
RESHAPED: list[tuple[list[Any], list[Any], list[Any] | None]] = [
    ([A, B, F], [4, 3, 2], [A, B, F]),
    ([A, (), B, F], [4, 3, 2], [A, B, F]),
    ([A, B, F], [12, 2], [("0", "1"), F]),
    ([A, B, F], [-1, 2], [("0", "1"), F]),
    ([("0", "1"), F], [4, 3, 2], [A, B, F]),
    ([("0", "1"), F], [4, -1, 2], [A, B, F]),
    ([A, B, F], [1, 4, 3, 1, 2], [(), A, B, (), F]),
    ([A, B, F], [Length(A), Length(B), 2], [A, B, F]),
    ([A, B, F], [Length(("0", "1")), 2], [("0", "1"), F]),
    ([A, B, F], [4, 6], [A, ("1", "features")]),
    ([A, B, F], [-1], [("0", "1", "features")]),
    ([A, B, F], [3, 4, 2], None),
    ([A, B, F], [4, 3, 1, 3], None),
    ([A, B, F], [4, 3], None),
    ([A, B, F], [8, 3], None),
    ([A, B, F], [Length(B), Length(A), 2], None),
    ([A, B, F], [-1, -1, 2], None),
    ([A, B, F], [-2, 3, 2], None),
]


@pytest.mark.parametrize(("axes", "lengths", "wanted"), RESHAPED)
def test_a_reshape_keeps_joins_or_splits_whole_axes(
    axes: list[Any], lengths: list[Any], wanted: list[Any] | None
) -> None:
    sizes = Sizes({"0": 4, "1": 3, "features": 2})
    if wanted is None:
        with pytest.raises(AxesError):
            sizes.reshaped(axes, lengths)
    else:
        assert sizes.reshaped(axes, lengths) == wanted


def test_a_reshape_to_numbers_fixes_free_axes() -> None:
    sizes = Sizes({"1": 3, "features": 2})
    assert sizes.reshaped([A, (), B, F], [5, 3, 2]) == [A, B, F]
    assert sizes.known["0"] == 5
    with pytest.raises(AxesError):
        Sizes({"features": 2}).reshaped([A, B, F], [12, 7, 2, 2])


# --- states -----------------------------------------------------------------------------------

ZEROS: dict[str, Nodes] = {
    "ConstantOfShape": [
        ("Shape", ["e"], ["n"]), ("Gather", ["n", "second"], ["b"]),
        ("Unsqueeze", ["b", "0"], ["u"]), ("Concat", ["1", "u", "H"], ["shape"], {"axis": 0}),
        ("ConstantOfShape", ["shape"], ["h0"]),
    ],
    "Expand": [
        ("Shape", ["e"], ["n"]), ("Gather", ["n", "1"], ["u"]),
        ("Concat", ["1", "u", "H"], ["shape"], {"axis": 0}), ("Expand", ["zero", "shape"], ["h0"]),
    ],
}  # fmt: skip


def begun(zeros: Nodes) -> list[Any]:
    (kind, inputs, outputs, attributes) = GRU[0]
    cell = (kind, [*inputs, "", "h0"], outputs, attributes)
    return [*EMBEDDED, *zeros, cell, *SQUEEZED, *HEAD]


@pytest.mark.parametrize("name", ZEROS)
def test_a_state_of_zeros_that_the_graph_makes_is_the_default(name: str) -> None:
    model = graph(begun(ZEROS[name]), zero=np.zeros((1, 1, H), np.float32))
    check(model, "connected gru connected softmax")


def test_a_state_that_the_graph_makes_of_other_numbers_is_refused() -> None:
    said = "its states begin with other numbers than zero"
    with pytest.raises(WeightsError, match=said):
        read(graph(begun(ZEROS["Expand"]), zero=np.full((1, 1, H), 0.1, np.float32)))
    model = graph(begun(ZEROS["ConstantOfShape"]))
    filled = next(node for node in model.graph.node if node.op_type == "ConstantOfShape")
    one = onnx.numpy_helper.from_array(np.array([1], np.float32))
    filled.attribute.append(onnx.helper.make_attribute("value", one))
    with pytest.raises(WeightsError, match=said):
        read(model)


def lstm(i: int, x: str, inputs: int) -> tuple[list[Any], dict[str, Any]]:
    """Layer i of a stack, whose states are row i of h0 and c0."""
    rows = [("Slice", [f"{s}0", str(i), str(i + 1), "0"], [f"{s}0{i}"]) for s in "hc"]
    names = [x, f"{i}W", f"{i}R", "", "", f"h0{i}", f"c0{i}"]
    cell = ("LSTM", names, [f"all{i}", f"last_h{i}", f"last_c{i}"], {"hidden_size": H})
    arrays = {f"{i}W": normal(1, 4 * H, inputs, seed=i), f"{i}R": normal(1, 4 * H, H, seed=i + 9)}
    return [*rows, cell, ("Squeeze", [f"all{i}", "1"], [f"s{i}"])], arrays


def stack(shape: Any) -> Any:
    """Two LSTM layers after an embedding. Their states are joined."""
    (first, a), (second, b) = lstm(0, "e", E), lstm(1, "s0", H)
    joined = [("Concat", [f"last_{s}0", f"last_{s}1"], [f"{s}n"], {"axis": 0}) for s in "hc"]
    nodes = [*EMBEDDED, *first, *second, *joined, ("MatMul", ["s1", "head"], ["y"])]
    states = {"h0": [2, shape[1], H], "c0": [2, shape[1], H]}
    return graph(nodes, shape, outputs=["cn", "y", "hn"], states=states, **(a | b))


@pytest.mark.parametrize("shape", [("T", "S"), (1, "S"), (T, 2)])
def test_states_of_all_layers_in_one_tensor_are_carried(shape: Any) -> None:
    model = stack(shape)
    assert check(model, "connected lstm lstm connected softmax").trial.steps is None
    model.graph.output.pop()
    assert read(model).trial.steps == (shape[0] if shape[0] != "T" else None)


def test_a_state_that_two_layers_begin_with_is_refused() -> None:
    (first, a), (second, b) = lstm(0, "e", E), lstm(1, "s0", H)
    second[2][1][5] = "h00"
    nodes = [*EMBEDDED, *first, *second, ("MatMul", ["s1", "head"], ["y"])]
    states = {"h0": [2, "S", H], "c0": [2, "S", H]}
    with pytest.raises(WeightsError, match="its initial state is that of another layer, too"):
        read(graph(nodes, states=states, **(a | b)))


# --- constants --------------------------------------------------------------------------------


def test_weights_that_the_graph_computes_are_constants() -> None:
    """As exporters without constant folding write them: gates reordered, matrices transposed."""
    arrays = gru(E)
    folded: list[Any] = [
        ("Transpose", ["headT"], ["head"], {"perm": [1, 0]}),
        ("Slice", ["other", "0", "H", "1"], ["r"]), ("Slice", ["other", "H", "2H", "1"], ["z"]),
        ("Slice", ["other", "2H", "3H", "1"], ["n"]),
        ("Concat", ["z", "r", "n"], ["W"], {"axis": 1}),
        ("Split", ["pair", "halves"], ["p0", "p1"], {"axis": 0}),
        ("Concat", ["p0", "p1"], ["flat"], {"axis": 0}), ("Unsqueeze", ["flat", "0"], ["B"]),
    ]  # fmt: skip
    w, b = arrays["W"], arrays["B"][0]
    more: dict[str, Any] = {
        "headT": CONSTANTS["head"].T.copy(), "R": arrays["R"], "pair": b,
        "other": np.concatenate([w[:, H : 2 * H], w[:, :H], w[:, 2 * H :]], axis=1),
        "2H": np.array([2 * H]), "3H": np.array([3 * H]), "halves": np.array([3 * H, 3 * H]),
    }  # fmt: skip
    nodes = [*folded, *EMBEDDED, *GRU, *SQUEEZED, *HEAD]
    model = graph(nodes, **more)
    for name in ("head", "W", "B"):  # computed, not stored
        stored = next(t for t in model.graph.initializer if t.name == name)
        model.graph.initializer.remove(stored)
    found = check(model, "connected gru connected softmax")
    np.testing.assert_array_equal(found.arrays["1.gru.uz.weights"], w[0, :H])


def test_constants_that_grow_without_end_are_refused() -> None:
    nodes: list[Any] = [
        ("Concat", [f"W{i}", f"W{i}"], [f"W{i + 1}"], {"axis": 0}) for i in range(40)
    ]
    model = graph([*nodes, ("MatMul", ["x", "W40"], ["y"])], kind=FLOAT, W0=normal(1, 4096))
    with pytest.raises(WeightsError, match="it computes with far more constants than it contains"):
        read(model)


def test_a_scaled_embedding_is_scaled_weights() -> None:
    scaled = [
        ("Gather", ["emb", "x"], ["a"]), ("Mul", ["a", "scale"], ["b"]), ("Div", ["b", "by"], ["e"])
    ]  # fmt: skip
    more: dict[str, Any] = {"scale": np.array(3, np.float32), "by": np.array([2], np.float32)}
    model = graph([*scaled, *GRU, *SQUEEZED, *HEAD], **more)
    found = check(model, "connected gru connected softmax")
    wanted = CONSTANTS["emb"].T * np.float32(1.5)
    np.testing.assert_allclose(found.arrays["0.connected.weights"], wanted, rtol=1e-6)


def test_logarithms_of_a_softmax_are_told_and_compared() -> None:
    nodes: list[Any] = []
    for nodes in (
        [("LogSoftmax", ["p"], ["y"], {"axis": -1})],
        [("Softmax", ["p"], ["q"], {"axis": -1}), ("Log", ["q"], ["y"])],
    ):
        model = graph([*EMBEDDED, *GRU, *SQUEEZED, HEAD[0], *nodes])
        assert check(model, "connected gru connected softmax").logarithms
    nodes += [("Tanh", ["y"], ["z"])]
    with pytest.raises(WeightsError, match="it reads the logarithms of a softmax"):
        read(graph([*EMBEDDED, *GRU, *SQUEEZED, HEAD[0], *nodes], outputs=["z"]))


@pytest.mark.slow
def test_the_comparison_runs_in_a_process_of_its_own() -> None:
    found = read(graph([*EMBEDDED, *GRU, *SQUEEZED, *HEAD]))
    assert compared(found.network(), found) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_model_that_onnxruntime_does_not_know_is_not_compared() -> None:
    found = read(graph([*EMBEDDED, *GRU, *SQUEEZED, *HEAD], opset=99))
    with pytest.raises(BackendError, match=r"^a\.onnx: onnxruntime: "):
        compared(found.network(), found)
