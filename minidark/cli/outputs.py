"""Files that a command writes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from minidark.files import check_writable


def check_output(output: str | None, *others: str | Path | None) -> None:
    """Raise UsageError where `output` is one of the other files of the command, or no file, and
    SaveError where it cannot be written: before the work, and not after it."""
    if output == "-":
        raise click.UsageError("- is no file to write to: standard output is not supported here")
    for other in others:
        if output and other and str(other) != "-" and _same(output, other):
            raise click.UsageError(f"{output} is a file that this command needs; write to another")
    if output:
        check_writable(output)


def _same(one: str, other: str | Path) -> bool:
    """Under whatever names, and where neither is there yet."""
    with suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
