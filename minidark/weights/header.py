"""The header of darknet's weight files.

Little-endian: int32 major, minor, revision; `seen`, 64 bits if 10 * major + minor >= 2 and both are
below 1000, else 32. A version above 1000 marks a file whose weights are stored transposed, with 64
bits if that is what its length says.

Two dialects order a recurrent layer's arrays differently with the same length in all, so that the
wrong one loads silently. The header tells: AlexeyAB's writes revision 5 (4 is taken for its, too),
and version 0.1 and transposed files are of the same order; pjreddie's since 2017 writes 0.2.0.
minidark writes that.

Source: darknet src/parser.c (load_weights_upto, save_weights_upto).
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from minidark.errors import WeightsError, echo
from minidark.layers.base import ALEXEY, PJREDDIE
from minidark.layers.batchnorm import CPU, GPU

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


def _what_it_is(path: Path | str) -> str:
    """Of a file in safetensors' form under another name."""
    if ".ckpt" in Path(path).suffixes:
        return (
            f"a checkpoint of a run, which `train --resume {path}` continues; its weights are "
            "beside it, as BASE_best.weights or BASE_final.weights"
        )
    return "by its content a .safetensors; rename it so"


def checked_order(order: str | None) -> str | None:
    if order is not None and order not in ORDERS:
        raise WeightsError(f"weights order {echo(order)} is not one of {', '.join(ORDERS)}")
    return order
