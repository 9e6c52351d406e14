"""`minidark report`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say, say_json
from minidark.files.shipped import bare_name
from minidark.report.run import figures, read_run_folder
from minidark.report.training import write_run_page


@click.command()
@click.argument("rundir")
@click.option("-o", "--output", metavar="FILE", help="Write an HTML page to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as one JSON object.")
@force_option
def report(rundir: str, output: str | None, as_json: bool, force: bool) -> None:
    """Summarise a training run, as an HTML page or in a few lines.

    \b
    minidark report backup -o page.html
    minidark report backup
    minidark report runs/books --json

    RUNDIR is the --backup folder of the run. The page shows loss, learning rate, gradient norms
    and speed as curves. It also contains the samples in order, the cfg, the text, the machine, and
    the command that repeats the run. The run may still be in progress.
    """
    run = read_run_folder(Path(rundir))
    others = [file for file in run.folder.iterdir() if file.suffix != ".html"]
    others += [Path(run.facts["cfg"]), *(Path(text["path"]) for text in run.facts["text"])]
    check_output(output, *others, form=PAGE, force=force)
    facts = figures(run)
    if output is not None:
        write_run_page(output, run)
        tell(f"minidark: wrote {output}")
    if as_json:
        say_json(facts)
    elif output is None:
        show(facts, run.network)


def show(facts: dict[str, Any], network: str) -> None:
    """Print the run in a few lines. network: the cfg's name for people."""
    for name, text in summary(facts, network).items():
        say(f"{name:22} {text}")


def summary(facts: dict[str, Any], network: str) -> dict[str, str]:
    in_nats = facts["in_nats"]
    rows = {
        "cfg": network if bare_name(facts["cfg"]) else facts["cfg"],
        "state": facts["state"] + (f": {facts['diverged']}" if facts["diverged"] else ""),
        "batches": f"{facts['batch']:,} of {facts['batches']:,}",
        "parameters": f"{facts['parameters']:,}",
        "trained on": f"{facts['symbols']:,} characters, {facts['epochs']:.2f} epochs",
    }
    if facts["characters_per_second"]:
        rows["characters per second"] = f"{facts['characters_per_second']:,.0f}"
    if facts["average"] is not None:
        rows["training, average"] = _cost(facts["average"], in_nats)
    if best := facts["best"]:
        cost = best["nats"] if in_nats else best["cost"]
        rows["best validation"] = f"{_cost(cost, in_nats)}, at batch {best['batch']:,}"
    return rows | {"command": facts["command"]}


def _cost(cost: float, in_nats: bool) -> str:
    return f"{cost:.4f} nats = {cost / math.log(2):.3f} bits" if in_nats else f"cost {cost:.4f}"
