"""`minidark generate`."""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from minidark.cli.command import typed
from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.escapes import KNOWN, encoded
from minidark.cli.options.numbers import Number, Temperature, cache_option, count
from minidark.cli.output.stderr import tell, tell_if_waiting
from minidark.cli.output.stdout import whole_characters, write
from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids, Text
from minidark.data.tokens import byte_names
from minidark.data.vocabulary import Vocabulary
from minidark.errors import DataError, echo
from minidark.files import shipped
from minidark.files.archives import is_archive
from minidark.files.disk import named, open_regular
from minidark.inference.generate import cut, default_primer, sample, sample_many, until
from minidark.inference.novelty import Copied, longest_copied
from minidark.network import Network

log = logging.getLogger(__name__)

AT_ONCE = 64  # texts sampled side by side
LONGEST_SEED = 1 << 24  # bytes
CHARACTER = 2e6  # numpy's overhead for a character, in multiply-adds


@click.command()
@click.argument("cfg", required=False)
@click.argument("weights", required=False)
@click.option(
    "--seed", "seed", default=None, metavar="TEXT", help="Text to continue [two newlines]."
)
@click.option("--seed-file", metavar="FILE|-", help="Continue the text of a file, as it is, or of "
              "standard input.")  # fmt: skip
@click.option("--escapes", is_flag=True, help=f"In --seed and --stop, read escapes: {KNOWN}.")
@click.option(
    "--srand",
    type=int,
    metavar="N",
    help="Random seed for sampling; the same seed repeats a text [a new one].",
)
@click.option("--len", "length", type=count(0), metavar="N", default=1000, show_default=True,
              help="Number of characters to sample.")  # fmt: skip
@click.option("--stop", metavar="TEXT", help="End a sample where this text ends in it.")
@click.option("--temp", "temperature", type=Temperature(), metavar="T", default=0.7,
              show_default=True, help="Sampling temperature: lower is more conservative; 0 always "
              "picks the most likely symbol.")  # fmt: skip
@click.option(
    "--top-k", type=count(), metavar="N", help="Sample only from the N most likely symbols."
)
@click.option("--top-p", type=Number(0, 1, min_open=True), metavar="P",
              help="Sample only from the fewest symbols whose probabilities sum to P.")  # fmt: skip
@cache_option
@click.option("--tokens", metavar="FILE", help="Names of the symbols, one on each line or in JSON: "
              "words, or single characters, which are printed without blanks.")  # fmt: skip
@click.option("--samples", type=count(), metavar="N", default=1, show_default=True,
              help="Number of texts, with --srand N, N + 1, ...")  # fmt: skip
@click.option("--check-copy", "originals", multiple=True, metavar="DATA",
              help="Report the longest stretch of the samples that also occurs in this text; "
              "repeatable.")  # fmt: skip
@compute_options("cpu")
@network_options
def generate(
    cfg: str | None,
    weights: str | None,
    seed: str | None,
    seed_file: str | None,
    escapes: bool,
    srand: int | None,
    length: int,
    stop: str | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    cache: int,
    tokens: str | None,
    samples: int,
    originals: tuple[str, ...],
    compute: Compute,
    choice: CfgChoice,
) -> None:
    """Sample text from a network.

    \b
    minidark generate                                      (the shipped network)
    minidark generate backup/                              (the network of a run)
    minidark generate rnn backup/rnn_final.weights
    minidark generate my.safetensors                       (which contains its cfg)
    minidark generate rnn my.weights --seed "def " --len 300 --temp .5 --srand 1
    minidark generate rnn my.weights --seed "a\\nb" --escapes --stop "\\n\\n"
    minidark generate rnn my.weights --check-copy data.txt
    head -c 300 book.txt | minidark generate rnn my.weights --seed-file -

    Prints the seed text, then each character as soon as it is sampled, then a newline. --stop is
    searched for in the sampled text, not in the seed, and is printed as the end of it. With
    several samples, a line `--- srand N:` precedes each one. With the same --srand, the text is
    the one that darknet's `rnn generate -srand` prints on a CPU; with --precision bf16 it may
    differ.
    """
    if originals and tokens is not None:
        raise click.UsageError("--check-copy compares bytes, and does not work with --tokens")
    primer = _seed(seed, seed_file, escapes)
    end = None if stop is None else encoded(stop, escapes)
    if end == b"":
        raise click.UsageError("--stop needs a text")
    if cfg is None:
        cfg, weights = shipped.network()
    elif weights is None and not is_archive(cfg):
        raise click.UsageError("the weights are missing: minidark generate CFG WEIGHTS")
    net = choice.load(cfg, weights, batch=1, time_steps=1, **compute.loading)
    if srand is None:
        srand = secrets.randbelow(2**31)
        log.info("--srand %d", srand)
    symbols = _symbols(net, primer, tokens)
    work = sum(layer.work() for layer in net.layers)
    compute.settle(net, length * (samples * work + CHARACTER))
    with contextlib.ExitStack() as stack:
        original = stack.enter_context(Text(originals, 256)) if originals else None
        copied = []
        texts = _texts(
            net, symbols, length, temperature, srand, samples,
            top_k=top_k, top_p=top_p, cache=cache,
        )  # fmt: skip
        for number, drawn in enumerate(texts):
            if samples > 1:
                write([b"--- srand %d:\n" % (srand + number)])
            parts: list[bytes] = []
            sampled: Iterator[bytes] = (symbols.names[symbol] for symbol in drawn)
            if symbols.lengths is not None:
                sampled = cut(sampled, length)
            if end is not None:
                sampled = until(sampled, end)
            primed = (symbols.names[symbol] for symbol in symbols.primer)
            text = itertools.chain(primed, _recorded(sampled, parts), [b"\n"])
            write(whole_characters(text))
            if original:
                drawn_text = b"".join(parts)
                copied.append((longest_copied(drawn_text, original), len(drawn_text)))
        if copied:
            _tell_copied(*max(copied, key=lambda c: len(c[0].span)), originals)


def _texts(
    net: Network,
    symbols: _Symbols,
    length: int,
    temperature: float,
    srand: int,
    samples: int,
    **likeliest: Any,
) -> Iterator[Iterable[int]]:
    """The symbols of each sample. Draws several samples in batches of AT_ONCE."""
    if samples == 1:
        yield sample(net, symbols.primer, length, temperature, srand, **likeliest)
        return
    for begin in range(srand, srand + samples, AT_ONCE):
        srands = range(begin, min(begin + AT_ONCE, srand + samples))
        yield from sample_many(
            net, symbols.primer, length, temperature, srands, lengths=symbols.lengths, **likeliest
        )


def _recorded(parts: Iterable[bytes], into: list[bytes]) -> Iterator[bytes]:
    """The same parts; appends each to `into`."""
    for part in parts:
        into.append(part)
        yield part


def _seed(seed: str | None, seed_file: str | None, escapes: bool) -> bytes | None:
    """The text of --seed or --seed-file; None without both."""
    if seed is not None and seed_file is not None:
        if typed("seed") == typed("seed_file"):
            raise click.UsageError("use either --seed or --seed-file, not both")
        seed_file = seed_file if typed("seed_file") else None  # the other is from the environment
    if seed_file is None:
        return None if seed is None else encoded(seed, escapes)
    if seed_file == "-":
        tell_if_waiting()
        text = sys.stdin.buffer.read(LONGEST_SEED + 1)
    else:
        with open_regular(seed_file, named(seed_file, DataError)) as file:
            text = file.read(LONGEST_SEED + 1)
    source = "standard input" if seed_file == "-" else seed_file
    if not text:
        raise DataError(f"{source}: empty; a seed needs at least one character")
    if len(text) > LONGEST_SEED:
        raise DataError(f"{source}: more than {LONGEST_SEED:,} bytes, the limit for a seed")
    return text


def _tell_copied(copied: Copied, length: int, originals: tuple[str, ...]) -> None:
    """Report the longest copied stretch of a sample of `length` bytes."""
    where = f"in {', '.join(originals)} at offset {copied.offset:,}"
    shown = f", {where}: {echo(copied.span.decode(errors='replace'), 200)}" if copied.span else ""
    tell(f"minidark: longest copied stretch: {len(copied.span):,} of {length:,} characters{shown}")


@dataclass(frozen=True, slots=True)
class _Symbols:
    """The bytes of a network's symbols, and the primer."""

    names: list[bytes]
    primer: list[int]
    lengths: Ids | None  # characters of each symbol; None if --len counts tokens


def _symbols(net: Network, seed: bytes | None, tokens: str | None) -> _Symbols:
    """The primer is the seed, as symbols or tokens; by default two newlines, or a first token."""
    if tokens is None:
        pairs = byte_pairs(net)
        names = pairs.names if pairs.pairs else byte_names(net.outputs)
        primer = pairs.encode(default_primer(net.inputs) if seed is None else seed)
        return _Symbols(names, primer.tolist(), pairs.lengths)
    vocabulary = Vocabulary.read(tokens, net.inputs)
    spelled = [vocabulary.first]
    if seed is not None:
        spelled = vocabulary.encode(seed).tolist()
    return _Symbols(vocabulary.printed, spelled, None)
