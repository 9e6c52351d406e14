"""darknet's weight files.

Little-endian: int32 major, minor, revision; `seen`, 64 bits if 10 * major + minor >= 2 and both are
below 1000, else 32; then each layer's arrays in float32. A version above 1000 marks a file whose
weights are stored transposed, (inputs, outputs), with 64 bits if that is what its length says.

Two dialects order a recurrent layer's arrays differently with the same length in all, so that the
wrong one loads silently. The header tells: AlexeyAB's writes revision 5 (4 is taken for its, too),
and version 0.1 and transposed files are of the same order; pjreddie's since 2017 writes 0.2.0.
minidark writes that.

This module knows no layer: each lists its arrays (`Layer.stored_arrays`).

Source: darknet src/parser.c (load_weights_upto, save_weights_upto).
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from minidark.backend import Array
from minidark.errors import WeightsError, echo
from minidark.files.archives import is_archive
from minidark.files.disk import named, open_regular, stamp, write_atomically
from minidark.layers.base import ALEXEY, NORM_KINDS, PJREDDIE, Stored
from minidark.layers.batchnorm import CPU, GPU
from minidark.weights import made_with
from minidark.weights import named as named_weights

log = logging.getLogger(__name__)

ORDERS = (PJREDDIE, ALEXEY)
VERSIONS = {PJREDDIE: (0, 2, 0), ALEXEY: (0, 2, 5)}  # that are written
PROGRAMS = {
    (0, 2, 0): "pjreddie's darknet since June 2017, or minidark",
    (0, 2, 5): "AlexeyAB's darknet or hank-ai's",
    (0, 1, 0): "a darknet before June 2017, or an older one of AlexeyAB's",
}
VERSION_BYTES = 12
HEADER_BYTES = VERSION_BYTES + 8  # of the files that are written
SAFETENSORS = b'{"'  # behind the length, in the place of a header
LARGEST_VERSION = 2000  # 1000 is added to mark transposed weights; larger is another format


HasWeights = named_weights.HasArrays  # what a network is to this module


@dataclass(frozen=True, slots=True)
class Header:
    major: int
    minor: int
    revision: int
    seen: int
    size: int  # bytes: 16 or 20

    @property
    def transposed(self) -> bool:
        return self.major > 1000 or self.minor > 1000

    @property
    def order(self) -> str:
        """The dialect that the version speaks of."""
        old = 10 * self.major + self.minor < 2
        return ALEXEY if self.transposed or old or self.revision >= 4 else PJREDDIE

    @property
    def batchnorm(self) -> str:
        """What the program that writes such a version divides by in batch norm, as [net] has it.
        Versions of before 2017, which all forks share, are older than AlexeyAB's change."""
        old = 10 * self.major + self.minor < 2
        newer = self.order == ALEXEY and not (self.transposed or old)
        return GPU.name if newer else CPU.name

    @property
    def program(self) -> str:
        """Which program writes such a version."""
        if self.transposed:
            return "an old darknet, transposed"
        version = (self.major, self.minor, self.revision)
        return PROGRAMS.get(version, "unknown to minidark")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"


@dataclass(frozen=True, slots=True)
class Named:
    """In the place of a header, of a file whose arrays have names."""

    seen: int
    program: str  # "a .safetensors"
    order: str = "named"
    transposed: bool = False

    def __str__(self) -> str:
        return "none"


class Reading(TypedDict, total=False):
    """How `load_weights` is to take a file."""

    weights_order: str | None
    allow_nonfinite: bool
    allow_other_cfg: bool


def load_weights(
    net: HasWeights,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    weights_order: str | None = None,
    *,
    allow_nonfinite: bool = False,
    allow_other_cfg: bool = False,
) -> Header | Named:
    """Fill the layers start..cutoff-1 (None: to the last) from a file, and set `net.seen`.

    A .safetensors or .npz is read by names (`named_weights`). Any other file is darknet's, and
    begins with layer `start`; without `cutoff` it must end with the last layer, with it what
    follows is not looked at. weights_order: "pjreddie", "alexey", or None: by header.
    allow_nonfinite: NaN and infinity are taken as they are. allow_other_cfg: what is kept of the
    layers it was made with is not looked at. Nothing is changed unless all fits. Raises
    WeightsError.
    """
    if is_archive(path):
        _checked_order(weights_order)
        _check_layers(net, path, start, cutoff)
        with open_regular(path, named(path, WeightsError)) as file:
            seen = named_weights.load(
                net,
                file,
                path,
                start,
                cutoff,
                allow_nonfinite=allow_nonfinite,
                allow_other_cfg=allow_other_cfg,
            )
        return Named(seen, f"a {Path(path).suffix.lower()}")
    with open_regular(path, named(path, WeightsError)) as file:
        before = os.fstat(file.fileno())
        head = file.read(HEADER_BYTES)
        wanted = _Wanted.of(net, head, before.st_size, path, start, cutoff, weights_order)
        file.seek(wanted.header.size)
        data = file.read(wanted.payload)
        if not allow_other_cfg:
            made_with.check(file, path, net, start, cutoff)
        gpu = made_with.is_for_gpu(file, path)
        after = os.fstat(file.fileno())
    if len(data) != wanted.payload or stamp(after) != stamp(before):
        raise WeightsError(f"{path}: changed while it was read; try again")
    wanted.fill(net, data, path, allow_nonfinite)
    made_with.settle_batchnorm(net, path, GPU.name if gpu else wanted.header.batchnorm)
    order = wanted.order
    level = logging.DEBUG if order == PJREDDIE else logging.INFO  # ours goes without saying
    log.log(level, "%s: header %s, %s's order of arrays", path, wanted.header, order)
    return wanted.header


def read_weights(
    net: HasWeights,
    data: bytes,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    weights_order: str | None = None,
    *,
    allow_nonfinite: bool = False,
) -> Header:
    """`load_weights` of a file's bytes; `path` is for messages."""
    wanted = _Wanted.of(net, data[:HEADER_BYTES], len(data), path, start, cutoff, weights_order)
    at = wanted.header.size
    wanted.fill(net, data[at : at + wanted.payload], path, allow_nonfinite)
    made_with.settle_batchnorm(net, path, wanted.header.batchnorm)
    return wanted.header


def save_weights(
    net: HasWeights, path: Path | str, order: str = PJREDDIE, cutoff: int | None = None
) -> str:
    """Write the layers 0..cutoff-1 (None: all) but those with dontsave, atomically; as a path that
    ends in .safetensors or .npz says, by names and with the cfg.

    Returns the SHA-256 of the file, in hex. Raises MinidarkError.
    """
    _checked_order(order)
    if is_archive(path):
        return named_weights.save(net, path, cutoff)
    kept = saved_arrays(net, order, cutoff)
    _warn_of_unsaved_biases(net, path, kept, cutoff)
    header = struct.pack("<3iQ", *VERSIONS[order], net.seen)
    digest = hashlib.sha256(header)

    def parts() -> Iterator[bytes | memoryview]:
        yield header
        for array in kept:
            part = _bytes(net.backend.asnumpy(array.value))
            digest.update(part)
            yield part

    write_atomically(path, parts())
    return digest.hexdigest()


def saved_arrays(net: HasWeights, order: str = PJREDDIE, cutoff: int | None = None) -> list[Stored]:
    """What `save_weights` writes."""
    layers = zip(net.layers[:cutoff], net.layer_options[:cutoff], strict=True)
    return [
        array
        for layer, options in layers
        if not options.dontsave
        for array in layer.stored_arrays(order)
    ]


def array_statistics(net: HasWeights) -> list[dict[str, Any]]:
    """Of each stored array: name, shape, mean, spread (standard deviation), mean square, least,
    most, and how many numbers are NaN or infinite; the figures are of the finite ones."""
    return [
        _statistics(a.name, net.backend.asnumpy(a.value))
        for layer in net.layers
        for a in layer.arrays()
    ]


def _statistics(name: str, values: Array) -> dict[str, Any]:
    finite = values[np.isfinite(values)].astype(np.float64)
    figures: dict[str, Any] = dict.fromkeys(("mean", "spread", "mean_square", "least", "most"))
    if finite.size:
        figures = {
            "mean": float(finite.mean()),
            "spread": float(finite.std()),
            "mean_square": float(np.square(finite).mean()),
            "least": float(finite.min()),
            "most": float(finite.max()),
        }
    return {
        "name": name,
        "shape": list(values.shape),
        **figures,
        "not_finite": int(values.size - finite.size),
    }


def read_header(data: bytes, path: Path | str, length: int, payloads: Collection[int]) -> Header:
    """The header from a file's first 20 bytes. `length` is the whole file's, `payloads` what the
    network's arrays take, all or those that are wanted: together they settle how wide `seen` is in
    a transposed file."""
    if len(data) < VERSION_BYTES + 4:
        raise WeightsError(
            f"{path}: {length} bytes; a weight file's header alone has {VERSION_BYTES + 4} or more"
        )
    if data[8:10] == SAFETENSORS:
        raise WeightsError(f"{path}: {_what_it_is(path)}")
    major, minor, revision = struct.unpack_from("<3i", data)
    if not all(0 <= number < LARGEST_VERSION for number in (major, minor, revision)):
        raise WeightsError(f"{path}: not a darknet weight file (it begins with {echo(data[:12])})")
    if major > 1000 or minor > 1000:  # pjreddie's reads 32 bits here, AlexeyAB's 64
        wide = length - VERSION_BYTES - 8 in payloads
    else:
        wide = 10 * major + minor >= 2 and major < 1000 and minor < 1000
    if wide and len(data) < VERSION_BYTES + 8:
        raise WeightsError(f"{path}: {length} bytes; this header alone has {VERSION_BYTES + 8}")
    (seen,) = struct.unpack_from("<q" if wide else "<i", data, VERSION_BYTES)
    if seen < 0:
        raise WeightsError(f"{path}: `seen` is negative ({seen}); the header is damaged")
    return Header(major, minor, revision, seen, VERSION_BYTES + (8 if wide else 4))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The arrays that a file must hold after its header, in order."""

    header: Header
    order: str
    arrays: list[Stored]
    payload: int  # their bytes

    @classmethod
    def of(
        cls,
        net: HasWeights,
        head: bytes,
        length: int,
        path: Path | str,
        start: int,
        cutoff: int | None,
        weights_order: str | None,
    ) -> _Wanted:
        """From a file's first bytes and its length, which must be accounted for to the last."""
        order = _checked_order(weights_order)
        last = _check_layers(net, path, start, cutoff)
        # A transposed file has alexey's order, and the length tells how wide its `seen` is.
        arrays = _file_arrays(net, start, last, order or ALEXEY)
        all_arrays = _file_arrays(net, start, len(net.layers), order or ALEXEY)
        header = read_header(head, path, length, {_payload(arrays), _payload(all_arrays)})
        order = order or header.order
        arrays = arrays if order == ALEXEY else _file_arrays(net, start, last, order)
        _check_length(arrays, header, path, length, to_the_end=cutoff is None)
        return cls(header, order, arrays, _payload(arrays))

    def fill(self, net: HasWeights, data: bytes, path: Path | str, allow_nonfinite: bool) -> None:
        """Put the payload into the arrays, and `seen` into the network."""
        numbers = np.frombuffer(data, dtype="<f4")
        if not (allow_nonfinite or np.isfinite(numbers).all()):
            raise self._not_finite(numbers, path)
        for array, values in self._values(numbers):
            array.value[...] = net.backend.asarray(values)
        net.seen = self.header.seen

    def _values(self, numbers: Array) -> Iterator[tuple[Stored, Array]]:
        """Each array and what the file holds for it, in its shape."""
        at = 0
        for array in self.arrays:
            values = numbers[at : at + array.value.size]
            at += array.value.size
            shape = array.value.shape
            if self.header.transposed and array.kind == "weights":
                yield array, values.reshape(shape[::-1]).T
            else:
                yield array, values.reshape(shape)

    def _not_finite(self, numbers: Array, path: Path | str) -> WeightsError:
        count = int(numbers.size - np.isfinite(numbers).sum())
        array, values = next(pair for pair in self._values(numbers) if not _finite(pair[1]))
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        return WeightsError(
            f"{path}: {array.name}{index} is {values[tuple(index)]}, "
            f"one of {count:,} that are NaN or infinite; --allow-nonfinite loads them all the same"
        )


def _what_it_is(path: Path | str) -> str:
    """Of a file in safetensors' form under another name."""
    if ".ckpt" in Path(path).suffixes:
        return (
            f"a checkpoint of a run, which `train --resume {path}` continues; its weights are "
            "beside it, as BASE_best.weights or BASE_final.weights"
        )
    return "by its content a .safetensors; rename it so"


def _finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())


def _file_arrays(net: HasWeights, start: int, last: int, order: str) -> list[Stored]:
    """The arrays of the layers start..last-1 that stand in a file that is read."""
    arrays = []
    for i in range(start, last):
        options = net.layer_options[i]
        if options.dontload:
            continue
        for array in net.layers[i].stored_arrays(order):
            if not (options.dontloadscales and array.kind in NORM_KINDS):
                arrays.append(array)
    return arrays


def _payload(arrays: Sequence[Stored]) -> int:
    """Their bytes in the file."""
    return 4 * sum(array.value.size for array in arrays)


def _check_length(
    arrays: Sequence[Stored],
    header: Header,
    path: Path | str,
    length: int,
    to_the_end: bool,
) -> None:
    """Account for every byte; name the first array that is short."""
    at = header.size
    for array in arrays:
        at += 4 * array.value.size
        if at > length:
            needed = header.size + _payload(arrays)
            raise WeightsError(
                f"{path}: layer {array.name} is {at - length:,} bytes short: the file has "
                f"{length:,}, this cfg needs {needed:,}",
                length - header.size,
            )
    if to_the_end and at < length:
        raise WeightsError(
            f"{path}: {length - at:,} bytes too many: the file has {length:,}, this cfg needs "
            f"{at:,}",
            length - header.size,
        )


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array, dtype="<f4").data.cast("B")


def _warn_of_unsaved_biases(
    net: HasWeights, path: Path | str, kept: Sequence[Stored], cutoff: int | None
) -> None:
    names = {array.name for array in kept}
    for array in saved_arrays(net, ALEXEY, cutoff):
        if array.name not in names and array.value.any():
            log.warning("%s: pjreddie's format has no place for %s; not saved", path, array.name)


def _check_layers(net: HasWeights, path: Path | str, start: int, cutoff: int | None) -> int:
    """The layer behind the last that is asked for, which must be there."""
    last = len(net.layers) if cutoff is None else cutoff
    if not 0 <= start <= last <= len(net.layers):
        raise WeightsError(
            f"{path}: layers {start} to {last} were asked for; the network has {len(net.layers)}"
        )
    return last


def _checked_order(order: str | None) -> str | None:
    if order is not None and order not in ORDERS:
        raise WeightsError(f"weights order {echo(order)} is not one of {', '.join(ORDERS)}")
    return order
