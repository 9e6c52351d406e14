"""darknet's weight files.

A header, then each layer's arrays in float32, little-endian. Transposed files store weights as
(inputs, outputs). `header` reads the version and derives the order of the arrays from it.

Source: darknet src/parser.c (load_weights_upto, save_weights_upto).
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from minidark.backend import Array
from minidark.errors import WeightsError
from minidark.files.archives import is_archive
from minidark.files.disk import named, open_regular, stamp, write_atomically
from minidark.layers.base import ALEXEY, PJREDDIE, Stored
from minidark.layers.batchnorm import GPU
from minidark.weights import made_with
from minidark.weights import named as named_weights
from minidark.weights.arrays import (
    HasArrays,
    check_cut,
    check_finite,
    end_of_layers,
    read_arrays,
    saved_arrays,
)
from minidark.weights.header import (
    HEADER_BYTES,
    VERSIONS,
    Header,
    Named,
    checked_order,
    read_header,
)

log = logging.getLogger(__name__)


class LoadOptions(TypedDict, total=False):
    """Options of `load_weights`."""

    weights_order: str | None
    allow_nonfinite: bool
    allow_other_cfg: bool


def load_weights(
    net: HasArrays,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    weights_order: str | None = None,
    *,
    allow_nonfinite: bool = False,
    allow_other_cfg: bool = False,
) -> Header | Named:
    """Fill the layers start..cutoff-1 (None: to the last) from a file, and set `net.seen`.

    A .safetensors or .npz is read by array names (`named_weights`). Any other file is darknet's and
    begins with layer `start`. Without `cutoff` it must end with the last layer; with it, the rest
    is ignored. weights_order: "pjreddie", "alexey", or None: by header. allow_nonfinite: accept NaN
    and infinity. allow_other_cfg: ignore the record of the layers that the file was made with.
    Nothing changes unless everything fits. Raises WeightsError.
    """
    if is_archive(path):
        checked_order(weights_order)
        end_of_layers(net, path, start, cutoff)
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
        expected = _Expected.of(net, head, before.st_size, path, start, cutoff, weights_order)
        file.seek(expected.header.size)
        data = file.read(expected.payload)
        if not allow_other_cfg:
            made_with.check(file, path, net, start, cutoff)
        gpu = made_with.is_for_gpu(file, path)
        after = os.fstat(file.fileno())
    if len(data) != expected.payload or stamp(after) != stamp(before):
        raise WeightsError(f"{path}: changed during reading; try again")
    expected.fill(net, data, path, allow_nonfinite)
    made_with.settle_batchnorm(net, path, GPU.name if gpu else expected.header.batchnorm)
    order = expected.order
    level = (
        logging.DEBUG if order == PJREDDIE else logging.INFO
    )  # minidark's own order is not worth a log line
    log.log(level, "%s: header %s, %s's order of arrays", path, expected.header, order)
    return expected.header


def read_weights(
    net: HasArrays,
    data: bytes,
    path: Path | str,
    start: int = 0,
    cutoff: int | None = None,
    weights_order: str | None = None,
    *,
    allow_nonfinite: bool = False,
) -> Header:
    """`load_weights` from bytes; `path` is for messages."""
    expected = _Expected.of(net, data[:HEADER_BYTES], len(data), path, start, cutoff, weights_order)
    at = expected.header.size
    expected.fill(net, data[at : at + expected.payload], path, allow_nonfinite)
    made_with.settle_batchnorm(net, path, expected.header.batchnorm)
    return expected.header


def save_weights(
    net: HasArrays, path: Path | str, order: str = PJREDDIE, cutoff: int | None = None
) -> str:
    """Write the layers 0..cutoff-1 (None: all), except those with dontsave, atomically. A path that
    ends in .safetensors or .npz gets the arrays by name and the cfg.

    Returns the SHA-256 of the file, in hex. Raises MinidarkError.
    """
    checked_order(order)
    if cutoff is not None:
        check_cut(net, path, cutoff)
    if is_archive(path):
        return named_weights.save(net, path, cutoff)
    arrays = saved_arrays(net, order, cutoff)
    _warn_of_unsaved_biases(net, path, arrays, cutoff)
    header = struct.pack("<3iQ", *VERSIONS[order], net.seen)
    digest = hashlib.sha256(header)

    def parts() -> Iterator[bytes | memoryview]:
        yield header
        for array in arrays:
            part = _bytes(net.backend.asnumpy(array.value))
            digest.update(part)
            yield part

    write_atomically(path, parts())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Expected:
    """The arrays that a file must contain after its header, in order."""

    header: Header
    order: str
    arrays: list[Stored]
    payload: int  # their bytes

    @classmethod
    def of(
        cls,
        net: HasArrays,
        head: bytes,
        length: int,
        path: Path | str,
        start: int,
        cutoff: int | None,
        weights_order: str | None,
    ) -> _Expected:
        """Determined from a file's first bytes and its length, which must match to the
        last byte."""
        order = checked_order(weights_order)
        last = end_of_layers(net, path, start, cutoff)
        # A transposed file has alexey's order; its length shows the width of `seen`.
        arrays = read_arrays(net, order or ALEXEY, start, last)
        all_arrays = read_arrays(net, order or ALEXEY, start, len(net.layers))
        header = read_header(head, path, length, {_payload(arrays), _payload(all_arrays)})
        order = order or header.order
        arrays = arrays if order == ALEXEY else read_arrays(net, order, start, last)
        _check_length(arrays, header, path, length, to_the_end=cutoff is None)
        return cls(header, order, arrays, _payload(arrays))

    def fill(self, net: HasArrays, data: bytes, path: Path | str, allow_nonfinite: bool) -> None:
        """Copy the payload into the arrays, and `seen` into the network."""
        numbers = np.frombuffer(data, dtype="<f4")
        if not allow_nonfinite:
            named_values = ((array.name, values) for array, values in self._values(numbers))
            check_finite(named_values, path, numbers)
        for array, values in self._values(numbers):
            array.value[...] = net.backend.asarray(values)
        net.seen = self.header.seen

    def _values(self, numbers: Array) -> Iterator[tuple[Stored, Array]]:
        """Each array with its values from the file, in its shape."""
        at = 0
        for array in self.arrays:
            values = numbers[at : at + array.value.size]
            at += array.value.size
            shape = array.value.shape
            if self.header.transposed and array.kind == "weights":
                yield array, values.reshape(shape[::-1]).T
            else:
                yield array, values.reshape(shape)


def _payload(arrays: Sequence[Stored]) -> int:
    """Size of the arrays in the file, in bytes."""
    return 4 * sum(array.value.size for array in arrays)


def _check_length(
    arrays: Sequence[Stored],
    header: Header,
    path: Path | str,
    length: int,
    to_the_end: bool,
) -> None:
    """Check that the file's length matches; name the first array that is incomplete."""
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
    net: HasArrays, path: Path | str, arrays: Sequence[Stored], cutoff: int | None
) -> None:
    names = {array.name for array in arrays}
    for array in saved_arrays(net, ALEXEY, cutoff):
        if array.name not in names and array.value.any():
            log.warning("%s: pjreddie's format cannot store %s; not saved", path, array.name)
