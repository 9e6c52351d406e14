"""Reads the tensors of a state dict, for `state_worker`: FOLDER has state.pt."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

MOST = 8  # times the file's size: what is stored in one byte takes four here, and may be shared
MOST_ARRAYS = 5000


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    file = folder / "state.pt"
    torch.set_num_threads(1)
    return arrays(file, MOST * file.stat().st_size)


def arrays(file: Any, most: int) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file as float32, which may take `most` bytes."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > most:
                refuse("its arrays are packed; save net.state_dict() with torch.save")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        refuse("not a state dict, or one that holds more than tensors; save net.state_dict()")
    if not isinstance(state, dict) or not all(isinstance(a, torch.Tensor) for a in state.values()):
        refuse("no dict of tensors; save net.state_dict()")
    if odd := [str(array.dtype) for array in state.values() if array.is_complex()]:
        refuse(f"an array of {odd[0]}; darknet has none")
    if 4 * sum(array.numel() for array in state.values()) > most:
        refuse(f"its arrays take more than {MOST} times its size; save them with clone()")
    return {str(name): array.float().numpy() for name, array in state.items()}


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
