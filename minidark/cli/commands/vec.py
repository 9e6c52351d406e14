"""`minidark vec`."""

from __future__ import annotations

import sys

import click

from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.output.stderr import tell_if_waiting
from minidark.cli.output.stdout import write
from minidark.inference.darknet_rnn import vec_lines


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.option(
    "--seed", default="\n\n", metavar="TEXT", help="Text to read before each line [two newlines]."
)
@network_options
def vec(cfg: str, weights: str, seed: str, choice: CfgChoice) -> None:
    """Turn each input line into a vector.

    \b
    minidark vec backup/ < sentences.txt > vectors.csv
    minidark vec rnn my.weights < sentences.txt > vectors.csv

    Reads lines from standard input. For each line, prints the line and then the output of the first
    layer, separated by commas. Each line starts from zero state. `minidark rnn vec` keeps the state
    from line to line, like darknet on a CPU.
    """
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    tell_if_waiting()
    primer = seed.encode("utf-8", "surrogateescape")
    lines = vec_lines(net, sys.stdin.buffer, primer, as_darknet=False)
    write(line + b"\n" for line in lines)
