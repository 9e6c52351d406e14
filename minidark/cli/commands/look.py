"""`minidark look`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from minidark.cli.command import typed
from minidark.cli.commands.look_pairs import look_at_pairs
from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.numbers import count
from minidark.cli.options.pair_options import class_names, classes_option, separator_option
from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stdout import say, say_json
from minidark.data.characters import whole_characters
from minidark.data.pairs import looks_like_pairs
from minidark.data.text import Ids, Text
from minidark.errors import CfgError
from minidark.inference.alignment import BEAM, Aligner, layers_over_source
from minidark.inference.generate import default_primer
from minidark.inference.trace import trace
from minidark.network import Network
from minidark.report.extra import needed
from minidark.report.look import Look

log = logging.getLogger(__name__)

CHARACTERS = 2000  # shown of a text, by default
LINES = 20  # of pairs


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("text")
@click.option("-o", "--output", metavar="FILE",
              help="Page to write [look.html; alignment.html with --pairs; no page with --json]."
              )  # fmt: skip
@click.option("--len", "length", type=count(), metavar="N",
              help="Number of characters (bytes) to show, from the start of TEXT [2000]; with "
              "--pairs, number of lines [20].")  # fmt: skip
@click.option("--pairs", is_flag=True,
              help="TEXT is lines of a source, or of a source, a separator and a target. Show the "
              "weights of attention over the source.")  # fmt: skip
@click.option(
    "--predict",
    is_flag=True,
    help="With --pairs, show the network's prediction, also for lines with a target.",
)
@click.option("--beam", type=count(), default=BEAM, show_default=True, metavar="K",
              help="With --pairs, the width of the beam search for predictions.")  # fmt: skip
@classes_option("With --pairs, show the probability of each of these targets after each symbol of "
                "a source. Default: the targets in TEXT, if they repeat.")  # fmt: skip
@separator_option("With --pairs, the character")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the figures as one JSON object; with --pairs, one for each line.",
)
@force_option
@network_options
def look(
    cfg: str,
    weights: str,
    text: str,
    output: str | None,
    length: int | None,
    pairs: bool,
    predict: bool,
    beam: int,
    classes: str | None,
    separator: str,
    as_json: bool,
    force: bool,
    choice: CfgChoice,
) -> None:
    """Write a page that shows gates and states at every character.

    \b
    minidark look backup/ held-out.txt
    minidark look rnn backup/rnn_best.weights held-out.txt
    minidark look lstm my.weights book.txt -o lstm.html --len 500
    tail -c 5000 book.txt | minidark look rnn my.weights - --json
    minidark look attention.cfg my.weights sources.tsv --pairs -o alignment.html

    TEXT is a file, or - for standard input. The page is a single file for any browser, and needs
    the extra `report`. As in `valid`, the network starts from zero state and reads two newlines
    first; the first character is not scored.

    With --pairs, the page shows the weights of each [attention] with over=source: which source
    symbols the network attends to when it predicts each target symbol. A line without a target
    gets the network's prediction. If the targets are classes, the page also shows how each source
    symbol changes the probability of the predicted class.
    """
    if output is None and not as_json:
        output = "alignment.html" if pairs else "look.html"
    if output is not None:
        needed("jinja2")  # before any work
    check_output(output, choice.path(cfg), weights, text, form=PAGE, force=force)
    if pairs:
        net = choice.load(cfg, weights, batch=1)
        aligner = Aligner(net, beam, separator, predict=predict)
        names = choice.title(cfg, net), Path(weights).name
        of_classes = class_names(classes) if classes else ()
        look_at_pairs(aligner, text, length or LINES, output, names, as_json, of_classes)
        return
    for option in ("predict", "beam", "classes", "separator"):
        if typed(option):
            raise click.UsageError(f"--{option} needs --pairs")
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    _check_shows(net, text)
    names = choice.title(cfg, net), Path(weights).name
    figures = _look_at_text(net, text, length or CHARACTERS, output, names)
    if as_json:
        say_json(figures)
    else:
        _show(figures)


def _check_shows(net: Network, text: str) -> None:
    """Raise CfgError for a network whose gates a page cannot show. Warn if `text` has pairs that
    --pairs would align."""
    if not net.predicts_symbols:
        raise CfgError(
            "does not end in a plain [softmax]: its outputs are not probabilities of characters"
        )
    aligns = bool(layers_over_source(net))
    if net.inputs > 256:
        hint = "; --pairs shows its attention over the sources of pairs" if aligns else ""
        raise CfgError(
            f"has {net.inputs} symbols; a page shows at most 256, one for each byte{hint}"
        )
    if aligns and text != "-" and looks_like_pairs(text):
        log.warning("%s looks like pairs; --pairs shows the attention over their sources", text)


def _look_at_text(
    net: Network, text: str, length: int, output: str | None, names: tuple[str, str]
) -> dict[str, Any]:
    """The figures of a text, and its page, if it has an output. names: of the cfg and weights."""
    symbols, size = _read(text, length, net.inputs)
    traced = trace(net, symbols, default_primer(net.inputs))
    if not traced.layers:
        raise CfgError("has no [gru], [lstm] or [rnn], so it has no state to show")
    seen = Look(traced, size)
    figures = {**seen.figures(), "page": output, "page_bytes": None}
    if output is not None:
        page = seen.write(output, *names)
        log.info("wrote %s: %s bytes", output, f"{page:,}")
        figures["page_bytes"] = page
    return figures


def _read(text: str, length: int, inputs: int) -> tuple[Ids, int]:
    """The first `length` symbols, less the beginning of a character that is cut, and the size of
    the text."""
    if text == "-":
        data = sys.stdin.buffer.read()
        symbols, size = np.frombuffer(data[:length], dtype=np.uint8).astype(np.intp), len(data)
    else:
        with Text([text], inputs) as file:
            symbols, size = file.read(0, min(length, file.size)), file.size
    if symbols.size < size:
        symbols = symbols[: len(whole_characters(symbols.astype(np.uint8).tobytes()))]
    return symbols, size


def _show(figures: dict[str, Any]) -> None:
    """Print bits per character, per byte if they differ, and the best unit of each property."""
    units = ["character"] if figures["bytes"] == figures["characters"] else ["character", "byte"]
    for unit in units:
        say(f"{unit + 's':28} {figures[unit + 's']:>8,}")
        say(f"{'bits per ' + unit:28} {figures['bits_per_' + unit]:>8.4f}")
    for name, units in figures["trackers"].items():
        if units:
            best = units[0]
            where = f"{best['value']} of unit {best['unit']} in {best['layer']}"
            chance = f"(chance: {figures['by_chance'][name]:.3f})"
            say(f"{name:28} {best['correlation']:>+8.3f}  {where} {chance}")
