"""Options of commands that work with pairs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from minidark.cli.options.numbers import Number, count
from minidark.data.pairs import EITHER, TAB, Pairs
from minidark.data.tables import MARK, kind_of, names_text, two_names
from minidark.errors import DataError, echo
from minidark.files.disk import named, open_regular
from minidark.inference.predict import LENGTH_PENALTY, MOST_PENALTY
from minidark.weights.run_folder import RunFolder

log = logging.getLogger(__name__)

Callback = TypeVar("Callback", bound=Callable[..., Any])


def separator_option(what: str) -> Callable[[Callback], Callback]:
    return click.option(
        "--separator", default=TAB, metavar="C", help=f"{what} between source and target [a tab]."
    )


def skip_option(what: str) -> Callable[[Callback], Callback]:
    return click.option("--skip-bad", is_flag=True, help=f"{what} lines that are not pairs.")


def _check_names(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The names of the source and the target, with quotes only where they are needed."""
    try:
        return None if value is None else names_text(two_names(value))
    except DataError as error:
        raise click.BadParameter(str(error)) from error


def table_options(what: str) -> Callable[[Callback], Callback]:
    """Adds --columns and --fields."""

    def decorate(command: Callback) -> Callback:
        names = "names of the source and the target"
        command = click.option(
            "--fields", callback=_check_names, metavar="SOURCE,TARGET",
            help=f"{what} in .jsonl files, an object a line: {names}.",
        )(command)  # fmt: skip
        return click.option(
            "--columns", callback=_check_names, metavar="SOURCE,TARGET",
            help=f"{what} in .csv or .tsv files with a header: {names}.",
        )(command)  # fmt: skip

    return decorate


def names_for(
    path: str, columns: str | None, fields: str | None, run: RunFolder | None
) -> tuple[str | None, str | None]:
    """The values of --columns and --fields. If both were omitted, those for such a file of the run
    whose folder stands for the network."""
    if columns or fields or run is None:
        return columns, fields
    kind = kind_of(path)
    return (
        run.columns if kind == "columns" else None,
        run.fields if kind == "fields" else None,
    )


def open_pairs(
    paths: Sequence[str],
    separator: str,
    skip_bad: bool,
    columns: str | None = None,
    fields: str | None = None,
) -> Pairs:
    """The pairs of one file, or of a file of sources and a file of targets. Logs the number of
    skipped lines, and of pairs with line breaks."""
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} files of pairs; {EITHER}")
    pairs = Pairs(
        paths[0] if len(paths) == 1 else paths,
        separator,
        columns=two_names(columns) if columns else None,
        fields=two_names(fields) if fields else None,
        skip_bad=skip_bad,
    )
    if pairs.blanked:
        log.info(
            "%s: line breaks and tabs in %s of %s pairs are read as blanks",
            pairs.path, f"{pairs.blanked:,}", f"{len(pairs):,}",
        )  # fmt: skip
    if skipped := len(pairs.skipped):
        log.warning(
            "skipped %s of %s lines, which are not pairs; the first: %s",
            f"{skipped:,}", f"{skipped + len(pairs):,}", pairs.skipped[0],
        )  # fmt: skip
    return pairs


def classes_option(what: str) -> Callable[[Callback], Callback]:
    return click.option(
        "--classes", metavar="A,B,...|FILE", help=f"{what} FILE has one on each line."
    )


def class_names(classes: str) -> list[str]:
    """The classes in "A,B", or on the lines of a file. Raises UsageError for a single one."""
    if not os.path.isfile(classes):
        if "," not in classes:
            raise click.UsageError(
                f"--classes {echo(classes)} is neither a file nor two classes, as in yes,no"
            )
        return classes.split(",")
    with open_regular(classes, named(classes, DataError)) as file:
        lines = file.read().removeprefix(MARK).splitlines()
    return [line.decode(errors="surrogateescape") for line in lines if line]


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
