"""The command line: one file a command, and the only place that prints.

Text and data go to standard output, everything else to standard error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import click
import numpy as np

import minidark
from minidark.cli.generate import generate
from minidark.cli.info import info
from minidark.cli.train import train
from minidark.cli.valid import valid
from minidark.errors import (
    BackendError,
    CfgError,
    DataError,
    DivergedError,
    MinidarkError,
    WeightsError,
    nearest,
)

EXIT_CODES: dict[type[BaseException], int] = {  # the first that fits
    CfgError: 3,
    WeightsError: 4,
    DataError: 4,
    DivergedError: 5,
    BackendError: 1,
    MinidarkError: 1,
    OSError: 1,
    MemoryError: 1,
    KeyboardInterrupt: 130,
}


class _Group(click.Group):
    """Commands that turn errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        # What overflows shows in the result; numpy's warnings would name lines of ours.
        with _told(ctx.params.get("debug", False)), np.errstate(all="ignore"):
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], self.list_commands(ctx))
            message = error.message.rstrip(".") + hint if hint else error.message
            raise click.UsageError(message, ctx) from error


@contextlib.contextmanager
def _told(debug: bool) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # `minidark generate | head`: nobody reads on; that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(0)
    except tuple(EXIT_CODES) as error:
        if debug:
            traceback.print_exc()
        if not isinstance(error, KeyboardInterrupt):
            said = str(error) or ("out of memory" if isinstance(error, MemoryError) else "")
            click.echo(f"minidark: error: {said}", err=True)
        sys.exit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))


class _LogHandler(logging.Handler):
    """What the library logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        click.echo(f"minidark: {kind}{record.getMessage()}", err=True)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command's --help begins with examples. Exit codes: 0 done, 1 a run failed, "
    "2 wrong usage, 3 the cfg, 4 weights or data, 5 diverged, 130 and 143 interrupted.",
)
@click.version_option(minidark.__version__, message="minidark %(version)s")
@click.option("--quiet", is_flag=True, help="No notes and warnings on standard error.")
@click.option("-v", "--verbose", is_flag=True, help="More notes.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(quiet: bool, verbose: bool, debug: bool) -> None:
    """Recurrent networks from darknet's cfg files: train, sample, measure.

    \b
    minidark train cfg/rnn.cfg data.txt
    minidark generate cfg/rnn.cfg backup/rnn_final.weights
    minidark generate            (from the network that is shipped)
    """
    logger = logging.getLogger("minidark")
    logger.handlers = [_LogHandler()]
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING)


for command in (train, generate, valid, info):
    cli.add_command(command)


def main() -> None:
    """The `minidark` command."""
    cli(prog_name="minidark")
