"""ONNX, held by onnxruntime: outputs and states, for any T and S, with states carried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, WeightsError
from minidark.backend import Array
from minidark.layers.activations import ACTIVATIONS
from tests.convert.nets import (
    ACTIVATED,
    ELMAN,
    GRAPHS,
    INPUTS,
    RECURRENT,
    after,
    begin,
    folded,
    inputs,
)

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from minidark.convert.onnx import RNN, write  # noqa: E402
from minidark.convert.onnx_chain import read, read_model  # noqa: E402


def session(data: bytes) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("name", RECURRENT | GRAPHS)
def test_onnxruntime_computes_the_same_from_any_state_on(name: str, streams: int) -> None:
    net = folded((RECURRENT | GRAPHS)[name])
    model = session(write(net, [])[0])
    twin, states = begin(net, streams)
    names = [i.name for i in model.get_inputs()]
    assert names == ["x", *(f"{la.name}.{s}" for la in net.layers for s in la.states)]
    assert [o.name for o in model.get_outputs()] == ["y", *(f"{n}.next" for n in names[1:])]
    for x in inputs(streams):
        y, *states = model.run(None, dict(zip(names, [x, *states], strict=True)))
        np.testing.assert_allclose(y, twin.forward(x), rtol=0, atol=1e-6)
        for ours, theirs in zip(after(twin), states, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ACTIVATED)
def test_every_activation_is_darknets(name: str) -> None:
    net = folded(ACTIVATED[name])
    x = np.random.default_rng(3).normal(0, 2, (50, 3, INPUTS)).astype(np.float32)
    (y,) = session(write(net, [])[0]).run(None, {"x": x})
    wanted = net.forward(x)
    assert np.ptp(wanted) > 0.2
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RNN)
def test_onnxs_own_rnn_has_darknets_activation(name: str) -> None:
    net = folded(ELMAN[name])
    data = write(net, [])[0]
    nodes = [node.op_type for node in onnx.load_model_from_string(data).graph.node]
    assert nodes.count("RNN") == 1
    assert "Scan" not in nodes
    twin, (state,) = begin(net, 3)
    for x in inputs(3):
        y, state = session(data).run(None, {"x": x, "0.rnn.state": state})
        np.testing.assert_allclose(y, twin.forward(x), rtol=1e-5, atol=2e-6)
    assert write(read_model(data, "a.onnx").network(), [])[0] == data


@pytest.mark.parametrize("name", sorted({*ACTIVATIONS} - {*RNN}))
def test_an_activation_that_onnxs_rnn_lacks_is_refused(name: str) -> None:
    with pytest.raises(CfgError) as error:
        write(folded(ELMAN[name]), [])
    assert str(error.value) == (
        f"layer 0.rnn has no counterpart in ONNX: with elman=1, activation={name} is not one of "
        "logistic, loggy, relu, elu, relie, linear, tanh, leaky; .py has all"
    )


@pytest.mark.parametrize("name", RECURRENT | GRAPHS)
def test_what_was_written_comes_back_bit_for_bit(name: str) -> None:
    net = folded((RECURRENT | GRAPHS)[name])
    data = write(net, [])[0]
    assert write(net, [])[0] == data
    back = read_model(data, "a.onnx").network()
    assert back.seen == 12
    assert write(back, [])[0] == data


# --- models of other programs ----------------------------------------------------------------

NO_LENGTHS: Array = np.zeros(0, np.float32)  # an input that is left out


def chain(*nodes: tuple[str, list[Array], dict[str, Any]], opset: int = 17) -> bytes:
    """A model of nodes one behind the other: kind, constants, attributes."""
    helper, at = onnx.helper, "in"
    made: list[Any] = []
    constants: list[Any] = []
    for i, (kind, arrays, attributes) in enumerate(nodes):
        names = [f"c{i}.{j}" if a is not NO_LENGTHS else "" for j, a in enumerate(arrays)]
        there = [(a, name) for a, name in zip(arrays, names, strict=True) if name]
        constants += [onnx.numpy_helper.from_array(a, name) for a, name in there]
        made.append(helper.make_node(kind, [at, *names], [f"t{i}"], name=f"n{i}", **attributes))
        at = f"t{i}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        made, "g", [value("in", 1, ["T", "S", INPUTS])], [value(at, 1, None)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def recurrent(kind: str, gates: int, width: int, inputs_: int, **attributes: Any) -> Any:
    arrays = [
        normal(1, gates * width, inputs_),
        normal(1, gates * width, width, seed=1),
        normal(1, 2 * gates * width, seed=2),
    ]
    return kind, arrays, {"hidden_size": width, **attributes}


def with_inputs(node: Any, *arrays: Array) -> Any:
    kind, given, attributes = node
    return kind, [*given, *(a.astype(np.float32) if a.size else a for a in arrays)], attributes


PRODUCT: Any = ("MatMul", [normal(INPUTS, 4)], {})
SQUEEZE: Any = ("Squeeze", [np.array([1])], {})
LINEAR: Any = ("MatMul", [normal(4, 6)], {})
LINEAR_ON: Any = ("MatMul", [normal(6, 4)], {})
LAST_LINEAR: Any = ("MatMul", [normal(5, 6)], {})
BIASES: Any = ("Add", [normal(6)], {})


def test_a_chain_of_another_program_is_the_same_network() -> None:
    data = chain(
        recurrent("GRU", 3, 5, INPUTS, activations=["Sigmoid", "Sigmoid"]),
        SQUEEZE,
        recurrent("LSTM", 4, 4, 5),
        SQUEEZE,
        LINEAR,
        BIASES,
        ("LeakyRelu", [], {"alpha": 0.1}),
        ("Tanh", [], {}),
        ("MatMul", [normal(6, 3)], {}),
        ("Softmax", [], {"axis": -1}),
    )
    net = read_model(data, "a.onnx").network()
    assert [la.type for la in net.layers] == [
        "gru", "lstm", "connected", "activation", "connected", "softmax",
    ]  # fmt: skip
    x = inputs(1)[0]
    (y,) = session(data).run(None, {"in": x})
    np.testing.assert_allclose(net.forward(x), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (6,), (1, 6), (1, 1, 6)])
def test_biases_with_other_axes_are_the_same_network(shape: tuple[int, ...]) -> None:
    product: Any = ("MatMul", [normal(INPUTS, 6)], {})
    biases = np.asarray(normal(*shape), np.float32)
    data = chain(product, ("Add", [biases], {}), ("Tanh", [], {}))
    x = inputs(1)[0]
    (y,) = session(data).run(None, {"in": x})
    np.testing.assert_allclose(
        read_model(data, "a.onnx").network().forward(x), y, rtol=0, atol=1e-6
    )
    gemm = read_model(chain(("Gemm", [normal(INPUTS, 6), biases], {})), "a.onnx")
    np.testing.assert_array_equal(
        gemm.arrays["0.connected.biases"], np.broadcast_to(biases.ravel(), 6)
    )


def test_streams_first_around_and_states_of_zero_are_the_same_network() -> None:
    swap: Any = ("Transpose", [], {"perm": [1, 0, 2]})
    cells = with_inputs(recurrent("GRU", 3, 4, INPUTS), NO_LENGTHS, np.zeros((1, 3, 4)))
    product: Any = ("MatMul", [normal(4, 6)], {})
    data = chain(swap, cells, SQUEEZE, swap, product, ("Cast", [], {"to": 1}), BIASES)
    x = inputs(3)[0]
    (y,) = session(data).run(None, {"in": x.transpose(1, 0, 2)})
    net = read_model(data, "a.onnx").network().twin(3)
    np.testing.assert_allclose(net.forward(x), y.transpose(1, 0, 2), rtol=0, atol=1e-6)


def test_states_that_the_caller_gives_in_one_tensor_are_taken() -> None:
    """As PyTorch writes stacked layers: each takes its slice."""
    model = onnx.load_model_from_string(chain(recurrent("GRU", 3, 5, INPUTS)))
    cut = onnx.helper.make_node("Slice", ["h", "from", "to"], ["first"])
    model.graph.node.insert(0, cut)
    model.graph.node[1].input.extend(["", "first"])
    model.graph.input.append(onnx.helper.make_tensor_value_info("h", 1, [2, 1, 5]))
    for name, at in (("from", 0), ("to", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([at]), name))
    found = read_model(model.SerializeToString(), "a.onnx")
    assert [section.type for section in found.sections] == ["net", "gru"]


REFUSED = {
    "backward": (
        [recurrent("LSTM", 4, 5, INPUTS, direction="reverse")],
        "LSTM 'n0' cannot be taken over: backward: minidark's layers read only forward",
    ),
    "other gates": (
        [recurrent("GRU", 3, 5, INPUTS, activations=["HardSigmoid", "Tanh"])],
        "GRU 'n0' cannot be taken over: its activations have no counterpart",
    ),
    "clipped": (
        [recurrent("LSTM", 4, 5, INPUTS, clip=1.0)],
        "LSTM 'n0' cannot be taken over: it clips its gates (clip), and minidark's layers do not",
    ),
    "both ways": (
        [recurrent("RNN", 1, 5, INPUTS, direction="bidirectional")],
        "RNN 'n0' cannot be taken over: bidirectional: minidark's layers read only forward",
    ),
    "coupled gates": (
        [recurrent("LSTM", 4, 5, INPUTS, input_forget=1)],
        "LSTM 'n0' cannot be taken over: it couples its input and forget gates (input_forget)",
    ),
    "peepholes": (
        [with_inputs(recurrent("LSTM", 4, 5, INPUTS), *[NO_LENGTHS] * 3, normal(1, 15))],
        "LSTM 'n0' cannot be taken over: it has peepholes, and minidark's layers have none",
    ),
    "lengths": (
        [with_inputs(recurrent("RNN", 1, 5, INPUTS), np.ones(3))],
        "RNN 'n0' cannot be taken over: its streams have lengths of their own (sequence_lens)",
    ),
    "another activation of an RNN": (
        [recurrent("RNN", 1, 5, INPUTS, activations=["Softsign"])],
        "RNN 'n0' cannot be taken over: its activations have no counterpart",
    ),
    "another leak of an RNN": (
        [recurrent("RNN", 1, 5, INPUTS, activations=["LeakyRelu"], activation_alpha=[0.3])],
        "RNN 'n0' cannot be taken over: its activations have no counterpart",
    ),
    "a projection": (
        [("LSTM", [normal(1, 20, INPUTS), normal(1, 20, 3)], {"hidden_size": 5})],
        "LSTM 'n0' cannot be taken over: its arrays are not those of its width; an LSTM with a "
        "projection (proj_size) has no counterpart",
    ),
    "Sin": (
        [("MatMul", [normal(INPUTS, 4)], {}), ("Sin", [], {})],
        "Sin 'n1' cannot be taken over: minidark reads only GRU, LSTM, RNN, MatMul, Gemm, Add, "
        "Softmax, Sigmoid, Tanh, Relu, Elu and LeakyRelu",
    ),
    "another leak": (
        [PRODUCT, ("LeakyRelu", [], {"alpha": 0.3})],
        "LeakyRelu 'n1' cannot be taken over: darknet has none with alpha 0.3",
    ),
    "another domain": (
        [PRODUCT, ("Relu", [], {"domain": "com.example"})],
        "Relu 'n1' cannot be taken over: it is of the domain 'com.example'",
    ),
    "dropout that trains": (
        [PRODUCT, ("Dropout", [np.array(0.5, np.float32), np.array(True)], {})],
        "Dropout 'n1' cannot be taken over: its training_mode is not false",
    ),
    "squeezed by chance": (
        [recurrent("GRU", 3, 5, INPUTS), ("Squeeze", [], {})],
        "Squeeze 'n1' cannot be taken over: it names no axes, and takes those that happen to be 1",
    ),
    "nothing": (
        [("Identity", [], {})],
        "no layer that minidark has behind its first input",
    ),
    "widths that differ": (
        [("MatMul", [normal(INPUTS, 4)], {}), ("MatMul", [normal(5, 3)], {})],
        "1.connected.weights is 3 x 5; the cfg needs 3 x 4",
    ),
    "NaN": (
        [("MatMul", [normal(INPUTS, 4) * np.float32(np.nan)], {})],
        "0.connected.weights[0, 0] is nan, one of 28 in this array that are NaN or infinite; "
        "--allow-nonfinite loads them anyway",
    ),
    "doubles": (
        [("MatMul", [normal(INPUTS, 4).astype(np.float64)], {})],
        "c0.0 is DOUBLE; expected FLOAT",
    ),
    "biases behind the activation": (
        [PRODUCT, ("Relu", [], {}), ("Add", [normal(4)], {})],
        "Add 'n2' cannot be taken over: it adds behind an activation",
    ),
    "a number for each step": (
        [PRODUCT, ("Add", [normal(4, 1, 1)], {})],
        "Add 'n1' cannot be taken over: what it adds is not one number for each output",
    ),
    "a number for each stream and output": (
        [PRODUCT, ("Add", [normal(3, 4)], {})],
        "Add 'n1' cannot be taken over: what it adds is not one number for each output",
    ),
    "more axes than before": (
        [PRODUCT, ("Add", [normal(1, 1, 1, 4)], {})],
        "Add 'n1' cannot be taken over: what it adds is not one number for each output",
    ),
    "other gates of an LSTM": (
        [recurrent("LSTM", 4, 5, INPUTS, activations=["Sigmoid", "Relu", "Tanh"])],
        "LSTM 'n0' cannot be taken over: its activations have no counterpart",
    ),
    "a state to begin with": (
        [with_inputs(recurrent("GRU", 3, 5, INPUTS), NO_LENGTHS, normal(1, 1, 5))],
        "GRU 'n0' cannot be taken over: its states begin with other numbers than zero",
    ),
    "a cell to begin with": (
        [
            with_inputs(
                recurrent("LSTM", 4, 5, INPUTS), NO_LENGTHS, np.zeros((1, 1, 5)), normal(1, 1, 5)
            )
        ],
        "LSTM 'n0' cannot be taken over: its states begin with other numbers than zero",
    ),
    "transposed between": (
        [PRODUCT, ("Transpose", [], {"perm": [0, 2, 1]}), ("MatMul", [normal(4, 4)], {})],
        "MatMul 'n2' cannot be taken over: the last axis before it is not that of the features",
    ),
    "time moved between": (
        [
            recurrent("GRU", 3, 5, INPUTS),
            SQUEEZE,
            ("Transpose", [], {"perm": [1, 0, 2]}),
            recurrent("GRU", 3, 5, 5),
        ],
        "GRU 'n3' cannot be taken over: its input's axes are not time, streams and features",
    ),
    "transA": (
        [("Gemm", [normal(INPUTS, 4), normal(4)], {"transA": 1})],
        "Gemm 'n0' cannot be taken over: transA=1 has no counterpart",
    ),
    "integers between": (
        [PRODUCT, ("Cast", [], {"to": 7}), ("Cast", [], {"to": 1})],
        "Cast 'n1' cannot be taken over: it is to numbers that are no FLOAT",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(name: str) -> None:
    nodes, said = REFUSED[name]
    with pytest.raises(WeightsError) as error:
        read_model(chain(*nodes), "a.onnx").network()
    assert str(error.value) == f"a.onnx: {said}"


@pytest.mark.parametrize("name", ["all", ""])
def test_a_model_that_goes_on_from_the_last_state_alone_gives_its_last_step(name: str) -> None:
    model = onnx.load_model_from_string(chain(recurrent("GRU", 3, 5, INPUTS), LAST_LINEAR))
    model.graph.node[0].output[:] = [name, "t0"]
    found = read_model(model.SerializeToString(), "a.onnx")
    assert found.last_only
    x = inputs(3)[0]
    (y,) = session(model.SerializeToString()).run(None, {"in": x})
    np.testing.assert_allclose(found.network().twin(3).forward(x)[-1], y[0], rtol=0, atol=1e-6)


def test_a_model_whose_outputs_are_those_of_another_layer_is_refused() -> None:
    """Its last layer would be lost."""
    model = onnx.load_model_from_string(chain(PRODUCT, LINEAR, LINEAR_ON))
    said = r"^a\.onnx: none of its outputs is that of its last layer$"
    model.graph.node[2].op_type = "Shape"
    del model.graph.node[2].input[1]
    with pytest.raises(WeightsError, match=said):
        read_model(model.SerializeToString(), "a.onnx")


# --- what an opset changes --------------------------------------------------------------------


def softmax_by(opset: int, **attributes: Any) -> bytes:
    return chain(PRODUCT, ("Softmax", [], attributes), opset=opset)


@pytest.mark.parametrize(
    ("opset", "attributes"), [(11, {"axis": 2}), (11, {"axis": -1}), (13, {}), (17, {"axis": 2})]
)
def test_a_softmax_over_the_last_axis_is_the_same_network(
    opset: int, attributes: dict[str, Any]
) -> None:
    data, x = softmax_by(opset, **attributes), inputs(3)[0]
    (y,) = session(data).run(None, {"in": x})
    np.testing.assert_allclose(
        read_model(data, "a.onnx").network().twin(3).forward(x), y, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("opset", "attributes", "which"),
    [(11, {}, ", which are 1 to the last"), (12, {"axis": 1}, ""), (13, {"axis": 1}, "")],
)
def test_a_softmax_over_more_than_the_last_axis_is_refused(
    opset: int, attributes: dict[str, Any], which: str
) -> None:
    """Before opset 13 it is over streams and features together, where no axis is named."""
    said = f"Softmax 'n1' cannot be taken over: it is over other axes than the last alone{which}"
    with pytest.raises(WeightsError, match=f"^a.onnx: {said}$"):
        read_model(softmax_by(opset, **attributes), "a.onnx")


def test_a_softmax_of_opset_11_over_one_stream_or_two_axes_is_the_same_network() -> None:
    one = onnx.load_model_from_string(softmax_by(11))
    one.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    x = inputs(1)[0]
    (y,) = session(one.SerializeToString()).run(None, {"in": x})
    net = read_model(one.SerializeToString(), "a.onnx").network()
    np.testing.assert_allclose(net.forward(x), y, rtol=0, atol=1e-6)
    flat = onnx.load_model_from_string(softmax_by(11))
    del flat.graph.input[0].type.tensor_type.shape.dim[1]
    (y,) = session(flat.SerializeToString()).run(None, {"in": x[:, 0]})
    net = read_model(flat.SerializeToString(), "a.onnx").network()
    np.testing.assert_allclose(net.predict(x[:, 0]), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 6])
def test_an_opset_whose_operators_are_others_is_refused(opset: int) -> None:
    said = rf"^a\.onnx: its opset is {opset}; minidark reads 7 and later$"
    with pytest.raises(WeightsError, match=said):
        read_model(chain(PRODUCT, opset=opset), "a.onnx")


def test_a_gru_from_pytorch_that_resets_before_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """nn.GRU has no such form."""
    model = onnx.load_model_from_string(chain(recurrent("GRU", 3, 5, INPUTS)))
    read_model(model.SerializeToString(), "a.onnx")
    assert caplog.messages == []
    model.producer_name = "pytorch"
    read_model(model.SerializeToString(), "a.onnx")
    assert caplog.messages == [
        "a.onnx: n0 is a GRU from PyTorch without linear_before_reset=1, as nn.GRU always has; "
        "what wrote the file may have lost that, and the network then computes something else"
    ]


def test_logits_get_a_softmax_where_an_output_stands_for_each_input(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data, x = chain(PRODUCT, ("MatMul", [normal(4, INPUTS)], {})), inputs(1)[0]
    (y,) = session(data).run(None, {"in": x})
    p = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)
    caplog.set_level("INFO")
    net = read_model(data, "a.onnx").network()
    np.testing.assert_allclose(net.forward(x), p, rtol=0, atol=1e-6)
    assert caplog.messages == [
        "a.onnx: the last layer outputs logits, one for each symbol; [softmax] is added after it; "
        "--cfg chooses other layers"
    ]
    for end in ([BIASES], [BIASES, ("Tanh", [], {})]):
        data = chain(("MatMul", [normal(INPUTS, 6)], {}), *end)
        (y,) = session(data).run(None, {"in": x})
        net = read_model(data, "a.onnx").network()
        np.testing.assert_allclose(net.forward(x), y, rtol=0, atol=1e-6)


def test_damaged_and_missing_files_are_one_line(tmp_path: Path) -> None:
    for damaged in (b"\x08junk", b""):
        (tmp_path / "a.onnx").write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"a\.onnx: not an ONNX model, or damaged$"):
            read(tmp_path / "a.onnx")
    with pytest.raises(WeightsError, match=r"b\.onnx: cannot read: No such file"):
        read(tmp_path / "b.onnx")


def test_a_cfg_that_is_carried_is_checked_like_any_other() -> None:
    model = onnx.load_model_from_string(write(folded(RECURRENT["gru"]), [])[0])
    for cfg, said in {
        "[net]\ninputs=7\n[gru]\noutput=99999999\n": "in the cfg stored in it, this network",
        "[net]\ninputs=7\n[gru]\noutput=6\ntanh=1\n[softmax]": "biases is 5; the cfg needs 6",
        "[net]\ninputs=7\n[lstm]\noutput=5\n": "uf.biases is missing, which the cfg needs",
        "[net]\ninputs=7\n[connected]\noutput=5\n": "not an ONNX model, or damaged|the cfg needs",
        "nonsense": "in the cfg stored in it, 'nonsense' is not key=value",
    }.items():
        next(p for p in model.metadata_props if p.key == "cfg").value = cfg
        with pytest.raises(WeightsError, match=said):
            read_model(model.SerializeToString(), "a.onnx").network()
