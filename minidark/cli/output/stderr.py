"""Standard error: notes, warnings and errors, a line each."""

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
    """Write `text` and a line break. A closed pipe there must not end a training run."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(visible(as_typed(text)), err=True)


def tell_error(text: str) -> None:
    """Write the error that ends a command, in one line."""
    tell(f"minidark: error: {one_line(text)}")


def tell_usage(error: click.ClickException) -> None:
    """Write click's lines about wrong usage; they may quote words of the command line."""
    vars(error)["message"] = shortened(visible(error.message))
    with contextlib.suppress(OSError, ValueError):
        error.show()


def tell_if_waiting() -> None:
    """If standard input is a terminal, say that it is being read."""
    if sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
        log.info("reading standard input; %s ends it", end)


class LogHandler(logging.Handler):
    """Writes the library's log to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.levelno >= logging.WARNING:
            said = f"warning: {one_line(said)}"
        tell(f"minidark: {said}")
