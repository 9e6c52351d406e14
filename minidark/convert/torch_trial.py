"""Runs the modules of a state dict in PyTorch, in the order that minidark assumes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np

from minidark.backend import Array
from minidark.convert.torch_modules import Module
from minidark.convert.torch_order import EMBEDDING, Reading
from minidark.convert.workers import run_worker

LONGEST = 600  # seconds


def run_modules(steps: Sequence[tuple[Reading, Module]], symbols: Array) -> Array:
    """The outputs (T, S, O) of torch's own modules for symbols (T, S), in two calls with the states
    carried over. Raises BackendError if torch is not installed, and MinidarkError."""
    packed, plan = io.BytesIO(), []
    arrays: dict[str, Array] = {}
    for reading, module in steps:
        own = {name: f"{len(arrays) + i}" for i, name in enumerate(module.arrays)}
        arrays |= {own[name]: array for name, array in module.arrays.items()}
        sizes = [reading.inputs, reading.outputs]
        keys: dict[str, object] = {}
        if reading.kind != EMBEDDING:
            keys["bias"] = any(name.startswith("bias") for name in own)
        if reading.is_recurrent and not reading.is_cell:
            keys["num_layers"] = reading.layers
        kind = reading.kind.removeprefix("nn.")
        plan.append({"kind": kind, "sizes": sizes, "keys": keys, "arrays": own})
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    files = {"plan.json": json.dumps(plan).encode(), "arrays.npz": packed.getvalue()}
    calls = [part for part in np.split(symbols, [len(symbols) // 3]) if len(part)]
    _, outputs = run_worker("torch_trial_worker.py", files, calls, "plan.json", LONGEST)
    return np.concatenate(outputs)
