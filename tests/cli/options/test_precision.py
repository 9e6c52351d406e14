"""`--precision bf16`: what runs with it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import load_network
from minidark.training.checkpoint import Checkpoint
from tests.cli.running import assert_refused, run
from tests.helpers import cfg

compiled: Any = pytest.importorskip(
    "minidark.backend.compiled", reason="numba is not installed; the extra 'fast' has it"
)
needs_instruction = pytest.mark.skipif(not compiled.has_half(), reason="no fast bfloat16 here")

NET = "net inputs=256 batch=2 time_steps=10 adam=1 learning_rate=.01 max_batches=6"
CFG = cfg(NET, "gru output=8 tanh=1", "gru output=9", "connected output=256 activation=linear",
          "softmax")  # fmt: skip
TRAIN = ("train", "a.cfg", "text.txt", "--seed", "1", "--save-every", "1")
FINAL = Path("backup/a_final.weights")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(CFG)
    Path("text.txt").write_bytes(b"abcdefghijklmnopqrstuvwxyz" * 40)


def trained(*options: str) -> bytes:
    result = run(*TRAIN, *options)
    assert result.exit_code == 0, result.stderr
    return FINAL.read_bytes()


@needs_instruction
def test_a_run_keeps_its_precision_and_resumes_to_the_same_bytes() -> None:
    single = trained("--kernels", "fast")
    half = trained("--precision", "bf16")
    assert half != single
    weights = load_network("a.cfg", FINAL).parameters()
    assert all(np.isfinite(p.value).all() for p in weights)
    assert "fast kernels and bf16" in run(*TRAIN, "--precision", "bf16").stderr
    trained("--precision", "bf16", "--batches", "3")
    assert Checkpoint.read("backup/a.ckpt").precision == "bf16"
    assert json.loads(Path("backup/run.json").read_text())["precision"] == "bf16"
    resume = ("train", "a.cfg", "text.txt", "--resume", "auto", "--batches", "6")
    assert_refused(
        run(*resume, "--precision", "float32"), 1,
        "precision float32, and 'bf16' in the checkpoint: an exact resume needs the same",
    )  # fmt: skip
    assert run(*resume).exit_code == 0
    assert FINAL.read_bytes() == half


def test_a_run_in_float32_does_not_resume_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("--batches", "3", "--kernels", "fast")
    assert Checkpoint.read("backup/a.ckpt").precision == "float32"
    monkeypatch.setattr(compiled, "HALF", True)
    result = run("train", "a.cfg", "text.txt", "--resume", "auto", "--precision", "bf16")
    assert_refused(
        result, 1, "precision bf16, and 'float32' in the checkpoint: an exact resume needs the same"
    )


@needs_instruction
def test_commands_compute_with_bf16() -> None:
    trained("--kernels", "fast")
    for command in (
        ("generate", "a.cfg", str(FINAL), "--srand", "1", "--len", "50"),
        ("generate", "backup", "--srand", "1", "--len", "20", "--samples", "3"),
    ):
        texts = [run(*command, "--precision", p).stdout_bytes for p in ("bf16", "bf16", "float32")]
        assert texts[0] == texts[1]
        assert len(texts[0]) == len(texts[2]) > 50


@pytest.mark.parametrize("command", [TRAIN, ("generate", "a.cfg", "a.weights")])
def test_a_processor_without_the_instruction_is_refused(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_network("a.cfg", kernels="numpy").save_weights("a.weights")
    monkeypatch.setattr(compiled, "HALF", False)
    assert_refused(
        run(*command, "--precision", "bf16"), 1,
        "precision bf16 needs AMD's AVX512-BF16 or Intel's AMX, which numba's target processor "
        "lacks; use float32",
    )  # fmt: skip


def test_numpys_kernels_are_refused() -> None:
    assert_refused(
        run(*TRAIN, "--precision", "bf16", "--kernels", "numpy"), 1,
        "precision bf16 needs the fast kernels; numpy's are float32",
    )  # fmt: skip
