"""A command on a pseudo-terminal of its own, as somebody at a keyboard sees it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

NO_TERMINALS = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")

PLAIN = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "COLUMNS": "120"}
ABOUT_COLOR = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM", "CLICOLOR", "TTY_COMPATIBLE")


@dataclass(frozen=True)
class Seen:
    code: int
    screen: str  # all that came to the terminal, line breaks as the program wrote them
    stdout: str  # what did not go there


def on_terminal(*args: str, stdout: bool = True, **variables: str) -> Seen:
    """minidark with the terminal as standard error, and as standard output unless that is a pipe.
    `variables` are the environment's, beside PLAIN."""
    import pty

    environment = {k: v for k, v in os.environ.items() if k not in ABOUT_COLOR}
    environment |= PLAIN | variables
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "minidark", *args]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs if stdout else subprocess.PIPE, stderr=theirs,
        env=environment,
    ) as process:  # fmt: skip
        os.close(theirs)
        screen = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 1 << 16):
                screen += piece
        os.close(ours)
        rest = process.stdout.read() if process.stdout else b""
    return Seen(process.returncode, screen.decode().replace("\r\n", "\n"), rest.decode())
