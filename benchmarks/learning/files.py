"""Data files of benchmarks, which may be packed with gzip."""

from __future__ import annotations

import gzip
from pathlib import Path


def unpacked(paths: list[Path], folder: Path) -> list[Path]:
    """Copies of these files in `folder`, without .gz."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [folder / path.name.removesuffix(".gz") for path in paths]
    for path, copy in zip(paths, plain, strict=True):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            copy.write_bytes(file.read())
    return plain
