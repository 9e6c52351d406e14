"""`minidark compare`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import click
from rich.table import Column, Table

from minidark.backend import get_backend
from minidark.cli.command import command_words, typed
from minidark.cli.commands.train_options import multiply_adds
from minidark.cli.options.cfg_options import CfgChoice, weightless_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import Number, count
from minidark.cli.options.stopping import Stop, stoppable
from minidark.cli.output.display import validated
from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import WIDTH, add_figures, print_table
from minidark.data.text import Text
from minidark.errors import DivergedError, MinidarkError, SaveError, number_of, visible
from minidark.report.comparison import COLUMNS, cells, verdict, write_comparison_page
from minidark.report.extra import needed
from minidark.training.compare import Candidate, Comparison, Outcome, candidates, comparison_facts
from minidark.training.report import StepReport

BATCHES = 1000
LONGEST_NAME = 16  # columns for a word in the name of a cfg
SHORT = {"bits per character": "bits/char"}  # in the table on a terminal
LISTS = ("widths", "seconds")  # columns
MOST_SECONDS = 10**7  # four months


def _seeds(ctx: click.Context, param: click.Parameter, value: str) -> list[int]:
    """Parse distinct whole numbers separated by commas."""
    try:
        seeds = [int(seed) for seed in value.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a list of whole numbers separated by commas."
        ) from None
    if len({*seeds}) < len(seeds):
        raise click.BadParameter(f"{value!r} contains a seed twice.")
    return seeds


@click.command()
@click.argument("cfgs", metavar="CFG CFG...", nargs=-1, required=True)
@click.argument("data")
@click.option("--parameters", type=count(), metavar="N",
              help="Trained parameters of each network: scales the recurrent widths to come close "
              "to N [those of the first cfg].")  # fmt: skip
@click.option("--batches", type=count(), metavar="N",
              help=f"Number of batches for each network [{BATCHES}].")  # fmt: skip
@click.option(
    "--seconds",
    type=Number(0, MOST_SECONDS, min_open=True),
    metavar="X",
    help="Seconds of training for each network, instead of --batches.",
)
@click.option("--seeds", callback=_seeds, default="1", metavar="A,B,C", show_default=True,
              help="Random seeds; each cfg is trained once with each seed.")  # fmt: skip
@click.option("--valid-fraction", type=Number(0, 1, max_open=True), default=0.05, metavar="F",
              show_default=True,
              help="Fraction of the text for validation, taken from its end.")  # fmt: skip
@click.option("--patience", type=count(), metavar="N",
              help="Early stopping: end a run after N validations without a new best.")  # fmt: skip
@click.option("--backup", metavar="DIR",
              help="Save each run in DIR/CFG-seedN.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write an HTML page to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@force_option
@compute_options("auto")
@weightless_options
def compare(
    cfgs: tuple[str, ...],
    data: str,
    parameters: int | None,
    batches: int | None,
    seconds: float | None,
    seeds: list[int],
    valid_fraction: float,
    patience: int | None,
    backup: str | None,
    output: str | None,
    as_json: bool,
    force: bool,
    compute: Compute,
    choice: CfgChoice,
) -> None:
    """Train cfgs on one text with equal budgets, and compare them.

    \b
    minidark compare gru lstm rnn-vanilla data.txt
    minidark compare gru lstm data.txt --parameters 150000 --batches 2000 --seeds 1,2,3
    minidark compare gru lstm data.txt --seconds 60 --threads 1 --backup runs -o page.html

    All runs use batch, subdivisions and time_steps of the first cfg. Runs with the same seed read
    the same streams. All other keys come from each cfg. In each cfg, one factor scales the
    recurrent widths, so that all networks have about the same number of parameters.

    With --batches, all networks see the same symbols. With --seconds, the command first measures
    how many batches each network computes in that time. Learning-rate schedules end with the
    budget.

    The table shows the bits per character of the best validation, as mean and standard deviation
    over the seeds. Ctrl-C stops, and shows the finished runs.
    """
    if len(cfgs) < 2:
        raise click.UsageError("compare needs two or more cfgs, and then the text")
    if (
        batches and seconds and typed("batches") != typed("seconds")
    ):  # one comes from the environment
        batches, seconds = (batches, None) if typed("batches") else (None, seconds)
    if batches and seconds:
        raise click.UsageError("use either --batches or --seconds, not both")
    if output is not None:
        needed("jinja2")  # check before the runs, not after
    paths = [choice.path(c) for c in cfgs]
    check_output(output, *paths, data, form=PAGE, force=force)
    trained = candidates(paths, choice.overrides, parameters, choice.strict)
    backend, folder = get_backend(**compute.loading), Path(backup) if backup else None
    with Text([data], trained[0].plan.net.row_inputs) as text, stoppable() as stop:
        comparison = Comparison(trained, text, backend, valid_fraction, patience, folder)
        _settle(compute, comparison, batches or BATCHES, len(seeds))
        numbers = comparison.batches_in(seconds) if seconds else [batches or BATCHES] * len(trained)
        outcomes, failed = _finished(comparison, seeds, numbers, stop)
    facts = comparison_facts(comparison, outcomes, seconds)
    if outcomes and output is not None:
        failed = _write_page(output, facts, outcomes) or failed
    if as_json:
        say_json(facts)
    elif outcomes:
        show(facts)
    if failed:
        raise failed
    if stop.signal:
        tell(f"minidark: stopped; {len(outcomes)} of {len(trained) * len(seeds)} runs are finished")
        sys.exit(128 + stop.signal)
    if all(outcome.diverged for outcome in outcomes):
        raise DivergedError("every run diverged; try a lower learning_rate")


def _finished(
    comparison: Comparison, seeds: list[int], numbers: list[int], stop: Stop
) -> tuple[list[Outcome], MinidarkError | None]:
    """The outcomes of all finished runs, and the error that ended the comparison or None. The
    caller shows the outcomes before the error, because they may have taken hours."""

    def follow(candidate: Candidate, seed: int, report: StepReport) -> bool:
        if report.valid_loss is not None:
            tell(f"{candidate.name}, seed {seed}: {validated(report, in_bits=True)}")
        return not stop.signal

    for candidate, number in zip(comparison.candidates, numbers, strict=True):
        tell(_taking_part(candidate, number))
    outcomes: list[Outcome] = []
    try:
        for outcome in comparison.runs(seeds, numbers, follow):
            outcomes.append(outcome)
            if outcome.diverged:
                tell(f"{outcome.name}, seed {outcome.seed}: {outcome.diverged}")
    except MinidarkError as error:
        return outcomes, error
    return outcomes, None


def _write_page(output: str, facts: dict[str, Any], outcomes: list[Outcome]) -> SaveError | None:
    """Write the page. The error if it cannot be written: the table is shown first here, too."""
    try:
        write_comparison_page(output, facts, outcomes, command_words())
    except SaveError as error:
        return error
    tell(f"minidark: wrote {output}")
    return None


def _settle(compute: Compute, comparison: Comparison, batches: int, seeds: int) -> None:
    """Choose the kernels by the work of all runs."""
    nets = [c.network(0, comparison.backend, batches) for c in comparison.candidates]
    compute.settle(nets[0], seeds * sum(multiply_adds(net, batches) for net in nets))


def _taking_part(candidate: Candidate, batches: int) -> str:
    widths = ", ".join(map(str, candidate.widths))
    name = candidate.name
    named = f"{name}:" if candidate.label == name else f"{candidate.label},"
    return (
        f"{named} recurrent width {widths}, {candidate.plan.trained:,} parameters, "
        f"{number_of(batches, 'batch')}"
    )


def show(facts: dict[str, Any]) -> None:
    """Print the table, the best cfg, then a sample of each."""
    names = [cfg["label"] for cfg in facts["cfgs"]]
    longest = max(len(word) for name in names for word in name.split() or [""])
    name_column = Column("cfg", min_width=min(longest, LONGEST_NAME))
    table = Table(name_column, box=None, pad_edge=False)
    add_figures(table, *(SHORT.get(name, name) for name in COLUMNS))
    for name in LISTS:  # a number for each layer, or for each seed
        table.columns[1 + COLUMNS.index(name)].no_wrap = False
    for cfg in facts["cfgs"]:
        table.add_row(cfg["label"], *cells(cfg))
    print_table(table)
    say(f"\n{textwrap.fill(visible(verdict(facts)), WIDTH, break_on_hyphens=False)}")
    for cfg in facts["cfgs"]:
        if sample := next((r["sample"] for r in cfg["runs"] if r["sample"]), None):
            say(f"\n--- {cfg['label']}:\n{sample}")
