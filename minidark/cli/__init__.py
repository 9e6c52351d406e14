"""The command line, with one module for each command. It is the only package that prints.

Text and data go to standard output, everything else to standard error. A command's module is
imported when the command runs, so `--version` and `--help` need neither numpy nor rich.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from minidark._version import __version__
from minidark.cli.command import Command, long_name, name_variable, shared_options, variables
from minidark.cli.exits import EXIT_CODES, report_errors
from minidark.cli.options.stopping import Interrupts
from minidark.cli.output.stderr import LogHandler, tell_error, tell_usage
from minidark.cli.output.stdout import checked, discard, flush
from minidark.cli.shell.words import help_line, stand_in
from minidark.errors import MinidarkError, nearest

COMMANDS = {  # name: its module in `minidark.cli.commands`
    **{
        name: name
        for name in (
            "demo", "train", "generate", "valid", "predict", "score", "vec", "check", "diff",
            "gradcheck", "doctor", "init", "compare", "look", "play", "info", "report", "rnn",
            "run", "convert", "completion",
        )
    },
    **dict.fromkeys(
        ("average", "denormalize", "join", "ops", "partial", "statistics"), "weights_verbs"
    ),
}  # fmt: skip


SECTIONS = {  # of `minidark --help`: heading, commands; the last one also gets all others
    "Train and use a network": (
        "demo", "train", "generate", "play", "valid", "predict", "score", "vec", "run", "compare",
    ),
    "Understand a network": ("look", "report", "info", "statistics", "ops", "diff", "gradcheck"),
    "Write cfgs and weights": (
        "init", "check", "convert", "join", "average", "partial", "denormalize",
    ),
    "More": ("rnn", "doctor", "completion"),
}  # fmt: skip


OPTIONS = (
    "Options: --quiet (only errors), -v (more notes), --debug (tracebacks), --version, -h. "
    "`minidark COMMAND --help` begins with examples."
)


class _Group(click.Group):
    """The group of all commands. It reports an error as one line and an exit code.

    `commands` holds stand-ins with a name and a line of help; `resolve_command` loads the command.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Like click's, but `tell_usage` reports wrong usage."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code: Any = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            tell_usage(error)
            code = error.exit_code
        except click.Abort:
            code = EXIT_CODES[KeyboardInterrupt]
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        logger = logging.getLogger("minidark")
        logger.handlers = [LogHandler()]
        logger.setLevel(logging.INFO)  # the default
        try:
            with checked():  # --version and --help print
                return super().parse_args(ctx, args)
        except click.BadParameter as error:
            name_variable(ctx, error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        import numpy as np  # here, because --version and --help do not need it

        # The result shows an overflow; numpy's warnings would name lines of minidark.
        with Interrupts.recorded(), report_errors(ctx), np.errstate(all="ignore"):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in sections, and the options in two lines."""
        listed = {name for names in SECTIONS.values() for name in names}
        width, (*_, last) = max(map(len, COMMANDS)), SECTIONS
        for heading, names in SECTIONS.items():
            others = [name for name in COMMANDS if name not in listed] if heading == last else []
            with formatter.section(heading):
                rows = [(name.ljust(width), help_line(name)) for name in (*names, *others)]
                formatter.write_dl(rows)
        formatter.write_paragraph()
        formatter.write_text(OPTIONS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, _, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], self.list_commands(ctx))
            message = error.message.rstrip(".") + hint if hint else error.message
            raise click.UsageError(message, ctx) from error
        command = load(name, light=ctx.resilient_parsing) if name else None
        if callable(ctx.obj):
            ctx.obj()
        return name, command, rest


@functools.cache
def load(name: str, light: bool = False) -> click.Command:
    """Import a command from its module. `light`: for shell completion, return a stand-in with the
    same parameters instead."""
    if light and (command := stand_in(name)):
        return command
    module = import_module(f"minidark.cli.commands.{COMMANDS[name]}")
    return Command.of(getattr(module, name))


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="minidark %(version)s")
def cli() -> None:
    """Train, sample and measure recurrent networks from darknet's cfg files.

    \b
    minidark demo my.txt
    minidark train rnn data.txt
    """


for name in COMMANDS:
    cli.add_command(click.Command(name, help=help_line(name)))
for option in shared_options():
    option.envvar = variables("", long_name(option))[-1:]
    cli.params.append(option)


def main(imported: Callable[[], object] | None = None) -> None:
    """The `minidark` command. It calls `imported` after the imports and before the command runs."""
    _replace_closed_streams()
    if "_MINIDARK_COMPLETE" in os.environ:
        import_module("minidark.cli.shell.shells")
    code: Any = EXIT_CODES[MinidarkError]
    try:
        with checked():  # completion prints
            cli(prog_name="minidark", obj=imported)
    except SystemExit as exit_:
        code = exit_.code
    except MinidarkError as error:  # raised before a command is resolved
        tell_error(str(error))
    sys.exit(_flushed(code))


def _flushed(code: Any) -> Any:
    """Flush all output; the exit code, with 1 instead of 0 if flushing fails."""
    try:
        flush()
    except MinidarkError as error:
        tell_error(str(error))
        code = code or EXIT_CODES[MinidarkError]
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return code


def _replace_closed_streams() -> None:
    """Open the null device for streams that the caller closed, as with `>&-`. Then standard input
    is empty, writing to standard output fails, and standard error is discarded."""
    modes = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for number, (name, mode) in enumerate(modes.items()):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            python = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, python, closefd=False))  # noqa: SIM115  open until exit
    if sys.stdout.errors == "strict":  # names may contain characters outside the encoding
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
