"""`minidark look --pairs`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from minidark.cli.output.stdout import say, say_json
from minidark.data.pairs import Line, read_sources
from minidark.errors import DataError, visible
from minidark.files.disk import named, open_regular
from minidark.inference.alignment import Aligner, Alignment
from minidark.report.alignment import figures, write_alignment_page
from minidark.report.look import symbol_text

log = logging.getLogger(__name__)

WIDTH = 80  # columns of the terminal
WIDEST = 32  # columns of a symbol


def look_at_pairs(
    aligner: Aligner,
    path: str,
    most: int,
    output: str | None,
    names: tuple[str, str],
    as_json: bool,
) -> None:
    """Align the first `most` lines of a file, print them, and write the page `output`. names: of
    the cfg and the weights, for the page."""
    alignments: list[Alignment] = []
    for alignment in aligner.align(_read(path, most, aligner)):
        if as_json:
            say_json(figures(alignment), ascii_only=False)
        else:
            if alignments:
                say()
            _show(alignment)
        alignments.append(alignment)
    if cut := sum(alignment.cut for alignment in alignments):
        log.warning(
            "%d of %d predictions did not end within %d symbols",
            cut, len(alignments), aligner.predictor.max_length,
        )  # fmt: skip
    if output is not None:
        page = write_alignment_page(output, alignments, *names, Path(_name(path)).name)
        log.info("wrote %s: %s bytes", output, f"{page:,}")


def _read(path: str, most: int, aligner: Aligner) -> list[Line]:
    def first(file: Iterable[bytes]) -> list[Line]:
        return read_sources(islice(file, most), _name(path), aligner.separator, aligner.net.inputs)

    if path == "-":
        return first(sys.stdin.buffer)
    with open_regular(path, named(path, DataError)) as file:
        return first(file)


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


def _say_wrapped(text: str) -> None:
    for line in Text(visible(text)).wrap(Console(width=WIDTH), WIDTH):
        say(line.plain.rstrip())


def _fitted(text: str, width: int) -> str:
    """A text cut or padded to `width` columns."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)
