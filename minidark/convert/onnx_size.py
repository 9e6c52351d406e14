"""How much is in an ONNX model, counted before protobuf unpacks it.

protobuf makes an object of every two bytes, so that a small file can take gigabytes and a minute.
The counting follows the wire format as far as tensors can lie, over weights in one step each:
a key (number of the field times 8, plus the kind of its value), then a number, 4 or 8 bytes, or a
length and as many bytes.

Source: https://protobuf.dev/programming-guides/encoding, onnx.proto.
"""

from __future__ import annotations

from pathlib import Path

from minidark.errors import WeightsError

MOST_FIELDS = 200_000  # keys that are looked at
LARGEST_STRUCTURE = 2 << 20  # bytes of all that is no weights

# Messages that are looked into, by the numbers of their fields.
INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {4: "numbers", 9: "numbers"},  # float_data, raw_data
}


def check_size(data: bytes, path: Path | str) -> None:
    """Raise WeightsError for a model of too much structure; ValueError or IndexError for what is no
    protobuf."""
    fields = weights = 0
    left = [("model", 0, len(data))]  # messages to look into, and where they lie
    while left:
        kind, at, end = left.pop()
        inside = INSIDE[kind]
        while at < end:
            fields += 1
            if fields > MOST_FIELDS:
                raise WeightsError(f"{path}: more than {MOST_FIELDS:,} nodes, tensors and fields")
            key, at = _varint(data, at)
            start, at = _value(data, key & 7, at)
            if at > end:
                raise ValueError("a field beyond its message")
            if key & 7 == 2 and (found := inside.get(key >> 3)):
                if found == "numbers":
                    weights += at - start
                else:
                    left.append((found, start, at))
    if len(data) - weights > LARGEST_STRUCTURE:
        raise WeightsError(f"{path}: more than {LARGEST_STRUCTURE:,} bytes that are no weights")


def _value(data: bytes, wire: int, at: int) -> tuple[int, int]:
    """Where a value begins and ends."""
    if wire == 0:
        return at, _varint(data, at)[1]
    if wire == 2:
        size, at = _varint(data, at)
        return at, at + size
    return at, at + {1: 8, 5: 4}[wire]  # groups, 3 and 4, are in no model


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
