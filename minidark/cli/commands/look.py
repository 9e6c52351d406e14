"""`minidark look`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.options.numbers import count
from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stdout import say, say_json
from minidark.data.text import Ids, Text
from minidark.errors import CfgError
from minidark.inference.generate import default_primer
from minidark.inference.trace import trace
from minidark.report.extra import needed
from minidark.report.look import Look

log = logging.getLogger(__name__)


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("text")
@click.option("-o", "--output", metavar="FILE",
              help="Page to write [look.html; no page with --json].")  # fmt: skip
@click.option("--len", "length", type=count(2), metavar="N", default=2000, show_default=True,
              help="Number of characters (bytes) to show, from the start of TEXT.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
@force_option
@cfg_options
def look(
    cfg: str,
    weights: str,
    text: str,
    output: str | None,
    length: int,
    as_json: bool,
    force: bool,
    choice: CfgChoice,
) -> None:
    """Write a page that shows gates and states at every character.

    \b
    minidark look rnn backup/rnn_best.weights held-out.txt
    minidark look lstm my.weights book.txt -o lstm.html --len 500
    tail -c 5000 book.txt | minidark look rnn my.weights - --json

    TEXT is a file, or - for standard input. The page is a single file for any browser, and needs
    the extra `report`. As in `valid`, the network starts from zero state and reads two newlines
    first; the first character is not scored.
    """
    if output is None and not as_json:
        output = "look.html"
    if output is not None:
        needed("jinja2")  # before any work
    check_output(output, choice.path(cfg), weights, text, form=PAGE, force=force)
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    if not net.predicts_symbols:
        raise CfgError(
            "does not end in a plain [softmax]: its outputs are not probabilities of characters"
        )
    if net.inputs > 256:
        raise CfgError(f"has {net.inputs} symbols; a page shows at most 256, one for each byte")
    symbols, size = _read(text, length, net.inputs)
    traced = trace(net, symbols, default_primer(net.inputs))
    if not traced.layers:
        raise CfgError("has no [gru], [lstm] or [rnn], so it has no state to show")
    seen = Look(traced, size)
    figures = {**seen.figures(), "page": output, "page_bytes": None}
    if output is not None:
        page = seen.write(output, Path(choice.path(cfg)).name, Path(weights).name)
        log.info("wrote %s: %s bytes", output, f"{page:,}")
        figures["page_bytes"] = page
    if as_json:
        say_json(figures)
    else:
        _show(figures)


def _read(text: str, length: int, inputs: int) -> tuple[Ids, int]:
    """The first `length` symbols, and the size of the text."""
    if text == "-":
        data = sys.stdin.buffer.read()
        return np.frombuffer(data[:length], dtype=np.uint8).astype(np.intp), len(data)
    with Text([text], inputs) as file:
        return file.read(0, min(length, file.size)), file.size


def _show(figures: dict[str, Any]) -> None:
    """Print bits per character and, for each property, the unit that tracks it best."""
    say(f"{'characters':28} {figures['characters']:>8,}")
    say(f"{'bits per character':28} {figures['bits_per_character']:>8.4f}")
    for name, units in figures["trackers"].items():
        if units:
            best = units[0]
            where = f"{best['value']} of unit {best['unit']} in {best['layer']}"
            chance = f"(chance: {figures['by_chance'][name]:.3f})"
            say(f"{name:28} {best['correlation']:>+8.3f}  {where} {chance}")
