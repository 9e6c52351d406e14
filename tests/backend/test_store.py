"""What is kept of compiled kernels, when the files are damaged or the disk takes no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
store: Any = pytest.importorskip("minidark.backend.compiled.store")

CODE = """
import logging, sys
import numpy as np
logging.basicConfig(format="%(message)s")
if "older" in sys.argv:
    import numba
    numba.__version__ = "0.0.1"
if "full" in sys.argv:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from minidark.backend import get_backend
kernels = get_backend(kernels="fast").kernels
if "gather" in sys.argv:
    kernels.gather(np.ones((2, 3), np.float32), np.zeros(9, np.intp))
print(kernels.column_sums(np.ones((3, 2), np.float32)).tolist())
"""


def sums(folder: Path, *args: str) -> str:
    """Let a process of its own compile or load a kernel; what it wrote to standard error."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, *args],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "[3.0, 3.0]\n"), result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one kernel, and whatever it calls."""
    folder = tmp_path_factory.mktemp("kernels")
    assert sums(folder) == ""
    return folder


@pytest.mark.slow
def test_a_kernel_compiled_after_the_parallel_one_was_loaded_can_be_loaded(
    compiled_once: Path, tmp_path: Path
) -> None:
    """numba does not note then that it needs threads, and calling it ended the process."""
    folder = shutil.copytree(compiled_once, tmp_path / "kernels")
    for _ in ("compiled", "loaded"):
        assert sums(folder, "gather") == ""


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[: len(data) // 2], flipped,
               lambda data: b"no digest, but long enough to have one" * 9],
    ids=["empty", "cut", "flipped", "other"],
)  # fmt: skip
def test_damaged_files_are_compiled_again_with_one_note(
    damage: Callable[[bytes], bytes], compiled_once: Path, tmp_path: Path
) -> None:
    shutil.copytree(compiled_once, tmp_path, dirs_exist_ok=True)
    files = kept(tmp_path)
    whole = [file.read_bytes() for file in files]
    for file, data in zip(files, whole, strict=True):
        file.write_bytes(damage(data))
    said = sums(tmp_path)
    assert said.count("\n") == 1
    assert str(tmp_path) in said
    assert "cannot be read" in said
    assert "compiling again" in said
    assert sums(tmp_path) == ""  # what was damaged has been replaced


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited here")
def test_a_disk_that_takes_no_more_costs_one_note(tmp_path: Path) -> None:
    said = sums(tmp_path, "full")
    assert said.count("\n") == 1
    assert str(tmp_path) in said
    assert "cannot be written (File too large)" in said
    assert "NUMBA_CACHE_DIR" in said
    assert not kept(tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]  # no parts of files


def test_forms_are_kept_by_their_key_and_forgotten_under_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.kernel"
    file = store.KernelFile(path, "stamp")
    assert file.load("x") is None
    file.save("x", [1])
    file.save("y", [2])
    assert [file.load("x"), file.load("y"), file.load("z")] == [[1], [2], None]
    other = store.KernelFile(path, "another")
    assert other.load("x") is None
    other.save("z", [3])
    assert other.load("x") is None
    assert other.load("z") == [3]
    other.flush()
    assert not path.exists()


@pytest.mark.slow
def test_kernels_that_another_numba_compiled_are_not_run(tmp_path: Path) -> None:
    """Its machine code calls helpers of that version; numba's own cache refuses it, too."""
    sums(tmp_path, "older")
    older = [file.read_bytes() for file in kept(tmp_path)]
    assert sums(tmp_path) == ""  # which is no damage, and needs no note
    newer = [file.read_bytes() for file in kept(tmp_path)]
    assert len(newer) == len(older) > 0
    assert all(a != b for a, b in zip(older, newer, strict=True))
    assert sums(tmp_path) == ""
    assert [file.read_bytes() for file in kept(tmp_path)] == newer


class Foreign:
    """Cannot be unpickled here, like a type that another version of numba has."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_forms_under_another_stamp_are_not_even_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.kernel"
    store.KernelFile(path, "stamp").save("x", Foreign())
    assert store.KernelFile(path, "another").load("x") is None
    with pytest.raises(ValueError, match="no number"):
        store.KernelFile(path, "stamp").load("x")


def test_a_signal_while_a_file_is_written_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(store.os, "replace", interrupted)
    with pytest.raises(SystemExit):
        store.KernelFile(tmp_path / "a.kernel", "stamp").save("x", [1])
    assert not list(tmp_path.iterdir())
