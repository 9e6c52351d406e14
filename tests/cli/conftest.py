"""What every test of a command needs: a folder of its own, and for some a disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 256 KiB in memory, mounted on disk/."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (sys.platform == "linux" and mount and umount):
        pytest.skip("needs Linux's mount")
    path = Path("disk").absolute()
    path.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", path],
                          capture_output=True, text=True)  # fmt: skip
    if made.returncode:
        pytest.skip(f"mounting is not permitted here: {made.stderr.strip()}")
    yield path
    subprocess.run([umount, "--lazy", path], check=True)
