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
from minidark.cli.rnn import rnn
from minidark.cli.stderr import LogHandler, tell
from minidark.cli.train import train
from minidark.cli.valid import valid
from minidark.cli.vec import vec
from minidark.cli.weights_verbs import (
    average,
    convert,
    denormalize,
    ops,
    partial,
    statistics,
)
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
    """Commands that turn errors into one line and an exit code, and share three options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        logger = logging.getLogger("minidark")
        logger.handlers = [LogHandler()]
        logger.setLevel(logging.INFO)  # until an option says otherwise
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        # What overflows shows in the result; numpy's warnings would name lines of ours.
        with _told(ctx), np.errstate(all="ignore"):
            return super().invoke(ctx)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        cmd.params.extend(shared_options())
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], self.list_commands(ctx))
            message = error.message.rstrip(".") + hint if hint else error.message
            raise click.UsageError(message, ctx) from error


DEBUG = "minidark.debug"  # in ctx.meta, which a command shares with its group


def shared_options() -> list[click.Parameter]:
    """--quiet, -v and --debug, which may stand before the command or after it."""

    def level(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            logger = logging.getLogger("minidark")
            logger.setLevel(logging.ERROR if param.name == "quiet" else logging.DEBUG)

    def debug(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            ctx.meta[DEBUG] = True

    def flag(*names: str, callback: Any, text: str) -> click.Option:
        return click.Option(names, is_flag=True, expose_value=False, callback=callback, help=text)

    return [
        flag("--quiet", callback=level, text="No notes and warnings on standard error."),
        flag("-v", "--verbose", callback=level, text="More notes."),
        flag("--debug", callback=debug, text="Show tracebacks."),
    ]


@contextlib.contextmanager
def _told(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # `minidark generate | head`: nobody reads on; that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(0)
    except tuple(EXIT_CODES) as error:
        if ctx.meta.get(DEBUG):
            traceback.print_exc()
        if not isinstance(error, KeyboardInterrupt):
            said = str(error) or ("out of memory" if isinstance(error, MemoryError) else "")
            tell(f"minidark: error: {said}")
        sys.exit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command's --help begins with examples. Exit codes: 0 done, 1 a run failed, "
    "2 wrong usage, 3 the cfg, 4 weights or data, 5 diverged, 130 and 143 interrupted.",
)
@click.version_option(minidark.__version__, message="minidark %(version)s")
def cli() -> None:
    """Recurrent networks from darknet's cfg files: train, sample, measure.

    \b
    minidark train cfg/rnn.cfg data.txt
    minidark generate cfg/rnn.cfg backup/rnn_final.weights
    minidark generate            (from the network that is shipped)
    """


COMMANDS = (
    train, generate, valid, vec, info, rnn,
    average, convert, denormalize, ops, partial, statistics,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)
cli.params.extend(shared_options())


def main() -> None:
    """The `minidark` command."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as with `>&-`
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115  lives as long as we do
    cli(prog_name="minidark")
