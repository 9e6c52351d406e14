"""Files of named arrays with notes: `.safetensors` and `.npz`, selected by suffix.

Names and shapes are read before the numbers, so that a caller can refuse a file before allocating
its size. Nothing in a file is ever executed: safetensors has no objects, and of an .npz only arrays
of numbers are read. The notes of a .safetensors are its metadata, those of an .npz arrays of one
text.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from minidark.errors import WeightsError, bare, echo

if TYPE_CHECKING:
    import zipfile

Array = npt.NDArray[Any]

SAFETENSORS, NPZ = ".safetensors", ".npz"
SUFFIXES = (SAFETENSORS, NPZ)
LARGEST_JSON = 2 << 20  # bytes; Python objects may need 25 times as much; a real one has thousands
MOST_UNPACKED = 20  # times an .npz's size; trained weights hardly compress
LONGEST_NOTE = 1 << 20  # characters
LONGEST_NOTES = 4 << 20  # characters in total
STORED, DEFLATED = 0, 8  # compression methods of a zip
# Errors that Python raises for malformed bytes.
MALFORMED = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
    EOFError, RuntimeError, NotImplementedError, OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Archive:
    """Contents of an open file: notes, the shapes of its float32 arrays, and `read`, which returns
    one of them and may raise WeightsError."""

    notes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Array]


# Numbers that a cfg may need beyond those in its file. Up to this limit the network is made, to
# name the first missing array.
SPARE = 1 << 20


def is_archive(path: Path | str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def open_archive(file: BinaryIO, path: Path | str) -> Archive:
    """The archive in an open file, in the form of the path. Raises WeightsError."""
    open_form, form = _FORMS[Path(path).suffix.lower()]
    try:
        return open_form(file, path)
    except MALFORMED as error:
        raise WeightsError(f"{path}: not a {form}, or damaged") from error


def packed(path: Path | str, arrays: Mapping[str, Array], notes: Mapping[str, str]) -> bytes:
    """An archive's bytes, in the form of the path; arrays are converted to float32."""
    converted = {name: np.ascontiguousarray(array, dtype="<f4") for name, array in arrays.items()}
    if Path(path).suffix.lower() == SAFETENSORS:
        import safetensors.numpy

        return _sorted_header(safetensors.numpy.save(converted, dict(notes)))
    data = io.BytesIO()
    np.savez(data, **{**converted, **{name: np.array(text) for name, text in notes.items()}})  # type: ignore[arg-type]
    return data.getvalue()


# --- safetensors ----------------------------------------------------------------------------


def _open_safetensors(file: BinaryIO, path: Path | str) -> Archive:
    """Shapes and notes come from the header, numbers from the library, which checks that the arrays
    are where the header says, without gaps, and fill the file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
    if not 1 < length <= min(size - 8, LARGEST_JSON):
        raise ValueError
    header = json.loads(file.read(length))
    notes = header.pop("__metadata__", {})
    shapes = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            message = f"{path}: {bare(name)} is {echo(entry['dtype'])}; expected F32 (float32)"
            raise WeightsError(message)
        shapes[name] = _shape(entry["shape"])
    if size != 8 + length + 4 * sum(map(math.prod, shapes.values())):
        raise ValueError
    loaded: dict[str, Array] = {}

    def read(name: str) -> Array:
        import safetensors

        if not loaded:
            file.seek(0)
            try:
                entries = safetensors.deserialize(file.read(size))  # type: ignore[no-untyped-call]
            except safetensors.SafetensorError as error:
                raise WeightsError(f"{path}: not a .safetensors file, or damaged") from error
            for key, entry in entries:
                loaded[key] = np.frombuffer(entry["data"], "<f4").reshape(entry["shape"])
        return loaded[name]

    return Archive({k: _note(v) for k, v in notes.items()}, shapes, read)


def _sorted_header(data: bytes) -> bytes:
    """The same file with a sorted header: the library's order of metadata varies."""
    (length,) = struct.unpack_from("<Q", data)
    text = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _shape(sizes: Any) -> tuple[int, ...]:
    if len(sizes) > 2 or not all(type(n) is int and 0 <= n < 2**40 for n in sizes):
        raise ValueError
    return tuple(sizes)


def _note(text: Any) -> str:
    if not isinstance(text, str) or len(text) > LONGEST_NOTE:
        raise ValueError
    return text


# --- npz ------------------------------------------------------------------------------------


def _open_npz(file: BinaryIO, path: Path | str) -> Archive:
    """Imports zipfile here, because the import is slow and other commands do not need it."""
    from minidark.files import zips

    malformed = (*MALFORMED, *zips.DAMAGED)
    try:
        archive = zips.open_zip(file, MOST_UNPACKED)
        return _npz(archive, path, malformed)
    except zips.PackedError as error:
        raise WeightsError(f"{path}: {error}") from error
    except zips.DAMAGED as error:
        raise ValueError from error


def _npz(
    archive: zipfile.ZipFile, path: Path | str, malformed: tuple[type[Exception], ...]
) -> Archive:
    """A zip of .npy files. Each member's header is read immediately, its data by `read`, limited to
    the bytes that its shape implies."""
    notes: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    transposed: set[str] = set()  # arrays with the last axis outermost
    left = LONGEST_NOTES
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if member.compress_type not in (STORED, DEFLATED):
            raise WeightsError(f"{path}: {bare(name)} has an unsupported compression method")
        with archive.open(member) as opened:
            shape, fortran, dtype = _npy_header(opened)
            is_note = (
                dtype.str.startswith("<U") and shape == () and dtype.itemsize <= 4 * LONGEST_NOTE
            )
            if not is_note and dtype != np.dtype("<f4"):
                kind = "Python objects" if dtype.hasobject else echo(dtype.name)
                raise WeightsError(f"{path}: {bare(name)} is {kind}; expected float32")
            if opened.tell() + dtype.itemsize * math.prod(shape) != member.file_size:
                raise WeightsError(f"{path}: {bare(name)} is damaged")
            if is_note:
                left -= dtype.itemsize // 4
                if left < 0:
                    raise WeightsError(
                        f"{path}: its notes have more than {LONGEST_NOTES:,} characters"
                    )
                # numpy itself fails on invalid code points
                text = opened.read(dtype.itemsize).decode("utf-32-le", "surrogatepass")
                notes[name] = text.rstrip("\0")
                continue
        shapes[name] = _shape(shape)
        if fortran:
            transposed.add(name)

    def read(name: str) -> Array:
        wanted = 4 * math.prod(shapes[name])
        try:
            with archive.open(f"{name}.npy") as opened:
                _npy_header(opened)
                data = opened.read(wanted)
                if len(data) != wanted or opened.read(1):
                    raise ValueError
        except malformed as error:
            raise WeightsError(f"{path}: {bare(name)} is damaged") from error
        numbers = np.frombuffer(data, "<f4")
        shape = shapes[name]
        return numbers.reshape(shape[::-1]).T if name in transposed else numbers.reshape(shape)

    return Archive(notes, shapes, read)


LONGEST_HEADER = 1024  # bytes; numpy's own has 118
_ITEM = (
    r"""'(descr|fortran_order|shape)': ?('[<>|=]?[?biufcSUO][0-9]{0,9}'|True|False|\([0-9L, ]*\))"""
)
_HEADER = re.compile(rf"\{{ ?{_ITEM}, ?{_ITEM}, ?{_ITEM},? ?\}} *\n?", re.ASCII)


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype of the numbers that follow. Raises ValueError.

    numpy's own reader is slow, because it parses the header as Python, and warns about Python 2
    files.
    """
    if file.read(6) != b"\x93NUMPY":
        raise ValueError
    width = {b"\1\0": 2, b"\2\0": 4}[file.read(2)]
    length = int.from_bytes(file.read(width), "little")
    if length > LONGEST_HEADER:
        raise ValueError
    match = _HEADER.fullmatch(file.read(length).decode("latin-1"))
    if not match:
        raise ValueError
    items = dict(zip(match.groups()[::2], match.groups()[1::2], strict=True))
    sizes = [size.strip().rstrip("L") for size in items["shape"][1:-1].split(",") if size.strip()]
    shape = tuple(int(size) for size in sizes)
    return (
        shape,
        {"True": True, "False": False}[items["fortran_order"]],
        np.dtype(items["descr"][1:-1]),
    )


_FORMS: dict[str, tuple[Callable[[BinaryIO, Path | str], Archive], str]] = {
    SAFETENSORS: (_open_safetensors, ".safetensors file"),
    NPZ: (_open_npz, ".npz file"),
}
