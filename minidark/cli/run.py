"""`minidark run`."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from minidark.cli import EXIT_CODES
from minidark.cli.experiment import Run, read_experiment
from minidark.cli.stderr import tell
from minidark.cli.stopping import stoppable
from minidark.cli.tables import print_table
from minidark.cli.train import train
from minidark.errors import MinidarkError
from minidark.files import open_regular

USAGE = 2
INTERRUPTED = 128  # and the signal's number


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Only list the runs, as command lines.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def run(file: str, dry_run: bool, as_json: bool) -> None:
    """Train what a YAML file says: a run, or a sweep of runs.

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

    A list makes a sweep: every value with every other, each run in a folder of its own below
    `folder` (runs/ and the file's name). Run again, it passes over what is finished and goes on
    with what was interrupted, to the same bytes. Ctrl-C saves the run that is at work, and ends.
    Ends with the highest exit code of its runs. docs/runs.md tells all keys.
    """
    runs = read_experiment(file)
    if dry_run:
        _list(runs, as_json)
        return
    done, code = _train(runs)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "runs": [_facts(one) for one in done]}))
    else:
        _show(done)
    raise SystemExit(code)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a run. Loss: the lowest on the part that is kept out, None without one."""

    run: Run
    result: str  # done, finished before, stopped, failed
    exit_code: int
    batches: int
    best_valid_loss: float | None
    seconds: float


def _train(runs: list[Run]) -> tuple[list[Done], int]:
    """One after another, until one is interrupted; and the exit code of all."""
    done = []
    with stoppable() as stop:  # a signal may come between two, or in the last batch of one
        for number, one in enumerate(runs, start=1):
            tell(f"minidark: run {number} of {len(runs)}: {one.name or one.folder}")
            before = _logged(one.folder)
            code = _train_one(one)
            after = _logged(one.folder)
            done.append(_done(one, code, before, after))
            if stop.signal:
                return done, INTERRUPTED + stop.signal
    return done, max((one.exit_code for one in done), default=0)


def _train_one(one: Run) -> int:
    """Its exit code; what was wrong is told."""
    try:
        with train.make_context(
            "train", one.arguments(), parent=click.get_current_context()
        ) as ctx:
            train.invoke(ctx)
    except SystemExit as ended:
        return int(ended.code or 0)
    except click.ClickException as error:
        tell(f"minidark: error: {error.format_message()}")
        return USAGE
    except tuple(EXIT_CODES) as error:
        if not isinstance(error, KeyboardInterrupt):
            tell(f"minidark: error: {error}")
        return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
    return 0


def _done(one: Run, code: int, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Done:
    losses = [line["valid_loss"] for line in after if "valid_loss" in line]
    last = after[-1] if after else {}
    result = "failed" if code else "finished before" if after and before == after else "done"
    return Done(
        run=one,
        result="stopped" if code > INTERRUPTED else result,
        exit_code=code,
        batches=last.get("batch", 0),
        best_valid_loss=min(losses, default=None),
        seconds=last.get("seconds", 0.0),
    )


def _logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log that have a loss, to the first that is not whole."""
    lines = []
    with (
        contextlib.suppress(MinidarkError, ValueError),
        open_regular(folder / "log.jsonl", MinidarkError) as file,
    ):
        for text in file:
            line = json.loads(text)
            if isinstance(line, dict) and "loss" in line:
                lines.append(line)
    return lines


# --- how it is shown ----------------------------------------------------------------------


def _list(runs: list[Run], as_json: bool) -> None:
    commands = [["minidark", "train", *one.arguments()] for one in runs]
    if as_json:
        listed = [
            {**_described(one), "command": command, "goes_on": one.began}
            for one, command in zip(runs, commands, strict=True)
        ]
        click.echo(json.dumps({"runs": listed}))
        return
    click.echo("\n".join(map(shlex.join, commands)))


def _described(one: Run) -> dict[str, Any]:
    return {**asdict(one), "folder": str(one.folder)}


def _facts(one: Done) -> dict[str, Any]:
    figures = asdict(one)
    del figures["run"]
    return {**_described(one.run), **figures}


def _show(done: list[Done]) -> None:
    table = Table("run", "result", box=None, pad_edge=False)
    for name in ("batches", "best validation", "seconds", "exit code"):
        table.add_column(name, justify="right")
    for one in done:
        loss = one.best_valid_loss
        table.add_row(
            one.run.name or str(one.run.folder),
            one.result,
            f"{one.batches:,}",
            "-" if loss is None else f"{loss:.4f}",
            f"{one.seconds:,.0f}",
            str(one.exit_code),
        )
    print_table(table)
