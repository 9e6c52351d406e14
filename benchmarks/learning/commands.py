"""minidark's commands, as one types them."""

from __future__ import annotations

import subprocess
import sys

THREADS: list[str] = []  # an option of all commands, where one was chosen
COMPUTING = ("train", "predict", "score")  # the commands that take it, and --kernels


def run(name: str, *arguments: str) -> str:
    """Its standard output. What it says on standard error is shown."""
    computing = ["--kernels", "fast", *THREADS] if name in COMPUTING else []
    command = [sys.executable, "-m", "minidark", name, *arguments, *computing]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
