"""What a weight file was made with, kept beside it as FILE.json.

Files of two cfgs can have the same length and still mean different networks: tanh=1 and tanh=0,
or two layers whose sizes add up alike. darknet's format has no place to tell; a training run
writes beside each weight file

    {"cfg": "cfg/rnn.cfg", "weights_sha256": "7d86...", "layers": ["[gru] inputs=256 ...", ...]}

where `layers` is the resolved cfg, as far as the weights' meaning hangs on it. What may change
between training and use, such as learning rates, batch or dropout, is no part of it. A file
without one loads as always, and so does one whose bytes have another hash: it was replaced since.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from minidark.cfg.options import LayerOptions
from minidark.errors import MinidarkError, WeightsError, echo
from minidark.files.disk import open_regular, write_atomically
from minidark.layers.base import Layer
from minidark.layers.batchnorm import DIVISORS, GPU

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes
# Options that do not affect what stored weights mean.
NO_MEANING = {f.name for f in dataclasses.fields(LayerOptions)} | {
    "init", "input_scale", "update_bias", "forget_bias", "dropconnect",
}  # fmt: skip


DIVIDES = "batchnorm"  # key of a layer whose batch norm divides as the GPU's; else there is none


class HasLayers(Protocol):
    layers: list[Layer]
    layer_options: list[LayerOptions]
    chooses_batchnorm: bool

    def settle_batchnorm(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Record:
    cfg: str  # its name as it was given
    weights_sha256: str  # of the whole file, in hex
    layers: list[str]  # what each layer with weights is


def beside(path: Path | str) -> Path:
    """Where it is kept for a weight file."""
    return Path(f"{path}.json")


def write(path: Path | str, net: HasLayers, cfg: Path | str, weights_sha256: str) -> None:
    """Keep for the weight file `path`, where all layers were saved, what it was made with: the
    network, and the cfg's name. Atomic. Raises MinidarkError."""
    record = Record(str(cfg), weights_sha256, meanings(net, "dontsave"))
    text = json.dumps(dataclasses.asdict(record), indent=1)
    write_atomically(beside(path), [text.encode(), b"\n"])


def check(
    file: io.BufferedReader, path: Path | str, net: HasLayers, start: int, cutoff: int | None
) -> None:
    """Raise WeightsError where the open weight file was made with other layers than the network's
    start..cutoff-1. Leaves the file at its end."""
    record = _read(beside(path))
    if record is None:
        return
    ours = meanings(net, "dontload", start, cutoff)
    try:
        check_meanings(
            record.layers, ours, path, echo(record.cfg, 200), cutoff, net.chooses_batchnorm
        )
    except WeightsError:
        if _is_of(record, file):
            raise


def read(path: Path | str) -> Record | None:
    """What is kept of the weight file `path`; None where that is nothing, or of another file."""
    record = _read(beside(path))
    try:
        with open_regular(path, MinidarkError) as file:
            return record if record and _is_of(record, file) else None
    except MinidarkError:
        return None


def _is_of(record: Record, file: io.BufferedReader) -> bool:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest() == record.weights_sha256


def is_for_gpu(file: io.BufferedReader, path: Path | str) -> bool:
    """Whether the open weight file was made with batchnorm=gpu, as far as is kept of it. Leaves the
    file at its end."""
    record = _read(beside(path))
    return record is not None and for_gpu(record.layers) and _is_of(record, file)


def for_gpu(layers: Sequence[str]) -> bool:
    """Whether these lines of `meanings` say so."""
    return any(_split(line)[1].get(DIVIDES) == GPU.name for line in layers)


def settle_batchnorm(net: HasLayers, path: Path | str, name: str) -> None:
    """Let the batch norm of a network whose cfg has no say divide as the weights of `path` want it,
    and log what changes."""
    if net.settle_batchnorm(name):
        log.info(
            "%s: batch norm divides by %s, as in [net] batchnorm=%s", path, DIVISORS[name], name
        )


def overrides(theirs: Sequence[str], net: HasLayers) -> list[str]:
    """What `--set` would make of a network's layers those that a file was made with,
    "gru.output=64" or "1.output=64"; none where they are of other types."""
    there, here = (
        [_split(line) for line in lines] for lines in (theirs, meanings(net, "dontload"))
    )
    if [type_ for type_, _ in there] != [type_ for type_, _ in here]:
        return []
    numbers = [index for index, _ in _with_meaning(net, "dontload")]
    values: dict[tuple[str, str], dict[int, str]] = {}  # by type and key, each layer's
    others: dict[tuple[str, str], list[int]] = {}  # the layers that have another here
    for number, (type_, theirs_), (_, ours) in zip(numbers, there, here, strict=True):
        for key in ours.keys() - {"inputs"}:  # what a layer takes is what the one before it gives
            value = values.setdefault((type_, key), {})[number] = theirs_.get(key, ours[key])
            if value != ours[key]:
                others.setdefault((type_, key), []).append(number)
    found = []
    for (type_, key), layers in others.items():
        of_each = values[type_, key]
        alike = len({*of_each.values()}) == 1
        places = {type_: of_each[layers[0]]} if alike else {n: of_each[n] for n in layers}
        found += [f"{place}.{key}={value}" for place, value in places.items()]
    return sorted(found)


def _split(line: str) -> tuple[str, dict[str, str]]:
    """Type and values of a line of `_meaning`, which are compared: the order of keys may differ."""
    type_, *pairs = line.split(" ")
    return type_.strip("[]"), dict(pair.partition("=")[::2] for pair in pairs)


def check_meanings(
    theirs: list[str],
    ours: list[str],
    path: Path | str,
    cfg: str,
    cutoff: int | None,
    chooses_batchnorm: bool,
) -> None:
    """Raise WeightsError where the layers that a file was made with, in the cfg named `cfg`, are
    not the network's; with `cutoff` there may be more of them. chooses_batchnorm: of the network,
    whose batch norm then follows the file."""
    theirs = theirs if cutoff is None else theirs[: len(ours)]
    if chooses_batchnorm:
        divided = f" {DIVIDES}={GPU.name}"
        theirs, ours = ([line.replace(divided, "") for line in x] for x in (theirs, ours))
    differing = ((a, b) for a, b in zip(theirs, ours, strict=False) if _split(a) != _split(b))
    if (first := next(differing, None)) is None:
        if len(theirs) == len(ours):
            return
        first = f"{len(theirs)} layers with weights", f"{len(ours)}"
    there, here = first
    raise WeightsError(
        f"{path}: made with {cfg}, which has {echo(there, 200)[1:-1]} where this cfg has {here}; "
        "load it with that cfg, or with --allow-other-cfg"
    )


def meanings(net: HasLayers, absent: str, start: int = 0, cutoff: int | None = None) -> list[str]:
    """A line for each of the layers start..cutoff-1 whose function the weights were made for,
    without those of which the flag `absent` says that they are not in the file."""
    return [
        _meaning(net.layers[index], options)
        for index, options in _with_meaning(net, absent, start, cutoff)
    ]


def _with_meaning(
    net: HasLayers, absent: str, start: int = 0, cutoff: int | None = None
) -> list[tuple[int, LayerOptions]]:
    """Numbers and options of those layers."""
    return [
        (index, options)
        for index, options in [*enumerate(net.layer_options)][start:cutoff]
        if net.layers[index].type == "activation" or net.layers[index].arrays()
        if not getattr(options, absent)
    ]


def _meaning(layer: Layer, options: LayerOptions) -> str:
    """ "[gru] inputs=256 output=384 batch_normalize=0 tanh=1"."""
    values: dict[str, Any] = {"inputs": layer.inputs, "output": layer.outputs}
    for field in dataclasses.fields(options):
        if field.name not in NO_MEANING:
            value = getattr(options, field.name)
            value = layer.outputs if value is None else value  # hidden, where it is left out
            values[field.name] = int(value) if isinstance(value, bool) else value
    if any(norm.divisor is GPU for norm in layer.norms):
        values[DIVIDES] = GPU.name
    return " ".join([f"[{layer.type}]", *(f"{key}={value}" for key, value in values.items())])


def _read(path: Path) -> Record | None:
    """A record as it was written, or None: without one a weight file loads as always."""
    try:
        with open_regular(path, MinidarkError) as file:
            record = Record(**json.loads(file.read(LARGEST)))
    except (MinidarkError, ValueError, TypeError, RecursionError):
        return None
    layers = record.layers if isinstance(record.layers, list) else [None]
    texts = [record.cfg, record.weights_sha256, *layers]
    return record if all(isinstance(text, str) for text in texts) else None
