"""`minidark score`."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import click
from rich.table import Table

from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import count
from minidark.cli.options.pair_options import (
    open_pairs,
    search_options,
    separator_option,
    skip_option,
)
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import print_table
from minidark.inference.metrics import Metrics, metrics
from minidark.inference.score import Score
from minidark.inference.score import score as score_network


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("pairs", nargs=-1, required=True)
@search_options("time_steps, or the longest in PAIRS")
@click.option("--worst", type=count(0), default=0, metavar="N",
              help="Show the N worst predictions.")  # fmt: skip
@click.option("--lowercase", is_flag=True,
              help="BLEU and chrF without regard to case, as by sacrebleu -lc.")  # fmt: skip
@separator_option("Character")
@skip_option("Skip")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@compute_options("cpu")
@network_options
def score(
    cfg: str,
    weights: str,
    pairs: tuple[str, ...],
    beam: int,
    max_length: int | None,
    length_penalty: float | None,
    worst: int,
    lowercase: bool,
    separator: str,
    skip_bad: bool,
    as_json: bool,
    compute: Compute,
    choice: CfgChoice,
) -> None:
    """Measure how well a network predicts the targets of pairs.

    \b
    minidark score backup/ held-out.tsv
    minidark score cfg/pairs.cfg backup/pairs_best.weights held-out.tsv
    minidark score pairs my.weights held-out.tsv --beam 5 --worst 10
    minidark score pairs my.weights held-out.tsv --json
    minidark score pairs my.weights held-out.de held-out.en

    Use held-out PAIRS that were not used for training: one file, or a file of sources and a file
    of targets. Prints the fraction of exact targets, the character error rate (edits divided by
    characters), and the cost of a symbol. With sacrebleu (the extra `metrics`), it also prints
    BLEU and chrF. With up to 20 distinct targets, it prints a confusion matrix instead.
    """
    if lowercase:
        metrics([""], [""])  # is it installed? a prediction may take minutes
    data = open_pairs(pairs, choice.separator(separator), skip_bad)
    net = choice.load(cfg, weights, batch=1, **compute.loading)
    compute.settle(net, beam * int(data.lengths().sum()) * sum(x.work() for x in net.layers))
    net.backend.announce_compiling(layer.compiled_as for layer in net.layers)
    result = score_network(
        net, data, beam=beam, max_length=max_length, length_penalty=length_penalty
    )
    with_metrics = lowercase or (not result.classes and find_spec("sacrebleu") is not None)
    measured = result.metrics(lowercase) if with_metrics else None
    if as_json:
        say_json(_figures(result, measured, worst), ascii_only=False)
    else:
        _show(result, measured, worst)


def _figures(result: Score, measured: Metrics | None, worst: int) -> dict[str, object]:
    figures: dict[str, object] = {
        "pairs": len(result.pairs),
        "exact": result.exact,
        "character_error_rate": result.character_error_rate,
        "nats_per_symbol": result.nats,
        "nats_per_character": result.nats_per_character,
    }
    if measured:
        figures |= dataclasses.asdict(measured)
    if result.classes:
        figures |= {"accuracy": result.exact, "confusion": result.confusion()}
    if worst:
        figures["worst"] = [dataclasses.asdict(pair) for pair in result.worst(worst)]
    return figures


def _show(result: Score, measured: Metrics | None, worst: int) -> None:
    rows = {
        "pairs": f"{len(result.pairs):,}",
        "accuracy" if result.classes else "exact": f"{result.exact:.2%}",
        "character error rate": f"{result.character_error_rate:.2%}",
        "nats per symbol": f"{result.nats:.4f}",
    }
    if result.nats_per_character != result.nats:  # byte pairs
        rows["nats per character"] = f"{result.nats_per_character:.4f}"
    if measured:
        case = ", lowercase" if measured.lowercase else ""
        rows |= {f"BLEU{case}": f"{measured.bleu:.2f}", f"chrF{case}": f"{measured.chrf:.2f}"}
    for name, figure in rows.items():
        say(f"{name:20} {figure:>14}")
    if result.classes:
        say()
        print_table(_confusion(result), wide=True)
    for pair in result.worst(worst):
        say(f"line {pair.line}: {pair.source} -> {pair.predicted} (not {pair.target})")


def _confusion(result: Score) -> Table:
    confusion = result.confusion()
    others = {p for counts in confusion.values() for p in counts} - set(result.classes)
    columns = [*result.classes, *(["other"] if others else [])]
    table = Table("true", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right")
    for true, counts in confusion.items():
        cells = [str(counts.get(name, 0)) for name in result.classes]
        if others:
            cells.append(str(sum(counts.get(name, 0) for name in others)))
        table.add_row(true, *cells)
    return table
