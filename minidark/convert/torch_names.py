"""Tells whether a `.safetensors` is a state dict of PyTorch, from the names of its arrays.

minidark's own files contain a cfg, and their arrays are called "0.gru.uz.weights".
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import BinaryIO

from minidark.errors import WeightsError
from minidark.files.archives import LARGEST_JSON, MALFORMED, SAFETENSORS
from minidark.files.disk import named, open_regular

TORCH_NAME = re.compile(r"(.*\.)?(weight|bias)(_[ih]h(_l[0-9]+)?(_reverse)?)?")


def is_state(path: Path | str) -> bool:
    """Whether a file is a .safetensors with PyTorch's names instead of a cfg. Raises WeightsError
    if it cannot be opened; a damaged file is none."""
    if Path(path).suffix.lower() != SAFETENSORS:
        return False
    with open_regular(path, named(path, WeightsError)) as file:
        return has_state(file)


def has_state(file: BinaryIO) -> bool:
    """Likewise, of an open file."""
    (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
    try:
        header = json.loads(file.read(length)) if length <= LARGEST_JSON else {}
        notes = header.pop("__metadata__", {})
        return "cfg" not in notes and any(map(TORCH_NAME.fullmatch, header))
    except MALFORMED:
        return False
