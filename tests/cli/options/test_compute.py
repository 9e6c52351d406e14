"""`--kernels` and `--threads`: with what a command computes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.backend import numpy_kernels, threads
from minidark.cli.options.compute import Compute
from tests.cli.running import assert_refused, run
from tests.helpers import cfg, network

compiled: Any = pytest.importorskip(
    "minidark.backend.compiled", reason="numba is not installed; the extra 'fast' has it"
)
COMPILING: str = pytest.importorskip("minidark.backend.compiled.store").COMPILING

NET = "net inputs=256 batch=2 time_steps=10 adam=1 learning_rate=.01 max_batches=3"
CFG = cfg(NET, "gru output=8 tanh=1", "connected output=256 activation=linear", "softmax")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(CFG)
    Path("text.txt").write_bytes(b"abcdefghijklmnopqrstuvwxyz" * 40)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kernels a run took a product from."""
    names: list[str] = []

    def noted(kernels: Any, name: str, real: Any) -> None:
        def gemm_tn(*args: Any) -> None:
            names.append(name)
            real(*args)

        monkeypatch.setattr(kernels, "gemm_tn", gemm_tn)

    noted(numpy_kernels, "numpy", numpy_kernels.gemm_tn)
    noted(compiled, "fast", compiled.gemm_tn)
    return names


@pytest.mark.parametrize(
    ("given", "taken"), [("auto", "numpy"), ("numpy", "numpy"), ("fast", "fast")]
)
def test_train_computes_with_the_kernels_asked_for(given: str, taken: str, ran: list[str]) -> None:
    result = run("train", "a.cfg", "text.txt", "--seed", "1", "--kernels", given)
    assert result.exit_code == 0
    assert set(ran) == {taken}
    assert ("with the fast kernels" in result.stderr) == (taken == "fast")


def test_auto_takes_the_fast_kernels_for_a_long_run(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.cli.options.compute.WORTH_COMPILING", 0)
    assert run("train", "a.cfg", "text.txt", "--seed", "1").exit_code == 0
    assert set(ran) == {"fast"}


@pytest.mark.parametrize(("multiply_adds", "fast"), [(1e9, False), (1e13, True)])
def test_a_run_is_long_by_its_work(multiply_adds: float, fast: bool) -> None:
    net = network(NET, "gru output=8", "softmax", dtype="float32")
    net.backend.use_kernels("numpy")
    Compute("cpu", "auto").settle(net, multiply_adds)
    assert net.backend.fast == fast


def test_generate_takes_kernels_and_samples_side_by_side() -> None:
    assert run("train", "a.cfg", "text.txt", "--seed", "1").exit_code == 0
    texts = {}
    for kernels in ("numpy", "fast"):
        command = ("generate", "a.cfg", "backup/a_final.weights", "--srand", "7", "--len", "30",
                   "--kernels", kernels)  # fmt: skip
        together = run(*command, "--samples", "3").stdout_bytes
        alone = b"".join(
            b"--- srand %d:\n" % srand + run(*command[:4], str(srand), *command[5:]).stdout_bytes
            for srand in (7, 8, 9)
        )
        assert together == alone
        texts[kernels] = together
    assert texts["numpy"] == texts["fast"]


def test_threads_are_counted_from_one() -> None:
    assert run("train", "a.cfg", "text.txt", "--seed", "1", "--threads", "2").exit_code == 0
    assert threads.thread_count() == 2
    result = run("train", "a.cfg", "text.txt", "--threads", "0")
    assert result.exit_code == 2
    assert "--threads" in result.stderr


def test_fast_kernels_without_numba_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError("No module named 'numba'")

    monkeypatch.setattr("minidark.backend.import_module", missing)
    assert_refused(
        run("train", "a.cfg", "text.txt", "--kernels", "fast"),
        1,
        "the fast kernels need numba (No module named 'numba'); pip install 'minidark[fast]', "
        "or choose --kernels numpy",
    )


@pytest.fixture
def nothing_kept(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has compiled no kernel."""
    return {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}


TRAIN = (sys.executable, "-m", "minidark", "train", "a.cfg", "text.txt", "--kernels", "fast")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), (b"", "empty"), (b"ab", "2")])
def test_the_text_is_looked_at_before_kernels_are_compiled(
    text: bytes | None, said: str, nothing_kept: dict[str, str]
) -> None:
    Path("text.txt").unlink()
    if text is not None:
        Path("text.txt").write_bytes(text)
    result = subprocess.run(TRAIN, env=nothing_kept, capture_output=True, text=True, timeout=100)
    assert result.returncode == 4
    assert said in result.stderr
    assert "compiling" not in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to send")
def test_a_signal_while_kernels_are_compiled_ends_the_run(nothing_kept: dict[str, str]) -> None:
    with subprocess.Popen(TRAIN, env=nothing_kept, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if "compiling fast kernels" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(100) == 128 + signal.SIGTERM
    assert rest == "minidark: stopped before the first batch\n"
    assert not [*Path("backup").glob("*.ckpt")]


@pytest.mark.slow
def test_what_is_compiled_once_is_announced_once(nothing_kept: dict[str, str]) -> None:
    """Each of these commands needs kernels that the ones before it do not."""
    load_network("a.cfg", kernels="numpy").save_weights("a.weights")
    normed = CFG.replace("[gru]", "[gru]\nbatch_normalize=1")
    Path("normed.cfg").write_text(normed)
    train = ("train", "a.cfg", "text.txt", "--seed", "1")
    commands: list[tuple[str, ...]] = [
        ("generate", "a.cfg", "a.weights", "--len", "9"),
        ("predict", "a.cfg", "a.weights"),
        train,
        ("train", "normed.cfg", *train[2:]),
    ]
    if compiled.has_half():
        commands += [(*train, "--precision", "bf16")]
    for command in commands:
        notes = [
            subprocess.run(
                [sys.executable, "-m", "minidark", *command, "--kernels", "fast"],
                env=nothing_kept, input=b"ab\n", capture_output=True, timeout=100, check=True,
            ).stderr.count(COMPILING.encode())
            for _ in range(2)
        ]  # fmt: skip
        assert notes == [1, 0], command
