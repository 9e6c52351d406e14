"""`minidark valid`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

import click
import numpy as np
from rich.console import Console

from minidark.cli.command import typed
from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.numbers import cache_option, count
from minidark.cli.output.stderr import tell_if_waiting
from minidark.cli.output.stdout import say, say_json, write
from minidark.cli.output.surprises import finite, surprise_facts, surprise_table
from minidark.cli.output.tables import print_table
from minidark.cli.output.tint import Tint
from minidark.data.bytepairs import BytePairs, byte_pairs, check_symbols
from minidark.data.text import Ids, Text
from minidark.data.tokens import token_blocks
from minidark.data.vocabulary import NamedText, Vocabulary
from minidark.errors import CfgError, DataError
from minidark.files.disk import named, open_regular
from minidark.inference.surprise import Worst
from minidark.inference.valid import Measure, Reading, Tally, readings

BLOCK = 2**16  # symbols read at once
MOST_WORDS = 1e6  # a larger perplexity of a word is shown as a dash
LONGEST_WORD = 20  # characters; a text with longer words, on average, has hardly any blanks


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("data", required=False)
@click.option(
    "--seed",
    default="\n\n",
    metavar="TEXT",
    help="Text to read before DATA, not scored [two newlines].",
)
@cache_option
@click.option("--tokenized", is_flag=True, help="DATA is integers separated by blanks, not bytes.")
@click.option("--tokens", metavar="FILE", help="Names of the symbols, as for generate: DATA is "
              "read in these words or characters.")  # fmt: skip
@click.option("--color", is_flag=True, help="Also show the text, with each character tinted by "
              "its bits; without a terminal, show it untinted.")  # fmt: skip
@click.option("--worst", type=count(), metavar="N",
              help="Show the N most surprising characters with the text around them.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@network_options
def valid(
    cfg: str,
    weights: str,
    data: str | None,
    seed: str,
    cache: int,
    tokenized: bool,
    tokens: str | None,
    color: bool,
    worst: int | None,
    as_json: bool,
    choice: CfgChoice,
) -> None:
    """Measure how well a network predicts DATA or standard input.

    \b
    minidark valid backup/ held-out.txt
    minidark valid rnn backup/rnn_best.weights held-out.txt
    head -c 100000 book.txt | minidark valid rnn my.weights --json
    minidark valid rnn my.weights held-out.txt --color --worst 20
    minidark valid words.cfg words.weights held-out.ids --tokenized

    Prints bits per character, perplexity per character (2 to the power of the bits) and perplexity
    per word, with a dash if it is over a million. In a text that is not ASCII, the figures are per
    byte. With --tokenized or --tokens, they are per token, and nothing is read before DATA. --json
    uses the same names for all three.

    NO_COLOR turns the colours of --color off. FORCE_COLOR=1 keeps them in a pipe, for `less -R`.
    """
    if color and as_json:
        raise click.UsageError("use either --color or --json, not both")
    if tokenized and tokens:
        raise click.UsageError("use either --tokenized or --tokens, not both")
    if has_tokens := tokenized or tokens is not None:
        _check_tokenized(seed, color, worst, "tokens" if tokens else "tokenized")
    net = choice.load(cfg, weights, batch=1, time_steps=1)
    if not net.predicts_symbols:
        raise CfgError(
            "does not end in a plain [softmax]: its cost is not in bits", choice.path(cfg)
        )
    check_symbols(net, has_tokens, path=choice.path(cfg))
    pairs = byte_pairs(net)
    tally, surprises = Tally(pairs, has_tokens), Worst(worst or 0)
    shown = _Show(pairs) if color else None
    primer = b"" if has_tokens else seed.encode("utf-8", "surrogateescape")
    if tokens:
        opened = _named(data, Vocabulary.read(tokens, net.inputs))
    else:
        opened = _tokens(data, net.inputs) if tokenized else _blocks(data, net.inputs, pairs)
    with opened as blocks:
        for reading in readings(net, blocks, primer, cache):
            tally.add(reading)
            if worst:
                surprises.add(reading)
            if shown:
                shown.add(reading)
    if shown:
        shown.end()
    measure = tally.measure()
    figures = _figures(measure)
    most_surprising = [surprise_facts(surprise, pairs) for surprise in surprises.found()]
    if as_json:
        facts = {k: finite(figure) for k, figure in figures.items()}
        say_json(facts | ({"worst": most_surprising} if worst else {}))
        return
    _print_figures(figures, "token" if has_tokens else "byte" if tally.multibyte else "character")
    if not has_tokens:  # a token is a word
        _print_word_perplexity(measure)
    if worst:
        say()
        print_table(surprise_table(most_surprising))


def _print_figures(figures: dict[str, float], unit: str) -> None:
    """unit: what is counted."""
    for name, figure in figures.items():
        label = name.replace("_", " ").replace("character", unit)
        if name != "word_perplexity":
            rounded = f"{figure:,}" if isinstance(figure, int) else f"{figure:,.4f}"
            say(f"{label:20} {rounded:>14}")


def _print_word_perplexity(measure: Measure) -> None:
    """A dash and the reason, if the figure is more than any number of words."""
    figure, reason = f"{measure.word_perplexity:,.4f}", ""
    if measure.word_perplexity > MOST_WORDS:
        length = measure.characters / measure.words
        few = length > LONGEST_WORD
        reason = f"{length:,.0f} characters between blanks" if few else "words are not predicted"
        figure, reason = "-", f"  (over a million: {reason})"
    say(f"{'word perplexity':20} {figure:>14}{reason}")


def _check_tokenized(seed: str, color: bool, worst: int | None, option: str) -> None:
    for name, value in (("seed", typed("seed") and seed), ("color", color), ("worst", worst)):
        if value:
            raise click.UsageError(f"--{name} works on bytes, and not with --{option}")


@contextlib.contextmanager
def _tokens(data: str | None, inputs: int) -> Iterator[Iterator[Ids]]:
    """The tokens of a file or of standard input, in pieces."""
    if data is None:
        tell_if_waiting()
        yield token_blocks(sys.stdin.buffer, "standard input", inputs)
        return
    with open_regular(data, named(data, DataError)) as file:
        yield token_blocks(file, data, inputs)


@contextlib.contextmanager
def _named(data: str | None, vocabulary: Vocabulary) -> Iterator[Iterator[Ids]]:
    """The symbols of a file or of standard input, in pieces."""
    if data is None:
        tell_if_waiting()
        ids = vocabulary.encode(sys.stdin.buffer.read(), "standard input")
    else:
        ids = NamedText(data, vocabulary).ids
    yield (ids[at : at + BLOCK].astype(np.intp) for at in range(0, len(ids), BLOCK))


@contextlib.contextmanager
def _blocks(data: str | None, inputs: int, pairs: BytePairs) -> Iterator[Iterator[Ids]]:
    """The symbols of a file or of standard input, BLOCK bytes at a time."""
    if data is None:
        tell_if_waiting()
        try:
            yield map(pairs.encode, _pieces(sys.stdin.buffer))
        except DataError as error:
            raise DataError(f"standard input: {error}") from error
        return
    with Text([data], inputs) as text:
        starts = range(0, text.size, BLOCK)
        blocks = (text.read(at, min(at + BLOCK, text.size)) for at in starts)
        yield (pairs.encode(bytes(symbols.astype(np.uint8))) for symbols in blocks)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Pieces up to the end of the file. Stops at a short piece: a terminal reports its end once."""
    while piece := file.read(BLOCK):
        yield piece
        if len(piece) < BLOCK:
            return


class _Show:
    """Writes the text while the network reads it, tinted on a terminal, unchanged elsewhere."""

    def __init__(self, pairs: BytePairs) -> None:
        self.pairs, self.first = pairs, True
        self.tint = Tint(Console(file=sys.stdout))
        if self.tint.on:
            write([f"{self.tint.legend()}\n\n".encode()])

    def add(self, reading: Reading) -> None:
        symbols, bits = reading.symbols, reading.bits
        if self.first:  # it has no prediction
            symbols, bits = np.insert(symbols, 0, reading.last), np.insert(bits, 0, 0.0)
            self.first = False
        lengths = self.pairs.lengths[symbols]  # divide a symbol's bits among its bytes
        symbols, bits = self.pairs.spell(symbols), np.repeat(bits / lengths, lengths)
        text = self.tint.text(symbols, bits).encode() if self.tint.on else symbols.astype(np.uint8)
        write([bytes(text)])

    def end(self) -> None:
        write([f"{self.tint.rest()}\n\n".encode()])


def _figures(m: Measure) -> dict[str, float]:
    return {
        "characters": m.characters,
        "nats_per_character": m.nats / m.characters,
        "bits_per_character": m.bits_per_character,
        "perplexity": m.perplexity,
        "word_perplexity": m.word_perplexity,
    }
