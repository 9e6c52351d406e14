"""Tables on standard output."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from minidark.cli.output.stdout import checked, say_styled
from minidark.errors import visible


class _Console(Console):
    def render_str(self, text: str, **kwargs: Any) -> Text:  # of a cell
        return super().render_str(visible(text), **kwargs)


def print_table(table: Table) -> None:
    """Print with `say_styled`, because rich exits with 1 if the pipe is closed."""
    # Names are not markup. A pipe and a terminal get the same width; a terminal may wrap.
    console = _Console(width=200, markup=False, emoji=False)
    with checked(), console.capture() as shown:
        console.print(table)
    say_styled("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))


def array_table(rows: list[dict[str, Any]]) -> Table:
    """A table of `weights.arrays.array_statistics`."""
    table = Table("array", "shape", box=None, pad_edge=False)
    for name in ("mean", "spread", "mean square", "least", "most", "not finite"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = (row[k] for k in ("mean", "spread", "mean_square", "least", "most"))
        table.add_row(
            row["name"],
            " x ".join(map(str, row["shape"])),
            *("-" if f is None else f"{f:.6f}" for f in figures),
            str(row["not_finite"]),
        )
    return table
