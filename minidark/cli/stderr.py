"""What goes to standard error: notes, warnings, errors, each in lines of its own."""

from __future__ import annotations

import contextlib
import logging
import re

import click

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def tell(text: str) -> None:
    """Write `text` and a line break. Nobody reading on there must not end a training run."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text), err=True)


class LogHandler(logging.Handler):
    """What the library logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        tell(f"minidark: {kind}{record.getMessage()}")
