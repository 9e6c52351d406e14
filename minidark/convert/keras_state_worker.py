"""Reads the arrays of a Keras model's HDF5 file, FOLDER/model.weights.h5, for `state_worker`.

It runs in a separate process because libhdf5 may hang or crash on damaged bytes. HDF5 can refer to
other files by external and soft links, external storage, virtual datasets and filter plugins. All
of them are refused before libhdf5 opens anything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # keeps libhdf5 from loading plugins
try:
    import h5py
except ImportError:
    print("reading .keras needs h5py: pip install 'minidark[keras]'", file=sys.stderr)
    sys.exit(3)

MOST_LAYERS, MOST_ARRAYS = 500, 2000
MOST_UNPACKED = 2  # times the file's size: Keras does not compress
LONGEST_NAME = 1000  # bytes
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    path = folder / "model.weights.h5"
    with h5py.File(path, "r") as file:
        return arrays(file, path.stat().st_size)


def arrays(file: Any, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file of `size` bytes, by layer name and number, such as "gru_0/1"."""
    groups = variables(member(file, "layers", h5py.Group))
    if sum(map(len, groups.values())) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} arrays")
    result: dict[str, np.ndarray[Any, Any]] = {}
    left = MOST_UNPACKED * size
    for name, group in groups.items():
        for i in range(len(group)):
            dataset = member(group, str(i), h5py.Dataset)
            check(dataset)
            left -= dataset.nbytes
            if left < 0:
                refuse(f"its arrays take more than {MOST_UNPACKED} times the file's size")
            result[f"{name}/{i}"] = dataset[()]
    return result


def variables(layers: Any) -> dict[str, Any]:
    """Each layer's group of arrays, by the layer's name."""
    if len(layers) > MOST_LAYERS:
        refuse(f"more than {MOST_LAYERS:,} layers")
    groups = {}
    for key in layers:
        layer = member(layers, key, h5py.Group)
        own = member(layer, "vars", h5py.Group)
        # A layer with a cell stores its arrays there. `in` would follow a link into another file.
        has_cell = layer.get("cell", getlink=True) is not None
        cell = member(layer, "cell", h5py.Group) if has_cell else layer
        groups[layer_name(own)] = member(cell, "vars", h5py.Group)
    return groups


def member(group: Any, name: str, kind: type) -> Any:
    """A member of a group, which must be a hard link. Other links can lead into another file."""
    link = group.get(name, getlink=True)
    if link is None:
        refuse(f"{group.name}/{name} is missing")
    if not isinstance(link, h5py.HardLink):
        refuse(f"{group.name}/{name} is a link, which is not followed")
    result = group[name]
    if not isinstance(result, kind):
        refuse(f"{group.name}/{name} is not a {kind.__name__.lower()}")
    return result


def layer_name(group: Any) -> str:
    attribute = group.attrs.get_id("name")
    if attribute.shape != () or attribute.get_storage_size() > LONGEST_NAME:
        refuse("a layer's name is not text, or is too long")
    return str(group.attrs["name"])


def check(dataset: Any) -> None:
    """Refuse data stored in other files, unknown filters, and anything but numbers."""
    if dataset.external or dataset.is_virtual:
        refuse(f"the numbers of {dataset.name} are in another file")
    if dataset.dtype.kind not in "biuf" or not dataset.size:
        refuse(f"{dataset.name} is not an array of numbers")
    plan = dataset.id.get_create_plist()
    if {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - FILTERS:
        refuse(f"{dataset.name} uses an unsupported compression filter")


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
