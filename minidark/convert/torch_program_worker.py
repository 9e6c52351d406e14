"""Runs the operators of a torch.export program: python torch_program_worker.py FOLDER.

It reads plan.json, arrays.npz and calls.npz in FOLDER and writes outputs.npz there. Only operators
of ALLOWED are run, which compute a tensor from others and have no other effect.
"""

from __future__ import annotations

import json
import operator
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

ATEN = "torch.ops.aten."
ALLOWED = {  # names of operators by overload
    "default": {
        "_log_softmax", "_softmax", "_to_copy", "_unsafe_view", "addmm", "alias", "clone",
        "contiguous", "detach", "dropout", "dropout_", "elu", "elu_", "embedding", "expand",
        "feature_dropout", "full", "gru_cell", "hardtanh", "hardtanh_", "leaky_relu",
        "leaky_relu_", "linear", "lstm_cell", "matmul", "mm", "new_full", "new_zeros", "one_hot",
        "permute", "relu", "relu_", "reshape", "rnn_relu_cell", "rnn_tanh_cell", "sigmoid",
        "sigmoid_", "squeeze", "stack", "t", "tanh", "tanh_", "unsqueeze", "view", "zeros",
        "zeros_like",
    },
    "input": {"gru", "lstm", "rnn_relu", "rnn_tanh"},
    "int": {"log_softmax", "select", "softmax", "sym_size", "transpose", "unflatten"},
    "dim": {"squeeze"},
    "dims": {"squeeze"},
    "dtype": {"to"},
    "dtype_layout": {"to"},
    "using_ints": {"flatten"},
    "Tensor": {"add", "slice"},
}  # fmt: skip
INTEGERS = {4: torch.int32, 5: torch.int64}  # dtypes by torch's number; floats are all float32
SKIPPED = {"as_none", "as_device", "as_layout", "as_memory_format"}
NESTED = {"as_tensors": "as_tensor", "as_sym_ints": "as_sym_int"}


def value(argument: dict[str, Any], values: dict[str, Any]) -> Any:
    """The value of an argument in the program's JSON."""
    ((kind, content),) = argument.items()
    if kind == "as_tensor":
        return values[content["name"]]
    if kind in NESTED:
        return [value({NESTED[kind]: one}, values) for one in content]
    if kind == "as_sym_int":
        return values[content["as_name"]] if "as_name" in content else content["as_int"]
    if kind == "as_scalar_type":
        return INTEGERS.get(content, torch.float32)
    if kind == "as_optional_tensor":
        return value(content, values)
    return content


def call(node: dict[str, Any], values: dict[str, Any]) -> None:
    """Run one operator and enter its outputs among the values."""
    given = {
        argument["name"]: value(argument["arg"], values)
        for argument in node["inputs"]
        if not SKIPPED & argument["arg"].keys()
    }
    target = node["target"]
    name, _, overload = target.removeprefix(ATEN).partition(".")
    if target == "_operator.mul":
        result = operator.mul(*given.values())
    elif target.startswith(ATEN) and name in ALLOWED.get(overload, ()):
        if "train" in given:
            given["train"] = False
        result = getattr(getattr(torch.ops.aten, name), overload)(**given)
    else:
        raise ValueError(f"{target} is not allowed")
    names = []
    for output in node["outputs"]:
        ((kind, content),) = output.items()
        entries = content if kind == "as_tensors" else [content]
        names += [entry.get("name") or entry.get("as_name") for entry in entries]
    results = result if isinstance(result, tuple) else (result,)
    values |= dict(zip(names, results, strict=True))


def names_in(entries: list[dict[str, Any]]) -> set[str]:
    """The names of tensors and sizes in arguments or outputs."""
    names = set()
    for entry in entries:
        for content in entry.get("arg", entry).values():
            for one in content if isinstance(content, list) else [content]:
                if isinstance(one, dict):
                    one = one.get("as_tensor", one)
                    names.add(one.get("name") or one.get("as_name"))
    return names - {None}


def last_uses(nodes: list[dict[str, Any]]) -> list[set[str]]:
    """For each node, the names that no later node reads."""
    later: set[str] = set()
    over = []
    for node in reversed(nodes):
        names = names_in(node["inputs"]) | names_in(node["outputs"])
        over.append(names - later)
        later |= names
    return over[::-1]


def run(
    plan: dict[str, Any], constants: dict[str, Any], symbols: Any, states: dict[str, Any]
) -> Any:
    """The outputs of one call. It replaces the states that are carried."""
    values = {**constants}
    x = torch.from_numpy(symbols)
    if plan["width"]:
        x = torch.nn.functional.one_hot(x, plan["width"]).float()
    values[plan["symbols"]] = x
    values |= states
    kept = {plan["output"], *plan["carried"].values()}
    for node, over in zip(plan["nodes"], plan["over"], strict=True):
        call(node, values)
        for name in over - kept:  # so that a long graph takes little memory
            del values[name]
    states |= {name: values[output] for name, output in plan["carried"].items()}
    return values[plan["output"]]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    plan = json.loads((folder / "plan.json").read_text())
    plan["over"] = last_uses(plan["nodes"])
    with np.load(folder / "arrays.npz") as arrays:
        stored = [torch.from_numpy(arrays[f"arr_{i}"]) for i in range(len(plan["constants"]))]
    constants = dict(zip(plan["constants"], stored, strict=True))
    outputs, states = [], {}
    with torch.no_grad(), np.load(folder / "calls.npz") as calls:
        for key in calls.files:
            for name, sizes in plan["states"].items():
                if name not in states or name not in plan["carried"]:
                    states[name] = torch.zeros(*sizes)
            outputs.append(run(plan, constants, calls[key], states).numpy())
    np.savez(folder / "outputs.npz", *outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
