"""The complete state of a training run in one file, so that it can be resumed exactly.

A checkpoint is a safetensors file: the network's arrays, its states and the optimizer's slots by
name, and one metadata entry, `minidark`, which is JSON:

    {"sha256": "83c1...", "run": {"batch": 400, "cfg": [...], "text": [...], "offsets": [...], ...}}

The hash covers everything else, arrays and JSON. A file that is truncated, overwritten or changed
in one bit is refused, and nothing in a file is ever executed. The checkpoint also stores the run's
cfg and text identity, so resuming with another cfg or text raises an error that names the
difference.

Writes are atomic, and the previous checkpoint stays beside the new one as PATH.prev.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from minidark.backend import PRECISIONS, Array
from minidark.cfg.source import CFG_VALUES, SHORT
from minidark.errors import WeightsError, bare
from minidark.files import disk, schema
from minidark.files.disk import named, open_regular, write_atomically
from minidark.files.schema import (
    Flag,
    Kind,
    ListOf,
    MapOf,
    OneOf,
    Optional,
    Real,
    Record,
    String,
    Value,
    Whole,
)
from minidark.network import Network

log = logging.getLogger(__name__)

KEY = "minidark"  # metadata key
LARGEST_HEADER = 1 << 24  # bytes; a thousand layers need less than half
RENAMED = {"since": "unvalidated"}  # old field names in older checkpoints
ADDED: dict[str, Any] = {  # fields missing from older checkpoints, with their values
    "shards": 1,
    "separator": None,
    "valid": [],
    "skip_bad": False,
    "columns": None,
    "fields": None,
}
FALLING = ("poly", "cosine")  # policies whose rate depends on max_batches

RANDOM = Record(  # numpy's PCG64, of 128 bits
    {
        "bit_generator": OneOf(("PCG64",)),
        "state": Record({"state": Whole(0, 2**128 - 1), "inc": Whole(0, 2**128 - 1)}),
        "has_uint32": Whole(0, 1),
        "uinteger": Whole(0, 2**32 - 1),
    }
)
IDENTITY = Record({"path": String(), "size": Whole(0), "modified": Whole(), "sampled": SHORT})
FIELDS: dict[str, Kind] = {  # required JSON fields; see `Checkpoint`
    "began": SHORT,
    "cfg": CFG_VALUES,
    "computing": Record(
        {
            "device": OneOf(("cpu", "cuda")),
            "kernels": SHORT,
            "dtype": SHORT,
            "precision": OneOf(PRECISIONS),
        },
        absent=frozenset({"precision"}),  # from older checkpoints
    ),
    "surroundings": MapOf(Value()),
    "text": ListOf(IDENTITY, least=1),
    "valid": ListOf(IDENTITY),
    "skip_bad": Flag(),
    "columns": Optional(String(utf8=True)),
    "fields": Optional(String(utf8=True)),
    "tokenized": Flag(),
    "separator": Optional(SHORT),
    "seed": Whole(most=None),
    "valid_fraction": Real(0, below=1),
    "clip_norm": Real(0),
    "shards": Whole(1),
    "batches": Whole(1),
    "patience": Optional(Whole(0)),
    "batch": Whole(1),
    "seen": Whole(1),
    "updates": Whole(1),
    "generators": MapOf(RANDOM),
    "offsets": ListOf(Whole(0), least=1),
    "symbols": Whole(1),
    "seconds": Real(0),
    "average": Real(),
    "lowest": Optional(Real()),
    "fruitless": Whole(0),
    "unvalidated": Whole(0),
    "validated": Whole(0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run after a batch. Arrays are numpy arrays; all other fields are JSON values."""

    arrays: dict[str, Array] = field(repr=False)
    # How the run was started.
    began: str  # start time in UTC, which identifies the run
    cfg: list[dict[str, Any]]  # all values of each section; see `cfg_values`
    computing: dict[str, Any]  # see `computing`
    surroundings: dict[str, Any]  # see `surroundings`
    text: list[dict[str, Any]]  # `Identity.to_json`
    tokenized: bool
    separator: str | None  # for pairs; None for a text
    valid: list[dict[str, Any]]  # of the data to validate on, if it was not held out
    skip_bad: bool  # for pairs
    columns: str | None  # for pairs in .csv or .tsv: the names of source and target
    fields: str | None  # for pairs in .jsonl
    seed: int
    valid_fraction: float
    clip_norm: float
    shards: int  # groups of streams
    # When to stop. Only these may change on resume, and `batches` not if the policy is in FALLING.
    batches: int
    patience: int | None
    # Progress.
    batch: int
    seen: int
    updates: int
    generators: dict[str, Any]  # numpy bit generators by owner
    offsets: list[int]  # stream offsets; for pairs, the epoch and its finished passes
    symbols: int
    seconds: float
    average: float
    lowest: float | None  # validation cost
    fruitless: int
    unvalidated: int  # symbols trained on since the last validation
    validated: int  # batches counted for validation

    @property
    def pairs(self) -> bool:
        return self.separator is not None

    @property
    def precision(self) -> str:
        """The precision of matrix products."""
        return str(self.computing.get("precision", PRECISIONS[0]))

    @property
    def falls(self) -> bool:
        """Whether the learning rate falls towards the last batch, which is then fixed."""
        return self.cfg[0].get("policy") in FALLING

    @property
    def over(self) -> bool:
        return self.ends()

    def ends(self, batches: int | None = None, patience: int | None = None) -> bool:
        """Whether a run resumed from here would be finished, with these limits or its own."""
        batches = self.batches if batches is None else batches
        patience = self.patience if patience is None else patience
        return self.batch >= batches or exhausted(self.fruitless, patience)

    def write(self, path: Path | str, keep: bool = True) -> None:
        """Write to `path` atomically. With `keep`, meant for a valid existing file, that file
        becomes PATH.prev. A complete file exists at all times. Raises MinidarkError."""
        values = {f: getattr(self, f) for f in FIELDS}
        run = json.dumps(values, allow_nan=False, sort_keys=True)
        metadata = f'{{"sha256": "{_sha256(run, self.arrays)}", "run": {run}}}'
        data = safetensors.numpy.save(self.arrays, {KEY: metadata})
        if keep:
            _keep_previous(path)
        write_atomically(path, [data])

    @classmethod
    def read(cls, path: Path | str) -> Checkpoint:
        """Read what `write` wrote, bit for bit. Raises WeightsError for other files and for values
        that FIELDS does not allow."""
        header, data = _header_and_data(path)
        try:
            arrays = safetensors.numpy.load(data)
            metadata = schema.parse(json.loads(header)["__metadata__"][KEY])
            run = metadata["run"]
            valid = isinstance(run, dict) and metadata["sha256"] == _sha256(
                json.dumps(run, sort_keys=True), arrays
            )
        except (safetensors.SafetensorError, *MALFORMED):
            valid = False
        if not valid:
            raise WeightsError(f"{path}: damaged: the checksum does not match")
        run = {**ADDED, **{RENAMED.get(name, name): value for name, value in run.items()}}
        run = {name: value for name, value in run.items() if name in FIELDS}
        if message := schema.mistake(run, Record(FIELDS)) or _odd_array(arrays):
            raise WeightsError(f"{path}: damaged, or a checkpoint of another version: {message}")
        return cls(arrays=arrays, **run)


def _header_and_data(path: Path | str) -> tuple[bytes, bytes]:
    """The header of a safetensors file, and the whole file. Raises WeightsError if it is not a
    checkpoint, without reading further."""
    with open_regular(path, named(path, WeightsError)) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        (length,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
        header = file.read(length) if 0 < length <= min(size - 8, LARGEST_HEADER) else b""
        if f'"{KEY}"'.encode() not in header:
            raise WeightsError(
                f"{path}: not a checkpoint (`train` writes checkpoints as BASE.ckpt)"
            )
        return header, head + header + file.read(size - 8 - length)


def _odd_array(arrays: dict[str, Array]) -> str | None:
    """A message about the first array that no network can have."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            return f"array {bare(name)} has dtype {array.dtype}; expected floats"
    return None


def exhausted(fruitless: int, patience: int | None) -> bool:
    """Whether early stopping is due: `patience` validations without a new lowest cost."""
    return patience is not None and fruitless >= max(1, patience)


# Errors that Python raises for malformed values.
MALFORMED = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError
)  # fmt: skip


def _sha256(run: str, arrays: dict[str, Array]) -> str:
    """Hash of the JSON, and of each array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(run.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def previous(path: Path | str) -> Path:
    """Path of the checkpoint before the one in `path`."""
    return Path(f"{path}.prev")


def _keep_previous(link: Path | str) -> None:
    """Hard-link the file behind `link` to PATH.prev, or rename it where links are unsupported."""
    system = disk.SYSTEM
    with suppress(OSError):  # the write after this fails too, and reports it
        path = Path(system.realpath(link))
        spare = path.with_name(f".minidark.{path.name}.prev")
        with suppress(FileNotFoundError):
            system.unlink(spare)
        try:
            system.link(path, spare)
        except FileNotFoundError:
            return
        except OSError:
            system.replace(path, previous(path))
            return
        system.replace(spare, previous(path))
        system.unlink(
            spare
        )  # rename keeps it if both names were already one file, after a failed write


def is_sound(path: Path | str) -> bool:
    """Whether `Checkpoint.read` accepts the file."""
    try:
        Checkpoint.read(path)
    except WeightsError:
        return False
    return True


def newest_sound(path: Path | str) -> tuple[Path, Checkpoint]:
    """The checkpoint at `path`, or the previous one if that is missing or damaged (logged), with
    its path. Raises WeightsError if neither is valid."""
    existing = [p for p in (Path(path), previous(path)) if os.path.lexists(p)]
    if not existing:
        raise WeightsError(
            f"{path}: no checkpoint to resume from; omit --resume to start a new run"
        )
    for candidate in existing:
        try:
            return candidate, Checkpoint.read(candidate)
        except WeightsError as error:
            log.warning("%s", error)
    raise WeightsError(f"{path}: no valid checkpoint to resume from")


# --- the network's part -------------------------------------------------------------------


def network_arrays(net: Network) -> Iterator[tuple[str, Array]]:
    """All arrays that the next batch depends on, by name: live, in the backend's memory."""
    for layer in net.layers:
        for array in layer.arrays():
            yield array.name, array.value
        for name, state in layer.states.items():
            yield f"{layer.name}.{name}", state
    for parameter in net.parameters():
        for kind in net.learner.optimizer.kinds:
            slot = net.learner.optimizer.slot(parameter, kind)
            yield f"{parameter.name}.{kind}", slot.reshape(parameter.value.shape)


def copied_arrays(net: Network) -> dict[str, Array]:
    """Copies of `network_arrays` as numpy arrays."""
    return {name: np.array(net.backend.asnumpy(a)) for name, a in network_arrays(net)}


def generators(net: Network) -> dict[str, np.random.Generator]:
    """The network's random generators by name; one may have several names."""
    layers = {layer.name: layer.rng for layer in net.layers if layer.rng}
    return {"network": net.rng, **layers}


def restore_byte_pairs(net: Network, since: Checkpoint) -> None:
    """Fill a [bytepairs] that fits with the checkpoint's pairs, before any data is read in them:
    they may have been learned from other data, if the run began with weights."""
    if net.layers[0].gives_ids:
        for array in net.layers[0].arrays():
            saved = since.arrays.get(array.name)
            if saved is not None and saved.shape == array.value.shape:
                array.value[...] = net.backend.asarray(saved)


def restore_arrays(net: Network, since: Checkpoint) -> None:
    """Restore the network's arrays and counters, but not its generators. Raises WeightsError if the
    arrays differ in name or shape; the network is unchanged then."""
    arrays = dict(network_arrays(net))
    if {n: a.shape for n, a in arrays.items()} != {n: a.shape for n, a in since.arrays.items()}:
        raise WeightsError("the checkpoint's arrays do not fit this network")
    net.learner.drop_gradients()
    for name, array in arrays.items():
        array[...] = net.backend.asarray(since.arrays[name])
    net.seen = since.seen
    net.learner.optimizer.updates, net.learner.clip_norm = since.updates, since.clip_norm
