"""Ctrl-C before a command has begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minidark.files.shipped import folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")

# Sends itself SIGINT when a module is looked for, as somebody does whose finger is quick.
INTERRUPTED = """
import os, signal, sys

module = sys.argv.pop(1)

class Finger:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finger())
from minidark.__main__ import main
main()
"""
COMMAND = ["generate", "--len", "3", "--srand", "1"]


def interrupted_at(module: str, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", INTERRUPTED, module, *COMMAND]
    return subprocess.run(command, capture_output=True, timeout=60, **kwargs)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "module",
    ["click", "minidark.cli", "minidark.errors", "numpy", "numpy.linalg",
     "minidark.cli.commands.generate", "minidark.layers.gru"],
)  # fmt: skip
def test_an_interrupt_among_the_imports_is_130_and_silent(module: str) -> None:
    done = interrupted_at(module)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_without_an_interrupt_the_command_runs() -> None:
    done = interrupted_at("none")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) == 6


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    done = interrupted_at("numpy", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert (done.returncode, done.stderr) == (0, b"")


def test_once_a_command_runs_an_interrupt_lets_it_tidy_up(tmp_path: Path) -> None:
    """The handler of the beginning would leave the temporary file of `convert`."""
    code = (
        "import os, signal\n"
        "from minidark.files import disk\n"
        "from minidark.__main__ import main\n"
        "disk.SYSTEM = disk.System(fsync=lambda d: os.kill(os.getpid(), signal.SIGINT))\n"
        "main()\n"
    )
    shipped = str(folder("weights") / "rnn.weights")
    words = [shipped, str(tmp_path / "out.weights"), "--cfg", "rnn", "--dialect", "alexey"]
    done = subprocess.run([sys.executable, "-c", code, "convert", *words], capture_output=True,
                          timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"")
    assert list(tmp_path.iterdir()) == []
