"""Reads the arrays of a Keras model's HDF5 file, FOLDER/model.h5, for `state_worker`.

Keras has two layouts. In the newer, each layer is a group with its arrays in vars/0, vars/1, ...
In the older, the group model_weights, or the whole file, lists layers and arrays in attributes:

    layers/lstm/cell/vars/0          array "layers/lstm/cell/0"
    model_weights/my_lstm/...        array "model_weights/my_lstm/0", in the order of the attributes

A file that is a whole model has its config as an attribute. The config is array "config", as bytes.

It runs in a separate process because libhdf5 may hang or crash on damaged bytes. HDF5 can refer to
other files by external and soft links, external storage, virtual datasets and filter plugins. All
of them are refused, wherever they are in the file, before libhdf5 opens anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # keeps libhdf5 from loading plugins
try:
    import h5py
except ImportError:
    print("reading Keras models needs h5py: pip install 'minidark[keras]'", file=sys.stderr)
    sys.exit(3)

MOST_MEMBERS, MOST_ARRAYS = 5000, 2000
DEEPEST = 40  # groups within groups
MOST_UNPACKED = 2  # times the file's size: Keras does not compress
LONGEST_NAMES = 1 << 20  # bytes of the names in one attribute
LARGEST_CONFIG = 4 << 20  # bytes
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
OLDER = "model_weights"
ROOTS = {"_layer_checkpoint_dependencies": "layers"}  # Keras 2.13's name


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    path = folder / "model.h5"
    with h5py.File(path, "r") as file:
        return arrays(file, path.stat().st_size)


def arrays(file: Any, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file of `size` bytes, by layer and number, such as
    "layers/lstm/cell/1"."""
    members = dict(walk(file))
    is_older = OLDER in members or has(file, "layer_names")
    found = older(file, members) if is_older else newer(members)
    datasets = list(islice(found, MOST_ARRAYS + 1))
    if len(datasets) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} arrays")
    result: dict[str, np.ndarray[Any, Any]] = {}
    left = MOST_UNPACKED * size
    for name, dataset in datasets:
        if not isinstance(dataset, h5py.Dataset):
            refuse(f"{dataset.name} is not a dataset")
        if dataset.dtype.kind not in "biuf" or not dataset.size:
            refuse(f"{dataset.name} is not an array of numbers")
        left -= dataset.nbytes
        if left < 0:
            refuse(f"its arrays take more than {MOST_UNPACKED} times the file's size")
        result[name] = dataset[()]
    if has(file, "model_config"):
        result["config"] = config(file)
    return result


def walk(file: Any) -> Iterator[tuple[str, Any]]:
    """All members by path, each checked. One that has several names comes under each of them."""
    left = [("", file)]
    opened: dict[int, Any] = {}  # by address in the file
    count = 0
    while left:
        path, group = left.pop()
        for name in group:
            count += 1
            if count > MOST_MEMBERS:
                refuse(f"more than {MOST_MEMBERS:,} groups and arrays")
            inner = f"{path}/{name}" if path else name
            link = group.id.links.get_info(name.encode(errors="surrogateescape"))
            if link.type != h5py.h5l.TYPE_HARD:
                refuse(f"/{inner} is a link, which is not followed")
            if link.u not in opened:
                opened[link.u] = checked(group[name])
            member = opened[link.u]
            yield inner, member
            if isinstance(member, h5py.Group):
                if inner.count("/") > DEEPEST:
                    refuse(f"more than {DEEPEST} groups within one another")
                left.append((inner, member))


def checked(member: Any) -> Any:
    """Refuse data that is stored in other files, and unknown filters."""
    if isinstance(member, h5py.Dataset):
        plan = member.id.get_create_plist()
        if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
            refuse(f"the numbers of {member.name} are in another file")
        if {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - FILTERS:
            refuse(f"{member.name} uses an unsupported compression filter")
    return member


def newer(members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arrays of each layer, by number. The optimizer's, and seeds, are left out."""
    groups = {path: group for path, group in members.items() if path.endswith("/vars")}
    for path, group in groups.items():
        root, _, rest = path.removesuffix("/vars").partition("/")
        name = "/".join(filter(None, [ROOTS.get(root, root), rest]))
        if root != "optimizer" and not name.endswith("seed_generator"):
            for i in range(len(group)):
                if f"{path}/{i}" not in members:
                    refuse(f"/{path}/{i} is missing")
                yield f"{name}/{i}", members[f"{path}/{i}"]


def older(file: Any, members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    root = members.get(OLDER, file)
    prefix = f"{OLDER}/" if root is not file else ""
    for layer in names(root, "layer_names"):
        if f"{prefix}{layer}" not in members:
            refuse(f"the layer {layer[:100]!r} is missing")
        for i, array in enumerate(names(members[f"{prefix}{layer}"], "weight_names")):
            path = f"{prefix}{layer}/{array}"
            if path not in members:
                refuse(f"{path[:200]!r} is missing")
            yield f"{OLDER}/{layer}/{i}", members[path]


def names(group: Any, attribute: str) -> list[str]:
    """The texts of an attribute, which Keras splits if it is long: names0, names1, ..."""
    parts = [attribute] if has(group, attribute) else []
    while not parts or parts[0] != attribute:
        part = f"{attribute}{len(parts)}"
        if not has(group, part):
            break
        parts.append(part)
    result: list[str] = []
    for part in parts:
        stored = group.attrs.get_id(part)
        if stored.shape == (0,):
            continue
        if len(stored.shape) != 1 or stored.get_storage_size() > LONGEST_NAMES:
            refuse(f"{part} is not a list of names, or is too long")
        result += [text(name) for name in group.attrs[part]]
    if len(result) > MOST_ARRAYS:
        refuse(f"more than {MOST_ARRAYS:,} names in {attribute}")
    return result


def has(group: Any, attribute: str) -> bool:
    return bool(h5py.h5a.exists(group.id, attribute.encode()))


def config(file: Any) -> np.ndarray[Any, Any]:
    """The bytes of a whole model's config, which is JSON."""
    stored = file.attrs.get_id("model_config")
    if stored.shape != () or stored.get_storage_size() > LARGEST_CONFIG:
        refuse("its config is not text, or is too long")
    data = text(file.attrs["model_config"]).encode()
    if len(data) > LARGEST_CONFIG:
        refuse(f"its config has more than {LARGEST_CONFIG:,} bytes")
    return np.frombuffer(data, np.uint8)


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def refuse(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(4)
