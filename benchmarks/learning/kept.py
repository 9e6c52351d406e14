"""Keeps the rows of each task in a file, so that an interrupted benchmark continues."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.table import Row


def kept(
    folder: Path,
    name: str,
    measure: Callable[[], Iterable[Row]],
    again: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Row]:
    """The rows of a task: those in `folder`, with the day in the remark, or newly measured ones if
    there are none with these options, or with `again`."""
    path, options = folder / f"{name}.json", dict(options or {})
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if found and found["options"] == options and not again:
        day = f"measured on {found['day']}"
        rows = [Row(**row) for row in found["rows"]]
        return [
            dataclasses.replace(r, remark="; ".join(filter(None, [r.remark, day]))) for r in rows
        ]
    rows = [*measure()]
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "day": time.strftime("%Y-%m-%d"),
        "options": options,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return rows
