"""The picture of docs/performance.md: validation losses with float32 and with bf16.

`python -m benchmarks.curves` copies what `make bench-learning` measured last, the rows of
precision, to docs/images/bf16.json and draws docs/images/bf16.svg. A test compares the picture with
what this module draws.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks import svg
from benchmarks.learning import precision
from benchmarks.learning.precision import Curve

MEASURED = Path("build", "learning", "precision", precision.CURVES)
IMAGES = Path(__file__).parents[1] / "docs" / "images"
CURVES, PICTURE = IMAGES / "bf16.json", IMAGES / "bf16.svg"

WIDTH, HEIGHT, MARGIN = 340, 190, 48  # pixels of a panel, and around it
COLUMNS = 2
CLASSES = {"float32": "single", "bf16": "half"}
SHOWN = 0.8  # of the batches, the last ones; the first losses would flatten the curves


def drawn(curves: dict[str, dict[str, list[Curve]]]) -> str:
    """The SVG: a panel for each cfg, and a line for each run. curves: by cfg and precision."""
    rows = -(-len(curves) // COLUMNS)
    width, height = COLUMNS * (WIDTH + MARGIN) + MARGIN, rows * (HEIGHT + MARGIN) + MARGIN
    parts = []
    for n, (name, runs) in enumerate(curves.items()):
        down, across = divmod(n, COLUMNS)
        x, y = MARGIN + across * (WIDTH + MARGIN), MARGIN // 2 + down * (HEIGHT + MARGIN)
        parts.append(_panel(name, runs, x, y))
    legend, y = "", height - MARGIN // 2
    for n, (name, kind) in enumerate(CLASSES.items()):
        x = MARGIN + 130 * n
        legend += f'<path class="{kind}" d="M{x} {y - 5}h30"/>' + svg.text(x + 38, y, name)
    label = "Validation losses with float32 and with bf16"
    return svg.page(width, height, label, [*parts, legend], STYLE)


def _panel(name: str, runs: dict[str, list[Curve]], x: int, y: int) -> str:
    """A cfg's curves, with their upper left corner at (x, y)."""
    last = max(batch for each in runs.values() for curve in each for batch, _ in curve)
    first = (1 - SHOWN) * last
    shown = {
        kind: [[point for point in curve if point[0] >= first] for curve in each]
        for kind, each in runs.items()
    }
    losses = [loss for each in shown.values() for curve in each for _, loss in curve]
    low, high = min(losses), max(losses)

    def at(batch: float, loss: float) -> str:
        across = (batch - first) / (last - first)
        up = (loss - low) / (high - low)
        return f"{x + WIDTH * across:.1f} {y + HEIGHT * (1 - up):.1f}"

    lines = [
        f'<path class="{CLASSES[kind]}" d="M{"L".join(at(*point) for point in curve)}"/>'
        for kind, each in shown.items()
        for curve in each
    ]
    below = y + HEIGHT
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>',
            *lines,
            svg.text(x + WIDTH - 8, y + 20, name, ' text-anchor="end" class="title"'),
            svg.text(x - 6, y + 10, f"{high:.2f}", ' text-anchor="end"'),
            svg.text(x - 6, below, f"{low:.2f}", ' text-anchor="end"'),
            svg.text(x, below + 16, f"{first:,.0f}"),
            svg.text(x + WIDTH, below + 16, f"{last:,} batches", ' text-anchor="end"'),
        ]
    )


STYLE = """\
path { fill: none; stroke-width: 1.5 } .single { stroke: #8c959f }
.half { stroke: #1f6feb; stroke-dasharray: 5 3 }
.frame { fill: none; stroke: #8c959f; stroke-width: .5 }
"""


def main() -> None:
    shutil.copyfile(MEASURED, CURVES)
    PICTURE.write_text(drawn(json.loads(CURVES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
