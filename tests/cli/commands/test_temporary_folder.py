"""A good model, and a folder for temporary files that cannot be written."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import assert_refused, run

WHY = "cannot write into the folder for temporary files (TMPDIR)"


def keras(kilobytes: int) -> None:
    """a.keras with a kernel of that size."""
    h5py = pytest.importorskip("h5py", reason="h5py reads .keras")
    dense = {"name": "it", "units": 256, "activation": "linear", "use_bias": False}
    with h5py.File("a.h5", "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables["0"] = np.ones((kilobytes, 256), np.float32)
    with zipfile.ZipFile("a.keras", "w") as archive:
        layers = [{"class_name": "Dense", "config": dense}]
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        )
        archive.write("a.h5", "model.weights.h5")


@pytest.mark.parametrize("kilobytes", [300, 150], ids=["for the model", "for its arrays"])
def test_a_full_disk_is_the_reason_and_1(
    kilobytes: int,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keras(kilobytes)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    result = run("convert", "a.keras", "out.npz")
    assert_refused(result, 1, f"a.keras: {WHY}: No space left on device")
    assert not Path("out.npz").exists()
    assert not [*disk.iterdir()]


def test_a_missing_folder_is_the_reason_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    keras(1)
    monkeypatch.setattr(tempfile, "tempdir", "missing")
    assert_refused(
        run("convert", "a.keras", "out.npz"), 1, f"a.keras: {WHY}: No such file or directory"
    )
