"""All that a training run is, in one file, so that another day can go on as if none had passed.

A checkpoint is a safetensors file: the network's arrays, its states and the optimizer's slots by
name, and one entry of metadata, `minidark`, which is JSON:

    {"sha256": "83c1...", "run": {"batch": 400, "cfg": [...], "text": [...], "offsets": [...], ...}}

The hash is of all the rest, arrays and JSON: a file that was cut, overwritten or changed in one bit
is refused, and what is read is never run. What the run was begun with stands in it too, so that
going on with another cfg or text is an error that names the difference.

The file is replaced only by one that is whole, and the one before stays beside it, as PATH.prev.
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

from minidark.backend import Array
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

KEY = "minidark"  # of the metadata
LARGEST_HEADER = 1 << 24  # bytes; a thousand layers take less than half of it
RENAMED = {"since": "unvalidated"}  # what stands by its old name in checkpoints of before
ADDED = {"shards": 1, "separator": None}  # what does not stand in them, and was so
FALLING = ("poly", "cosine")  # policies by which the rate hangs on max_batches

SHORT = String(longest=1000, utf8=True)
CFG_VALUES = ListOf(Record({"section": SHORT}, others=Value()), least=2)
RANDOM = Record(  # numpy's PCG64, of 128 bits
    {
        "bit_generator": OneOf(("PCG64",)),
        "state": Record({"state": Whole(0, 2**128 - 1), "inc": Whole(0, 2**128 - 1)}),
        "has_uint32": Whole(0, 1),
        "uinteger": Whole(0, 2**32 - 1),
    }
)
FIELDS: dict[str, Kind] = {  # what the JSON of a checkpoint must hold; see `Checkpoint`
    "began": SHORT,
    "cfg": CFG_VALUES,
    "computing": Record({"device": OneOf(("cpu", "cuda")), "kernels": SHORT, "dtype": SHORT}),
    "surroundings": MapOf(Value()),
    "text": ListOf(
        Record({"path": String(), "size": Whole(0), "modified": Whole(), "sampled": SHORT}),
        least=1,
    ),
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
    """A run after a batch. Arrays are numpy's; the rest is what JSON holds."""

    arrays: dict[str, Array] = field(repr=False)
    # What the run was begun with.
    began: str  # when, in UTC; no two runs have the same
    cfg: list[dict[str, Any]]  # each section with all its values; see `cfg_values`
    computing: dict[str, Any]  # see `computing`
    surroundings: dict[str, Any]  # see `surroundings`
    text: list[dict[str, Any]]  # `Identity.to_json`
    tokenized: bool
    separator: str | None  # of pairs; None of a text
    seed: int
    valid_fraction: float
    clip_norm: float
    shards: int  # groups of streams
    # How far it is to go: this alone may change, and `batches` not where the rate FALLS towards it.
    batches: int
    patience: int | None
    # Where it is.
    batch: int
    seen: int
    updates: int
    generators: dict[str, Any]  # numpy's bit generators, by whose they are
    offsets: list[int]  # of the streams; of pairs, the epoch and the passes of it that are done
    symbols: int
    seconds: float
    average: float
    lowest: float | None  # validation cost
    fruitless: int
    unvalidated: int  # symbols trained on since the last validation
    validated: int  # batches

    @property
    def pairs(self) -> bool:
        return self.separator is not None

    @property
    def falls(self) -> bool:
        """Whether the rate falls towards the last batch, which cannot be put off then."""
        return self.cfg[0].get("policy") in FALLING

    @property
    def over(self) -> bool:
        return self.ends()

    def ends(self, batches: int | None = None, patience: int | None = None) -> bool:
        """Whether a run that goes on from here has no batch to come, by these or its own."""
        batches = self.batches if batches is None else batches
        patience = self.patience if patience is None else patience
        return self.batch >= batches or exhausted(self.fruitless, patience)

    def write(self, path: Path | str, keep: bool = True) -> None:
        """Put it in the place of `path`. With `keep`, for what is sound, the file that was there
        becomes PATH.prev. At no moment is there no whole file. Raises MinidarkError."""
        values = {f: getattr(self, f) for f in FIELDS}
        run = json.dumps(values, allow_nan=False, sort_keys=True)
        metadata = f'{{"sha256": "{_sha256(run, self.arrays)}", "run": {run}}}'
        data = safetensors.numpy.save(self.arrays, {KEY: metadata})
        if keep:
            _keep_previous(path)
        write_atomically(path, [data])

    @classmethod
    def read(cls, path: Path | str) -> Checkpoint:
        """What `write` wrote, to the last bit. Raises WeightsError for anything else, and for what
        FIELDS does not allow."""
        header, data = _header_and_data(path)
        try:
            arrays = safetensors.numpy.load(data)
            metadata = schema.parse(json.loads(header)["__metadata__"][KEY])
            run = metadata["run"]
            sound = isinstance(run, dict) and metadata["sha256"] == _sha256(
                json.dumps(run, sort_keys=True), arrays
            )
        except (safetensors.SafetensorError, *MALFORMED):
            sound = False
        if not sound:
            raise WeightsError(f"{path}: damaged: these are not the bytes that were written")
        run = {**ADDED, **{RENAMED.get(name, name): value for name, value in run.items()}}
        run = {name: value for name, value in run.items() if name in FIELDS}
        if said := schema.mistake(run, Record(FIELDS)) or _odd_array(arrays):
            raise WeightsError(f"{path}: damaged, or a checkpoint of another version: {said}")
        return cls(arrays=arrays, **run)


def _header_and_data(path: Path | str) -> tuple[bytes, bytes]:
    """A safetensors file's header, and the whole file with it. Raises WeightsError for what is no
    checkpoint, of which nothing else is read."""
    with open_regular(path, named(path, WeightsError)) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        (length,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
        header = file.read(length) if 0 < length <= min(size - 8, LARGEST_HEADER) else b""
        if f'"{KEY}"'.encode() not in header:
            raise WeightsError(f"{path}: not a checkpoint, which `train` leaves as BASE.ckpt")
        return header, head + header + file.read(size - 8 - length)


def _odd_array(arrays: dict[str, Array]) -> str | None:
    """The first array that a network cannot have."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            return f"array {bare(name)} is of {array.dtype}; expected floats"
    return None


def exhausted(fruitless: int, patience: int | None) -> bool:
    """Whether a run has had its last validation without a new lowest."""
    return patience is not None and fruitless >= max(1, patience)


# What Python raises for values of another kind than were meant.
MALFORMED = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError
)  # fmt: skip


def _sha256(run: str, arrays: dict[str, Array]) -> str:
    """Of the JSON, and of each array's name, kind and bytes."""
    digest = hashlib.sha256(run.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def previous(path: Path | str) -> Path:
    """Where the checkpoint before that in `path` is kept."""
    return Path(f"{path}.prev")


def _keep_previous(link: Path | str) -> None:
    """Give the file that `link` leads to a second name. Where it cannot have two, it loses the
    first, and for the moment until the new one is written it goes by the second."""
    system = disk.SYSTEM
    with suppress(OSError):  # what does not work here fails the write behind it, which tells
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
        system.unlink(spare)  # still there where both were one file, after a write that failed


def is_sound(path: Path | str) -> bool:
    """Whether `Checkpoint.read` would read it."""
    try:
        Checkpoint.read(path)
    except WeightsError:
        return False
    return True


def newest_sound(path: Path | str) -> tuple[Path, Checkpoint]:
    """The checkpoint at `path`, or where that is missing or damaged, which is logged, the one
    before; and where it lies. Raises WeightsError where none is sound."""
    there = [p for p in (Path(path), previous(path)) if os.path.lexists(p)]
    if not there:
        raise WeightsError(f"{path}: there is none to go on from; without --resume a run begins")
    for candidate in there:
        try:
            return candidate, Checkpoint.read(candidate)
        except WeightsError as error:
            log.warning("%s", error)
    raise WeightsError(f"{path}: no checkpoint to go on from is sound")


# --- the network's part -------------------------------------------------------------------


def network_arrays(net: Network) -> Iterator[tuple[str, Array]]:
    """Everything that a network's next batch hangs on, by name: live, where the backend has it."""
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
    """The same, as numpy's arrays that stay what they are."""
    return {name: np.array(net.backend.asnumpy(a)) for name, a in network_arrays(net)}


def generators(net: Network) -> dict[str, np.random.Generator]:
    """Where the network's draws come from; one may have several names."""
    layers = {layer.name: layer.rng for layer in net.layers if layer.rng}
    return {"network": net.rng, **layers}


def restore_arrays(net: Network, since: Checkpoint) -> None:
    """Make the network what it was, but for its generators. Raises WeightsError where it has other
    arrays; nothing is changed then."""
    arrays = dict(network_arrays(net))
    if {n: a.shape for n, a in arrays.items()} != {n: a.shape for n, a in since.arrays.items()}:
        raise WeightsError("the checkpoint's arrays are not those of this network")
    net.learner.drop_gradients()
    for name, array in arrays.items():
        array[...] = net.backend.asarray(since.arrays[name])
    net.seen = since.seen
    net.learner.optimizer.updates, net.learner.clip_norm = since.updates, since.clip_norm
