"""Errors that end a command: one line on standard error, and an exit code for each class."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator

import click

from minidark.cli.options.stopping import Interrupts
from minidark.cli.output.stderr import tell_error
from minidark.cli.output.stdout import discard_output
from minidark.errors import (
    BackendError,
    CfgError,
    DataError,
    DivergedError,
    MinidarkError,
    WeightsError,
)

EXIT_CODES: dict[type[BaseException], int] = {  # the first match counts
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
EXPECTED = tuple(EXIT_CODES)  # for `except`; any other error is a bug and prints its traceback

DEBUG = "minidark.debug"  # key of the switch in ctx.meta, which a command shares with its group


@contextlib.contextmanager
def report_errors(ctx: click.Context, prefix: str = "") -> Iterator[None]:
    """Report an error as one line that starts with `prefix`, and exit with its code."""
    try:
        yield
    except BrokenPipeError:  # the reader closed the pipe, as in `minidark generate | head`
        discard_output()
        sys.exit(0)
    except EXPECTED as error:
        if ctx.meta.get(DEBUG):
            traceback.print_exc()
        if Interrupts.received:
            sys.exit(EXIT_CODES[KeyboardInterrupt])
        sys.exit(report(error, prefix))


def report(error: BaseException, prefix: str = "") -> int:
    """Report an EXPECTED error as one line, except Ctrl-C; returns its exit code."""
    if not isinstance(error, KeyboardInterrupt):
        message = str(error) or ("out of memory" if isinstance(error, MemoryError) else "")
        tell_error(f"{prefix}{message}")
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
