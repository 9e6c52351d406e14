"""Reads the arrays of a Keras model's HDF5, for `state_worker`: FOLDER has model.weights.h5.

In a process of its own, because libhdf5 may hang or crash on damaged bytes. HDF5 can point into
other files in several ways: external and soft links, external storage, virtual datasets, filters
that are loaded as plugins. Each is refused before it is followed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # libhdf5 loads no plugins
try:
    import h5py
except ImportError:
    print("reading .keras needs h5py: pip install 'minidark[keras]'", file=sys.stderr)
    sys.exit(3)

MOST_LAYERS, MOST_ARRAYS = 500, 2000
MOST_UNPACKED = 2  # times the file's size: Keras packs nothing
LONGEST_NAME = 1000  # bytes
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    path = folder / "model.weights.h5"
    with h5py.File(path, "r") as file:
        return arrays(file, path.stat().st_size)


def arrays(file: Any, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file of `size` bytes, by the layer's name and a number: "gru_0/1"."""
    groups = variables(member(file, "layers", h5py.Group))
    if sum(map(len, groups.values())) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} arrays")
    found: dict[str, np.ndarray[Any, Any]] = {}
    left = MOST_UNPACKED * size
    for name, group in groups.items():
        for i in range(len(group)):
            dataset = member(group, str(i), h5py.Dataset)
            check(dataset)
            left -= dataset.nbytes
            if left < 0:
                refuse(f"its arrays take more than {MOST_UNPACKED} times the file's size")
            found[f"{name}/{i}"] = dataset[()]
    return found


def variables(layers: Any) -> dict[str, Any]:
    """Each layer's group of arrays, by the layer's name."""
    if len(layers) > MOST_LAYERS:
        refuse(f"more than {MOST_LAYERS:,} layers")
    groups = {}
    for key in layers:
        layer = member(layers, key, h5py.Group)
        own = member(layer, "vars", h5py.Group)
        # A cell has the arrays of its layer. `in` would follow a link into another file.
        has_cell = layer.get("cell", getlink=True) is not None
        cell = member(layer, "cell", h5py.Group) if has_cell else layer
        groups[layer_name(own)] = member(cell, "vars", h5py.Group)
    return groups


def member(group: Any, name: str, kind: type) -> Any:
    """A group's member that lies in this file, by a hard link: a link of another kind leads to
    another name, and from there into another file."""
    link = group.get(name, getlink=True)
    if link is None:
        refuse(f"{group.name}/{name} is missing")
    if not isinstance(link, h5py.HardLink):
        refuse(f"{group.name}/{name} is a link to another place")
    found = group[name]
    if not isinstance(found, kind):
        refuse(f"{group.name}/{name} is no {kind.__name__.lower()}")
    return found


def layer_name(group: Any) -> str:
    attribute = group.attrs.get_id("name")
    if attribute.shape != () or attribute.get_storage_size() > LONGEST_NAME:
        refuse("a layer's name is no text")
    return str(group.attrs["name"])


def check(dataset: Any) -> None:
    """Refuse numbers that lie elsewhere, and what is no array of numbers."""
    if dataset.external or dataset.is_virtual:
        refuse(f"the numbers of {dataset.name} lie in another file")
    if dataset.dtype.kind not in "biuf" or not dataset.size:
        refuse(f"{dataset.name} is no array of numbers")
    plan = dataset.id.get_create_plist()
    if {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - FILTERS:
        refuse(f"{dataset.name} is packed in a way that is not read here")


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
