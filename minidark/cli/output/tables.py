"""Tables on standard output."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minidark.cli.output.stdout import checked, say_styled
from minidark.errors import visible

WIDTH = 80  # columns of a terminal
WIDEST = 200


def clipped(text: str, width: int) -> str:
    """A text of at most `width` columns."""
    return set_cell_size(text, width - 1) + "…" if cell_len(text) > width else text


class _Console(Console):
    def render_str(self, text: str, **kwargs: Any) -> Text:  # of a cell
        return super().render_str(visible(text), **kwargs)


def print_table(table: Table) -> None:
    """Print with `say_styled`, because rich exits with 1 if the pipe is closed. The table is at
    most 80 columns wide: it has one blank between columns and folds long names if it must."""
    for column in table.columns:
        column.overflow = "fold"
    # Names are not markup. A pipe and a terminal get the same width; a terminal may wrap.
    console = _Console(width=WIDTH, markup=False, emoji=False)
    unlimited = console.options.update(max_width=WIDEST)
    if console.measure(table, options=unlimited).maximum > WIDTH:
        table.padding = (0, 1, 0, 0)
    with checked(), console.capture() as shown:
        console.print(table)
    say_styled("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))


def add_figures(table: Table, *headings: str) -> None:
    """Add columns of numbers, which are never folded."""
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def array_table(rows: list[dict[str, Any]]) -> Table:
    """A table of `weights.arrays.array_statistics`, to three digits. Counts of NaN and infinity
    are a column only if there are any."""
    table = Table("array", "shape", box=None, pad_edge=False)
    add_figures(table, "mean", "spread", "mean sq.", "least", "most")
    damaged = any(row["not_finite"] for row in rows)
    if damaged:
        add_figures(table, "NaN/inf")
    for row in rows:
        figures = (row[k] for k in ("mean", "spread", "mean_square", "least", "most"))
        table.add_row(
            row["name"],
            " x ".join(map(str, row["shape"])),
            *("-" if f is None else f"{f:.3g}" for f in figures),
            *([str(row["not_finite"])] if damaged else []),
        )
    return table
