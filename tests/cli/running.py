"""Running a command on small networks, and what its error looks like."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from minidark import load_network
from minidark.cli import cli
from tests.helpers import cfg


class Started(subprocess.Popen[bytes]):
    """A process that does not outlive a test that fails."""

    def __exit__(self, *error: Any) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*error)


NORMED = cfg(
    "net inputs=20 batch=2 time_steps=8",
    "gru output=6 tanh=1 batch_normalize=1",
    "dropout",
    "lstm output=5",
    "connected output=20 activation=linear batch_normalize=1",
    "softmax",
)
TWO_CELLS = cfg(
    "net inputs=256 batch=4 time_steps=8",
    "gru output=6 tanh=1",
    "lstm output=5",
    "connected output=256 activation=linear",
    "softmax",
)


def lay_out(cfg: str, text: bytes | None = None) -> None:
    """Put a.cfg and a.weights, and with a text text.txt, where a test runs."""
    Path("a.cfg").write_text(cfg)
    load_network("a.cfg", seed=1).save_weights("a.weights")
    if text is not None:
        Path("text.txt").write_bytes(text)


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, args, input=stdin, prog_name="minidark")


def output(*args: str, stdin: bytes | None = None) -> bytes:
    """Standard output of a command that ends well; notes may stand on standard error."""
    result = run(*args, stdin=stdin)
    assert result.exit_code == 0, result.stderr or result.exception
    assert all(line.startswith("minidark: ") for line in result.stderr.splitlines())
    return result.stdout_bytes


def assert_refused(result: Result, code: int, message: str) -> None:
    """One line on standard error, nothing on standard output, and the exit code."""
    (line,) = result.stderr.splitlines() or [repr(result.exception)]
    assert line == f"minidark: error: {message}"
    assert (result.exit_code, result.stdout_bytes) == (code, b"")


def assert_wrong_usage(result: Result, message: str) -> None:
    assert (result.exit_code, result.stdout_bytes) == (2, b""), result.exception
    assert f"\nError: {message}\n" in result.stderr
