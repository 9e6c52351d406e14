"""The numbers of an ONNX model's tensors, in the model or, for weights, in one file beside it.

A tensor may store its numbers in another file. onnx's own `to_array` opens any file that a tensor
names, so only this module calls it, and only `Beside` opens such a file.
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
    """The numbers of a float32 tensor. beside: the external data file, if one is allowed. Raises
    WeightsError for another type of tensor."""
    if tensor.data_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.data_type)
        raise WeightsError(f"{path}: {bare(tensor.name)} is {kind}; expected FLOAT")
    if beside and is_elsewhere(tensor):
        return beside.read(tensor)
    return inside(tensor, path)


def inside(tensor: Any, path: Path | str) -> Array:
    """The numbers of a tensor stored in the model. Raises WeightsError if they are in another
    file."""
    if is_elsewhere(tensor):
        message = "is stored in another file; save the model with its data inside"
        raise WeightsError(f"{path}: {bare(tensor.name)} {message}")
    _check_dims(tensor, path)
    array: Array = numpy_helper.to_array(tensor)
    return array


def _check_dims(tensor: Any, path: Path | str) -> None:
    if min(tensor.dims, default=1) < 1:
        raise WeightsError(f"{path}: {bare(tensor.name)} has an axis of length 0")


class Beside:
    """The external data file in the folder of the model `path`.

    It must be one regular file. No more is read than its length.
    """

    def __init__(self, path: Path | str):
        self.path = path
        self.name = ""  # file name, set by the first tensor
        self.taken = 0  # bytes read so far

    def read(self, tensor: Any) -> Array:
        """The numbers of a float32 tensor. Raises WeightsError."""
        _check_dims(tensor, self.path)
        keys = {entry.key: entry.value for entry in tensor.external_data}
        size = 4 * math.prod(tensor.dims)
        offset = self._number(tensor, keys.get("offset", "0"))
        if self._number(tensor, keys.get("length", str(size))) != size:
            raise self._wrong(tensor, f"has {echo(keys['length'])} bytes; its axes need {size:,}")
        self._check_name(tensor, keys.get("location", ""))
        with open_plain(Path(self.path).parent / self.name, self._refused) as opened:
            existing = os.fstat(opened.fileno()).st_size
            self.taken += size
            if offset + size > existing or self.taken > existing:
                message = f"is {size:,} bytes at {offset:,}; {bare(self.name)} has {existing:,}"
                raise self._wrong(tensor, message)
            if self.taken > LARGEST:
                raise self._refused(f"more than {LARGEST:,} bytes, the limit for a model")
            data = read_at(opened, size, offset)
        if len(data) != size:
            raise self._refused("changed while it was read; try again")
        return np.frombuffer(data, "<f4").reshape(tensor.dims)

    def _check_name(self, tensor: Any, name: str) -> None:
        """Require one file in the model's folder, the same for all tensors."""
        if not name or name in (".", "..") or set(name) & set("/\\:\0"):
            message = f"is stored in {echo(name)}; only a file in the model's own folder is opened"
            raise self._wrong(tensor, message)
        self.name = self.name or name
        if name != self.name:
            message = f"is stored in {echo(name)}, other tensors in {echo(self.name)}"
            raise self._wrong(tensor, message)

    def _number(self, tensor: Any, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            message = f"has an offset or a length of {echo(text)}, which is not a number"
            raise self._wrong(tensor, message)
        return int(text)

    def _wrong(self, tensor: Any, message: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(tensor.name)} {message}")

    def _refused(self, message: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(self.name)} beside it: {message}")
