"""Changes within a form: of a member in a zip, of a field in an ONNX model, of a value in JSON.

Bytes that are changed anywhere seldom come past the checksums and lengths of such a form, so that
what lies behind these would not be reached.
"""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from minidark.training.checkpoint import KEY, _sha256

Rng = random.Random
Change = Callable[[Rng, bytes, Sequence[bytes]], bytes]  # of some bytes, with a kind's words


def _times(rng: Rng) -> int:
    """How many changes: mostly one."""
    return 1 + int(3 * rng.random() ** 3)


# --- zips -------------------------------------------------------------------------------------

Members = list[tuple[str, bytes]]


@functools.lru_cache(maxsize=64)
def members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(parts: Members, packed: bool = False) -> bytes:
    """A zip of members, many times faster than zipfile writes one."""
    body, directory = [], []
    at = 0
    for name, content in parts:
        title = name.encode()
        data = zlib.compress(content, 1)[2:-4] if packed else content
        sizes = (zlib.crc32(content), len(data), len(content))
        facts = struct.pack("<5H3I2H", 20, 0, 8 * packed, 0, 0x21, *sizes, len(title), 0)
        local = b"PK\3\4" + facts + title
        directory.append(b"PK\1\2\x14\0" + facts + struct.pack("<3H2I", 0, 0, 0, 0, at) + title)
        body += [local, data]
        at += len(local) + len(data)
    ends = b"".join(directory)
    count = len(parts)
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, count, count, len(ends), at, 0)
    return b"".join(body) + ends + end


def in_a_zip(mutate: dict[str, Change], otherwise: Change) -> Change:
    """A change of one member, by the ending of its name; now and then one is gone, twice there or
    under another name."""

    def changed(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
        if not data.startswith(b"PK"):  # a state dict as it was saved before
            return otherwise(rng, data, words)
        parts = [*members(data)]
        at = rng.randrange(len(parts))
        name, content = parts[at]
        if rng.random() < 0.03:
            parts[at : at + 1] = [[], [parts[at]] * 2, [(name[1:], content)]][rng.randrange(3)]
        else:
            change = next((m for end, m in mutate.items() if name.endswith(end)), otherwise)
            parts[at] = name, change(rng, content, words)
        return zipped(parts, packed=rng.random() < 0.1)

    return changed


# --- protobuf ---------------------------------------------------------------------------------

# Messages of ONNX by the numbers of their fields; what is in none of these is left as bytes.
NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "leaf", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
    "tensor": {13: "entry"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "leaf"},
    "entry": {},
    "leaf": {},
}
NUMBERS = (0, 1, 2, 3, 5, 7, 8, 127, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1)
Field = tuple[int, int, Any]  # number, wire type, and a number, bytes, or the fields of a message


@functools.lru_cache(maxsize=64)
def fields(data: bytes, kind: str = "model") -> tuple[Field, ...]:
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
            if wire == 2 and number in NESTED[kind]:
                value = fields(value, NESTED[kind][number])
        found.append((number, wire, value))
    return tuple(found)


def message(parts: Sequence[Field]) -> bytes:
    out = []
    for number, wire, value in parts:
        out.append(_number(number << 3 | wire))
        if wire == 0:
            out.append(_number(value))
        else:
            data = message(value) if isinstance(value, tuple) else value
            out += [_number(len(data)), data] if wire == 2 else [data]
    return b"".join(out)


def in_protobuf(otherwise: Change) -> Change:
    """A change of one field, however deep."""

    def changed(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
        parts = fields(data)
        for _ in range(_times(rng)):
            parts = change(rng, parts, words)
        return message(parts)

    def change(rng: Rng, parts: tuple[Field, ...], words: Sequence[bytes]) -> tuple[Field, ...]:
        if not parts:
            return ((rng.randrange(16), 0, rng.choice(NUMBERS)),)
        at = rng.randrange(len(parts))
        number, wire, value = parts[at]
        draw = rng.random()
        new: list[Field] = [(number, wire, value)]
        if draw < 0.08:
            new = []
        elif draw < 0.16:
            new *= 2
        elif draw < 0.2:
            new = [(rng.randrange(1, 16), 0, rng.choice(NUMBERS)), *new]
        elif draw < 0.24:
            new = [(rng.randrange(1, 16), 2, rng.choice(words)), *new]
        elif isinstance(value, tuple):
            new = [(number, wire, change(rng, value, words))]
        elif wire == 0:
            new = [(number, wire, rng.choice(NUMBERS))]
        elif wire == 2:
            new = [(number, wire, otherwise(rng, value, words))]
        return parts[:at] + tuple(new) + parts[at + 1 :]

    return changed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


# --- JSON -------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 2**31, 2**53, 2**63, 2**64, 2**128, -(2**63), 0.5, -0.5,
    1e-300, 1e300, 1.7e308, float("nan"), float("inf"), -float("inf"), "", "a", "\0", "\ud800",
    "cpu", "net", "gru", "policy", "poly", "float32", "numpy", "PCG64", "9" * 50, "x" * 300,
    "\x1b[2J", [], {}, [[]], [{}], {"a": {}}, [0], [1, 2, 3], {"": 0}, {"section": "net"},
    [[[[[[[[[[0]]]]]]]]]],
]  # fmt: skip
DEEP = "[" * 600 + "]" * 600


def in_json(value: Any, rng: Rng) -> Any:
    """A copy in which one place, however deep, is another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice([*value])
        draw = rng.random()
        rest = {k: v for k, v in value.items() if k != key}
        if draw < 0.1:
            return rest
        if draw < 0.15:
            return {**rest, rng.choice(["", "a", "\0", key[1:], "x" * 300]): value[key]}
        return {**value, key: in_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        new = [[], [value[at]] * 2, [in_json(value[at], rng)]][min(2, rng.randrange(8))]
        return [*value[:at], *new, *value[at + 1 :]]
    if isinstance(value, int | float) and rng.random() < 0.3:
        return value + rng.choice([1, -1, 1e9, -1e9, 0.5])
    return rng.choice(ODD)


def json_text(otherwise: Change) -> Change:
    """A change of one value of a JSON text, or of its bytes."""

    def changed(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
        draw = rng.random()
        if draw < 0.2:
            return otherwise(rng, data, words)
        value = _parsed(data)
        for _ in range(_times(rng)):
            value = in_json(value, rng)
        new = json.dumps(value)
        if draw < 0.25:
            new = new.replace(rng.choice(["0", "1", "null", "true"]), DEEP, 1)
        return new.encode()

    return changed


@functools.lru_cache(maxsize=64)
def _parsed(data: bytes) -> Any:
    return json.loads(data)


def a_line(change: Change) -> Change:
    """A change of one line."""

    def changed(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        lines[at] = change(rng, lines[at], words) if lines[at] else rng.choice(words)
        return b"\n".join(lines)

    return changed


# --- safetensors ------------------------------------------------------------------------------


def in_safetensors(change: Change) -> Change:
    """A change of the header, whose length stays right."""

    def changed(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
        (length,) = struct.unpack_from("<Q", data)
        header = change(rng, data[8 : 8 + length], words)
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    return changed


def in_a_checkpoint(rng: Rng, data: bytes, words: Sequence[bytes]) -> bytes:
    """A change of what a checkpoint says or of its arrays, with the digest that it then has."""
    run, arrays = _checkpoint(data)
    if rng.random() < 0.8:
        for _ in range(_times(rng)):
            run = in_json(run, rng)
    else:
        name = rng.choice([*arrays])
        array = arrays[name]
        new = rng.choice([
            {}, {name: array.astype("<f8")}, {name: array.astype("<i4")}, {name: array[:1]},
            {name: array[None]}, {name[1:]: array}, {name: array * np.nan},
            {name: array, "a": array},
        ])  # fmt: skip
        arrays = {**{k: v for k, v in arrays.items() if k != name}, **new}
    text = json.dumps(run, sort_keys=True)
    metadata = json.dumps({"sha256": _sha256(text, arrays), "run": run})
    return safetensors.numpy.save(arrays, {KEY: metadata})


@functools.lru_cache(maxsize=64)
def _checkpoint(data: bytes) -> tuple[Any, dict[str, Any]]:
    (length,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + length])["__metadata__"][KEY]
    return json.loads(metadata)["run"], safetensors.numpy.load(data)
