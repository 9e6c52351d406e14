"""Models that point into other local files: nothing is opened but the model, and for the weights of
an ONNX model one plain file beside it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import WeightsError
from minidark.backend import Array
from minidark.convert import MODELS
from tests.convert.nets import INPUTS
from tests.opened import audited, unopened

SECRET: Array = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()


def refused(path: str, *secrets: Path) -> str:
    """The line with which a model is refused, while nobody opens the secrets."""
    with unopened(*secrets), pytest.raises(WeightsError) as error:
        MODELS[Path(path).suffix].read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
    return said


# --- Keras: HDF5 has five ways into another file ----------------------------------------------

DENSE = {
    "class_name": "Dense",
    "config": {"name": "it", "units": 4, "activation": "linear", "use_bias": False},
}
Attack = Callable[[Any, Any], None]  # what is put into the groups `layers/it` and its `vars`


def keras(path: str, fill: Attack) -> None:
    """A model of one Dense layer, whose HDF5 `fill` completes."""
    h5py = pytest.importorskip("h5py", reason="h5py reads .keras")
    hdf5 = io.BytesIO()
    with h5py.File(hdf5, "w") as file:
        layer = file.create_group("layers/dense")
        variables = layer.create_group("vars")
        fill(layer, variables)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [DENSE]}})
        )
        archive.writestr("model.weights.h5", hdf5.getvalue())


def external_link(layer: Any, variables: Any) -> None:
    import h5py

    variables["0"] = h5py.ExternalLink(str(Path("secret.h5").absolute()), "/secret")


def link_of_a_group(layer: Any, variables: Any) -> None:
    import h5py

    layer["cell"] = h5py.ExternalLink(str(Path("secret.h5").absolute()), "/")


def soft_link(layer: Any, variables: Any) -> None:
    import h5py

    layer.file["out"] = h5py.ExternalLink(str(Path("secret.h5").absolute()), "/")
    variables["0"] = h5py.SoftLink("/out/secret")


def external_storage(layer: Any, variables: Any) -> None:
    raw = [(str(Path("secret.bin").absolute()), 0, SECRET.nbytes)]
    variables.create_dataset("0", SECRET.shape, "<f4", external=raw)


def virtual(layer: Any, variables: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout(SECRET.shape, "<f4")
    source = str(Path("secret.h5").absolute())
    layout[...] = h5py.VirtualSource(source, "secret", SECRET.shape)
    variables.create_virtual_dataset("0", layout)


ATTACKS = {
    "external link": (external_link, "/layers/dense/vars/0 is a link, which is not followed"),
    "link of a group": (link_of_a_group, "/layers/dense/cell is a link, which is not followed"),
    "soft link": (soft_link, "/out is a link, which is not followed"),
    "external storage": (
        external_storage,
        "the numbers of /layers/dense/vars/0 are in another file",
    ),
    "virtual": (virtual, "the numbers of /layers/dense/vars/0 are in another file"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_keras_model_that_points_into_another_file_is_refused(name: str) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py reads .keras")
    with h5py.File("secret.h5", "w") as file:
        file["secret"] = SECRET
    Path("secret.bin").write_bytes(SECRET.tobytes())
    attack, said = ATTACKS[name]
    keras("models/a.keras", attack)
    secrets = Path("secret.h5"), Path("secret.bin")
    assert refused("models/a.keras", *secrets) == f"models/a.keras: {said}"


def test_a_keras_model_that_has_its_numbers_is_read() -> None:
    keras("models/a.keras", lambda layer, variables: variables.create_dataset("0", data=SECRET))
    found = MODELS[".keras"].read("models/a.keras")
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], SECRET.T)


# --- ONNX: weights may lie beside the model ---------------------------------------------------


def onnx_model(name: str = "weights.bin", **keys: str) -> Any:
    """x times a matrix (3, 4), which lies in another file."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    helper = onnx.helper
    value = helper.make_tensor_value_info
    tensor = onnx.TensorProto(name="w", data_type=1, dims=SECRET.shape)
    put_elsewhere(tensor, name, **keys)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", 1, ["T", "S", 3])],
        [value("y", 1, None)],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def put_elsewhere(tensor: Any, name: str, **keys: str) -> None:
    tensor.data_location = 1
    for key, value in {"location": name, **keys}.items():
        tensor.external_data.add(key=key, value=value)


def save(model: Any) -> None:
    Path("models/a.onnx").write_bytes(model.SerializeToString())


def test_weights_in_a_file_beside_the_model_are_read_and_nothing_else_is_opened() -> None:
    """As onnx itself and PyTorch write them."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    inside = onnx_model()
    inside.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(SECRET, "w"))
    onnx.save_model(
        inside, "models/a.onnx", save_as_external_data=True, location="a.data", size_threshold=0
    )
    assert Path("models/a.data").exists()
    MODELS[".onnx"].read("models/a.onnx")  # imports what it needs
    with audited() as events:
        found = MODELS[".onnx"].read("models/a.onnx")
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], SECRET.T)
    assert events == {("open", "models/a.onnx"), ("open", "models/a.data")}


OUTSIDE = {
    "absolute": "{folder}/secret.bin",
    "climbing": "../secret.bin",
    "through itself": "./../secret.bin",
    "the folder": ".",
    "a folder": "inner/secret.bin",
    "backslashes": "..\\secret.bin",
    "a drive": "C:secret.bin",
    "empty": "",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_weights_outside_of_the_models_folder_are_refused(name: str) -> None:
    secret = Path("secret.bin").absolute()
    secret.write_bytes(SECRET.tobytes())
    location = OUTSIDE[name].format(folder=secret.parent)
    save(onnx_model(location))
    said = refused("models/a.onnx", secret)
    assert said.endswith("; only a file in the model's own folder is opened")


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_beside_the_model_is_refused(link: Callable[[Path, Path], None]) -> None:
    secret = Path("secret.bin").absolute()
    secret.write_bytes(SECRET.tobytes())
    link(secret, Path("models/weights.bin"))
    save(onnx_model())
    said = refused("models/a.onnx", secret)
    assert said == "models/a.onnx: weights.bin beside it: a link; replace it by a copy of the file"


def test_a_pipe_or_a_folder_beside_the_model_is_refused_without_waiting() -> None:
    save(onnx_model())
    Path("models/weights.bin").mkdir()
    assert (
        refused("models/a.onnx")
        == "models/a.onnx: weights.bin beside it: a folder; pass the files in it"
    )
    Path("models/weights.bin").rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo("models/weights.bin")
        assert (
            refused("models/a.onnx") == "models/a.onnx: weights.bin beside it: not a regular file"
        )


def test_a_name_that_a_terminal_would_obey_is_escaped() -> None:
    save(onnx_model("\x1b[2J" * 100))
    assert "beside it: cannot read: " in refused("models/a.onnx")


WRONG_PLACES = {
    "short": ({}, 47, "w is 48 bytes at 0; weights.bin has 47"),
    "offset": ({"offset": "1"}, 48, "w is 48 bytes at 1; weights.bin has 48"),
    "huge offset": ({"offset": str(2**59)}, 48, "w is 48 bytes at 576,460,752,303,423,488; "),
    "negative offset": ({"offset": "-4"}, 48, "w has an offset or a length of '-4', which is not"),
    "another length": ({"length": "40"}, 48, "w has '40' bytes; its axes need 48"),
    "no number": ({"length": "9" * 5000}, 48, "w has an offset or a length of '999"),
}


@pytest.mark.parametrize("name", WRONG_PLACES)
def test_size_and_offset_are_compared_before_anything_is_read(name: str) -> None:
    keys, size, said = WRONG_PLACES[name]
    Path("models/weights.bin").write_bytes(bytes(size))
    save(onnx_model(**keys))
    assert said in refused("models/a.onnx")


def test_more_weights_than_the_file_beside_holds_are_refused() -> None:
    """Two tensors over the same bytes are twice what the file holds."""
    model = onnx_model()
    again = model.graph.initializer.add()
    again.CopyFrom(model.graph.initializer[0])
    again.name, again.dims[:] = "v", [4, 3]
    model.graph.node[0].output[0] = "h"
    model.graph.node.add(op_type="MatMul", input=["h", "v"], output=["y"])
    Path("models/weights.bin").write_bytes(SECRET.tobytes())
    save(model)
    assert "v is 48 bytes at 0; weights.bin has 48" in refused("models/a.onnx")


def test_a_second_file_beside_the_model_is_not_opened() -> None:
    model = onnx_model()
    again = model.graph.initializer.add()
    again.CopyFrom(model.graph.initializer[0])
    again.name, again.external_data[0].value, again.dims[:] = "v", "secret.bin", [4, 3]
    model.graph.node[0].output[0] = "h"
    model.graph.node.add(op_type="MatMul", input=["h", "v"], output=["y"])
    for name in ("weights.bin", "secret.bin"):
        Path("models", name).write_bytes(SECRET.tobytes())
    save(model)
    said = refused("models/a.onnx", Path("models/secret.bin"))
    assert said == "models/a.onnx: v is stored in 'secret.bin', other tensors in 'weights.bin'"


def squeeze(model: Any, kind: int) -> Any:
    """Axes in a file."""
    axes = model.graph.initializer.add(name="axes", data_type=kind, dims=[1])
    put_elsewhere(axes, "secret.bin")
    model.graph.node.insert(0, model.graph.node.add(op_type="Squeeze"))
    model.graph.node[0].CopyFrom(model.graph.node[-1])
    model.graph.node[0].input[:], model.graph.node[0].output[:] = ["x", "axes"], ["squeezed"]
    del model.graph.node[-1]
    model.graph.node[1].input[0] = "squeezed"
    return model


def constant_weights(model: Any) -> Any:
    import onnx

    node = onnx.NodeProto(op_type="Constant", output=["w"])
    attribute = node.attribute.add(name="value", type=4)
    attribute.t.CopyFrom(model.graph.initializer[0])
    attribute.t.external_data[0].value = "secret.bin"
    model.graph.node.insert(0, node)
    del model.graph.initializer[:]
    return model


@pytest.mark.parametrize("make", [lambda m: squeeze(m, 7), constant_weights], ids=["axes", "node"])
def test_only_weights_may_lie_beside_the_model(make: Callable[[Any], Any]) -> None:
    Path("models/secret.bin").write_bytes(SECRET.tobytes())
    Path("models/weights.bin").write_bytes(SECRET.tobytes())
    save(make(onnx_model()))
    said = refused("models/a.onnx", Path("models/secret.bin"))
    assert said.endswith("is stored in another file; save the model with its data inside")


def test_the_first_state_is_not_read_from_another_file() -> None:
    """ConstantOfShape has a tensor too."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from tests.convert.test_onnx import chain, recurrent

    model = onnx.load_model_from_string(chain(recurrent("GRU", 3, 5, INPUTS)))
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 5]), "shape")
    model.graph.initializer.append(shape)
    zeros = onnx.NodeProto(op_type="ConstantOfShape", input=["shape"], output=["h"])
    tensor = zeros.attribute.add(name="value", type=4).t
    tensor.data_type, tensor.dims[:] = 1, [1]
    put_elsewhere(tensor, "secret.bin")
    model.graph.node[0].input.extend(["", "h"])
    model.graph.node.insert(0, zeros)
    Path("models/secret.bin").write_bytes(bytes(4))
    save(model)
    said = refused("models/a.onnx", Path("models/secret.bin"))
    assert said.endswith("is stored in another file; save the model with its data inside")
