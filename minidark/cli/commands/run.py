"""`minidark run`."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.table import Table

from minidark.cli.command import WORDS
from minidark.cli.commands.experiment import Run, read_experiment
from minidark.cli.commands.train import train
from minidark.cli.exits import EXPECTED, report
from minidark.cli.options.stopping import stoppable
from minidark.cli.output.stderr import tell, tell_error
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import add_figures, print_table
from minidark.errors import WeightsError
from minidark.training.checkpoint import Checkpoint, newest_sound
from minidark.training.parallel.mpi import started

LONGEST_RUN = 24  # characters of a name that the table does not break
USAGE = 2
INTERRUPTED = 128  # plus the number of the signal


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="List the runs as command lines, and do not train.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--anywhere", is_flag=True,
              help="Allow a `folder` outside the current one.")  # fmt: skip
def run(file: str, dry_run: bool, as_json: bool, anywhere: bool) -> None:
    """Train the run or the sweep of runs in a YAML file.

    \b
    minidark run experiment.yaml --dry-run
    minidark run experiment.yaml
    minidark run experiment.yaml --json > results.json

    \b
    cfg: rnn
    data: book.txt
    options: {batches: 500, valid-fraction: .1}
    set: {gru.output: [128, 256], net.learning_rate: .004}
    seeds: [1, 2]

    Lists make a sweep over all combinations of their values. Each run has its own folder inside
    `folder`, which is runs/ plus the file's name by default.

    Repeat the command to continue a sweep: it skips finished runs, and resumes an interrupted run
    with byte-identical results. Ctrl-C saves the current run and stops. The exit code is the
    highest one of all runs. docs/runs.md describes all keys.
    """
    runs = read_experiment(file, anywhere)
    if started() > 1 and not dry_run:
        raise click.UsageError("`run` does not work with mpiexec; use `train`")
    if dry_run:
        _list(runs, as_json)
        return
    done, code = _train(runs)
    if as_json:
        say_json({"exit_code": code, "runs": [_facts(one) for one in done]})
    else:
        _show(done)
    raise SystemExit(code)


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of a run, with figures from its checkpoint."""

    run: Run
    result: str  # done, finished before, stopped, failed, not begun
    exit_code: int | None  # None if the sweep was interrupted before this run
    batches: int
    best_valid_loss: float | None  # None without validation
    seconds: float


def _train(runs: list[Run]) -> tuple[list[Done], int]:
    """Train the runs in order until a signal; returns the outcomes, and the exit code."""
    done = []
    with stoppable() as stop:  # a signal may come between runs, or in the last batch of one
        for number, one in enumerate(runs, start=1):
            if stop.signal:
                done.append(_left(one))
                continue
            tell(f"minidark: run {number} of {len(runs)}: {one.name or one.folder}")
            done.append(_train_one(one))
    if stop.signal:
        return done, INTERRUPTED + stop.signal
    return done, max((one.exit_code or 0 for one in done), default=0)


def _train_one(one: Run) -> Done:
    """Train or resume one run, and report its error."""
    before, code = _checkpoint(one), 0
    words, current = _command(one), click.get_current_context()
    current.meta[WORDS] = words
    try:
        with train.make_context("train", words[2:], parent=current) as ctx:
            one.claim()
            _invoke(ctx, before)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except click.ClickException as error:
        tell_error(error.format_message())
        code = USAGE
    except EXPECTED as error:
        code = report(error)
    after = _checkpoint(one)
    unmoved = before is not None and after is not None and before.batch == after.batch
    result = "failed" if code else "finished before" if unmoved else "done"
    return _done(one, "stopped" if code > INTERRUPTED else result, code, after)


def _invoke(ctx: click.Context, before: Checkpoint | None) -> None:
    """Call `train`. For a finished run, it only checks that the folder belongs to this run, without
    notes."""
    options = ctx.params
    if before and before.over and before.falls and options["batches"] not in (None, before.batches):
        tell(
            f"minidark: this run is finished: its learning-rate schedule ended at batch "
            f"{before.batches}; for {options['batches']} batches, use another folder"
        )
        options["batches"] = before.batches
    if before and before.ends(options["batches"], options["patience"]):
        with _quiet():
            train.invoke(ctx)
    else:
        train.invoke(ctx)


def _command(one: Run) -> list[str]:
    """The command that trains or resumes a run."""
    return ["minidark", "train", *one.arguments()]


def _left(one: Run) -> Done:
    """The outcome of a run that an interruption left out."""
    checkpoint = _checkpoint(one)
    result = (
        "not begun" if checkpoint is None else "finished before" if checkpoint.over else "stopped"
    )
    return _done(one, result, None, checkpoint)


def _done(one: Run, result: str, code: int | None, checkpoint: Checkpoint | None) -> Done:
    if checkpoint is None:
        return Done(one, result, code, 0, None, 0.0)
    return Done(one, result, code, checkpoint.batch, checkpoint.lowest, checkpoint.seconds)


def _checkpoint(one: Run) -> Checkpoint | None:
    """The newest valid checkpoint, or None. `train` reports damaged ones."""
    if one.began:
        with contextlib.suppress(WeightsError), _quiet():
            return newest_sound(one.checkpoint)[1]
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("minidark")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# --- output ----------------------------------------------------------------------


def _list(runs: list[Run], as_json: bool) -> None:
    commands = [*map(_command, runs)]
    if as_json:
        listed = [
            {**_described(one), "command": command, "goes_on": one.began}
            for one, command in zip(runs, commands, strict=True)
        ]
        say_json({"runs": listed})
        return
    say("\n".join(map(shlex.join, commands)))


def _described(one: Run) -> dict[str, Any]:
    described = {**asdict(one), "folder": str(one.folder)}
    del described["file"]
    return described


def _facts(one: Done) -> dict[str, Any]:
    figures = asdict(one)
    del figures["run"]
    return {**_described(one.run), **figures}


def _show(done: list[Done]) -> None:
    table = Table("run", "result", box=None, pad_edge=False)
    add_figures(table, "batches", "validation", "seconds", "exit")
    for one in done:
        loss = one.best_valid_loss
        table.add_row(
            _breakable(one.run.name or str(one.run.folder)),
            one.result,
            f"{one.batches:,}",
            "-" if loss is None else f"{loss:.4f}",
            f"{one.seconds:,.0f}",
            "-" if one.exit_code is None else str(one.exit_code),
        )
    print_table(table)


def _breakable(name: str) -> str:
    """A long name with blanks where a table may break it."""
    return name if len(name) <= LONGEST_RUN else name.replace(",", ", ")
