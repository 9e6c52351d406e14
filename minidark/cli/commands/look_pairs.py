"""`minidark look --pairs`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from minidark.cli.output.stdout import say, say_json
from minidark.cli.output.tables import WIDTH, clipped
from minidark.data.classes import classes_of
from minidark.data.pairs import Line, read_sources
from minidark.errors import DataError, visible
from minidark.files.disk import named, open_regular
from minidark.inference.alignment import Aligner, Alignment
from minidark.inference.classify import Classifier
from minidark.inference.prefixes import Prefixes, class_prefixes
from minidark.report.alignment import figures, write_alignment_page
from minidark.report.look import symbol_text

log = logging.getLogger(__name__)

WIDEST = 32  # columns of a symbol


def look_at_pairs(
    aligner: Aligner,
    path: str,
    most: int,
    output: str | None,
    names: tuple[str, str],
    as_json: bool,
    classes: Sequence[str] = (),
) -> None:
    """Align the first `most` lines of a file, print them, and write the page `output`. names: of
    the cfg and the weights, for the page. classes: show their probabilities after each symbol of a
    source; without them, those of the targets in the file, if they are classes."""
    lines = _read(path, most, aligner)
    classifier = _classifier(aligner, lines, classes)
    alignments: list[Alignment] = []
    prefixes: list[Prefixes] = []
    for line, alignment in zip(lines, aligner.align(lines), strict=True):
        if classifier:
            prefixes.append(class_prefixes(classifier, line.source))
        if as_json:
            say_json(figures(alignment, *prefixes[-1:]), ascii_only=False)
        else:
            if alignments:
                say()
            _show(alignment)
            for found in prefixes[-1:]:
                _show_classes(found)
        alignments.append(alignment)
    if cut := sum(alignment.cut for alignment in alignments):
        log.warning(
            "%d of %d predictions did not end within %d symbols",
            cut, len(alignments), aligner.predictor.max_length,
        )  # fmt: skip
    if output is not None:
        page = write_alignment_page(output, alignments, *names, Path(_name(path)).name, prefixes)
        log.info("wrote %s: %s bytes", output, f"{page:,}")


def _read(path: str, most: int, aligner: Aligner) -> list[Line]:
    def first(file: Iterable[bytes]) -> list[Line]:
        return read_sources(islice(file, most), _name(path), aligner.separator, aligner.net.inputs)

    if path == "-":
        return first(sys.stdin.buffer)
    with open_regular(path, named(path, DataError)) as file:
        return first(file)


def _classifier(
    aligner: Aligner, lines: Sequence[Line], classes: Sequence[str]
) -> Classifier | None:
    targets = [line.target.decode() for line in lines if line.target is not None]
    names = classes or classes_of(targets)
    if len(names) < 2:
        return None
    return Classifier(aligner.net, names, separator=aligner.separator)


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _show(alignment: Alignment) -> None:
    """Print a pair in at most WIDTH columns: its texts, then each target symbol with the source
    symbol that has the largest weight."""
    _say_wrapped(f"line {alignment.line}: {alignment.source}")
    what = "prediction" if alignment.predicted else "target"
    _say_wrapped(f"{what}: {alignment.target}")
    if alignment.predicted and alignment.true_target is not None:
        _say_wrapped(f"true target: {alignment.true_target}")
    for name in alignment.weights:
        rows = [
            (symbol_text(target), symbol_text(source), weight)
            for target, source, weight in alignment.strongest(name)
        ]
        say(f"weights of {name}:")
        widths = [
            min(WIDEST, max(cell_len(text) for text in column))
            for column in list(zip(*rows, strict=True))[:2]
        ]
        for target, source, weight in rows:
            left, right = _fitted(target, widths[0]), _fitted(source, widths[1])
            say(f"  {left}  {right}  {100 * weight:3.0f} %")


def _show_classes(prefixes: Prefixes) -> None:
    """Print the classes after the source, and the symbols that changed the first one most."""
    ranked = prefixes.ranked()
    shares = ", ".join(f"{name} {100 * p:.0f} %" for name, p in ranked)
    _say_wrapped(f"classes after the source: {shares}")
    _say_wrapped(f"symbols that changed {ranked[0][0]} most, in percentage points:")
    rows = [(b, symbol_text(symbol), change) for b, symbol, change in prefixes.strongest()]
    width = min(WIDEST, max(cell_len(symbol) for _, symbol, _ in rows))
    for before, symbol, change in rows:
        after = f"after {clipped(visible(before), WIDEST)}" if before else "at the beginning"
        say(f"  {_fitted(symbol, width)}  {100 * change:+4.0f}  {after}".rstrip())


def _say_wrapped(text: str) -> None:
    for line in Text(visible(text)).wrap(Console(width=WIDTH), WIDTH):
        say(line.plain.rstrip())


def _fitted(text: str, width: int) -> str:
    """A text cut or padded to `width` columns."""
    return set_cell_size(clipped(text, width), width)
