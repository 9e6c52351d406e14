"""Reads a `.safetensors` file of a PyTorch state dict, as other programs write it.

Unlike minidark's own files it has no cfg, and its arrays have PyTorch's names. The format sorts
arrays, so the order in which the modules were registered is lost.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found, whole
from minidark.convert.torch_state import from_state
from minidark.errors import WeightsError, bare, echo
from minidark.files.archives import LARGEST_JSON, MALFORMED

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
COUNTERS = {"I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # bytes; such arrays are passed over
MOST_AXES = 8


def read(path: Path | str) -> Found:
    """Read the layers of a state dict. Raises WeightsError."""
    return read_state(whole(path), path)


def read_state(data: bytes, path: Path | str) -> Found:
    """Like `read`, from the file's bytes."""
    try:
        arrays = _arrays(data, path)
    except MALFORMED as error:
        raise WeightsError(f"{path}: not a .safetensors file, or damaged") from error
    return from_state(arrays, path, keeps_order=False)


def _arrays(data: bytes, path: Path | str) -> dict[str, Array]:
    """The arrays as float32, including those that were saved only once because two modules share
    them. Raises WeightsError or one of MALFORMED."""
    (length,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
    if not 1 < length <= min(len(data) - 8, LARGEST_JSON):
        raise ValueError
    header = json.loads(data[8 : 8 + length])
    notes = header.pop("__metadata__", {})
    numbers = memoryview(data)[8 + length :]
    arrays: dict[str, Array] = {}
    end = 0  # of the array before; they follow one another without gaps
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        dtype, shape = entry["dtype"], _shape(entry["shape"])
        width = COUNTERS.get(dtype) or np.dtype(DTYPES.get(dtype, "V0")).itemsize
        if not width:
            known = ", ".join(DTYPES)
            raise WeightsError(f"{path}: {bare(name)} is {echo(dtype)}; expected one of {known}")
        begin, end = end, end + width * math.prod(shape)
        if entry["data_offsets"] != [begin, end] or end > len(numbers):
            raise ValueError
        if dtype in DTYPES:
            stored = np.frombuffer(numbers[begin:end], DTYPES[dtype]).reshape(shape)
            arrays[name] = _bfloat16(stored) if dtype == "BF16" else stored.astype(np.float32)
    if end != len(numbers):
        raise ValueError
    shared = {k: v for k, v in notes.items() if k not in header and v in arrays}
    return arrays | {name: arrays[other] for name, other in shared.items()}


def _shape(sizes: Any) -> tuple[int, ...]:
    if len(sizes) > MOST_AXES or not all(type(n) is int and 0 <= n < 2**40 for n in sizes):
        raise ValueError
    return tuple(sizes)


def _bfloat16(stored: Array) -> Array:
    """bfloat16 numbers (..., ) as float32, whose upper half they are."""
    return (stored.astype(np.uint32) << 16).view(np.float32)
