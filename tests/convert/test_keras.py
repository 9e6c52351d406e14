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
from minidark.convert.keras import ACTIVATIONS as SIMPLE
from minidark.convert.keras import write
from minidark.convert.keras_chain import Layers, read, read_model
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


GRU: dict[str, Any] = {
    "units": 2, "return_sequences": True, "activation": "tanh", "recurrent_activation": "sigmoid",
    "reset_after": False,
}  # fmt: skip
ARRAYS = {f"it/{i}": np.ones(shape, np.float32) for i, shape in enumerate([(3, 6), (2, 6), (6,)])}
REFUSED = {
    "reset after": (
        [layer("GRU", **GRU | {"reset_after": True})],
        "GRU 'it' cannot be taken over: reset_after=True resets after the product, darknet's GRU "
        "before it: no weights of the one are weights of the other",
    ),
    "reset after, by default": (
        [layer("GRU", **{k: v for k, v in GRU.items() if k != "reset_after"})],
        "GRU 'it' cannot be taken over: reset_after=True resets after the product, darknet's GRU "
        "before it: no weights of the one are weights of the other",
    ),
    "backward": (
        [layer("GRU", **GRU | {"go_backwards": True})],
        "GRU 'it' cannot be taken over: it must run forward and return sequences",
    ),
    "other gates": (
        [layer("GRU", **GRU | {"recurrent_activation": "hard_sigmoid"})],
        "GRU 'it' cannot be taken over: its activations have no counterpart",
    ),
    "Conv1D": (
        [layer("GRU", **GRU), layer("Conv1D", "conv")],
        "Conv1D 'conv' cannot be taken over: minidark reads only GRU, LSTM, Dense, Activation, "
        "Softmax, LeakyReLU, Dropout and Identity",
    ),
    "SimpleRNN": (
        [layer("SimpleRNN", units=2)],
        "SimpleRNN 'it' cannot be taken over: it is act(W x + W s), darknet's [rnn] "
        "act(W x) + act(W s)",
    ),
    "softmax over time": (
        [layer("GRU", **GRU), layer("Softmax", "soft", axis=1)],
        "Softmax 'soft' cannot be taken over: its axis is 1, and only -1 is read",
    ),
    "another leak": (
        [layer("GRU", **GRU), layer("LeakyReLU", "leak", negative_slope=0.3)],
        "LeakyReLU 'leak' cannot be taken over: darknet has no negative_slope 0.3",
    ),
    "branches": (
        [layer("GRU", **GRU), layer("Softmax", "a", "it"), layer("Softmax", "b", "it")],
        "Softmax 'b' cannot be taken over: the model is no chain: its paths part",
    ),
    "a class of one's own": (
        [layer("GRU", **GRU) | {"module": None, "registered_name": "GRU"}],
        "GRU 'it' cannot be taken over: it is a class of your own, not Keras's",
    ),
    "nothing": ([layer("InputLayer")], "no GRU, LSTM or Dense in this model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(name: str) -> None:
    layers, said = REFUSED[name]
    with pytest.raises(WeightsError) as error:
        Layers(layers, ARRAYS, "a.keras").found()
    assert str(error.value) == f"a.keras: {said}"


MODELS = """
import sys, keras
from keras import layers
folder, Input = sys.argv[1], lambda: keras.Input((None, 7))
LSTM = lambda **keys: layers.LSTM(7, return_sequences=True, **keys)
def save(name, x, y):
    keras.Model(x, y).save(f"{folder}/{name}.keras")
x, lstm = Input(), LSTM(name="it")
save("recurrent_twice", x, layers.Dense(5)(lstm(lstm(x))))
x, dense = Input(), layers.Dense(7, name="it")
save("dense_twice", x, dense(LSTM()(dense(x))))
x, soft = Input(), layers.Softmax(name="it")
save("softmax_twice", x, soft(LSTM()(soft(x))))
x, dropout = Input(), layers.Dropout(.1, name="it")
save("dropout_twice", x, dropout(LSTM()(dropout(x))))
x = Input()
y, h, c = LSTM(return_state=True)(x)
save("last_state", x, layers.Dense(5, name="it")(h))
save("between", x, LSTM(name="it")(y, initial_state=[h, c]))
save("dropping", x, layers.Dropout(.5, name="it")(y, training=True))
class Sub(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = layers.LSTM(7)
    def call(self, x):
        return self.lstm(x)
sub = Sub()
sub(keras.ops.zeros((1, 2, 7)))
sub.save(f"{folder}/subclassed.keras")
class Own(keras.Model):
    pass
x = Input()
Own(x, layers.Dense(7)(x)).save(f"{folder}/own.keras")
x, h, c = Input(), keras.Input((7,)), keras.Input((7,))
y, *after = LSTM(return_state=True)(x, initial_state=[h, c])
save("logits", [x, h, c], [layers.Dense(7)(y), *after])
save("other_outputs", [x, h, c], [layers.Dense(5)(y), *after])
"""
TWICE = "'it' cannot be taken over: the model uses it more than once"
SAVED = {
    "recurrent_twice": f"LSTM {TWICE}",
    "dense_twice": f"Dense {TWICE}",
    "softmax_twice": f"Softmax {TWICE}",
    "dropout_twice": f"Dropout {TWICE}",
    "last_state": "Dense 'it' cannot be taken over: it reads a last state, and darknet's layers "
    "pass on the outputs of all steps",
    "between": "LSTM 'it' cannot be taken over: it begins with, or reads beside its input, what "
    "another layer gives",
    "dropping": "Dropout 'it' cannot be taken over: a mask, and training=True, have no counterpart",
    "subclassed": "Sub is a subclassed model: the order of its layers is in its Python code, not "
    "in the file; build it with keras.Sequential or keras.Model(inputs, outputs)",
    "own": "Own is a class of your own, whose call may do more than its layers; save "
    "keras.Model(model.inputs, model.outputs)",
}


@needs_keras
@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_a_functional_model_wires_otherwise_is_refused(tmp_path: Path) -> None:
    python(MODELS, tmp_path)
    for name, said in SAVED.items():
        with pytest.raises(WeightsError) as error:
            read(tmp_path / f"{name}.keras")
        assert str(error.value) == f"{tmp_path / name}.keras: {said}"
    for name, types in {
        "logits": ["lstm", "connected", "softmax"], "other_outputs": ["lstm", "connected"],
    }.items():  # fmt: skip
        found = read(tmp_path / f"{name}.keras")
        assert [section.type for section in found.sections[1:]] == types


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
        "it reads a last state, and darknet's layers pass on the outputs of all steps",
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
    f"{name}/{i}": np.ones(shape, np.float32)
    for name in ("it", "b")
    for i, shape in enumerate([(2, 8), (2, 8), (8,)])
}


@pytest.mark.parametrize("name", UNCHAINED)
def test_layers_that_are_no_chain_are_refused_with_the_reason(name: str) -> None:
    layers, said = UNCHAINED[name]
    last = layers[-1]["config"]["name"]
    with pytest.raises(WeightsError) as error:
        Layers(layers, LSTM_ARRAYS, "a.keras").found()
    assert str(error.value) == f"a.keras: LSTM '{last}' cannot be taken over: {said}"


def test_a_model_whose_last_layer_is_no_output_is_refused() -> None:
    layers = [X, linked("it", ["x", 0, 0]), linked("b", ["it", 0, 0])]
    assert Layers(layers, LSTM_ARRAYS, "a.keras", [["it", 0, 0], ["b", 0, 0]]).found()
    with pytest.raises(WeightsError, match=r"^a\.keras: its last layer, 'b', is no output$"):
        Layers(layers, LSTM_ARRAYS, "a.keras", ["it", 0, 0]).found()


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
    arrays: dict[str, Array] = {"it/0": np.array(1, np.float32)}
    monkeypatch.setattr("minidark.convert.keras_chain.read_arrays", lambda *_, **__: arrays)
    layers = [layer("Dense", units=1, activation="linear")]
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    data = zipped(config_json=json.dumps(config).encode(), model_weights_h5=b"")
    with pytest.raises(WeightsError, match=r"^a\.keras: not a Keras 3 model, or damaged$"):
        read_model(io.BytesIO(data), "a.keras")
