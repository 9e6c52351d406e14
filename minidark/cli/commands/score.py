"""`minidark score`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import click
from rich.cells import cell_len
from rich.table import Table

from minidark.cli.options.cfg_options import CfgChoice, network_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import count
from minidark.cli.options.pair_options import (
    names_for,
    open_pairs,
    search_options,
    separator_option,
    skip_option,
    table_options,
)
from minidark.cli.output.progress import progress
from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import WIDTH, clipped, print_table
from minidark.data.classes import FEW, classes_of
from minidark.data.pairs import Pairs
from minidark.errors import DataError, visible
from minidark.inference.baseline import check_installed, logistic_regression
from minidark.inference.classification import Classification
from minidark.inference.metrics import Metrics, metrics
from minidark.inference.score import Score
from minidark.inference.score import score as score_network

log = logging.getLogger(__name__)

WIDEST_TRUE, WIDEST = 24, 16  # columns of a class name, beside and above the table
BASELINE = "logistic regression"


@click.command()
@click.argument("cfg")
@click.argument("weights")
@click.argument("pairs", nargs=-1, required=True)
@search_options("time_steps, or the longest in PAIRS")
@click.option("--worst", type=count(0), default=0, metavar="N",
              help="Show the N worst predictions.")  # fmt: skip
@click.option("--baseline", multiple=True, metavar="FILE",
              help="For classes: train logistic regression on the pairs in FILE, those that the "
              "network was trained on, and score it on PAIRS too. Repeat it for pairs in two "
              "files. Needs the extra `learning`.")  # fmt: skip
@click.option("--lowercase", is_flag=True,
              help="BLEU and chrF without regard to case, as by sacrebleu -lc.")  # fmt: skip
@table_options("Pairs")
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
    baseline: tuple[str, ...],
    lowercase: bool,
    columns: str | None,
    fields: str | None,
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
    minidark score pairs my.weights held-out.csv --columns review,label
    minidark score pairs my.weights held-out.tsv --baseline train.tsv

    Use held-out PAIRS that were not used for training: one file, or a file of sources and a file
    of targets. Prints the fraction of exact targets, the character error rate (edits divided by
    characters), and the cost of a symbol. With sacrebleu (the extra `metrics`), it also prints
    BLEU and chrF. With up to 20 distinct targets that repeat, it prints the accuracy with a 95 %
    interval, macro F1 and a confusion table instead.
    """
    if baseline:
        check_installed()
    if lowercase:
        metrics([""], [""])  # is it installed? a prediction may take minutes

    def opened(paths: Sequence[str]) -> Pairs:
        names = names_for(paths[0], columns, fields, choice.run)
        return open_pairs(paths, choice.separator(separator), skip_bad, *names)

    data = opened(pairs)
    reference = opened(baseline) if baseline else None
    if reference:
        _check_baseline(reference, data)
    net = choice.load(cfg, weights, batch=1, **compute.loading)
    compute.settle(net, beam * int(data.lengths().sum()) * sum(x.work() for x in net.layers))
    with progress("scoring") as report:
        result = score_network(
            net,
            data,
            beam=beam,
            max_length=max_length,
            length_penalty=length_penalty,
            progress=report,
        )
    with_metrics = lowercase or (not result.classes and find_spec("sacrebleu") is not None)
    measured = result.metrics(lowercase) if with_metrics else None
    other = _baseline(reference, result) if reference else None
    if as_json:
        say_json(_figures(result, measured, other, worst), ascii_only=False)
    else:
        _show(result, measured, other, worst)


def _check_baseline(reference: Pairs, data: Pairs) -> None:
    """Raise DataError if the scored targets are not classes; warn if the baseline would be trained
    on scored sources."""
    if not classes_of(data.targets):
        raise DataError(
            f"{data.path}: --baseline is for classes, at most {FEW} different targets that repeat"
        )
    known = {*reference.sources}
    if shared := sum(source in known for source in data.sources):
        log.warning(
            "%s of %s sources are also in %s, so the baseline has seen them",
            f"{shared:,}", f"{len(data):,}", reference.path,
        )  # fmt: skip


def _baseline(reference: Pairs, result: Score) -> Classification:
    log.info("training the baseline on %s pairs", f"{len(reference):,}")
    sources, targets = (
        [part.decode() for part in side] for side in (reference.sources, reference.targets)
    )
    predicted = logistic_regression(sources, targets, [pair.source for pair in result.pairs])
    return Classification([pair.target for pair in result.pairs], predicted)


def _figures(
    result: Score, measured: Metrics | None, other: Classification | None, worst: int
) -> dict[str, object]:
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
        figures |= _class_figures(result.classification)
        figures["confusion"] = result.confusion()
    if other:
        figures["baseline"] = {"method": BASELINE, **_class_figures(other)}
    if worst:
        figures["worst"] = [dataclasses.asdict(pair) for pair in result.worst(worst)]
    return figures


def _class_figures(measured: Classification) -> dict[str, object]:
    return {
        "accuracy": measured.accuracy,
        "accuracy_interval": measured.interval,
        "macro_f1": measured.macro_f1,
    }


def _class_rows(measured: Classification) -> dict[str, str]:
    low, high = measured.interval
    return {
        "accuracy": f"{measured.accuracy:.2%}",
        "  95 % interval": f"{100 * low:.2f}-{high:.2%}",
        "macro F1": f"{measured.macro_f1:.4f}",
    }


def _show(
    result: Score, measured: Metrics | None, other: Classification | None, worst: int
) -> None:
    rows = {"pairs": f"{len(result.pairs):,}"}
    if result.classes:
        rows |= _class_rows(result.classification)
    else:
        rows["exact"] = f"{result.exact:.2%}"
    if other:
        rows[BASELINE] = ""
        rows |= {f"  {name}": figure for name, figure in _class_rows(other).items()}
    rows |= {
        "character error rate": f"{result.character_error_rate:.2%}",
        "nats per symbol": f"{result.nats:.4f}",
    }
    if result.nats_per_character != result.nats:  # byte pairs
        rows["nats per character"] = f"{result.nats_per_character:.4f}"
    if measured:
        case = ", lowercase" if measured.lowercase else ""
        rows |= {f"BLEU{case}": f"{measured.bleu:.2f}", f"chrF{case}": f"{measured.chrf:.2f}"}
    for name, figure in rows.items():
        say(f"{name:20} {figure:>14}".rstrip())
    for table in _confusion(result) if result.classes else ():
        say()
        print_table(table)
    for pair in result.worst(worst):
        say(f"line {pair.line}: {pair.source} -> {pair.predicted} (not {pair.target})")


def _confusion(result: Score) -> Iterator[Table]:
    """The confusion table, as several ones with some of the predictions each if it is wider than
    WIDTH columns."""
    confusion = result.confusion()
    others = {p for counts in confusion.values() for p in counts} - set(result.classes)
    columns = [
        (_name(name, WIDEST), [str(counts.get(name, 0)) for counts in confusion.values()])
        for name in result.classes
    ]
    if others:
        outside = [sum(counts.get(p, 0) for p in others) for counts in confusion.values()]
        columns.append(("other", [*map(str, outside)]))
    true = [_name(name, WIDEST_TRUE) for name in confusion]
    widths = [max(cell_len(name), *map(len, cells)) for name, cells in columns]
    first = max(map(cell_len, ["true", *true]))
    for begin, end in _side_by_side(widths, WIDTH - first):
        table = Table("true", box=None, pad_edge=False)
        for name, _ in columns[begin:end]:
            table.add_column(name, justify="right")
        for row in zip(true, *(cells for _, cells in columns[begin:end]), strict=True):
            table.add_row(*row)
        yield table


def _name(name: str, width: int) -> str:
    return clipped(visible(name), width)


def _side_by_side(widths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of columns that fit into `most` columns with a gap of two before each."""
    begin = used = 0
    for at, width in enumerate(widths):
        if used + 2 + width > most and at > begin:
            yield begin, at
            begin, used = at, 0
        used += 2 + width
    yield begin, len(widths)
