"""What several pages are tested with, made once: a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import trained


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 600 batches, that was then gone on with to 700."""
    folder = tmp_path_factory.mktemp("real") / "run"
    trained(folder, 600, valid_fraction=0.1)
    return trained(folder, 700, valid_fraction=0.1)
