"""`minidark gradcheck`."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.table import Table

from minidark.cli.options.cfg_options import CfgChoice, weightless_options
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import add_figures, print_table
from minidark.training.gradcheck import (
    STEPS,
    STREAMS,
    TOLERANCE,
    WIDEST,
    Row,
    amount,
    check_gradients,
)

log = logging.getLogger(__name__)

FAILED = 1
QUIET = 5.0  # seconds between two progress notes


@click.command()
@click.argument("cfg")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Random seed for parameters, state, input and directions.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@weightless_options
def gradcheck(cfg: str, seed: int, as_json: bool, choice: CfgChoice) -> None:
    """Compare the gradients of a network with numeric ones.

    \b
    minidark gradcheck rnn
    minidark gradcheck my.cfg --seed 3 --json

    The check computes in float64, on 3 streams of 4 steps, with random parameters and state. Layers
    wider than 48 are narrowed to 48, which changes no formula. For each array it compares the
    derivatives in three random directions and at three single numbers. This takes minutes for
    dozens of layers. Exits with 1 if a gradient is wrong.
    """
    plan = choice.plan(cfg)
    rows = [*_with_progress(check_gradients(plan, seed), amount(plan))]
    passed = all(row.passed for row in rows)
    if as_json:
        say_json(_facts(rows, seed, passed))
    else:
        _show(rows, passed)
    raise SystemExit(0 if passed else FAILED)


def _with_progress(rows: Iterable[Row], total: int) -> Iterator[Row]:
    """The same rows; logs progress if they take long, as with many layers."""
    last_note = time.monotonic()
    for number, row in enumerate(rows, start=1):
        yield row
        if time.monotonic() - last_note > QUIET:
            log.info("compared %d of %d arrays", number, total)
            last_note = time.monotonic()


def _facts(rows: list[Row], seed: int, passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "tolerance": TOLERANCE,
        "time_steps": STEPS,
        "streams": STREAMS,
        "widest": WIDEST,
        "seed": seed,
        "arrays": [_fact(row) for row in rows],
    }


def _fact(row: Row) -> dict[str, Any]:
    """An infinite error (the cost is not finite) becomes null, because JSON has no infinity."""
    known = row.error is not None and math.isfinite(row.error)
    error = row.error if known else None
    return {**dataclasses.asdict(row), "error": error, "passed": row.passed}


def _show(rows: list[Row], passed: bool) -> None:
    table = Table("array", "shape", box=None, pad_edge=False)
    add_figures(table, "directions", "relative error")
    table.add_column("")
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        if row.error is None:
            table.add_row(row.name, shape, "-", "-", "frozen by stopbackward")
        else:
            verdict = "PASS" if row.passed else "FAIL"
            table.add_row(row.name, shape, str(row.directions), f"{row.error:.1e}", verdict)
    print_table(table)
    wrong = sum(not row.passed for row in rows)
    say(f"\n{'PASS' if passed else 'FAIL'}: {wrong or 'none'} of {len(rows)} arrays exceed "
               f"{TOLERANCE:g}")  # fmt: skip
