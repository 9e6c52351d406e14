"""`minidark valid`."""

from __future__ import annotations

import json
import math
import sys

import click
import numpy as np

from minidark.cli.cfg_options import CfgChoice, cfg_options
from minidark.errors import CfgError
from minidark.text import Text
from minidark.valid import measure


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("data", required=False)
@click.option(
    "--seed", default="\n\n", metavar="TEXT", help="Read before DATA, unscored [two newlines]."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@cfg_options
def valid(
    cfg: str, weights: str, data: str | None, seed: str, as_json: bool, choice: CfgChoice
) -> None:
    """Measure how well a network predicts a text: DATA, or standard input.

    \b
    minidark valid cfg/rnn.cfg backup/rnn_best.weights held-out.txt
    head -c 100000 book.txt | minidark valid rnn my.weights --json

    Bits per character, perplexity per character (2 to that power) and per word.
    """
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    if not net.predicts_symbols:
        raise CfgError("ends in no plain [softmax]: its cost is not bits", choice.path(cfg))
    if data is None:
        symbols = np.frombuffer(sys.stdin.buffer.read(), dtype=np.uint8).astype(np.intp)
    else:
        with Text([data], net.inputs) as text:
            symbols = text.read(0, text.size)
    m = measure(net, symbols, seed.encode("utf-8", "surrogateescape"))
    figures = {
        "characters": m.characters,
        "nats_per_character": m.nats / m.characters,
        "bits_per_character": m.bits_per_character,
        "perplexity": m.perplexity,
        "word_perplexity": m.word_perplexity,
    }
    if as_json:
        finite = {
            name: figure if math.isfinite(figure) else None for name, figure in figures.items()
        }
        click.echo(json.dumps(finite))
        return
    for name, figure in figures.items():
        shown = f"{figure:,}" if isinstance(figure, int) else f"{figure:,.4f}"
        click.echo(f"{name.replace('_', ' '):20} {shown:>14}")
