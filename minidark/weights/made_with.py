"""The record of what a weight file was trained with, stored beside it as FILE.json.

Files of two cfgs can have the same length and still mean different networks: tanh=1 and tanh=0, or
two layers whose sizes add up to the same. darknet's format cannot store this. So a training run
writes beside each weight file

    {"cfg": "cfg/rnn.cfg", "weights_sha256": "7d86...", "layers": ["[gru] inputs=256 ...", ...]}

where `layers` is the resolved cfg, restricted to what affects the meaning of the weights. Settings
that may change between training and use, such as learning rates, batch or dropout, are not
included. A file without a record loads without this check, and so does a file whose hash differs
from its record: it was replaced.
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

from minidark.cfg.keys import values_of
from minidark.cfg.options import LayerOptions
from minidark.cfg.recorded import LATER, recorded
from minidark.errors import MinidarkError, WeightsError, echo
from minidark.files.disk import open_regular, write_atomically
from minidark.layers.base import Layer
from minidark.layers.batchnorm import DIVISORS, GPU

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes
# Options that do not affect what stored weights mean.
NO_MEANING = {f.name for f in dataclasses.fields(LayerOptions)} | {
    "init", "input_scale", "update_bias", "forget_bias", "dropconnect", "dropout",
}  # fmt: skip


COMPUTE = ("activation", "route", "shortcut")  # layers that have no arrays, but give them meaning
DIVIDES = "batchnorm"  # key of a layer with the GPU's batch norm formula; otherwise absent


class HasLayers(Protocol):
    layers: list[Layer]
    layer_options: list[LayerOptions]
    chooses_batchnorm: bool

    def settle_batchnorm(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Record:
    cfg: str  # its name on the command line
    weights_sha256: str  # of the whole file, in hex
    layers: list[str]  # description of each layer with weights


def beside(path: Path | str) -> Path:
    """Path of a weight file's record."""
    return Path(f"{path}.json")


def write(path: Path | str, net: HasLayers, cfg: Path | str, weights_sha256: str) -> None:
    """Write the record of the weight file `path`, in which all layers were saved: its network and
    the cfg's name. Atomic. Raises MinidarkError."""
    record = Record(str(cfg), weights_sha256, meanings(net, "dontsave"))
    text = json.dumps(dataclasses.asdict(record), indent=1)
    write_atomically(beside(path), [text.encode(), b"\n"])


def check(
    file: io.BufferedReader, path: Path | str, net: HasLayers, start: int, cutoff: int | None
) -> None:
    """Raise WeightsError if the open weight file was made with layers that differ from the
    network's start..cutoff-1. Leaves the file at its end."""
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
    """The record of the weight file `path`; None if it is missing or belongs to another file."""
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
    """Whether the record says that the open weight file was made with batchnorm=gpu. Leaves the
    file at its end."""
    record = _read(beside(path))
    return record is not None and for_gpu(record.layers) and _is_of(record, file)


def for_gpu(layers: Sequence[str]) -> bool:
    """Whether `layers`, lines as `meanings` returns them, have batchnorm=gpu."""
    return any(_split(line)[1].get(DIVIDES) == GPU.name for line in layers)


def settle_batchnorm(net: HasLayers, path: Path | str, name: str) -> None:
    """If the cfg does not choose a batch norm formula, use the one of the weights in `path`, and
    log a change."""
    if net.settle_batchnorm(name):
        log.info(
            "%s: batch norm divides by %s, as in [net] batchnorm=%s", path, DIVISORS[name], name
        )


def overrides(theirs: Sequence[str], net: HasLayers) -> list[str]:
    """The `--set` values that would turn a network's layers into those that a file was made with,
    such as "gru.output=64" or "1.output=64"; empty if the layer types differ."""
    saved, current = (
        [_split(line) for line in lines] for lines in (theirs, meanings(net, "dontload"))
    )
    if [type_ for type_, _ in saved] != [type_ for type_, _ in current]:
        return []
    numbers = [index for index, _ in _with_meaning(net, "dontload")]
    has_width = {index: options.has_width for index, options in _with_meaning(net, "dontload")}
    values: dict[tuple[str, str], dict[int, str]] = {}  # by type and key, for each layer
    others: dict[tuple[str, str], list[int]] = {}  # layers that differ
    for number, (type_, theirs_), (_, ours) in zip(numbers, saved, current, strict=True):
        resulting = {"inputs"} if has_width[number] else {"inputs", "output"}
        for key in ours.keys() - resulting:  # those follow from the layers below
            value = values.setdefault((type_, key), {})[number] = theirs_.get(key, ours[key])
            if value != ours[key]:
                others.setdefault((type_, key), []).append(number)
    result = []
    for (type_, key), layers in others.items():
        of_each = values[type_, key]
        alike = len({*of_each.values()}) == 1
        places = {type_: of_each[layers[0]]} if alike else {n: of_each[n] for n in layers}
        result += [f"{place}.{key}={value}" for place, value in places.items()]
    return sorted(result)


def _split(line: str) -> tuple[str, dict[str, str]]:
    """Type and values of a line of `_meaning`, for comparison: the order of keys may differ."""
    head, *pairs = line.split(" ")
    type_ = head.strip("[]")
    later = {key: str(value) for key, value in LATER.get(type_, {}).items()}
    return type_, later | dict(pair.partition("=")[::2] for pair in pairs)


def check_meanings(
    theirs: list[str],
    ours: list[str],
    path: Path | str,
    cfg: str,
    cutoff: int | None,
    chooses_batchnorm: bool,
) -> None:
    """Raise WeightsError if the layers that a file was made with, in the cfg named `cfg`, differ
    from the network's; with `cutoff` the file may have more. chooses_batchnorm: the network's
    batch norm follows the file."""
    theirs = theirs if cutoff is None else theirs[: len(ours)]
    if chooses_batchnorm:
        divided = f" {DIVIDES}={GPU.name}"
        theirs, ours = ([line.replace(divided, "") for line in x] for x in (theirs, ours))
    differing = ((a, b) for a, b in zip(theirs, ours, strict=False) if _split(a) != _split(b))
    if (first := next(differing, None)) is None:
        if len(theirs) == len(ours):
            return
        first = f"{len(theirs)} layers with weights", f"{len(ours)}"
    saved, current = first
    raise WeightsError(
        f"{path}: made with {cfg}, which has {echo(saved, 200)[1:-1]} where this cfg has "
        f"{current}; load it with that cfg, or use --allow-other-cfg"
    )


def meanings(net: HasLayers, absent: str, start: int = 0, cutoff: int | None = None) -> list[str]:
    """A line for each of the layers start..cutoff-1 that gives weights their meaning, except layers
    that the flag `absent` excludes from the file."""
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
        if net.layers[index].type in COMPUTE or net.layers[index].arrays()
        if not getattr(options, absent)
    ]


def _meaning(layer: Layer, options: LayerOptions) -> str:
    """ "[gru] inputs=256 output=384 batch_normalize=0 tanh=1"."""
    values: dict[str, Any] = {"inputs": layer.inputs, "output": layer.outputs}
    for key, value in values_of(options).items():
        if key == "hidden" and value is None:
            value = layer.outputs
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if key not in NO_MEANING:
            values[key] = int(value) if isinstance(value, bool) else value
    if any(norm.divisor is GPU for norm in layer.norms):
        values[DIVIDES] = GPU.name
    values = recorded(layer.type, values)
    return " ".join([f"[{layer.type}]", *(f"{key}={value}" for key, value in values.items())])


def _read(path: Path) -> Record | None:
    """A valid record, or None."""
    try:
        with open_regular(path, MinidarkError) as file:
            record = Record(**json.loads(file.read(LARGEST)))
    except (MinidarkError, ValueError, TypeError, RecursionError):
        return None
    layers = record.layers if isinstance(record.layers, list) else [None]
    texts = [record.cfg, record.weights_sha256, *layers]
    return record if all(isinstance(text, str) for text in texts) else None
