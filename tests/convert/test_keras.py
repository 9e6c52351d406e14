"""Keras models, held by stock Keras in a process of its own: outputs and states, from any state on.

Keras takes seconds to start: one network is tried in `make test-all`, the others in
`make test-long`.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, WeightsError
from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.keras import ACTIVATIONS as SIMPLE
from minidark.convert.keras import write
from minidark.convert.keras_chain import read, read_model
from minidark.convert.keras_layers import read_layers
from minidark.convert.keras_wiring import chain
from minidark.layers.activations import ACTIVATIONS
from tests.convert.nets import ELMAN, KERAS, NET, RECURRENT, after, begin, folded, inputs

needs_keras = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("keras", "h5py")))
    or not any(map(importlib.util.find_spec, ("torch", "jax", "tensorflow"))),
    reason="Keras, or a library that it computes with, is not installed",
)
EVERY_ACTIVATION = (
    NET,
    "gru output=4 tanh=1",
    *(f"connected output=8 activation={name}" for name in ACTIVATIONS),
    "activation activation=tanh",
    *(f"rnn output=4 activation={name} elman=1" for name in SIMPLE),
)

ORACLE = """
import sys, keras, numpy as np
model = keras.models.load_model(sys.argv[1])
given = np.load(sys.argv[2])
out = {}
for streams in (1, 3):
    states = [given[f"{streams}.state{i}"] for i in range(len(model.inputs) - 1)]
    for call in (0, 1):
        x = given[f"{streams}.x{call}"].transpose(1, 0, 2)
        y, *states = map(keras.ops.convert_to_numpy, model([x, *states]))
        out[f"{streams}.y{call}"] = y.transpose(1, 0, 2)
    out |= {f"{streams}.after{i}": state for i, state in enumerate(states)}
np.savez(sys.argv[3], **out)
"""


def python(code: str, *args: Path) -> None:
    """Code in a process of its own, where Keras computes with a library that is there."""
    there = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name)]
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": there[0]}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def assert_keras_computes_the_same(sections: tuple[str, ...], folder: Path) -> None:
    net = folded(sections)
    data, _ = write(net, inputs(1))
    (folder / "a.keras").write_bytes(data)
    given: dict[str, Array] = {}
    twins = {}
    for streams in (1, 3):
        twins[streams], states = begin(net, streams)
        given |= {f"{streams}.state{i}": state for i, state in enumerate(states)}
        given |= {f"{streams}.x{call}": x for call, x in enumerate(inputs(streams))}
    np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
    python(ORACLE, folder / "a.keras", folder / "given.npz", folder / "found.npz")
    with np.load(folder / "found.npz") as found:
        for streams, twin in twins.items():
            for call, x in enumerate(inputs(streams)):
                wanted = twin.forward(x)
                np.testing.assert_allclose(found[f"{streams}.y{call}"], wanted, rtol=0, atol=2e-6)
            for i, state in enumerate(after(twin)):
                np.testing.assert_allclose(found[f"{streams}.after{i}"], state, rtol=0, atol=2e-6)


@needs_keras
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["mixed", "elman rnns"])
def test_keras_computes_the_same_and_it_comes_back(name: str) -> None:
    """From zero state, as Keras does where the file is written: loaded again, in two calls."""
    net = folded(KERAS[name])
    data, outputs = write(net, inputs(3))
    twin = net.twin(3)
    for x, y in zip(inputs(3), outputs, strict=True):
        np.testing.assert_allclose(y, twin.forward(x), rtol=0, atol=1e-6)
    back = read_model(io.BytesIO(data), "a.keras").network()
    assert back.seen == 12
    x = inputs(3)[0]
    np.testing.assert_allclose(back.twin(3).forward(x), net.twin(3).forward(x), rtol=0, atol=1e-6)


@needs_keras
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", KERAS)
def test_keras_computes_the_same_of_each_kind(name: str, tmp_path: Path) -> None:
    assert_keras_computes_the_same(KERAS[name], tmp_path)


@needs_keras
@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_activation_is_darknets(tmp_path: Path) -> None:
    assert_keras_computes_the_same(EVERY_ACTIVATION, tmp_path)


@pytest.mark.parametrize("name", sorted({*ACTIVATIONS} - {*SIMPLE}))
def test_an_activation_that_keras_does_not_name_is_refused(name: str) -> None:
    with pytest.raises(CfgError) as error:
        write(folded(ELMAN[name]), [])
    assert str(error.value) == (
        f"layer 0.rnn has no counterpart in Keras: with elman=1, activation={name} is not one of "
        "logistic, relu, elu, linear, tanh, hardtan; .py has all"
    )


def test_the_plain_recurrent_layer_has_no_counterpart() -> None:
    with pytest.raises(CfgError) as error:
        write(folded(RECURRENT["rnn"]), [])
    assert str(error.value) == (
        "layer 0.rnn has no counterpart in Keras: its SimpleRNN is act(W x + W s), this "
        "act(W x) + act(W s); .onnx and .py have one"
    )


# --- models of other programs ----------------------------------------------------------------

THEIRS = """
import sys, keras, numpy as np
from keras import layers
chain = keras.Sequential([
    keras.Input((None, 7)),
    layers.GRU(5, reset_after=False, return_sequences=True, activation="sigmoid"),
    layers.LSTM(4, return_sequences=True), layers.Dropout(.1),
    layers.Dense(6, activation="relu"), layers.Dense(7, activation="softmax", use_bias=False),
])
rng = np.random.default_rng(0)
chain.set_weights([rng.normal(0, .5, w.shape) for w in chain.get_weights()])
chain.save(sys.argv[1])
x = np.load(sys.argv[2]).transpose(1, 0, 2)
np.save(sys.argv[3], keras.ops.convert_to_numpy(chain(x)).transpose(1, 0, 2))
"""


@needs_keras
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_chain_of_another_program_is_the_same_network(tmp_path: Path) -> None:
    x = inputs(1)[0]
    np.save(tmp_path / "x.npy", x)
    python(THEIRS, tmp_path / "a.keras", tmp_path / "x.npy", tmp_path / "y.npy")
    net = read(tmp_path / "a.keras").network()
    assert [la.type for la in net.layers] == ["gru", "lstm", "connected", "connected", "softmax"]
    np.testing.assert_allclose(net.forward(x), np.load(tmp_path / "y.npy"), rtol=0, atol=1e-6)


def layer(kind: str, name: str = "it", source: str = "", **config: Any) -> dict[str, Any]:
    """As a model's config has it."""
    history = {"class_name": "t", "config": {"keras_history": [source, 0, 0]}}
    nodes = [{"args": [history], "kwargs": {}}] if source else []
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes}


def theirs(layers: list[Any], arrays: Any, outputs: Any = None, kind: str = "Functional") -> Found:
    """What is found in a model of these layers; `outputs` is a functional one's."""
    config = {"layers": layers} | ({} if outputs is None else {"output_layers": outputs})
    found = chain({"class_name": kind, "config": config}, "a.keras")
    return read_layers(found, arrays)


GRU: dict[str, Any] = {
    "units": 2, "return_sequences": True, "activation": "tanh", "recurrent_activation": "sigmoid",
    "reset_after": False,
}  # fmt: skip
ONES = [np.ones(shape, np.float32) for shape in [(3, 6), (2, 6), (6,)]]
ARRAYS = {"layers/gru/cell": ONES}
REFUSED = {
    "biases of one row": (
        [layer("GRU", **GRU | {"reset_after": True})],
        "GRU 'it' cannot be taken over: its biases are those of the other reset_after",
    ),
    "too few arrays": (
        [layer("GRU", **GRU), layer("Dense", "dense", units=2)],
        "'dense' has 0 arrays, and its config 2; it may share its arrays with another layer",
    ),
    "ids in the middle": (
        [layer("GRU", **GRU), layer("Embedding", "embed")],
        "Embedding 'embed' cannot be taken over: its ids are not the model's input",
    ),
    "a class of one's own": (
        [layer("GRU", **GRU) | {"module": None, "registered_name": "GRU"}],
        "GRU 'it' cannot be taken over: it is a class of your own, not Keras's",
    ),
    "a class under the name of Keras's": (
        [layer("GRU", **GRU) | {"module": "keras.layers", "registered_name": "my>GRU"}],
        "GRU 'it' cannot be taken over: it is a class of your own, not Keras's",
    ),
    "nothing": ([layer("InputLayer")], "no GRU, LSTM, SimpleRNN or Dense in this model"),
    "text": (
        [layer("GRU", **GRU), layer("StringLookup", "look")],
        "StringLookup 'look' cannot be taken over: minidark's symbols are ids; save the model that "
        "begins with ids",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(name: str) -> None:
    layers, said = REFUSED[name]
    with pytest.raises(WeightsError) as error:
        theirs(layers, ARRAYS, kind="Sequential")
    assert str(error.value) == f"a.keras: {said}"


def test_an_early_gru_has_no_reset_after_and_biases_of_one_row() -> None:
    early = {key: value for key, value in GRU.items() if key != "reset_after"}
    found = theirs([layer("GRU", **early)], ARRAYS)
    assert (
        found.understood() == "3 inputs, gru 2 tanh=1, of which the model gives the last step"
        or (found.understood() == "3 inputs, gru 2 tanh=1")
    )
    later = {"layers/gru/cell": [*ONES[:2], np.ones((2, 6), np.float32)]}
    assert "reset_after=1" in theirs([layer("GRU", **early)], later).understood()


def linked(name: str, *sources: list[Any], kind: str = "LSTM", **kwargs: Any) -> dict[str, Any]:
    """A layer of a functional model, used once for each source: layer, node, output."""
    nodes = [
        {"args": [{"class_name": "t", "config": {"keras_history": source}}], "kwargs": kwargs}
        for source in sources
    ]
    config = {k: v for k, v in GRU.items() if k != "reset_after"}
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes}


X = {"class_name": "InputLayer", "config": {"name": "x"}, "inbound_nodes": []}
UNCHAINED = {
    "twice": ([X, linked("it", ["x", 0, 0], ["it", 0, 0])], "the model uses it more than once"),
    "a last state": (
        [X, linked("it", ["x", 0, 0]), linked("b", ["it", 0, 1])],
        "it reads only the last step of the layers before it",
    ),
    "a last cell": (
        [X, linked("it", ["x", 0, 0]), linked("b", ["it", 0, 2])],
        "it reads a state that is not the output of the last step",
    ),
    "paths": (
        [X, linked("it", ["x", 0, 0]), linked("b", ["x", 0, 0])],
        "its paths part, and minidark reads only chains of Keras layers",
    ),
    "a mask": (
        [X, linked("it", ["x", 0, 0], mask=1)],
        "a mask, and training=True, have no counterpart",
    ),
    "states between": (
        [X, linked("it", ["x", 0, 0]),
         linked("b", ["it", 0, 0], initial_state={"keras_history": ["it", 0, 1]})],
        "it begins with, or reads beside its input, what another layer gives",
    ),
}  # fmt: skip
LSTM_ARRAYS = {
    f"layers/{name}/cell": [np.ones(shape, np.float32) for shape in [(2, 8), (2, 8), (8,)]]
    for name in ("lstm", "lstm_1")
}


@pytest.mark.parametrize("name", UNCHAINED)
def test_layers_that_are_no_chain_are_refused_with_the_reason(name: str) -> None:
    layers, said = UNCHAINED[name]
    last = layers[-1]["config"]["name"]
    with pytest.raises(WeightsError) as error:
        theirs(layers, LSTM_ARRAYS)
    assert str(error.value) == f"a.keras: LSTM '{last}' cannot be taken over: {said}"


def test_a_model_whose_last_layer_is_no_output_is_refused() -> None:
    layers = [X, linked("it", ["x", 0, 0]), linked("b", ["it", 0, 0])]
    assert theirs(layers, LSTM_ARRAYS, [["it", 0, 0], ["b", 0, 0]])
    with pytest.raises(WeightsError, match=r"^a\.keras: its last layer, 'b', is no output$"):
        theirs(layers, LSTM_ARRAYS, ["it", 0, 0])


def test_nodes_of_keras_2_are_read_too() -> None:
    """A node is a list of layer, node, output and options for each input."""

    def old(name: str, *read: Any) -> dict[str, Any]:
        return linked(name) | {"inbound_nodes": [[*read]]}

    chained = [X, old("it", ["x", 0, 0, {}]), old("b", ["it", 0, 0, {"training": False}])]
    assert theirs(chained, LSTM_ARRAYS, [["b", 0, 0]]).names == ["0.lstm", "1.lstm"]
    for wrong, said in {
        "its paths part": old("b", ["x", 0, 0, {}]),
        "joins several paths": old("b", ["it", 0, 0, {}], ["x", 0, 0, {}]) | {"class_name": "Add"},
        "what another layer gives": old("b", ["it", 0, 0, {"initial_state": [["it", 0, 1]]}]),
        "training=True": old("b", ["it", 0, 0, {"training": True}]),
    }.items():
        with pytest.raises(WeightsError, match=wrong):
            theirs([*chained[:2], said], LSTM_ARRAYS)


def test_models_within_models_have_a_limit() -> None:
    inner = layer("LSTM", **GRU)
    for _ in range(20):
        inner = layer("Sequential", layers=[inner])
    with pytest.raises(WeightsError, match=r"more than 8 models within one another$"):
        theirs([inner], {})


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89HDF",
        zipped(),
        zipped(config_json=b"{", model_weights_h5=b""),
        pytest.param(
            zipped(config_json=json.dumps({"config": {}}).encode(), model_weights_h5=b"junk"),
            marks=pytest.mark.skipif(not importlib.util.find_spec("h5py"), reason="h5py reads it"),
        ),
    ],
    ids=["empty", "HDF5", "no members", "no JSON", "no HDF5"],
)
def test_damaged_files_are_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(data)
    with pytest.raises(WeightsError, match=r"a\.keras: not a Keras 3 model, or damaged$"):
        read(tmp_path / "a.keras")


def test_a_kernel_without_axes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays: dict[str, Array] = {"layers/dense/0": np.array(1, np.float32)}
    monkeypatch.setattr("minidark.convert.keras_chain.read_arrays", lambda *_, **__: arrays)
    layers = [layer("Dense", units=1, activation="linear", use_bias=False)]
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    data = zipped(config_json=json.dumps(config).encode(), model_weights_h5=b"")
    with pytest.raises(WeightsError, match=r"^a\.keras: not a Keras 3 model, or damaged$"):
        read_model(io.BytesIO(data), "a.keras")
