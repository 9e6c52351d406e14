"""Running a command, and what its error looks like."""

from __future__ import annotations

import subprocess
from typing import Any

from click.testing import CliRunner, Result

from minidark.cli import cli


class Started(subprocess.Popen[bytes]):
    """A process that does not outlive a test that fails."""

    def __exit__(self, *error: Any) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*error)


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
