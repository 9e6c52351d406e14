"""The benchmark of the start: that it measures, not what it measures; and what all run with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import CHOICES
from benchmarks.start import best, sparse, timed

pytestmark = pytest.mark.slow


def test_the_best_of_several_runs_counts_and_a_failure_does_not() -> None:
    assert 0 < best([sys.executable, "-c", "pass"], 2) < 60
    with pytest.raises(subprocess.CalledProcessError):
        best([sys.executable, "-c", "raise SystemExit(3)"], 1)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this system counts no resident memory")
def test_training_on_a_text_is_timed_line_by_line(tmp_path: Path) -> None:
    text = sparse(tmp_path / "text", 20_000)
    times, resident = timed(text, "--batches", "1", "--valid-fraction", "0")
    assert len(times) > 3  # what is trained, the first batch, a sample, where the weights are
    assert 0 < times[0] < times[1] < times[-1] < 60
    assert 30e6 < resident < 1e9  # numpy and a network of 2.5 MB, with its gradients
    with pytest.raises(subprocess.CalledProcessError):
        timed(tmp_path / "none")


def test_benchmarks_run_with_this_processors_kernels_and_say_which() -> None:
    code = "\n".join([
        "import os",
        "from benchmarks.table import machine",
        "print(machine().splitlines()[1])",
        "print(*(name for name in ('OPENBLAS_CORETYPE', 'NUMBA_CPU_NAME') if name in os.environ))",
    ])  # fmt: skip

    def run(choices: dict[str, str]) -> list[str]:
        command = [sys.executable, "-c", code]
        environment = {k: v for k, v in os.environ.items() if k not in CHOICES} | choices
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=100
        )
        return done.stdout.splitlines()

    usual = run({})
    assert usual[0].startswith("BLAS kernel: ")
    assert usual[1] == ""
    assert run({"OPENBLAS_CORETYPE": "Nehalem", "NUMBA_CPU_NAME": "nehalem"}) == usual
