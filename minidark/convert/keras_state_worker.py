"""Takes the arrays out of a Keras model's HDF5: python keras_state_worker.py FOLDER, which has
model.weights.h5; arrays.npz and an empty outputs.npz are left there.

In a process of its own, because libhdf5 may hang or crash on damaged bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
try:
    import h5py
except ImportError:
    print("reading .keras needs h5py: pip install 'minidark[keras]'", file=sys.stderr)
    sys.exit(3)

arrays = {}
with h5py.File(folder / "model.weights.h5", "r") as stored:
    for group in stored["layers"].values():
        holder = group.get("cell", group)  # a cell has the arrays of its layer
        for i in range(len(holder["vars"])):
            dataset = holder["vars"][str(i)]
            if dataset.external or dataset.is_virtual:
                sys.exit("an array that lies in another file")
            if dataset.nbytes > max(64, 2 * dataset.id.get_storage_size()):
                sys.exit("a packed array")  # what it unpacks to may be beyond any memory
            arrays[f"{group['vars'].attrs['name']}/{i}"] = dataset[()]
np.savez(folder / "arrays.npz", **arrays)
np.savez(folder / "outputs.npz")
