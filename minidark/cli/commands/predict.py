"""`minidark predict`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence

import click

from minidark.cli.command import typed
from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import count
from minidark.cli.options.pair_options import (
    class_names,
    classes_option,
    search_options,
    separator_option,
)
from minidark.cli.output.stderr import tell_if_waiting
from minidark.cli.output.stdout import json_text, write
from minidark.inference.classify import Classifier, ClassProbabilities
from minidark.inference.predict import AHEAD, Prediction, Predictor

log = logging.getLogger(__name__)

PIECE = 1 << 18  # bytes
UNEXPECTED = 0.5  # a lower probability of all classes together is probably a mistake


@click.command()
@click.argument("cfg")
@click.argument("weights")
@search_options("the cfg's time_steps")
@click.option("--n-best", type=count(), default=1, show_default=True, metavar="N",
              help="Number of predictions for each line, best first; at most K. If --beam is "
              "omitted, K is N.")  # fmt: skip
@click.option("--scores", is_flag=True,
              help="Print the log probability in nats and a tab before each target.")  # fmt: skip
@classes_option("Compute the probability of each of these targets, and print the likeliest. With "
                "--scores, print all.")  # fmt: skip
@separator_option("The --separator of training: character")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each input line.")
@compute_options("cpu")
@network_options
def predict(
    cfg: str,
    weights: str,
    beam: int,
    n_best: int,
    scores: bool,
    max_length: int | None,
    length_penalty: float | None,
    classes: str | None,
    separator: str,
    as_json: bool,
    compute: Compute,
    choice: CfgChoice,
) -> None:
    """Predict the target of each input line.

    \b
    minidark predict backup/ < sources.txt > targets.txt
    minidark predict cfg/pairs.cfg backup/pairs_best.weights < sources.txt > targets.txt
    cut -f1 pairs.tsv | minidark predict pairs my.weights --beam 5 --n-best 3 --scores
    minidark predict pairs my.weights --classes positive,negative --scores < reviews.txt

    The network must be trained with --pairs. The command reads lines from standard input, and
    writes their targets in the same order, each as soon as possible. An empty line gives an empty
    line.
    """
    if classes is not None:
        net = choice.load(cfg, weights, batch=1, **compute.loading)
        classifier = Classifier(net, _names(classes), separator=choice.separator(separator))
        _classify(classifier, compute, scores, as_json)
        return
    if n_best > beam:
        if typed("beam"):
            raise click.UsageError(f"--n-best {n_best} is more than --beam {beam}")
        beam = n_best
    net = choice.load(cfg, weights, batch=1, **compute.loading)
    predictor = Predictor(
        net,
        beam,
        n_best,
        max_length=max_length,
        separator=choice.separator(separator),
        length_penalty=length_penalty,
    )
    number, cut, work = 1, 0, 0
    tell_if_waiting()
    for lines in arriving(AHEAD):
        work += beam * sum(map(len, lines)) * net.work()  # as if targets were as long as sources
        compute.settle(net, work)
        for source, predictions in zip(lines, predictor.search(lines, number), strict=True):
            write([_output(source, predictions, scores, as_json)])
            cut += predictions[0].cut
        number += len(lines)
    if cut:
        log.warning(
            "%d of %d targets did not end within --max-length %d",
            cut, number - 1, predictor.max_length,
        )  # fmt: skip


def _names(classes: str) -> list[str]:
    """The classes of --classes. Raises UsageError for options of the search."""
    for name in ("beam", "n_best", "max_length", "length_penalty"):
        if typed(name):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is for the beam search; --classes does not search")
    return class_names(classes)


def _classify(classifier: Classifier, compute: Compute, scores: bool, as_json: bool) -> None:
    """Classify lines of standard input; warn if the network expects other targets."""
    number, shares, steps = 1, [], 0
    tell_if_waiting()
    for lines in arriving(AHEAD):
        steps += sum(map(len, lines)) + len(lines) * classifier.symbols.size
        compute.settle(classifier.net, steps * classifier.net.work())
        for source, found in zip(lines, classifier.classify(lines, number), strict=True):
            write([_class_line(source, found, scores, as_json)])
            shares += [found.share] if found else []
        number += len(lines)
    if shares and (mean := sum(shares) / len(shares)) < UNEXPECTED:
        log.warning(
            "all classes together have a probability of %.2g among all targets; check that they "
            "are spelled as in training", mean,
        )  # fmt: skip


def _class_line(
    source: bytes, found: ClassProbabilities | None, scores: bool, as_json: bool
) -> bytes:
    ranked = found.ranked() if found else []
    best = ranked[0][0] if ranked else None
    if as_json:
        line = {"source": source.decode(), "class": best, "probabilities": dict(ranked)}
        return json_text(line, ascii_only=False).encode() + b"\n"
    if scores:
        return "\t".join(f"{name}\t{p:.4f}" for name, p in ranked).encode() + b"\n"
    return (best or "").encode() + b"\n"


def arriving(most: int) -> Iterator[list[bytes]]:
    """Groups of up to `most` lines of standard input, without line ends. Each group has the lines
    that have arrived, so a typed line is answered at once and a file is processed in batches."""
    rest = b""
    while data := sys.stdin.buffer.read1(PIECE):  # type: ignore[union-attr]
        *lines, rest = (rest + data).split(b"\n")
        yield from _groups(lines, most)
    if rest:
        yield [rest.removesuffix(b"\r")]


def _groups(lines: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    for at in range(0, len(lines), most):
        yield [line.removesuffix(b"\r") for line in lines[at : at + most]]


def _output(source: bytes, predictions: Sequence[Prediction], scores: bool, as_json: bool) -> bytes:
    if as_json:
        entries = [{"target": p.text, "nats": p.score, "cut": p.cut} for p in predictions]
        line = {"source": source.decode(), "predictions": entries}
        return json_text(line, ascii_only=False).encode() + b"\n"
    heads = [f"{p.score:.4f}\t".encode() if scores else b"" for p in predictions]
    return b"".join(head + p.target + b"\n" for head, p in zip(heads, predictions, strict=True))
