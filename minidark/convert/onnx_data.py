"""The numbers of an ONNX model's tensors: in the model or, for weights, in one file beside it.

A tensor may name another file as the place of its numbers. onnx's own `to_array` follows whatever
name that is, so this is the one place that calls it, and `Beside` the one that opens such a file.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from minidark.backend import Array
from minidark.convert.found import LARGEST
from minidark.errors import WeightsError, bare, echo
from minidark.files.disk import open_plain, read_at


def is_elsewhere(tensor: Any) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


def array_of(tensor: Any, path: Path | str, beside: Beside | None = None) -> Array:
    """The numbers of a float32 tensor, which are in the model or, where that is allowed, in the
    file beside it. Raises WeightsError for another."""
    if tensor.data_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.data_type)
        raise WeightsError(f"{path}: {bare(tensor.name)} is {kind}; expected FLOAT")
    if beside and is_elsewhere(tensor):
        return beside.read(tensor)
    return inside(tensor, path)


def inside(tensor: Any, path: Path | str) -> Array:
    """The numbers of a tensor that has them inside. Raises WeightsError for another."""
    if is_elsewhere(tensor):
        said = "lies in another file; save the model with its data inside"
        raise WeightsError(f"{path}: {bare(tensor.name)} {said}")
    _check_dims(tensor, path)
    array: Array = numpy_helper.to_array(tensor)
    return array


def _check_dims(tensor: Any, path: Path | str) -> None:
    if min(tensor.dims, default=1) < 1:
        raise WeightsError(f"{path}: {bare(tensor.name)} has an axis without numbers")


class Beside:
    """The file in the folder of the model `path` that holds weights. It is one plain file, and no
    more is read than it holds."""

    def __init__(self, path: Path | str):
        self.path = path
        self.name = ""  # of the file, once a tensor has named it
        self.taken = 0  # bytes that were read

    def read(self, tensor: Any) -> Array:
        """A float32 tensor. Raises WeightsError."""
        _check_dims(tensor, self.path)
        keys = {entry.key: entry.value for entry in tensor.external_data}
        size = 4 * math.prod(tensor.dims)
        offset = self._number(tensor, keys.get("offset", "0"))
        if self._number(tensor, keys.get("length", str(size))) != size:
            raise self._wrong(tensor, f"has {echo(keys['length'])} bytes, and {size:,} by its axes")
        self._check_name(tensor, keys.get("location", ""))
        with open_plain(Path(self.path).parent / self.name, self._refused) as opened:
            existing = os.fstat(opened.fileno()).st_size
            self.taken += size
            if offset + size > existing or self.taken > existing:
                said = f"is {size:,} bytes at {offset:,}; {bare(self.name)} has {existing:,}"
                raise self._wrong(tensor, said)
            if self.taken > LARGEST:
                raise self._refused(f"more than {LARGEST:,} bytes are not read")
            data = read_at(opened, size, offset)
        if len(data) != size:
            raise self._refused("changed while it was read; try again")
        return np.frombuffer(data, "<f4").reshape(tensor.dims)

    def _check_name(self, tensor: Any, name: str) -> None:
        """It must name a file in this folder, and the same for all tensors."""
        if not name or name in (".", "..") or set(name) & set("/\\:\0"):
            said = f"lies in {echo(name)}; only a file in the model's own folder is opened"
            raise self._wrong(tensor, said)
        self.name = self.name or name
        if name != self.name:
            raise self._wrong(tensor, f"lies in {echo(name)}, others in {echo(self.name)}")

    def _number(self, tensor: Any, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise self._wrong(tensor, f"lies at {echo(text)}, which is no number")
        return int(text)

    def _wrong(self, tensor: Any, said: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(tensor.name)} {said}")

    def _refused(self, said: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(self.name)} beside it: {said}")
