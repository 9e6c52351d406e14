"""A network's arrays by name, in a `.safetensors` or `.npz` file that also contains its cfg.

    arrays   as in `net.parameters()`, and stored but untrained ones: 0.gru.uz.rolling_mean
    cfg      the cfg's text, with --set applied and without comments
    seen     rows that the weights have seen, in digits
    layers   description of each layer with weights, as in `made_with`, a JSON list

Names and shapes must match the network's exactly; nothing changes unless everything fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from minidark.cfg.sections import format_sections
from minidark.errors import WeightsError, bare
from minidark.files.archives import Archive, open_archive, packed
from minidark.files.disk import write_atomically
from minidark.layers.base import ALEXEY, Stored
from minidark.layers.batchnorm import CPU, GPU
from minidark.weights import made_with
from minidark.weights.arrays import HasArrays, check_finite, read_arrays, saved_arrays, seen_note


def save(net: HasArrays, path: Path | str, cutoff: int | None = None) -> str:
    """Write the layers 0..cutoff-1 (None: all), except those with dontsave, atomically. Returns the
    SHA-256 of the file, in hex. Raises MinidarkError."""
    arrays = {a.name: net.backend.asnumpy(a.value) for a in saved_arrays(net, ALEXEY, cutoff)}
    notes = {
        "cfg": format_sections(net.sections) if net.sections else "",
        "seen": str(net.seen),
        "layers": json.dumps(made_with.meanings(net, "dontsave", cutoff=cutoff)),
    }
    data = packed(path, arrays, notes)
    write_atomically(path, [data])
    return hashlib.sha256(data).hexdigest()


def load(
    net: HasArrays,
    file: BinaryIO,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    *,
    allow_nonfinite: bool = False,
    allow_other_cfg: bool = False,
) -> int:
    """Fill the layers start..cutoff-1 of the network from an open file, and set and return
    `net.seen`. The file may contain arrays of other layers. Raises WeightsError."""
    archive = open_archive(file, path)
    last = len(net.layers) if cutoff is None else cutoff
    expected = {array.name: array for array in read_arrays(net, ALEXEY, start, last)}
    spare = {
        array.name
        for i, layer in enumerate(net.layers)
        if not start <= i < last or net.layer_options[i].dontload
        for array in layer.arrays()
    }
    _check_shapes(archive.shapes, expected, spare, path)
    theirs = _layers(archive)
    if theirs and not allow_other_cfg:
        _check_layers(theirs, net, start, cutoff, path)
    seen = seen_note(archive.notes.get("seen", "0"), path)
    values = {name: archive.read(name) for name in expected}
    if not allow_nonfinite:
        check_finite(values.items(), path)
    for name, array in expected.items():
        array.value[...] = net.backend.asarray(values[name])
    net.seen = seen
    made_with.settle_batchnorm(net, path, (GPU if made_with.for_gpu(theirs) else CPU).name)
    return seen


def _check_shapes(
    stored: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, Stored],
    spare: set[str],
    path: Path | str,
) -> None:
    for name, array in expected.items():
        if name not in stored:
            raise WeightsError(
                f"{path}: no array {name}, which this cfg needs; is it the cfg they were made with?"
            )
        if stored[name] != array.value.shape:
            shapes = " x ".join(map(str, stored[name])), " x ".join(map(str, array.value.shape))
            raise WeightsError(f"{path}: {name} is {shapes[0]}, and {shapes[1]} in this cfg")
    if unknown := [n for n in stored if n not in expected and n not in spare]:
        raise WeightsError(
            f"{path}: {bare(unknown[0])} is not an array of this cfg, one of {len(unknown):,}; is "
            "it the cfg they were made with?"
        )


def _layers(archive: Archive) -> list[str]:
    """The file's descriptions of its layers; empty if they are missing or malformed."""
    try:
        lines = json.loads(archive.notes.get("layers", "null"))
    except (ValueError, RecursionError):
        return []
    valid = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    return lines if valid else []


def _check_layers(
    theirs: list[str], net: HasArrays, start: int, cutoff: int | None, path: Path | str
) -> None:
    # A layer with only dontload is in the file; otherwise both flags go together.
    try:
        _check_flagged(theirs, net, "dontsave", start, cutoff, path)
    except WeightsError:
        _check_flagged(theirs, net, "dontload", start, cutoff, path)


def _check_flagged(
    theirs: list[str],
    net: HasArrays,
    absent: str,
    start: int,
    cutoff: int | None,
    path: Path | str,
) -> None:
    below = made_with.meanings(net, absent, cutoff=start)
    ours = made_with.meanings(net, absent, start, cutoff)
    made_with.check_meanings(
        theirs[len(below) :], ours, path, "another cfg", cutoff, net.chooses_batchnorm
    )
