"""Good files that a corpus does not keep, because they hold where and with what they were made, or
are large: made for a kind when they are mutated."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from minidark import Text, train
from minidark.files import disk
from minidark.training.records import Records
from minidark.training.train import Training
from tests.helpers import network

BESIDE = "beside.bin"  # in the working folder: the weights of an ONNX model


@functools.cache
def made(kind: str) -> tuple[bytes, ...]:
    return MAKERS[kind]() if kind in MAKERS else ()


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


# --- .keras -----------------------------------------------------------------------------------

CELLS = {"activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True}


def keras() -> tuple[bytes, ...]:
    """A chain of a Dense and a cell of each kind, in both of HDF5's layouts."""
    gru = {"units": 1, "reset_after": False, **CELLS}
    return tuple(
        keras_model([(kind, config, shapes), ("Dense", dense, [(1, 2), (2,)])], layout)
        for layout in ("earliest", "latest")
        for dense in [{"units": 2, "activation": "softmax"}]
        for kind, config, shapes in (
            ("GRU", gru, [(2, 3), (1, 3), (3,)]),
            ("LSTM", {"units": 1, **CELLS}, [(2, 4), (1, 4), (4,)]),
        )
    )


def keras_model(
    layers: list[tuple[str, dict[str, Any], list[tuple[int, ...]]]], layout: str
) -> bytes:
    import h5py

    hdf5, data = io.BytesIO(), io.BytesIO()
    config: list[dict[str, Any]] = []
    with h5py.File(hdf5, "w", libver=layout) as file:
        for number, (kind, own, shapes) in enumerate(layers):
            name = f"l{number}"
            config.append({"class_name": kind, "config": {"name": name, **own}})
            layer = file.create_group(f"layers/{kind.lower()}")
            holder = layer if kind == "Dense" else layer.create_group("cell")
            for i, shape in enumerate(shapes):
                holder.require_group("vars").create_dataset(str(i), data=ones(*shape))
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": config}})
        )
        archive.writestr("model.weights.h5", hdf5.getvalue())
    return data.getvalue()


def keras_h5() -> tuple[bytes, ...]:
    """A whole model in the older layout, and weights alone in both layouts."""
    import h5py

    gru = {"name": "g", "units": 1, "reset_after": True, **CELLS}
    dense = {"name": "d", "units": 2, "activation": "softmax"}
    config = [{"class_name": "GRU", "config": gru}, {"class_name": "Dense", "config": dense}]
    arrays: dict[str, list[tuple[int, ...]]] = {"g": [(2, 3), (1, 3), (2, 3)], "d": [(1, 2), (2,)]}
    files = []
    for is_model in (True, False):
        data = io.BytesIO()
        with h5py.File(data, "w") as file:
            root = file.create_group("model_weights") if is_model else file
            if is_model:
                model = {"class_name": "Sequential", "config": {"layers": config}}
                file.attrs["model_config"] = json.dumps(model)
            root.attrs["layer_names"] = [*arrays]
            for name, shapes in arrays.items():
                names = [f"{name}/{i}:0" for i in range(len(shapes))]
                group = root.create_group(name)
                group.attrs["weight_names"] = names
                for own, shape in zip(names, shapes, strict=True):
                    group[own] = ones(*shape)
        files.append(data.getvalue())
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for path, shapes in {"my_gru/cell": arrays["g"], "layers/dense": arrays["d"]}.items():
            for i, shape in enumerate(shapes):
                file[f"{path}/vars/{i}"] = ones(*shape)
    return (*files, data.getvalue())


# --- .pt --------------------------------------------------------------------------------------


def state_dicts() -> tuple[bytes, ...]:
    """An LSTM and a Linear, as torch saves them now and as it did before 1.6."""
    import torch

    state = torch.nn.ModuleDict({"l": torch.nn.LSTM(2, 1), "d": torch.nn.Linear(1, 2)}).state_dict()
    files = []
    for zipped in (True, False):
        data = io.BytesIO()
        torch.save(state, data, _use_new_zipfile_serialization=zipped)
        files.append(data.getvalue())
    return tuple(files)


def programs() -> tuple[bytes, ...]:
    """Programs of torch.export: a Linear, and a GRU with states."""
    from tests.convert import pt2

    return pt2.linear(), pt2.gru()


def shared_states() -> tuple[bytes, ...]:
    """State dicts as .safetensors, of a GRU and of a cell with tied weights."""
    import safetensors.numpy

    gru = {"rnn.weight_ih_l0": ones(6, 3), "rnn.weight_hh_l0": ones(6, 2), "fc.weight": ones(3, 2)}
    cell = {"emb.weight": ones(3, 2), "c.weight_ih": ones(8, 2), "c.weight_hh": ones(8, 2)}
    tied = {"fc.weight": "emb.weight"}
    return safetensors.numpy.save(gru), safetensors.numpy.save(cell, tied)


# --- .onnx ------------------------------------------------------------------------------------


def onnx_beside() -> tuple[bytes, ...]:
    """A product whose matrix lies in another file, behind a Squeeze."""
    from onnx import TensorProto, helper, numpy_helper

    tensor = TensorProto(name="w", data_type=1, dims=[3, 4], data_location=1)
    for key, value in (("location", BESIDE), ("offset", "0"), ("length", "48")):
        tensor.external_data.add(key=key, value=value)
    values = (
        helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["T", 1, "S", 3]), ("y", None))
    )
    axes = numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        helper.make_node("Squeeze", ["x", "axes"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    x, y = values
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return (bytes(model.SerializeToString()),)


def onnx_models() -> tuple[bytes, ...]:
    """As PyTorch writes them: stacked layers with states, a loop over the steps, a cell."""
    from tests.convert.test_onnx_cells import cell, loop
    from tests.convert.test_onnx_graphs import stack

    stacked = stack(("T", "S")).SerializeToString()
    return *onnx_beside(), bytes(stacked), loop(), cell("gru"), cell("lstm")


# --- a run ------------------------------------------------------------------------------------

NET = ("net inputs=3 batch=2 time_steps=2", "gru output=2", "connected output=3", "softmax")


@functools.cache
def text() -> Text:
    """What the run was trained on; closed with the process."""
    path = Path(tempfile.mkdtemp(prefix="minidark-fuzz-"), "text")
    path.write_bytes(bytes([0, 1, 2] * 100))
    return Text(path, 3)


@functools.cache
def one_run() -> Training:
    """A run that goes on from one checkpoint after the other."""
    return begin()


def begin() -> Training:
    return train(network(*NET, dtype="float32"), text(), 30, valid_fraction=0.1)


@functools.cache
def a_run() -> Path:
    """A folder with checkpoint, log and run.json after 30 batches."""
    folder = Path(tempfile.mkdtemp(prefix="minidark-fuzz-"))
    training = begin()
    unsynced = dataclasses.replace(disk.SYSTEM, fsync=lambda descriptor: None)
    with patch.object(disk, "SYSTEM", unsynced):  # a busy disk takes its time
        records = Records(training, folder, "a", "a.cfg", ["minidark", "train", "a.cfg", "text"])
        for report in training:
            records.add(report)
            if report.batch == 20:
                records.save()
    return folder


MAKERS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "keras": keras,
    "h5": keras_h5,
    "pt": state_dicts,
    "pt2": programs,
    "state": shared_states,
    "onnx": onnx_models,
    "checkpoint": lambda: ((a_run() / "a.ckpt").read_bytes(),),
    "run": lambda: ((a_run() / "run.json").read_bytes(),),
    "log": lambda: ((a_run() / "log.jsonl").read_bytes(),),
}
