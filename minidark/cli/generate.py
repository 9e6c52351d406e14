"""`minidark generate`."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterable

import click

from minidark import shipped
from minidark.archives import is_archive
from minidark.cli.cfg_options import CfgChoice, cfg_options
from minidark.cli.compute import Compute, compute_options
from minidark.cli.numbers import Number, count
from minidark.errors import DataError, echo, nearest
from minidark.generate import default_primer, sample, sample_many
from minidark.tokens import NEWLINE, byte_names, read_token_names

log = logging.getLogger(__name__)

AT_ONCE = 64  # texts that are sampled side by side
CHARACTER = 2e6  # multiply-adds that would take as long as what else numpy does for a character
SHIPPED = "rnn"  # weights/rnn.weights, made with cfg/rnn.cfg


@click.command()
@click.argument("cfg", required=False)
@click.argument("weights", required=False)
@click.option(
    "--seed", "seed", default=None, metavar="TEXT", help="What to go on from [two newlines]."
)
@click.option(
    "--srand", type=int, metavar="N", help="Seed of the draws: the same text again [a fresh one]."
)
@click.option("--len", "length", type=count(0), metavar="N", default=1000, show_default=True,
              help="Characters to sample.")  # fmt: skip
@click.option("--temp", "temperature", type=Number(0), metavar="T", default=0.7, show_default=True,
              help="Lower is likelier; 0 takes the likeliest.")  # fmt: skip
@click.option("--top-k", type=count(), metavar="N", help="Draw from the k likeliest only.")
@click.option("--top-p", type=Number(0, 1, min_open=True), metavar="P",
              help="Draw from the fewest that hold this share.")  # fmt: skip
@click.option("--tokens", metavar="FILE", help="Names of the tokens, one a line; see rnn -tokens.")
@click.option("--samples", type=count(), metavar="N", default=1, show_default=True,
              help="How many texts, with srand, srand + 1, ...")  # fmt: skip
@compute_options("cpu")
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
    tokens: str | None,
    samples: int,
    compute: Compute,
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
    elif weights is None and not is_archive(cfg):
        raise click.UsageError("which weights? minidark generate CFG WEIGHTS")
    net = choice.load(cfg, weights, batch=1, time_steps=1, **compute.loading)
    if srand is None:
        srand = secrets.randbelow(2**31)
        log.info("--srand %d", srand)
    names = byte_names(net.outputs) if tokens is None else read_token_names(tokens, net.inputs)
    primer = _primer(net.inputs, seed, names, tokens)
    work = sum(layer.work() for layer in net.layers)
    compute.settle(net, length * (samples * work + CHARACTER))
    for begin in range(srand, srand + samples, AT_ONCE):
        srands = range(begin, min(begin + AT_ONCE, srand + samples))
        drawn: Iterable[Iterable[int]]
        if samples == 1:  # each character as it comes
            drawn = [sample(net, primer, length, temperature, srand, top_k=top_k, top_p=top_p)]
        else:
            drawn = sample_many(net, primer, length, temperature, srands, top_k=top_k, top_p=top_p)
        for symbols in drawn:
            write(names[symbol] for symbol in primer)
            write(names[symbol] for symbol in symbols)
            write([b"\n"])


def _primer(inputs: int, seed: str | None, names: list[bytes], tokens: str | None) -> list[int]:
    """The seed's bytes, or the tokens of its words; two line breaks, or the first symbol."""
    if tokens is None:
        given = default_primer(inputs) if seed is None else seed.encode("utf-8", "surrogateescape")
        return [*given]
    if seed is None:
        return [0]
    words = seed.encode("utf-8", "surrogateescape").split()
    by_name = {name.strip() or NEWLINE: symbol for symbol, name in enumerate(names)}
    for word in words:
        if word not in by_name:
            known = [name.decode(errors="replace") for name in by_name]
            said = word.decode(errors="replace")
            raise DataError(f"{tokens}: no token is named {echo(said)}{nearest(said, known)}")
    return [by_name[word] for word in words]


def write(parts: Iterable[bytes]) -> None:
    """To standard output, each as it comes."""
    for part in parts:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
