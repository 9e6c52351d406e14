"""The values of a layer that records contain: files beside weights, and checkpoints."""

from __future__ import annotations

from typing import Any

# Keys that older records and checkpoints lack, with their defaults, by layer type.
LATER: dict[str, dict[str, float | None]] = {
    "gru": {"reset_after": 0},
    "softmax": {"smoothing": 0},
    "rnn": {"elman": 0},
    "connected": {"tied": None, "input_scale": 1},
    "bytepairs": {"dropout": 0},
}


def recorded(type_: str, values: dict[str, Any]) -> dict[str, Any]:
    """A layer's values for a record. It omits a LATER key at its default, so that older records
    stay equal."""
    later = LATER.get(type_, {})
    return {k: value for k, value in values.items() if k not in later or value != later[k]}
