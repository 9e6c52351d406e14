"""Reads the tensors of a state dict, for `state_worker`: FOLDER has state.pt."""

from __future__ import annotations

import sys
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
LONGEST_NAME = 200  # letters


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    file = folder / "state.pt"
    torch.set_num_threads(1)
    return arrays(file, MOST * file.stat().st_size)


def arrays(file: Any, most: int) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file as float32, which may take `most` bytes."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        refuse("not a state dict, or one that holds more than tensors; save net.state_dict()")
    if not isinstance(state, dict) or not all(map(plain, state.values())):
        refuse("no dict of tensors; save net.state_dict()")
    if len(state) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} arrays")
    if not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in state):
        refuse(f"names that are no texts of up to {LONGEST_NAME:,} letters")
    if odd := [str(array.dtype) for array in state.values() if array.is_complex()]:
        refuse(f"an array of {odd[0]}; darknet has none")
    if 4 * sum(array.numel() for array in state.values()) > most:
        refuse(f"its arrays take more than {MOST} times its size; save them with clone()")
    return {name: array.detach().float().numpy() for name, array in state.items()}


def plain(array: Any) -> bool:
    """Whether it is a tensor whose numbers are all there, one by one."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    return type(array) in kinds and array.layout == torch.strided and array.device.type == "cpu"


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
