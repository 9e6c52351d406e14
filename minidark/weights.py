"""darknet's weight files.

Little-endian: int32 major, minor, revision; `seen`, 64 bits if 10 * major + minor >= 2 and both are
below 1000, else 32; then each layer's arrays in float32. A version above 1000 marks a file whose
weights are stored transposed, (inputs, outputs).

Two dialects order a recurrent layer's arrays differently with the same length in all, so that the
wrong one loads silently. The header tells: AlexeyAB's writes revision 5, and version 0.1 and
transposed files are of the same order; pjreddie's since 2017 writes 0.2.0. minidark writes that.

This module knows no layer: each lists its arrays (`Layer.stored_arrays`).

Source: darknet src/parser.c (load_weights_upto, save_weights_upto).
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from minidark.backend import Array, Backend
from minidark.cfg.options import LayerOptions
from minidark.errors import WeightsError, echo
from minidark.files import named, open_regular, write_atomically
from minidark.layers.base import ALEXEY, PJREDDIE, Layer, Stored

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
LARGEST_VERSION = 2000  # 1000 is added to mark transposed weights; larger is another format


class HasWeights(Protocol):
    """What a network is to this module."""

    layers: list[Layer]
    layer_options: list[LayerOptions]
    seen: int
    backend: Backend


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
    def program(self) -> str:
        """Which program writes such a version."""
        if self.transposed:
            return "an old darknet, transposed"
        version = (self.major, self.minor, self.revision)
        return PROGRAMS.get(version, "unknown to minidark")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"


def load_weights(
    net: HasWeights,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    weights_order: str | None = None,
) -> Header:
    """Fill the layers start..cutoff-1 (None: to the last) from a file, and set `net.seen`.

    The file begins with layer `start`. Without `cutoff` it must end with the last layer; with
    it, what follows is not looked at. weights_order: "pjreddie", "alexey", or None: by header.
    Nothing is changed unless all fits. Raises WeightsError.
    """
    order = _checked_order(weights_order)
    last = len(net.layers) if cutoff is None else cutoff
    if not 0 <= start <= last <= len(net.layers):
        raise WeightsError(
            f"{path}: layers {start} to {last} were asked for; the network has {len(net.layers)}"
        )
    with open_regular(path, named(path, WeightsError)) as file:
        length = os.fstat(file.fileno()).st_size
        likely = order or ALEXEY  # the order of transposed files, whose `seen` the length tells
        fitting = _payload(_wanted(net, start, last, likely))
        header = read_header(file.read(VERSION_BYTES + 8), path, length, fitting)
        order = order or header.order
        wanted = _wanted(net, start, last, order)
        _check_length(wanted, header, path, length, to_the_end=cutoff is None)
        payload = _payload(wanted)
        file.seek(header.size)
        data = file.read(payload)
    if len(data) != payload:
        raise WeightsError(f"{path}: changed while it was read; try again")
    _fill(wanted, np.frombuffer(data, dtype="<f4"), header.transposed, net.backend)
    net.seen = header.seen
    level = logging.DEBUG if order == PJREDDIE else logging.INFO  # ours goes without saying
    log.log(level, "%s: header %s, %s's order of arrays", path, header, order)
    return header


def save_weights(
    net: HasWeights, path: Path | str, order: str = PJREDDIE, cutoff: int | None = None
) -> None:
    """Write the layers 0..cutoff-1 (None: all) but those with dontsave, atomically.

    Raises MinidarkError.
    """
    _checked_order(order)
    kept = saved_arrays(net, order, cutoff)
    _warn_of_unsaved_biases(net, path, kept, cutoff)
    header = struct.pack("<3iQ", *VERSIONS[order], net.seen)
    write_atomically(path, [header, *(_bytes(net.backend.asnumpy(a.value)) for a in kept)])


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
        for a in layer.stored_arrays(ALEXEY)
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


def read_header(data: bytes, path: Path | str, length: int, payload: int) -> Header:
    """The header from a file's first 20 bytes. `length` is the whole file's, `payload` what the
    network's arrays take: together they settle how wide `seen` is in a transposed file."""
    if len(data) < VERSION_BYTES + 4:
        raise WeightsError(
            f"{path}: {length} bytes; a weight file's header alone has {VERSION_BYTES + 4} or more"
        )
    major, minor, revision = struct.unpack_from("<3i", data)
    if not (0 <= major < LARGEST_VERSION and 0 <= minor < LARGEST_VERSION and revision >= 0):
        raise WeightsError(f"{path}: not a darknet weight file (it begins with {echo(data[:12])})")
    if major > 1000 or minor > 1000:  # pjreddie's reads 32 bits here, AlexeyAB's 64
        wide = length == VERSION_BYTES + 8 + payload
    else:
        wide = 10 * major + minor >= 2 and major < 1000 and minor < 1000
    if wide and len(data) < VERSION_BYTES + 8:
        raise WeightsError(f"{path}: {length} bytes; this header alone has {VERSION_BYTES + 8}")
    (seen,) = struct.unpack_from("<q" if wide else "<i", data, VERSION_BYTES)
    if seen < 0:
        raise WeightsError(f"{path}: `seen` is negative ({seen}); the header is damaged")
    return Header(major, minor, revision, seen, VERSION_BYTES + (8 if wide else 4))


def _wanted(net: HasWeights, start: int, last: int, order: str) -> list[Stored]:
    """The arrays that the file must hold, in order."""
    wanted = []
    for i in range(start, last):
        options = net.layer_options[i]
        if options.dontload:
            continue
        for array in net.layers[i].stored_arrays(order):
            if not (options.dontloadscales and array.kind in NORM_KINDS):
                wanted.append(array)
    return wanted


NORM_KINDS = frozenset({"scales", "rolling_mean", "rolling_variance"})


def _payload(wanted: Sequence[Stored]) -> int:
    """Their bytes in the file."""
    return 4 * sum(array.value.size for array in wanted)


def _check_length(
    wanted: Sequence[Stored],
    header: Header,
    path: Path | str,
    length: int,
    to_the_end: bool,
) -> None:
    """Account for every byte; name the first array that is short."""
    at = header.size
    for array in wanted:
        at += 4 * array.value.size
        if at > length:
            needed = header.size + _payload(wanted)
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


def _fill(wanted: Sequence[Stored], data: Array, transposed: bool, backend: Backend) -> None:
    at = 0
    for array in wanted:
        values = data[at : at + array.value.size]
        at += array.value.size
        if transposed and array.kind == "weights":
            outputs, inputs = array.value.shape
            values = values.reshape(inputs, outputs).T
        array.value[...] = backend.asarray(values.reshape(array.value.shape))


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array, dtype="<f4").data.cast("B")


def _warn_of_unsaved_biases(
    net: HasWeights, path: Path | str, kept: Sequence[Stored], cutoff: int | None
) -> None:
    names = {array.name for array in kept}
    for array in saved_arrays(net, ALEXEY, cutoff):
        if array.name not in names and array.value.any():
            log.warning("%s: pjreddie's format has no place for %s; not saved", path, array.name)


def _checked_order(order: str | None) -> str | None:
    if order is not None and order not in ORDERS:
        raise WeightsError(f"weights order {echo(order)} is not one of {', '.join(ORDERS)}")
    return order
