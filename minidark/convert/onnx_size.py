"""Limits on an ONNX model's structure, checked before protobuf parses it.

protobuf may create an object for every two bytes, so a small file can take gigabytes and a minute.
This module walks the wire format down to the tensors and skips their weights. A field is a key
(field number times 8, plus the wire type), then a number, 4 or 8 bytes, or a length and that many
bytes.

Source: https://protobuf.dev/programming-guides/encoding, onnx.proto.
"""

from __future__ import annotations

from pathlib import Path

from minidark.errors import WeightsError

MOST_FIELDS = 200_000  # keys in all visited messages
LARGEST_STRUCTURE = 2 << 20  # bytes apart from weights

# The messages to visit inside each message, by field number.
INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {4: "numbers", 9: "numbers"},  # float_data, raw_data
}


def check_size(data: bytes, path: Path | str) -> None:
    """Raise WeightsError if the model's structure is too large, and ValueError or IndexError if
    the bytes are not a protobuf."""
    fields = weights = 0
    left = [("model", 0, len(data))]  # messages to visit: kind, begin, end
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
            if key & 7 == 2 and (message := inside.get(key >> 3)):
                if message == "numbers":
                    weights += at - start
                else:
                    left.append((message, start, at))
    if len(data) - weights > LARGEST_STRUCTURE:
        raise WeightsError(f"{path}: more than {LARGEST_STRUCTURE:,} bytes besides weights")


def _value(data: bytes, wire: int, at: int) -> tuple[int, int]:
    """The begin and end of a value."""
    if wire == 0:
        return at, _varint(data, at)[1]
    if wire == 2:
        size, at = _varint(data, at)
        return at, at + size
    return at, at + {1: 8, 5: 4}[wire]  # models contain no groups (3 and 4)


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
