"""Options of commands that work with pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from minidark.cli.options.numbers import Number, count
from minidark.data.pairs import TAB
from minidark.inference.predict import LENGTH_PENALTY

Callback = TypeVar("Callback", bound=Callable[..., Any])


def separator_option(what: str) -> Callable[[Callback], Callback]:
    return click.option(
        "--separator", default=TAB, metavar="C", help=f"{what} between source and target [a tab]."
    )


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
            type=Number(0),
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
