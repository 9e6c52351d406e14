"""`minidark report`."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len

from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import WIDTH
from minidark.files.shipped import bare_name
from minidark.report.charts import LN2, amount
from minidark.report.live import follow_run, is_running
from minidark.report.run import Run, figures, read_run_folder
from minidark.report.training import write_run_page
from minidark.report.verdict import state_text, verdict

INDENT = 23  # columns before the values


@click.command()
@click.argument("rundir")
@click.option("-o", "--output", metavar="FILE", help="Write an HTML page to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as one JSON object.")
@click.option("--live", is_flag=True,
              help="With -o: renew the page until the run ends; it reloads itself.")  # fmt: skip
@force_option
def report(rundir: str, output: str | None, as_json: bool, live: bool, force: bool) -> None:
    """Summarise a training run, as an HTML page or in a few lines.

    \b
    minidark report backup -o page.html
    minidark report backup -o page.html --live
    minidark report backup
    minidark report runs/books --json

    RUNDIR is the --backup folder of the run. The page begins with the result in one sentence. It
    shows the loss with the samples that the network wrote, then gradient norms, speed, learning
    rate, the cfg, the text, the machine, and the command that repeats the run. A character is a
    byte, of which a Korean letter has three, or a token.

    The run may still be in progress. With --live, start the training first, then this command in
    another terminal. It needs no server: open the page from its file.
    """
    if live and output is None:
        raise click.UsageError("--live needs a page: add -o FILE")
    run = read_run_folder(Path(rundir))
    others = [file for file in run.folder.iterdir() if file.suffix != ".html"]
    others += [Path(run.facts["cfg"]), *(Path(text["path"]) for text in run.facts["text"])]
    check_output(output, *others, form=PAGE, force=force)
    if output is not None:
        run = _write(output, run, live)
    facts = figures(run)
    if as_json:
        say_json(facts)
    elif output is None:
        show(facts, run)


def _write(output: str, run: Run, live: bool) -> Run:
    """Write the page; with `live`, until the run ends. Returns the run as on the page."""
    if not live:
        write_run_page(output, run, is_running(run))
        tell(f"minidark: wrote {output}")
        return run

    def began() -> None:
        tell(f"minidark: {output} renews itself until the run ends; Ctrl-C stops earlier")

    run = follow_run(output, run.folder, began)
    tell(f"minidark: wrote {output}; {state_text(run, False)}: {verdict(run)}")
    return run


def show(facts: dict[str, Any], run: Run) -> None:
    """Print the run in a few lines of at most 80 columns; a longer command continues after a
    backslash."""
    rows = {"result": verdict(run), **summary(facts, run.network)}
    for name, text in rows.items():
        lines = textwrap.wrap(text, WIDTH - INDENT, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            say(f"{'' if number else name:{INDENT}}{line}".rstrip())
    say("command")
    say(_folded(facts["command"]))


def _folded(command: str) -> str:
    """A command over several lines that a shell reads as one. Words stay whole."""
    lines = [""]
    for word in shlex.split(command):
        quoted = shlex.quote(word)
        if len(lines[-1]) + cell_len(quoted) + len(" \\") >= WIDTH and lines[-1].strip():
            lines.append(" ")
        lines[-1] += f" {quoted}"
    return " \\\n".join(f" {line}" for line in lines)


def summary(facts: dict[str, Any], network: str) -> dict[str, str]:
    in_nats = facts["in_nats"]
    rows = {
        "cfg": network if bare_name(facts["cfg"]) else facts["cfg"],
        "state": facts["state"] + (f": {facts['diverged']}" if facts["diverged"] else ""),
        "batches": f"{facts['batch']:,} of {facts['batches']:,}",
        "parameters": f"{facts['parameters']:,}",
        "trained on": f"{facts['symbols']:,} characters, {amount(facts['epochs'], 2)} epochs",
    }
    if facts["characters_per_second"]:
        rows["characters per second"] = amount(facts["characters_per_second"])
    if facts["average"] is not None:
        rows["training, average"] = _cost(facts["average"], in_nats)
    if best := facts["best"]:
        cost = best["nats"] if in_nats else best["cost"]
        rows["best validation"] = f"{_cost(cost, in_nats)}, at batch {best['batch']:,}"
    return rows


def _cost(cost: float, in_nats: bool) -> str:
    if not in_nats:
        return f"cost {amount(cost, 4)}"
    return f"{amount(cost, 4)} nats = {amount(cost / LN2, 3)} bits"
