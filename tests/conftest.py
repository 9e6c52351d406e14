"""Fixtures that any test module may ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WriteText = Callable[[bytes], Path]


@pytest.fixture
def write_text(tmp_path: Path) -> WriteText:
    """Bytes to a file of its own; its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / f"text{len(list(tmp_path.iterdir()))}.txt"
        path.write_bytes(data)
        return path

    return write
