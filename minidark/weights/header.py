"""The header of darknet's weight files.

Little-endian: int32 major, minor, revision; then `seen`, with 64 bits if 10 * major + minor >= 2
and both are below 1000, otherwise with 32. A version above 1000 marks a file with transposed
weights, whose `seen` has 64 bits if the file's length implies it.

Two dialects order a recurrent layer's arrays differently with the same total length, so the wrong
order would load silently. The header distinguishes them: AlexeyAB's darknet writes revision 5 (4 is
treated the same), and version 0.1 and transposed files have that order too; pjreddie's has written
0.2.0 since 2017, and so does minidark.

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
VERSIONS = {PJREDDIE: (0, 2, 0), ALEXEY: (0, 2, 5)}  # written versions
PROGRAMS = {
    (0, 2, 0): "pjreddie's darknet since June 2017, or minidark",
    (0, 2, 5): "AlexeyAB's darknet or hank-ai's",
    (0, 1, 0): "a darknet before June 2017, or an older one of AlexeyAB's",
}
VERSION_BYTES = 12
HEADER_BYTES = VERSION_BYTES + 8  # in written files
SAFETENSORS = b'{"'  # after the length, where darknet's header would be
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
        """The dialect that the version implies."""
        old = 10 * self.major + self.minor < 2
        return ALEXEY if self.transposed or old or self.revision >= 4 else PJREDDIE

    @property
    def batchnorm(self) -> str:
        """The batch norm formula of the program that writes this version, as [net] batchnorm.
        Header versions older than 2017 are common to all forks and older than AlexeyAB's change."""
        old = 10 * self.major + self.minor < 2
        newer = self.order == ALEXEY and not (self.transposed or old)
        return GPU.name if newer else CPU.name

    @property
    def program(self) -> str:
        """The program that writes this version."""
        if self.transposed:
            return "an old darknet, transposed"
        version = (self.major, self.minor, self.revision)
        return PROGRAMS.get(version, "unknown to minidark")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"


@dataclass(frozen=True, slots=True)
class Named:
    """Stands in for the header of a file with named arrays."""

    seen: int
    program: str  # "a .safetensors"
    order: str = "named"
    transposed: bool = False

    def __str__(self) -> str:
        return "none"


def read_header(data: bytes, path: Path | str, length: int, payloads: Collection[int]) -> Header:
    """The header from a file's first 20 bytes. `length` is the file's, `payloads` the sizes of the
    network's arrays, all of them or the requested ones: together they determine the width of
    `seen` in a transposed file."""
    if len(data) < VERSION_BYTES + 4:
        raise WeightsError(
            f"{path}: {length} bytes; the header of a weight file has at least {VERSION_BYTES + 4}"
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
        raise WeightsError(f"{path}: {length} bytes; its header alone needs {VERSION_BYTES + 8}")
    (seen,) = struct.unpack_from("<q" if wide else "<i", data, VERSION_BYTES)
    if seen < 0:
        raise WeightsError(f"{path}: `seen` is negative ({seen}); the header is damaged")
    return Header(major, minor, revision, seen, VERSION_BYTES + (8 if wide else 4))


def _what_it_is(path: Path | str) -> str:
    """What a safetensors file under another name is."""
    if ".ckpt" in Path(path).suffixes:
        return (
            f"a checkpoint, which `train --resume {path}` resumes; the weights of the run are "
            "beside it, as BASE_best.weights or BASE_final.weights"
        )
    return "its content is .safetensors; rename it"


def checked_order(order: str | None) -> str | None:
    if order is not None and order not in ORDERS:
        raise WeightsError(f"weights order {echo(order)} is not one of {', '.join(ORDERS)}")
    return order
