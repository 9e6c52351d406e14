"""Unpacks a state dict: python torch_state_worker.py FOLDER, which has state.pt; arrays.npz and an
empty outputs.npz are left there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

try:
    state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
except Exception:
    sys.exit("not a state dict, or one that holds more than tensors; save net.state_dict()")
if not isinstance(state, dict) or not all(isinstance(a, torch.Tensor) for a in state.values()):
    sys.exit("no dict of tensors; save net.state_dict()")
arrays = {str(name): array.float().numpy() for name, array in state.items()}
np.savez(folder / "arrays.npz", **arrays)
np.savez(folder / "outputs.npz")
