"""`--device`: where a command computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import assert_refused, run
from tests.helpers import cfg
from tests.stand_in import needs_compiler, put_in_place

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=3 learning_rate=.01 adam=1",
    "gru output=6 tanh=1",
    "connected output=256 activation=linear",
    "softmax",
)
NO_CUPY = "device 'cuda' needs cupy; pip install 'minidark[cuda12]' brings it"


@pytest.fixture(autouse=True)
def _files(folder: Path) -> None:
    Path("a.cfg").write_text(CFG)
    Path("text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog.\n" * 200)
    load_network("a.cfg", seed=1).save_weights("a.weights")


@pytest.mark.parametrize(
    "command", [("train", "a.cfg", "text.txt"), ("generate", "a.cfg", "a.weights")]
)
def test_a_gpu_that_is_not_there_is_one_line(command: tuple[str, ...]) -> None:
    assert_refused(run(*command, "--device", "cuda"), 1, NO_CUPY)


def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    by_device = {}
    for device in ("auto", "cpu"):
        assert run("train", "a.cfg", "text.txt", "--seed", "1", "--device", device).exit_code == 0
        by_device[device] = Path("backup/a_final.weights").read_bytes()
    assert by_device["auto"] == by_device["cpu"]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_train_runs_on_the_stand_in_for_a_gpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {}
    for on in ("cpu", device):
        if on != "cpu":
            put_in_place(monkeypatch)
        result = run("train", "a.cfg", "text.txt", "--seed", "1", "--device", on)
        assert result.exit_code == 0, result.stderr or result.exception
        assert ("of 8 steps on cuda; " in result.stderr) == (on != "cpu")
        trained[on] = load_network("a.cfg", "backup/a_final.weights")
    for ours, cpus in zip(trained[device].parameters(), trained["cpu"].parameters(), strict=True):
        np.testing.assert_allclose(ours.value, cpus.value, rtol=0, atol=2e-5)
    assert trained[device].seen == 96
