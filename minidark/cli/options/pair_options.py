"""Options of commands that work with pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from minidark.cli.options.numbers import Number, count
from minidark.data.pairs import EITHER, TAB, Pairs
from minidark.inference.predict import LENGTH_PENALTY, MOST_PENALTY

log = logging.getLogger(__name__)

Callback = TypeVar("Callback", bound=Callable[..., Any])


def separator_option(what: str) -> Callable[[Callback], Callback]:
    return click.option(
        "--separator", default=TAB, metavar="C", help=f"{what} between source and target [a tab]."
    )


def skip_option(what: str) -> Callable[[Callback], Callback]:
    return click.option("--skip-bad", is_flag=True, help=f"{what} lines that are not pairs.")


def open_pairs(paths: Sequence[str], separator: str, skip_bad: bool) -> Pairs:
    """The pairs of one file, or of a file of sources and a file of targets. Logs the number of
    skipped lines."""
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} files of pairs; {EITHER}")
    pairs = Pairs(paths[0] if len(paths) == 1 else paths, separator, skip_bad=skip_bad)
    if skipped := len(pairs.skipped):
        log.warning(
            "skipped %s of %s lines, which are not pairs; the first: %s",
            f"{skipped:,}", f"{skipped + len(pairs):,}", pairs.skipped[0],
        )  # fmt: skip
    return pairs


def search_options(longest: str) -> Callable[[Callback], Callback]:
    """Adds --beam, --length-penalty and --max-length; `longest` describes the default of
    --max-length."""

    def decorate(command: Callback) -> Callback:
        command = click.option(
            "--max-length",
            type=count(),
            metavar="N",
            help=f"Maximum length of a target, in symbols [{longest}].",
        )(command)
        command = click.option(
            "--length-penalty",
            type=Number(0, MOST_PENALTY),
            metavar="A",
            help="Rank targets by log probability / length**A: larger A prefers longer targets "
            f"[{LENGTH_PENALTY:g}; 0 with --beam 1].",
        )(command)
        return click.option(
            "--beam",
            type=count(),
            default=1,
            show_default=True,
            metavar="K",
            help="Width of the beam search.",
        )(command)

    return decorate
