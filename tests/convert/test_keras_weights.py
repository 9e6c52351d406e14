"""Keras's HDF5 files in the layouts of its versions, and arrays that only a cfg gives layers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, WeightsError
from minidark.backend import Array
from minidark.convert import MODELS
from minidark.convert.found import Found
from tests.helpers import network

h5py = pytest.importorskip("h5py", reason="h5py reads Keras's files")
Shape = tuple[int, ...]
RNG = np.random.default_rng(0)
GRU: list[Shape] = [(3, 12), (4, 12), (2, 12)]
LSTM: list[Shape] = [(3, 16), (4, 16), (16,)]
DENSE: list[Shape] = [(4, 3), (3,)]


def drawn(shapes: list[Shape]) -> list[Array]:
    return [RNG.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def saved(path: Path, fill: Callable[[Any], None]) -> Found:
    with h5py.File(path, "w") as file:
        fill(file)
    return MODELS[path.suffix].read(path)


def newer(path: Path, groups: Mapping[str, list[Array]]) -> Found:
    """What is read of a file in the newer layout."""

    def fill(file: Any) -> None:
        for name, arrays in groups.items():
            for i, array in enumerate(arrays):
                file[f"{name}/vars/{i}"] = array

    return saved(path, fill)


def older(root: Any, layers: Mapping[str, dict[str, Array]]) -> None:
    """Write the older layout: arrays under the names that they have in TensorFlow."""
    root.attrs["layer_names"] = [name.encode() for name in layers]
    for name, arrays in layers.items():
        group = root.create_group(name)
        group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in arrays]
        for part, array in arrays.items():
            group[f"{name}/{part}:0"] = array


def outputs(net: Network) -> Array:
    symbols = np.random.default_rng(1).integers(0, net.inputs, (20, 2))
    return net.twin(2).forward(symbols)


# --- whole models -------------------------------------------------------------


def of_keras_2(config: dict[str, Any], layers: Mapping[str, dict[str, Array]]) -> Any:
    """A whole model as Keras 2 writes it."""

    def fill(file: Any) -> None:
        model = {"class_name": "Sequential", "config": {"name": "s", **config}}
        file.attrs["model_config"] = json.dumps(model).encode()
        file.attrs["keras_version"] = b"2.4.0"
        older(file.create_group("model_weights"), layers)
        file["optimizer_weights/Adam/iter:0"] = np.int64(7)

    return fill


def test_a_model_of_keras_2_is_read(tmp_path: Path) -> None:
    """Its first layer has the shape, a BatchNormalization a list of one axis, a LeakyReLU alpha."""
    (kernel, recurrent, biases), (dense, bias) = drawn(GRU), drawn([(4, 4), (4,)])
    scales, shifts, mean = drawn([(4,)] * 3)
    cell = "gru_cell_1"
    found = saved(
        tmp_path / "a.h5",
        of_keras_2(
            {
                "layers": [
                    {
                        "class_name": "GRU",
                        "config": {
                            "name": "my/gru", "batch_input_shape": [None, 10, 3], "units": 4,
                            "activation": "tanh", "recurrent_activation": "sigmoid",
                            "return_sequences": True, "reset_after": True, "implementation": 2,
                        },
                    },
                    {"class_name": "Dense", "config": {"name": "d", "activation": "linear"}},
                    {"class_name": "LeakyReLU", "config": {"name": "l", "alpha": 0.1}},
                    {
                        "class_name": "BatchNormalization",
                        "config": {"name": "b", "axis": [2], "epsilon": 0.001},
                    },
                ]
            },
            {
                "my/gru": {
                    f"{cell}/kernel": kernel,
                    f"{cell}/recurrent_kernel": recurrent,
                    f"{cell}/bias": biases,
                },
                "d": {"kernel": dense, "bias": bias},
                "l": {},
                "b": {
                    "gamma": scales, "beta": shifts, "moving_mean": mean,
                    "moving_variance": np.ones(4, np.float32),
                },
            },
        ),
    )  # fmt: skip
    assert found.understood() == (
        "3 inputs, gru 4 tanh=1 reset_after=1, connected 4 leaky, batchnorm"
    )
    assert found.trial
    assert found.trial.steps == 10
    arrays = found.arrays
    np.testing.assert_array_equal(arrays["0.gru.uz.weights"], kernel[:, :4].T)
    np.testing.assert_array_equal(arrays["0.gru.wr.biases"], biases[1, 4:8])
    np.testing.assert_array_equal(arrays["1.connected.weights"], dense.T)
    np.testing.assert_array_equal(arrays["2.batchnorm.rolling_mean"], mean)
    divisor = np.sqrt(arrays["2.batchnorm.rolling_variance"]) + 1e-6
    np.testing.assert_allclose(divisor, np.sqrt(1.001), rtol=1e-6)


def test_names_in_several_attributes_are_read(tmp_path: Path) -> None:
    """Keras splits a list of names that is too long for one."""
    kernel, bias = drawn(DENSE)

    def fill(file: Any) -> None:
        layers = {"d": {"kernel": kernel, "bias": bias}, "e": {}}
        dense = {"class_name": "Dense", "config": {"name": "d"}}
        of_keras_2({"layers": [dense]}, layers)(file)
        attributes = file["model_weights"].attrs
        del attributes["layer_names"]
        attributes["layer_names0"], attributes["layer_names1"] = [b"e"], [b"d"]

    found = saved(tmp_path / "a.hdf5", fill)
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], kernel.T)


DENSE_CONFIG = {"layers": [{"class_name": "Dense", "config": {"name": "d"}}]}
DAMAGED: dict[str, tuple[Callable[[Any], None], str]] = {
    "no layer": (of_keras_2(DENSE_CONFIG, {}), "'d' has 0 arrays, and its config 2"),
    "one array too many": (
        of_keras_2(DENSE_CONFIG, {"d": dict(zip("abc", drawn([(4, 3), (3,), (3,)]), strict=True))}),
        "'d' has 3 arrays, and its config 2",
    ),
    "a missing array": (
        lambda file: (
            of_keras_2(DENSE_CONFIG, {"d": {}})(file),
            file["model_weights/d"].attrs.create("weight_names", [b"gone"]),
        )[0],
        "'model_weights/d/gone' is missing",
    ),
    "a group for an array": (
        lambda file: (
            of_keras_2(DENSE_CONFIG, {"d": {}})(file),
            file["model_weights/d"].attrs.create("weight_names", [b"inner"]),
            file["model_weights/d"].create_group("inner"),
        )[0],
        "/model_weights/d/inner is not a dataset",
    ),
    "no JSON": (
        lambda file: file.attrs.modify("model_config", "{"), "not a Keras model, or damaged"
    ),
    "numbers for a config": (
        lambda file: file.attrs.modify("model_config", np.ones(3)), "its config is not text"
    ),
    "names in two axes": (
        lambda file: file.attrs.modify("layer_names", np.ones((2, 2))), "is not a list of names"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    fill, said = DAMAGED[name]
    with pytest.raises(WeightsError) as error:
        saved(tmp_path / "a.h5", fill)
    assert str(error.value).startswith(f"{tmp_path / 'a.h5'}: ")
    assert said in str(error.value)


# --- arrays alone --------------------------------------------------------------

CFG = ("net inputs=3", "gru output=4 tanh=1 reset_after=1", "connected output=3", "softmax")


@pytest.mark.parametrize("root", ["layers", "_layer_checkpoint_dependencies"])
def test_arrays_find_the_layers_of_a_cfg(
    root: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their groups are in alphabetical order; Keras 2.13 calls the root otherwise."""
    caplog.set_level(logging.INFO, "minidark")
    gru, dense = drawn(GRU), drawn(DENSE)
    path = tmp_path / "a.weights.h5"
    seed = [np.array([1, 2], np.uint32)]
    found = newer(
        path,
        {
            f"{root}/dense": dense,
            f"{root}/gru/cell": gru,
            f"{root}/dropout/seed_generator": seed,
            "optimizer": drawn([(3, 12), (4, 12), (2, 12)]),
        },
    )
    net = network(*CFG, dtype="float32")
    arrays = found.arrays_for(net)
    assert arrays.keys() == {a.name for layer in net.layers for a in layer.arrays()}
    np.testing.assert_array_equal(arrays["0.gru.wh.weights"], gru[1][:, 8:].T)
    np.testing.assert_array_equal(arrays["1.connected.biases"], dense[1])
    assert caplog.messages == [
        f"{path}: took 0.gru from layers/gru/cell, 1.connected from layers/dense"
    ]


def test_every_kind_of_layer_finds_its_arrays(tmp_path: Path) -> None:
    groups = {
        "a/cell": drawn([(3, 4), (4, 4), (4,)]),
        "b/cell": drawn([(4, 16), (4, 16), (16,)]),
        "c/cell": drawn([(4, 12), (4, 12), (12,)]),
        "d": [np.abs(array) for array in drawn([(4,)] * 4)],
        "e": drawn([(4, 3)]),
    }
    net = network(
        "net inputs=3",
        "rnn output=4 elman=1 activation=tanh",
        "lstm output=4",
        "gru output=4 tanh=1",
        "batchnorm",
        "connected output=3",
        dtype="float32",
    )
    arrays = newer(tmp_path / "a.weights.h5", groups).arrays_for(net)
    np.testing.assert_array_equal(arrays["0.rnn.self.weights"], groups["a/cell"][1].T)
    np.testing.assert_array_equal(arrays["1.lstm.uo.weights"], groups["b/cell"][0][:, 12:].T)
    np.testing.assert_array_equal(arrays["2.gru.ur.biases"], groups["c/cell"][2][4:8])
    np.testing.assert_array_equal(arrays["3.batchnorm.scales"], groups["d"][0])
    np.testing.assert_array_equal(arrays["4.connected.biases"], np.zeros(3))


@pytest.mark.parametrize(
    "names",
    [
        ("layers/dense", "layers/dense_1", "layers/dense_2"),
        ("dense_1", "dense_2", "dense_10"),
        ("blocks/dense", "blocks/dense_1", "blocks/dense_11"),
    ],
)
def test_numbers_order_what_has_the_same_shapes(names: tuple[str, ...], tmp_path: Path) -> None:
    groups = {name: drawn([(3, 3), (3,)]) for name in names}
    net = network("net inputs=3", *["connected output=3"] * 3, dtype="float32")
    shuffled = {name: groups[name] for name in names[::-1]}
    arrays = newer(tmp_path / "a.weights.h5", shuffled).arrays_for(net)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(arrays[f"{i}.connected.biases"], groups[name][1])


def test_the_older_layout_lists_layers_in_their_order(tmp_path: Path) -> None:
    layers = {name: dict(zip("kb", drawn([(3, 3), (3,)]), strict=True)) for name in "zya"}
    found = saved(tmp_path / "a.h5", lambda file: older(file, layers))
    net = network("net inputs=3", *["connected output=3"] * 3, dtype="float32")
    arrays = found.arrays_for(net)
    for i, name in enumerate("zya"):
        np.testing.assert_array_equal(arrays[f"{i}.connected.biases"], layers[name]["b"])


UNFIT: dict[str, tuple[dict[str, list[Shape]], tuple[str, ...], str]] = {
    "names that tell no order": (
        {"first": [(3, 3), (3,)], "second": [(3, 3), (3,)]},
        ("connected output=3", "connected output=3"),
        "first and second both fit 0.connected, and the file does not tell their order; build the "
        "model with keras.Sequential and save it as .keras",
    ),
    "another kind": (
        {"gru/cell": GRU},
        ("lstm output=4",),
        "0.lstm needs 3 x 16, 4 x 16, 16; left is gru/cell (3 x 12, 4 x 12, 2 x 12)",
    ),
    "the other reset_after": (
        {"gru/cell": GRU},
        ("gru output=4 tanh=1",),
        "0.gru needs 3 x 12, 4 x 12, 12; left is gru/cell (3 x 12, 4 x 12, 2 x 12)",
    ),
    "too few": (
        {"gru/cell": GRU},
        CFG[1:],
        "1.connected needs 4 x 3, 3; left is nothing",
    ),
    "too many": (
        {"gru/cell": GRU, "dense": DENSE},
        CFG[1:2],
        "the cfg has no layer for dense (4 x 3, 3)",
    ),
    "darknet's rnn": (
        {"a": [(3, 4), (4, 4), (4,)]},
        ("rnn output=4",),
        "0.rnn has no counterpart in Keras; set elman=1",
    ),
    "batch norm within": (
        {"dense": [(3, 4), (4,)]},
        ("connected output=4 batch_normalize=1",),
        "0.connected has batch_normalize=1, which Keras's has not",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_the_cfg_is_one_line(name: str, tmp_path: Path) -> None:
    shapes, sections, said = UNFIT[name]
    path = tmp_path / "a.weights.h5"
    found = newer(path, {group: drawn(own) for group, own in shapes.items()})
    with pytest.raises(WeightsError) as error:
        found.arrays_for(network("net inputs=3", *sections, dtype="float32"))
    assert str(error.value) == f"{path}: {said}"


def test_an_epsilon_that_is_not_in_the_file_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = {"bn": [np.ones(3, np.float32)] * 4}
    found = newer(tmp_path / "a.weights.h5", groups)
    arrays = found.arrays_for(network("net inputs=3", "batchnorm", dtype="float32"))
    assert "the epsilon of bn is not in the file; Keras's default, 0.001, is assumed" in caplog.text
    divisor = np.sqrt(arrays["0.batchnorm.rolling_variance"]) + 1e-6
    np.testing.assert_allclose(divisor, np.sqrt(1.001), rtol=1e-6)
