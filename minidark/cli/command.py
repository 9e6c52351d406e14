"""The class of all commands: click's, plus groups of options and environment variables.

Environment variables set options that are not on the command line: MINIDARK_TRAIN_SAVE_EVERY sets
--save-every of `train`, and MINIDARK_SAVE_EVERY sets it for all commands. Empty variables are
ignored. 1 and true turn a switch on, 0 and false leave it off. Blanks separate the values of a
repeatable option.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

import click
from click.core import ParameterSource

from minidark.cli.exits import DEBUG
from minidark.cli.output.stdout import checked

PREFIX = "MINIDARK"

GROUPS = {  # heading: options by their long names; "command.option" where commands differ
    "Data": ("tokenized", "valid-fraction", "tokens", "check-copy", "valid.seed", "vec.seed"),
    "Model": (
        "cfg", "weights", "clear", "set", "strict", "weights-order", "allow-nonfinite",
        "allow-other-cfg", "cache", "final",
    ),
    "Training": ("resume", "batches", "epochs", "train.seed", "patience", "clip-norm", "shards"),
    "Sampling": (
        "generate.seed", "seed-file", "escapes", "srand", "generate.len", "stop", "temp", "top-k",
        "top-p", "samples",
    ),
    "Output": ("backup", "save-every", "json", "output", "color", "worst", "tensorboard",
               "explain", "force", "anywhere", "bits"),
    "Device": ("device", "kernels", "precision", "threads", "rank-timeout"),
}  # fmt: skip
REST = "Options"

# Without a shared variable: the seed text (--seed of `train` is a number), output files (the next
# command would overwrite them), and the permission to overwrite.
OWN = {"generate.seed", "valid.seed", "vec.seed", "output", "out-cfg", "force", "anywhere"}
NONE = {"rnn"}  # no variables, so that old command lines keep their meaning

# Keys of ctx.meta, which a command shares with its group.
LEVEL = "minidark.level"  # the log level
WORDS = "minidark.words"  # the words of a command that another command runs

# darknet's flags that are options of commands other than `rnn`.
DARKNETS = ("seed", "srand", "len", "temp", "tokens", "tokenized", "clear")


class Command(click.Command):
    """A command of minidark; `of` makes it from a click command."""

    @classmethod
    def of(cls, plain: click.Command) -> Command:
        """Add shared options and environment variables to a click command."""
        shared = shared_options()
        for option in [*plain.params, *shared]:
            if isinstance(option, click.Option):
                own = option in plain.params
                option.envvar = variables(plain.name or "", long_name(option), own)
        return cls(
            plain.name,
            plain.context_settings,
            plain.callback,
            [*plain.params, *shared],
            plain.help,
            plain.epilog,
            options_metavar=plain.options_metavar,
            no_args_is_help=plain.no_args_is_help,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)  # click consumes args
        try:
            with checked():  # --help prints
                return super().parse_args(ctx, self._expanded(ctx, args))
        except click.NoSuchOption as error:
            hint = self._key_of_cfg(error.option_name, words) or _darknets(words)
            if not hint:
                raise
            message = (error.message.rstrip(".") if hint[0] == "," else error.message) + hint
            raise click.NoSuchOption(error.option_name, message, ctx=ctx) from error
        except click.MissingParameter as error:
            if isinstance(error.param, click.Argument):
                self._check_missing(ctx, error.param.name)
            raise
        except click.BadParameter as error:
            name_variable(ctx, error)
            raise

    def _expanded(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, with the folder of a run written twice, for CFG and for WEIGHTS."""
        if not {"final", "weights"} <= {param.name for param in self.params}:
            return args
        from minidark.cli.options.network_files import expanded  # here, because it imports numpy

        return expanded(self, ctx, args)

    def _key_of_cfg(self, option: str, words: list[str]) -> str:
        """A hint if the unknown option is a key of the cfg."""
        if not any(param.name == "overrides" for param in self.params):
            return ""
        from minidark.cli.options.settings import how_to_set  # here, because it reads cfgs

        return how_to_set(option, words)

    def _check_missing(self, ctx: click.Context, missing: str | None) -> None:
        from minidark.cli.options.order import check_missing  # here, because it imports numpy

        arguments = [p for p in self.get_params(ctx) if isinstance(p, click.Argument)]
        usage = " ".join([ctx.command_path, *(p.make_metavar(ctx) for p in arguments)])
        with click.core.augment_usage_errors(ctx):
            check_missing(ctx.params, missing, usage)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*GROUPS, REST)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record:
                rows[self._heading(long_name(param))].append(record)
        for heading, records in rows.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def _heading(self, name: str) -> str:
        for heading, names in GROUPS.items():
            if name in names or f"{self.name}.{name}" in names:
                return heading
        return REST

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        option = max(
            self.params, key=lambda param: len(param.envvar or ())
        )  # one with a shared variable
        if option.envvar:
            own, *shared = option.envvar
            formatter.write_paragraph()
            formatter.write_text(
                f"Environment variables can set each option: {own} sets {option.opts[-1]}"
                f"{f', {shared[0]} sets it for all commands' if shared else ''}. "
                "The command line takes precedence."
            )


def long_name(param: click.Parameter) -> str:
    """The longest name without dashes: "save-every" of --save-every."""
    return max(param.opts, key=len).lstrip("-")


def variables(command: str, option: str, shared: bool = True) -> list[str]:
    """The environment variables of an option, in order of precedence."""
    if command in NONE:
        return []
    names = [f"{PREFIX}_{command}_{option}"]
    if shared and not {option, f"{command}.{option}"} & OWN:
        names.append(f"{PREFIX}_{option}")
    return [re.sub(r"\W", "_", name).upper() for name in names]


def variable(ctx: click.Context, param: click.Parameter) -> str | None:
    """The environment variable that set `param`, or None."""
    if param.name and ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
        return next((name for name in param.envvar or () if os.environ.get(name)), None)
    return None


def name_variable(ctx: click.Context, error: click.BadParameter) -> None:
    """Name the environment variable in the error, if it set the value."""
    if error.param and (name := variable(ctx, error.param)):
        error.param_hint = f"the environment variable {name}"


def _darknets(args: list[str]) -> str:
    flags = [word for word in args if word[:1] == "-" and word[1:] in DARKNETS]
    if not flags:
        return ""
    return f" darknet's {flags[0]} is -{flags[0]} here; `minidark rnn` accepts darknet's flags."


def shared_options() -> list[click.Parameter]:
    """--quiet, -v and --debug, before or after the command's name."""

    def level(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if not value or (variable(ctx, param) and LEVEL in ctx.meta):
            return  # the command line takes precedence over the environment
        ctx.meta[LEVEL] = logging.ERROR if param.name == "quiet" else logging.DEBUG
        logging.getLogger("minidark").setLevel(ctx.meta[LEVEL])

    def debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[DEBUG] = True

    def flag(*names: str, callback: Any, text: str) -> click.Option:
        return click.Option(names, is_flag=True, expose_value=False, callback=callback, help=text)

    return [
        flag("--quiet", callback=level, text="Print only errors to standard error."),
        flag("-v", "--verbose", callback=level, text="Print more notes."),
        flag("--debug", callback=debug, text="Show tracebacks."),
    ]


def typed(name: str) -> bool:
    """Whether this option of the running command is on the command line, not from the
    environment."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def command_words() -> list[str]:
    """The words of the running command: as typed, or as another command runs it."""
    words: list[str] = click.get_current_context().meta.get(WORDS) or ["minidark", *sys.argv[1:]]
    return words
