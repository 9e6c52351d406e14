"""Runs minidark's commands as on a command line."""

from __future__ import annotations

import subprocess
import sys

THREADS: list[str] = []  # the option --threads, or empty
COMPUTING = ("train", "predict", "score")  # commands with --threads and --kernels


def run(name: str, *arguments: str) -> str:
    """Run a command and return its standard output. Its standard error is not captured."""
    computing = ["--kernels", "fast", *THREADS] if name in COMPUTING else []
    command = [sys.executable, "-m", "minidark", name, *arguments, *computing]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
