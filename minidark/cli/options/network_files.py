"""Arguments that stand for CFG and WEIGHTS: the folder of a run, and weights that have a record.

`expanded` writes such an argument twice, so that click assigns the arguments that follow it
correctly. `NetworkFiles.of` then replaces both by the files that they stand for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import click

from minidark.cli.command import typed
from minidark.cli.options.order import is_cfg
from minidark.convert import CFGS, DARKNET, WEIGHTS
from minidark.files import shipped
from minidark.network.own_cfg import own_cfg
from minidark.weights.made_with import beside
from minidark.weights.run_folder import RunFolder, find_run

log = logging.getLogger(__name__)

Callback = TypeVar("Callback", bound=Callable[..., Any])

final_option = click.option(
    "--final", is_flag=True, help="With the folder of a run: use its final weights [the best ones]."
)


class _Word(str):
    """A word of a command line, as an object of its own: words are compared by identity."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """The cfg and the weights that a command line names, and the `--set` values that the weights
    were made with; `run` if a run's folder stands for all of this."""

    cfg: str | None
    weights: str | None
    overrides: tuple[str, ...] = ()
    run: RunFolder | None = None

    @classmethod
    def of(cls, cfg: str | None, weights: str | None, final: bool) -> Self:
        """Raises UsageError, CfgError and WeightsError."""
        if cfg is None or not is_folder(cfg):
            if final and typed("final"):  # the environment may set it for all commands
                raise click.UsageError("--final selects weights in the folder of a run; name one")
            alone = cfg is not None and cfg == weights and cfg.lower().endswith(DARKNET)
            return cls._of_weights(cfg) if cfg and alone else cls(cfg, weights)
        if weights != cfg:
            raise click.UsageError(
                f"{cfg} is a folder; the folder of a run stands for CFG and WEIGHTS: omit "
                f"{weights}, or name a cfg"
            )
        run = find_run(cfg, final)
        log.info("using %s", run.weights)
        return cls(str(run.record), str(run.weights), run=run)

    @classmethod
    def _of_weights(cls, weights: str) -> Self:
        own = own_cfg(weights)
        if own is None:
            missing = f"{beside(weights)} does not record its cfg: put its cfg before it"
            if not os.path.exists(weights):
                missing = "there is no such file"
            raise click.UsageError(f"{weights} is a weight file, and {missing}")
        settings = "".join(f" --set {text}" for text in own.overrides)
        log.info("using %s%s", own.path, settings)
        return cls(str(own.path), weights, own.overrides)


def is_folder(word: str) -> bool:
    """Whether a word names a folder, and not a cfg by its suffix or the bare name of a shipped
    one."""
    is_named = shipped.is_name(word) or word.lower().endswith(CFGS)
    return not is_named and os.path.isdir(word)


def expanded(command: click.Command, ctx: click.Context, args: Sequence[str]) -> list[str]:
    """The words of a command line, with a first argument that stands for CFG and WEIGHTS written
    twice. Commands with --final call this."""
    words = [_Word(arg) for arg in args]
    options: list[click.Parameter] = [
        param for param in command.get_params(ctx) if isinstance(param, click.Option)
    ]
    parser = click.Command(None, params=options, add_help_option=False).make_parser(ctx)
    try:
        _, arguments, _ = parser.parse_args([*words])
    except click.UsageError:  # which the command itself reports
        return [*args]
    if not arguments or not _stands_for_both(arguments[0], arguments[1:]):
        return [*args]
    at = next(i for i, word in enumerate(words) if word is arguments[0])
    return [*args[: at + 1], *args[at:]]


def _stands_for_both(word: str, others: Sequence[str]) -> bool:
    second = others[0] if others else ""
    if second.lower().endswith(WEIGHTS):
        return False
    return is_folder(word) or (word.lower().endswith(WEIGHTS) and not is_cfg(second))
