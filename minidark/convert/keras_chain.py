"""Reads Keras models: `.keras` of Keras 3, whole models in `.h5`, and weights in `.weights.h5`.

Reading needs only h5py, in a separate process, and executes nothing from the file. `keras_wiring`
finds the chain of layers in the config, `keras_layers` their counterparts, and `keras_plan` builds
the model again in Keras to compare it with the network.

A file without a config has only arrays, and so has a subclassed model, whose layers are wired in
Python code. With --cfg, `keras_weights` finds the layer of the cfg for each group of arrays.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from minidark.backend import Array
from minidark.convert.found import LARGEST, Found, carried, whole
from minidark.convert.keras import NOTE
from minidark.convert.keras_layers import Arrays, amounts, arrays_of, batchnorm, read_layers
from minidark.convert.keras_plan import trial
from minidark.convert.keras_weights import OLDER, Unnamed
from minidark.convert.keras_wiring import MODELS, Part, chain, is_own, with_groups
from minidark.convert.workers import read_arrays
from minidark.errors import MinidarkError, WeightsError, bare
from minidark.files import zips
from minidark.files.archives import LARGEST_JSON, MALFORMED
from minidark.files.disk import named, open_regular
from minidark.layers.batchnorm import CPU, DIVISORS

FORM, FORM_H5 = "Keras 3 model", "Keras model"
WEIGHTS = "model.weights.h5"
MOST_UNPACKED = 2  # times the file's size: Keras does not compress
LONGEST = 60  # time limit of unpacking in seconds, for a busy machine
IN_CODE = (
    "the order of its layers is in its Python code, not in the file; build it with "
    "keras.Sequential or keras.Model(inputs, outputs), or add --cfg CFG with these layers"
)


def read(path: Path | str) -> Found:
    """Read the layers and arrays of a model. Raises WeightsError; BackendError without h5py;
    SaveError if the folder for temporary files is full."""
    if str(path).lower().endswith(".keras"):
        with open_regular(path, named(path, WeightsError)) as file:
            return read_model(file, path)
    return read_h5(whole(path), path)


def read_model(file: BinaryIO, path: Path | str) -> Found:
    """Like `read`, from an open .keras. A model that `write` wrote contains its cfg. The config of
    any other model describes its layers."""
    try:
        with zips.open_zip(file, MOST_UNPACKED) as archive:
            config = json.loads(_member(archive, "config.json", LARGEST_JSON))
            note = _note(archive)
            weights = _member(archive, WEIGHTS, LARGEST)
        config["config"]  # a config without layers is damaged
        arrays = _grouped(_arrays(weights, path, FORM))
        if note:
            return _ours(carried(path, note["cfg"], note["seen"]), config, arrays)
        return _theirs(config, arrays, path, WEIGHTS, weights)
    except MinidarkError:
        raise
    except zips.PackedError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error


def read_h5(data: bytes, path: Path | str) -> Found:
    """Like `read`, from the bytes of an HDF5 file: a whole model, or weights alone."""
    try:
        arrays = _arrays(data, path, FORM_H5)
        stored = arrays.pop("config", None)
        if stored is None:
            message = "it has arrays, and not the layers; add --cfg CFG with the layers"
            return Unnamed(path, message, _grouped(arrays))
        return _theirs(json.loads(stored.tobytes()), _grouped(arrays), path, "model.h5", data)
    except MinidarkError:
        raise
    except MALFORMED as error:
        raise WeightsError(f"{path}: not a {FORM_H5}, or damaged") from error


def _arrays(data: bytes, path: Path | str, form: str) -> dict[str, Array]:
    return read_arrays("keras_state_worker.py", "model.h5", data, path, form, LONGEST)


def _grouped(arrays: dict[str, Array]) -> dict[str, list[Array]]:
    """Arrays by group, in order, from arrays by group and number."""
    groups: dict[str, list[Array]] = {}
    for name, array in arrays.items():
        groups.setdefault(name.rpartition("/")[0], []).append(array)
    return groups


def _note(archive: zipfile.ZipFile) -> dict[str, str]:
    """The note that `write` stored; empty for another program's model."""
    if NOTE not in archive.namelist():
        return {}
    note: dict[str, str] = json.loads(_member(archive, NOTE, LARGEST_JSON))
    return note


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a member of the zip. Raises ValueError if its declared size exceeds `most`."""
    if archive.getinfo(name).file_size > most:
        raise ValueError
    return archive.read(name)


# --- models of other programs ------------------------------------------------


def _theirs(
    config: dict[str, Any], arrays: Arrays, path: Path | str, file: str, data: bytes
) -> Found:
    """Read another program's model from its config. file: the name of its weights, `data`, for
    Keras."""
    kind = bare(str(config["class_name"]))
    if kind not in MODELS or not is_own(config):
        said = (
            "is a class of your own, whose call may do more than its layers; save "
            "keras.Model(model.inputs, model.outputs)"
            if "layers" in config["config"]
            else f"is a subclassed model: {IN_CODE}"
        )
        return Unnamed(path, f"{kind} {said}", dict(arrays))
    layers = chain(config, path)
    if any(name.startswith(OLDER) for name in arrays):
        arrays = dict(_by_group(layers.parts, arrays))
    found = read_layers(layers, arrays)
    found.trial = trial(config, layers, found, file, data)
    return found


def _by_group(parts: Iterable[Part], arrays: Arrays) -> Iterator[tuple[str, list[Array]]]:
    """The arrays of the older layout under the groups of the newer one.

    It has the arrays of a model within the model together: first those that are trained.
    """
    parts = list(parts)
    for top in dict.fromkeys(part.top for part in parts):
        inside = [part for part in parts if part.top == top]
        left = iter(arrays.get(f"{OLDER}{top}", []))
        own: dict[str, list[Array]] = {part.group: [] for part in inside}
        for is_trained in (True, False):
            for part in inside:
                trained, fixed = amounts(part)
                counts = (trained, fixed) if part.is_trained else (0, trained + fixed)
                own[part.group] += islice(left, counts[not is_trained])
        own[inside[-1].group] += left  # too many, which is an error there
        yield from own.items()


# --- models that minidark wrote ----------------------------------------------


def _ours(found: Found, config: dict[str, Any], arrays: Arrays) -> Found:
    """Add the arrays of a model that `write` wrote: names and sizes match the cfg."""
    pair = found.sections[0].pairs.get("batchnorm")
    divisor = DIVISORS[pair.value] if pair else CPU
    own = {
        layer["config"]["name"]: (layer["config"], arrays[f"{group}{cell}"])
        for layer, group in with_groups(config["config"]["layers"])
        for cell in ("", "/cell")
        if f"{group}{cell}" in arrays
    }
    for name in found.names:
        index, _, type_ = name.partition(".")
        if f"{type_}_{index}" not in own:
            continue
        options, stored = own[f"{type_}_{index}"]
        is_norm = type_ == "batchnorm"
        parts = (
            batchnorm(stored, options["epsilon"], divisor) if is_norm else arrays_of(type_, stored)
        )
        found.arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    return found
