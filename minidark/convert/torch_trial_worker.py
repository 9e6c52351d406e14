"""Builds PyTorch modules from arrays and runs them one after another: torch_trial_worker.py FOLDER.

It reads plan.json, arrays.npz and calls.npz in FOLDER and writes outputs.npz there. The calls are
symbols (T, S); states are carried from one to the next.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

KINDS = ("Embedding", "Linear", "GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell")


def build(plan: list[dict[str, Any]], arrays: Any) -> list[Any]:
    modules = []
    for step in plan:
        module = dict(zip(KINDS, map(torch.nn.__dict__.get, KINDS), strict=True))[step["kind"]]
        made = module(*step["sizes"], **step["keys"])
        state = {name: torch.from_numpy(arrays[key]) for name, key in step["arrays"].items()}
        made.load_state_dict(state)
        modules.append(made.eval())
    return modules


def call(modules: list[Any], states: list[Any], symbols: Any) -> Any:
    """The outputs (T, S, O) of symbols (T, S). It replaces the states."""
    y = symbols
    for i, module in enumerate(modules):
        if i == 0 and not isinstance(module, torch.nn.Embedding):
            y = torch.nn.functional.one_hot(symbols, inputs_of(module)).float()
        if isinstance(module, torch.nn.RNNBase):
            y, states[i] = module(y, states[i])
        elif isinstance(module, torch.nn.RNNCellBase):
            steps = []
            for x in y:
                states[i] = module(x, states[i])
                steps.append(states[i][0] if isinstance(states[i], tuple) else states[i])
            y = torch.stack(steps)
        else:
            y = module(y)
    return y


def inputs_of(module: Any) -> int:
    return int(module.in_features if isinstance(module, torch.nn.Linear) else module.input_size)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    plan = json.loads((folder / "plan.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        modules = build(plan, arrays)
    states, outputs = [None] * len(modules), []
    with torch.no_grad(), np.load(folder / "calls.npz") as calls:
        for key in calls.files:
            outputs.append(call(modules, states, torch.from_numpy(calls[key])).numpy())
    np.savez(folder / "outputs.npz", *outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
