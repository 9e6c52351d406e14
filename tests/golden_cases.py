"""The golden records: where they are, and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array

GOLDEN = Path(__file__).parent / "golden"


def names(pattern: str, holding: str) -> list[str]:
    """The cases of a pattern that hold a file of this name."""
    found = sorted(f.parent.name for f in GOLDEN.glob(f"{pattern}/{holding}"))
    assert found, f"no golden case {pattern} with {holding}"
    return found


def arrays(name: str) -> dict[str, Array]:
    with np.load(GOLDEN / name / "golden.npz") as file:
        return dict(file)


def record(name: str) -> dict[str, Any]:
    """What darknet's `rnn` verbs printed."""
    parsed: dict[str, Any] = json.loads((GOLDEN / name / "darknet.json").read_text())
    return parsed


TEXT_CASES = names("text_*", "darknet.json")
