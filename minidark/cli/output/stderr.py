"""Standard error: notes, warnings and errors, one line each."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

import click

from minidark.errors import one_line, shortened, visible
from minidark.files.shipped import as_typed

log = logging.getLogger(__name__)


def tell(text: str) -> None:
    """Write `text` and a line break. A closed pipe must not end a training run."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(visible(as_typed(text)), err=True)


def tell_error(text: str) -> None:
    """Write the error that ends a command as one line."""
    tell(f"minidark: error: {one_line(text)}")


def tell_usage(error: click.ClickException) -> None:
    """Write click's lines about wrong usage, with quoted words escaped and cut."""
    vars(error)["message"] = shortened(visible(error.message))
    with contextlib.suppress(OSError, ValueError):
        error.show()


def tell_if_waiting() -> None:
    """If standard input is a terminal, print a note that the command reads it."""
    if sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        log.info("reading standard input; %s ends it", end)


class LogHandler(logging.Handler):
    """Writes the library's log to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"warning: {one_line(message)}"
        tell(f"minidark: {message}")
