"""Unpacks a state dict: python torch_state_worker.py FOLDER, which has state.pt; arrays.npz and an
empty outputs.npz are left there. The arrays are numbered, for a name may be any; `names` lists
their names, in JSON."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np

MOST = 8  # times the file's size: what is stored in one byte takes four here, and may be shared

folder = Path(sys.argv[1])
try:
    import torch
except ImportError:
    print("PyTorch is not installed: pip install torch", file=sys.stderr)
    sys.exit(3)

file = folder / "state.pt"
most = MOST * file.stat().st_size
if zipfile.is_zipfile(file):
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > most:
            sys.exit("its arrays are packed; save net.state_dict() with torch.save")
try:
    state = torch.load(file, map_location="cpu", weights_only=True)
except Exception:
    sys.exit("not a state dict, or one that holds more than tensors; save net.state_dict()")
if not isinstance(state, dict) or not all(isinstance(a, torch.Tensor) for a in state.values()):
    sys.exit("no dict of tensors; save net.state_dict()")
if odd := [str(array.dtype) for array in state.values() if array.is_complex()]:
    sys.exit(f"an array of {odd[0]}; darknet has none")
if 4 * sum(array.numel() for array in state.values()) > most:
    sys.exit(f"its arrays take more than {MOST} times its size; save them with clone()")
arrays = {str(i): array.float().numpy() for i, array in enumerate(state.values())}
names = np.array(json.dumps([str(name) for name in state]))
np.savez(folder / "arrays.npz", **arrays, names=names)
np.savez(folder / "outputs.npz")
