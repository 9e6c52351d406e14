"""`minidark generate`."""

from __future__ import annotations

import secrets
import sys

import click

from minidark import shipped
from minidark.cli.cfg_options import CfgChoice, cfg_options
from minidark.generate import sample

SHIPPED = "rnn"  # weights/rnn.weights, made with cfg/rnn.cfg


@click.command()
@click.argument("cfg", required=False)
@click.argument("weights", required=False)
@click.option(
    "--seed", "seed", default=None, metavar="TEXT", help="What to go on from [two newlines]."
)
@click.option("--srand", type=int, help="Seed of the draws: the same text again [a fresh one].")
@click.option("--len", "length", type=click.IntRange(0), default=1000, show_default=True,
              help="Characters to sample.")  # fmt: skip
@click.option("--temp", "temperature", type=click.FloatRange(0), default=0.7, show_default=True,
              help="Lower is likelier; 0 takes the likeliest.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(1), help="Draw from the k likeliest only.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True),
              help="Draw from the fewest that hold this share.")  # fmt: skip
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True,
              help="How many texts, with srand, srand + 1, ...")  # fmt: skip
@cfg_options
def generate(
    cfg: str | None,
    weights: str | None,
    seed: str | None,
    srand: int | None,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    samples: int,
    choice: CfgChoice,
) -> None:
    """Sample text from a network.

    \b
    minidark generate                                      (the shipped network)
    minidark generate cfg/rnn.cfg backup/rnn_final.weights
    minidark generate rnn my.weights --seed "def " --len 300 --temp .5 --srand 1

    The seed's text comes first, then the sample, then a newline, on standard output. The same
    --srand gives the text that darknet's `rnn generate -srand` gives on a CPU.
    """
    if cfg is None:
        cfg, weights = SHIPPED, str(shipped.folder("weights") / f"{SHIPPED}.weights")
    elif weights is None:
        raise click.UsageError("which weights? minidark generate CFG WEIGHTS")
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    if srand is None:
        srand = secrets.randbelow(2**31)
        click.echo(f"minidark: --srand {srand}", err=True)
    primer = b"\n\n" if seed is None else seed.encode("utf-8", "surrogateescape")
    out = sys.stdout.buffer
    for number in range(srand, srand + samples):
        symbols = sample(net, primer, length, temperature, number, top_k=top_k, top_p=top_p)
        out.write(primer)
        for symbol in symbols:
            out.write(bytes([symbol]))
            out.flush()
        out.write(b"\n")
        out.flush()
