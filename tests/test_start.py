"""The benchmark of the start: that it measures, not what it measures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start import best, sparse, timed


def test_the_best_of_several_runs_counts_and_a_failure_does_not() -> None:
    assert 0 < best([sys.executable, "-c", "pass"], 2) < 60
    with pytest.raises(subprocess.CalledProcessError):
        best([sys.executable, "-c", "raise SystemExit(3)"], 1)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system counts no resident memory")
def test_training_on_a_text_is_timed_line_by_line(tmp_path: Path) -> None:
    text = sparse(tmp_path / "text", 20_000)
    times, resident = timed(text, "--batches", "1", "--valid-fraction", "0")
    assert len(times) == 3  # what is trained, the first batch, where the weights are
    assert 0 < times[0] < times[1] < times[2] < 60
    assert 30e6 < resident < 1e9  # numpy and a network of 2.5 MB, with its gradients
    with pytest.raises(subprocess.CalledProcessError):
        timed(tmp_path / "none")
