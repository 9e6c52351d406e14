"""Reads the tensors of a state dict, FOLDER/state.pt, for `state_worker`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
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
DEEPEST = 3  # dicts within dicts
MOST_NAMED = 5  # dicts in a message
USUAL = {  # the names under which training scripts save the state dict of the network
    "state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights",
}  # fmt: skip
EXPORT = "torch.export.export(net.eval(), inputs)"
Keys = tuple[str, ...]  # keys from the outermost dict to an inner one


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    file = folder / "state.pt"
    torch.set_num_threads(1)
    return arrays(file, MOST * file.stat().st_size)


def arrays(file: Any, most: int) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file as float32. They may take at most `most` bytes."""
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        refuse(why_not_loaded(str(error)))
    state = state_of(saved)
    if not all(map(plain, state.values())):
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


def why_not_loaded(error: str) -> str:
    """The reason why torch refused the file. torch names the class that it would have to create."""
    found = re.search(r"GLOBAL ([\w.]{1,100})", error)
    if not found:
        return "not a state dict, or it contains more than tensors; save net.state_dict()"
    name = found[1]
    if name.startswith("torch.nn.modules"):
        return (
            "a whole module, and unpickling it would run code from the file; save "
            f"net.state_dict(), or torch.export.save({EXPORT}, 'net.pt2')"
        )
    return (
        f"it contains an object of {name}, and unpickling that would run code from the file; save "
        "only net.state_dict()"
    )


def state_of(saved: Any) -> dict[str, Any]:
    """The state dict: what was saved, or the only dict of tensors in it, or the only one with a
    usual name. Optimizer states are passed over."""
    found = dict(nested(saved, (), set()))
    usual = [path for path in found if path and path[-1] in USUAL]
    chosen = () if () in found else only(usual if usual else list(found))
    if chosen is None and not found:
        refuse("not a dict of tensors; save net.state_dict()")
    if chosen is None:
        names = ", ".join("/".join(path)[:LONGEST_NAME] for path in list(found)[:MOST_NAMED])
        refuse(f"it has several dicts of tensors: {names}; save the one of the network alone")
    return found[chosen]


def only(paths: list[Keys]) -> Keys | None:
    return paths[0] if len(paths) == 1 else None


def nested(value: Any, path: Keys, seen: set[int]) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The dicts in a value that have tensors with axes, by the keys that lead to them. seen: the
    dicts visited before, because a pickle may refer to one many times."""
    if not isinstance(value, dict) or {"state", "param_groups"} <= value.keys():
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    tensors = {k: v for k, v in value.items() if isinstance(v, torch.Tensor)}
    if any(tensor.ndim for tensor in tensors.values()):
        yield path, tensors
        return
    if len(path) < DEEPEST:
        for key, inner in value.items():
            if isinstance(key, str):
                yield from nested(inner, (*path, key), seen)


def plain(array: Any) -> bool:
    """Whether it is a dense tensor on the CPU."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    return type(array) in kinds and array.layout == torch.strided and array.device.type == "cpu"


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
