"""What every test of a command needs: a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
