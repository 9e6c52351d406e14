"""Runs a written module: python torch_worker.py FOLDER. FOLDER has model.py and calls.npz."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("model", folder / "model.py")
assert spec
assert spec.loader
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
net = module.load()
states = None
outputs = []
with torch.no_grad(), np.load(folder / "calls.npz") as calls:
    for key in calls.files:
        y, states = net(torch.from_numpy(calls[key]), states)
        outputs.append(y.numpy())
np.savez(folder / "outputs.npz", *outputs)
