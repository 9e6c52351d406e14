"""Reads the tensors of a state dict, FOLDER/state.pt, for `state_worker`."""

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

MOST = 8  # times the file's size: one stored byte becomes four, and tensors may share memory
MOST_ARRAYS = 5000
LONGEST_NAME = 200  # letters


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    file = folder / "state.pt"
    torch.set_num_threads(1)
    return arrays(file, MOST * file.stat().st_size)


def arrays(file: Any, most: int) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file as float32. They may take at most `most` bytes."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        refuse("not a state dict, or it contains more than tensors; save net.state_dict()")
    if not isinstance(state, dict) or not all(map(plain, state.values())):
        refuse("not a dict of tensors; save net.state_dict()")
    if len(state) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} arrays")
    if not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in state):
        refuse(f"a name is not text, or longer than {LONGEST_NAME:,} letters")
    if odd := [str(array.dtype) for array in state.values() if array.is_complex()]:
        refuse(f"an array is {odd[0]}, which darknet does not support")
    if 4 * sum(array.numel() for array in state.values()) > most:
        refuse(f"its arrays take more than {MOST} times the file's size; save clones of them")
    return {name: array.detach().float().numpy() for name, array in state.items()}


def plain(array: Any) -> bool:
    """Whether it is a dense tensor on the CPU."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    return type(array) in kinds and array.layout == torch.strided and array.device.type == "cpu"


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
