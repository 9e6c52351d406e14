"""Files that are small and ask for much: each is refused within a second and 200 MB.

Each bomb is made here, and read by the function that `minidark convert` reads it with.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import MinidarkError, load_network
from minidark.convert import MODELS
from minidark.files.archives import packed
from tests.bounds import bounded
from tests.files.test_archives import npy, npz

NEEDS = {".onnx": ("onnx",), ".keras": ("h5py",), ".h5": ("h5py",), ".pt": ("torch",)}


def read(path: Path) -> None:
    if path.suffix in MODELS:
        MODELS[path.suffix].read(path).network()
    else:
        load_network(path)


def require(suffix: str) -> None:
    for name in NEEDS.get(suffix, ()):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")


# --- .npz and .safetensors --------------------------------------------------------------------


def npz_of(count: int, header: int) -> bytes:
    """Members whose headers are as long as that."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(header - 1) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", header) + text.encode() + bytes(4)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i in range(count):
            archive.writestr(f"a{i}.npy", member)
    return data.getvalue()


def tensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


ASKS_FOR_MUCH = {"cfg": "[net]\ninputs=256\n[gru]\noutput=8000\n"}  # 200 million numbers
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "2,000 members with long headers.npz": (
        lambda: npz_of(2000, 9000),
        "not a .npz file, or damaged",
    ),
    "many members.npz": (lambda: npz_of(30_000, 118), "not a .npz file, or damaged"),
    "10,000 members.npz": (lambda: npz_of(10_000, 1000), "contains no cfg"),
    "packed.npz": (
        lambda: npz(a=npy("(12000000,)", bytes(48_000_000))),
        "it unpacks to more than 20 times its size",
    ),
    "a cfg that asks for much.npz": (
        lambda: packed("a.npz", {}, ASKS_FOR_MUCH),
        "its cfg needs 198,192,000 numbers, and 0 are in it",
    ),
    "a cfg that asks for much.safetensors": (
        lambda: packed("a.safetensors", {}, ASKS_FOR_MUCH),
        "its cfg needs 198,192,000 numbers, and 0 are in it",
    ),
    "a long header.safetensors": (
        lambda: tensors(b'{"a":[' + b"{}," * 3_000_000 + b"{}]}"),
        "not a .safetensors file, or damaged",
    ),
    "2 MB of lists.safetensors": (
        lambda: tensors(b'{"a":[' + b"[]," * 690_000 + b"{}]}"),
        "not a .safetensors file, or damaged",
    ),
}

# --- .onnx ------------------------------------------------------------------------------------


def onnx_chain(*nodes: Any) -> bytes:
    from tests.convert.test_onnx import chain

    return chain(*nodes)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def product(*shape: int) -> Any:
    return ("MatMul", [ones(*shape)], {})


def shared_weights() -> bytes:
    """A matrix of 4 MB that 900 layers have."""
    import onnx

    model = onnx.load_model_from_string(onnx_chain(product(7, 1000), product(1000, 1000)))
    for i in range(1, 900):
        model.graph.node.add(op_type="MatMul", input=[f"t{i}", "c1.0"], output=[f"t{i + 1}"])
    model.graph.output[0].name = "t900"
    return bytes(model.SerializeToString())


def protobuf(*fields: tuple[int, bytes]) -> bytes:
    """A message of fields with a length."""

    def varint(n: int) -> bytes:
        low = [n >> shift & 127 for shift in range(0, max(1, n.bit_length()), 7)]
        return bytes([*(byte | 128 for byte in low[:-1]), low[-1]])

    return b"".join(varint(field << 3 | 2) + varint(len(data)) + data for field, data in fields)


GRU_OF_A_MILLION = ("GRU", [ones(1, 3, 7), ones(1, 3, 10**6)], {"hidden_size": 10**6})
ONNX: dict[str, tuple[Callable[[], bytes], str]] = {
    "20,000 products.onnx": (
        lambda: onnx_chain(product(7, 1), *[product(1, 1)] * 20_000),
        "more than 200,000 nodes, tensors and fields",
    ),
    "3,000 products.onnx": (
        lambda: onnx_chain(product(7, 1), *[product(1, 1)] * 3000),
        "more than 1,000 layers",
    ),
    "a million empty nodes.onnx": (
        lambda: protobuf((7, protobuf((1, b"")) * 1_000_000)),
        "more than 200,000 nodes, tensors and fields",
    ),
    "text.onnx": (
        lambda: protobuf((7, protobuf((10, bytes(3 << 20))))),
        "more than 2,097,152 bytes besides weights",
    ),
    "a huge list of axes.onnx": (
        lambda: onnx_chain(("Squeeze", [np.zeros(4_000_000, np.int64)], {})),
        "its axes are not up to 8 integers",
    ),
    "an attribute of axes.onnx": (
        lambda: onnx_chain(("Unsqueeze", [], {"axes": [0] * 400_000})),
        "",
    ),
    "axes upon axes.onnx": (
        lambda: onnx_chain(*[("Unsqueeze", [np.array([0])], {})] * 3000),
        "there are more than 8 axes",
    ),
    "shared weights.onnx": (shared_weights, "c1.0 is used more than 8 times"),
    "biases of another axis.onnx": (
        lambda: onnx_chain(product(7, 10_000), ("Add", [ones(10_000, 1)], {})),
        "what it adds is not one number for each output",
    ),
    "a layer far larger than its arrays.onnx": (
        lambda: onnx_chain(GRU_OF_A_MILLION),
        "",
    ),
}

# --- .keras -----------------------------------------------------------------------------------


def keras(fill: Callable[[Any], None], config: str = "", method: int = zipfile.ZIP_STORED) -> bytes:
    import h5py

    hdf5, data = io.BytesIO(), io.BytesIO()
    with h5py.File(hdf5, "w") as file:
        file.create_group("layers")
        fill(file)
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr(
            "config.json",
            config or json.dumps({"class_name": "Sequential", "config": {"layers": []}}),
        )
        archive.writestr("model.weights.h5", hdf5.getvalue())
    return data.getvalue()


def variables(file: Any, name: str) -> Any:
    return file.create_group(f"layers/{name}/vars")


def linked_arrays(file: Any) -> None:
    """200 names of one array of 20 MB."""
    array = file.create_dataset("array", data=ones(5_000_000))
    for i in range(200):
        variables(file, f"l{i}")["0"] = array


def linked_layers(file: Any) -> None:
    """1,000 arrays of one number, which 400 layers have all."""
    array = file.create_dataset("array", data=ones(1))
    shared = file.create_group("cell/vars")
    for i in range(1000):
        shared[str(i)] = array
    for i in range(400):
        variables(file, f"l{i}").parent["cell"] = file["cell"]


def many_layers(file: Any) -> None:
    for i in range(3000):
        variables(file, f"l{i}")


def many_arrays(file: Any) -> None:
    group = variables(file, "l")
    for i in range(2001):
        group[str(i)] = ones(1)


def circles(file: Any) -> None:
    """A group that is in itself."""
    file["layers"]["l"] = file["layers"]


def unwritten(file: Any) -> None:
    """4 GB, none of which is there."""
    variables(file, "l").create_dataset("0", (1 << 15, 1 << 15), "<f4", chunks=(1 << 10, 1 << 10))


def zeros(file: Any) -> None:
    """64 MB in 70 KB."""
    array = np.zeros((1 << 12, 1 << 12), np.float32)
    variables(file, "l").create_dataset("0", data=array, compression="gzip")


def empty(file: Any) -> None:
    del file


def many_members() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i in range(50_000):
            archive.writestr(f"m{i}", b"")
    return data.getvalue()


TWICE = "its arrays take more than 2 times the file's size"
MEMBERS = "more than 5,000 groups and arrays"
DEEP = "more than 40 groups within one another"
PACKED = "it unpacks to more than 2 times its size"
KERAS: dict[str, tuple[Callable[[], bytes], str]] = {
    "packed.keras": (
        lambda: keras(lambda f: variables(f, "l").create_dataset("0", data=ones(8_000_000)),
                      method=zipfile.ZIP_DEFLATED),
        PACKED,
    ),
    "packed config.keras": (
        lambda: keras(empty, "[" + "[]," * 3_400_000 + "[]]", zipfile.ZIP_DEFLATED),
        PACKED,
    ),
    "a long config.keras": (
        lambda: keras(empty, "[" + "[]," * 3_400_000 + "[]]"),
        "not a Keras 3 model, or damaged",
    ),
    "2 MB of lists.keras": (
        lambda: keras(empty, "[" + "[]," * 690_000 + "[]]"),
        "not a Keras 3 model, or damaged",
    ),
    "many members.keras": (many_members, "not a Keras 3 model, or damaged"),
    "linked arrays.keras": (lambda: keras(linked_arrays), TWICE),
    "linked layers.keras": (lambda: keras(linked_layers), MEMBERS),
    "many layers.keras": (lambda: keras(many_layers), MEMBERS),
    "many arrays.keras": (lambda: keras(many_arrays), "more than 2,000 arrays"),
    "groups in circles.keras": (lambda: keras(circles), DEEP),
    "unwritten chunks.keras": (lambda: keras(unwritten), TWICE),
    "packed chunks.keras": (lambda: keras(zeros), TWICE),
}  # fmt: skip

# --- .h5 --------------------------------------------------------------------------------------


def hdf5(fill: Callable[[Any], None]) -> bytes:
    import h5py

    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        fill(file)
    return data.getvalue()


def long_config(file: Any) -> None:
    file.attrs["model_config"] = "[" + "[]," * 2_000_000 + "[]]"


def lists_in_config(file: Any) -> None:
    file.attrs["model_config"] = "[" + "[]," * 690_000 + "[]]"


def many_names(file: Any) -> None:
    """Of one array."""
    file["l/a"] = ones(1)
    file["l"].attrs["weight_names"] = ["a"] * 3000
    file.attrs["layer_names"] = ["l"] * 3000


def same_names(file: Any) -> None:
    """1,900 times an array of 20 MB."""
    file["l/a"] = ones(5_000_000)
    file["l"].attrs["weight_names"] = ["a"] * 1900
    file.attrs["layer_names"] = ["l"]


H5: dict[str, tuple[Callable[[], bytes], str]] = {
    "a long config.h5": (lambda: hdf5(long_config), "its config has more than 4,194,304 bytes"),
    "2 MB of lists.h5": (lambda: hdf5(lists_in_config), "not a Keras model, or damaged"),
    "many names.h5": (lambda: hdf5(many_names), "more than 2,000 names in layer_names"),
    "same names.h5": (lambda: hdf5(same_names), TWICE),
}

# --- .pt --------------------------------------------------------------------------------------


def state_dict(pickle: bytes | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """A saved tensor, with another pickle where one is given."""
    import torch

    made, data = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(1000, 1000)}, made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(data, "w", method) as new:
        for name in old.namelist():
            changed = pickle and name.endswith("data.pkl")
            new.writestr(name, pickle if changed else old.read(name))  # type: ignore[arg-type]
    return data.getvalue()


def expanded() -> bytes:
    import torch

    data = io.BytesIO()
    torch.save({"weight": torch.zeros(1).expand(30_000, 30_000)}, data)
    return data.getvalue()


# A name that is a tuple of tuples of tuples ..., whose hash takes 3^60 steps.
DEEP_NAME = b"\x80\x02}q\x00)" + b"q\x01h\x01h\x01\x87" * 60 + b"K\x01s."
TORCH: dict[str, tuple[Callable[[], bytes], str]] = {
    "packed.pt": (
        lambda: state_dict(method=zipfile.ZIP_DEFLATED),
        "its arrays are compressed; save net.state_dict() with torch.save",
    ),
    "expanded.pt": (expanded, "its arrays take more than 8 times the file's size; save clones"),
    "a long pickle.pt": (
        lambda: state_dict(b"\x80\x02(" + b"}" * 8_000_000 + b"l."),
        "more than 1,048,576 bytes besides its tensors",
    ),
}

BOMBS = ARCHIVES | ONNX | KERAS | H5 | TORCH
# Those that take long to make, or are read by a process of its own, which takes seconds to start.
LONG_TO_MAKE = {
    "10,000 members.npz", "many members.npz", "packed.npz", "2 MB of lists.safetensors",
    "20,000 products.onnx", "a huge list of axes.onnx", "a million empty nodes.onnx",
}  # fmt: skip
SLOW = {*LONG_TO_MAKE, *KERAS, *H5, *TORCH}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in BOMBS],
)
def test_a_bomb_is_refused_within_a_second_and_200_megabytes(name: str, tmp_path: Path) -> None:
    make, said = BOMBS[name]
    path = tmp_path / name
    require(path.suffix)
    path.write_bytes(make())
    with bounded(good_worker(path.suffix, tmp_path)), pytest.raises(MinidarkError) as error:
        read(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_a_name_that_takes_for_ever_is_stopped(tmp_path: Path) -> None:
    """By the limit on the processor's time, which counts whole seconds."""
    require(".pt")
    path = tmp_path / "a.pt"
    path.write_bytes(state_dict(DEEP_NAME))
    good = good_worker(".pt", tmp_path)
    assert good
    with (
        bounded(good, seconds=6),
        pytest.raises(MinidarkError, match="not a state dict, or damaged"),
    ):
        read(path)


def good_worker(suffix: str, folder: Path) -> Callable[[], object] | None:
    """Reads a small file of the same form, where that takes a process of its own."""
    good = folder / f"good{suffix}"
    if suffix == ".keras":
        good.write_bytes(keras(lambda f: variables(f, "l").create_dataset("0", data=ones(1))))
    elif suffix == ".h5":
        good.write_bytes(hdf5(lambda f: f.create_dataset("layers/l/vars/0", data=ones(1))))
    elif suffix == ".pt":
        good.write_bytes(state_dict())
    elif suffix == ".onnx":
        good.write_bytes(onnx_chain(product(7, 1)))
    else:
        return None
    MODELS[suffix].read  # noqa: B018  what it imports is not counted

    def read_good() -> None:
        with contextlib.suppress(MinidarkError):
            read(good)

    return read_good
