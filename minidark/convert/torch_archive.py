"""The zip of torch.export.save, `.pt2`: a graph in JSON, and the bytes of its weights.

    ROOT/models/NAME.json                            the graph and its signature
    ROOT/data/weights/NAME_weights_config.json       dtype, sizes and strides of each parameter
    ROOT/data/weights/weight_0, ...                  their bytes, little-endian
    ROOT/data/constants/                             likewise for tensors that are no parameters

minidark reads the archive without torch. torch.export.load is not used at all, because it unpickles
objects of any class and evaluates the text of symbolic sizes, so a hostile file could run code.

Source: torch/export/pt2_archive and torch/_export/serde/schema.py of PyTorch 2.13.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.errors import WeightsError, bare, echo
from minidark.files import zips
from minidark.files.archives import MALFORMED

FORM = "program of torch.export.save"
MOST_UNPACKED = 2  # times the file's size: torch does not compress
LARGEST_JSON = 4 << 20  # bytes of a graph; one of a usual network has 20,000
TIMES = 8  # the most float32 bytes of all weights together, as a multiple of the file's size
SCHEMA = 8  # the major version of the JSON
DTYPES = {7: "<f4", 8: "<f8"}  # of weights, by torch's number
NARROW = {6: "float16", 13: "bfloat16"}
INTEGERS = (4, 5)  # dtypes of ids: int32 and int64
STRIDED = 7  # the usual layout of a tensor
OLD_GRAPH = "serialized_exported_program.json"
OLD = (
    "in the layout of an older PyTorch; load it with torch.export.load, only if you trust it, and "
    "save it with a current PyTorch"
)

Json = dict[str, Any]


@dataclass(slots=True)
class Program:
    """A graph, its signature, and its weights, which are read on demand."""

    path: Path | str
    graph: Json
    signature: Json
    is_decomposed: bool
    archive: zipfile.ZipFile
    folders: dict[str, str]  # of weights and of constants, by kind of input
    configs: dict[str, Json]  # their tables, likewise
    left: int  # float32 bytes that may still be read
    arrays: dict[tuple[str, str], Array] = field(default_factory=dict)

    def weights(self, kind: str, name: str) -> Array:
        """The float32 array of a parameter, buffer or constant. Raises WeightsError or one of
        MALFORMED."""
        if (kind, name) not in self.arrays:
            self.arrays[kind, name] = self._read(kind, name)
        return self.arrays[kind, name]

    def _read(self, kind: str, name: str) -> Array:
        entry = self.configs[kind][name]
        meta = entry["tensor_meta"]
        dtype = meta["dtype"]
        if dtype in NARROW:
            narrow = f"{bare(name)} is {NARROW[dtype]}; call net.float() before torch.export.export"
            raise WeightsError(f"{self.path}: {narrow}")
        if entry["use_pickle"] or dtype not in DTYPES or meta["layout"] != STRIDED:
            raise WeightsError(f"{self.path}: {bare(name)} is not a plain tensor of floats")
        sizes, strides = ([_plain(n) for n in meta[key]] for key in ("sizes", "strides"))
        offset = _plain(meta["storage_offset"])
        self.left -= 4 * math.prod(sizes)
        if self.left < 0:
            raise WeightsError(f"{self.path}: its weights take more than {TIMES} times its size")
        data = self.archive.read(f"{self.folders[kind]}{entry['path_name']}")
        stored = np.frombuffer(data, DTYPES[dtype])
        last = offset + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
        if math.prod(sizes) and last >= len(stored):
            raise WeightsError(f"{self.path}: {bare(name)} is longer than its bytes")
        steps = [stride * stored.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(stored[offset:], sizes, steps)
        return np.array(view, np.float32, order="C")


def _plain(size: Mapping[str, Any]) -> int:
    """A size that is a plain number."""
    (number,) = size.values()
    if size.keys() != {"as_int"} or type(number) is not int or not 0 <= number < 2**40:
        raise ValueError
    return int(number)


def open_program(data: bytes, path: Path | str) -> Program:
    """The program in a file's bytes. Raises WeightsError."""
    try:
        return _open(data, path)
    except zips.PackedError as error:
        raise WeightsError(f"{path}: its weights are compressed") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error


def _open(data: bytes, path: Path | str) -> Program:
    archive = zips.open_zip(io.BytesIO(data), MOST_UNPACKED)
    names = archive.namelist()
    if OLD_GRAPH in names:
        raise WeightsError(f"{path}: {OLD}")
    models = [n for n in names if n.split("/")[1:2] == ["models"] and n.endswith(".json")]
    if not models and any(name.endswith("data.pkl") for name in names):
        raise WeightsError(f"{path}: not a program of torch.export; name a state dict .pt")
    if len(models) != 1:
        raise WeightsError(f"{path}: it has {len(models)} programs; expected one")
    root, _, file = models[0].split("/")
    name = file.removesuffix(".json")
    model = _json(archive, models[0], path)
    if (version := model["schema_version"]["major"]) != SCHEMA:
        raise WeightsError(
            f"{path}: its schema version is {echo(version)}; minidark reads {SCHEMA}"
        )
    kinds = {"parameter": "weights", "buffer": "weights", "tensor_constant": "constants"}
    folders = {kind: f"{root}/data/{folder}/" for kind, folder in kinds.items()}
    tables = {
        folder: _json(archive, f"{root}/data/{folder}/{name}_{folder}_config.json", path)["config"]
        for folder in set(kinds.values())
    }
    return Program(
        path,
        model["graph_module"]["graph"],
        model["graph_module"]["signature"],
        "TRAINING" not in model["verifiers"],
        archive,
        folders,
        {kind: tables[folder] for kind, folder in kinds.items()},
        TIMES * len(data),
    )


def _json(archive: zipfile.ZipFile, name: str, path: Path | str) -> Json:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise WeightsError(
            f"{path}: a graph of more than {LARGEST_JSON:,} bytes, as of a loop that is unrolled"
        )
    loaded = json.loads(archive.read(name))
    if not isinstance(loaded, dict):
        raise ValueError
    return loaded
