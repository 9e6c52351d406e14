"""The exit codes that docs/command-line.md lists, each from the real program, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import lay_out
from tests.cli.terminal import NO_TERMINALS
from tests.helpers import cfg

ROOT = Path(__file__).parent.parent.parent
DOC = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=40",
    "gru output=6",
    "connected output=256 activation=linear",
    "softmax",
)
LONG = ["--len", "100000000", "--srand", "1"]
FAST = ["--seed", "1", "--set", "net.learning_rate=1e20"]

CALLS = {
    0: ["ops", "a.cfg"],
    1: ["train", "a.cfg", "text.txt", "--backup", "text.txt"],
    2: ["generate", "a.weights"],
    3: ["info", "none.cfg"],
    4: ["generate", "a.cfg", "none.weights"],
    5: ["train", "a.cfg", "text.txt", *FAST],
    130: ["train", "a.cfg", "text.txt", "--batches", "100000000"],
    143: ["train", "a.cfg", "text.txt", "--batches", "100000000"],
}
SIGNALS = {130: signal.SIGINT, 143: signal.SIGTERM}


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(CFG, b"The quick brown fox jumps over the lazy dog.\n" * 200)


def start(*args: str, **kwargs: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "minidark", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)  # type: ignore[call-overload]


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("code", CALLS)
def test_the_program_ends_with(code: int) -> None:
    with start(*CALLS[code]) as process:
        if code in SIGNALS:
            assert process.stderr
            assert b"--seed" in process.stderr.readline()  # the run has begun
            process.send_signal(SIGNALS[code])
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err


def test_the_codes_of_the_docs_are_those() -> None:
    table = DOC.partition("## Exit codes")[2].partition("##")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [*CALLS]


@pytest.mark.slow
@NO_TERMINALS
@pytest.mark.parametrize("verb", ["valid", "vec", "predict"])
def test_ctrl_c_while_standard_input_is_awaited_is_130_and_silent(verb: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    with start(verb, "a.cfg", "a.weights", stdin=theirs) as process:
        assert process.stderr
        assert b"reading standard input" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("options", [[], ["--check-copy", "text.txt"], ["--samples", "2"]])
def test_ctrl_c_while_sampling_is_130_and_silent(options: list[str]) -> None:
    with start("generate", "a.cfg", "a.weights", *LONG, *options) as process:
        assert process.stdout
        if "--samples" not in options:
            assert len(process.stdout.read(10)) == 10
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
