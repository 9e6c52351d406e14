"""The picture of docs/performance.md: validation losses with float32 and with bf16.

`python -m benchmarks.curves` copies what `make bench-learning` measured last, the rows of
precision, to docs/images/bf16.json and draws docs/images/bf16.svg. A test compares the picture with
what this module draws.
"""

from __future__ import annotations

import json
import shutil
from html import escape
from pathlib import Path

MEASURED = Path("build", "learning", "precision", "curves.json")
IMAGES = Path(__file__).parents[1] / "docs" / "images"
CURVES, PICTURE = IMAGES / "bf16.json", IMAGES / "bf16.svg"

WIDTH, HEIGHT, MARGIN = 340, 190, 48  # pixels of a panel, and around it
COLUMNS = 2
CLASSES = {"float32": "single", "bf16": "half"}
SHOWN = 0.8  # of the batches, the last ones; the first losses would flatten the curves

Curve = list[tuple[int, float]]  # batches and loss


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
        legend += f'<path class="{kind}" d="M{x} {y - 5}h30"/>' + _text(x + 38, y, name)
    return _SVG.format(width=width, height=height, parts="\n".join([*parts, legend]))


def _panel(name: str, runs: dict[str, list[Curve]], x: int, y: int) -> str:
    """A cfg's curves, from the upper left corner (x, y) on."""
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
            _text(x + WIDTH - 8, y + 20, name, ' text-anchor="end" class="title"'),
            _text(x - 6, y + 10, f"{high:.2f}", ' text-anchor="end"'),
            _text(x - 6, below, f"{low:.2f}", ' text-anchor="end"'),
            _text(x, below + 16, f"{first:,.0f}"),
            _text(x + WIDTH, below + 16, f"{last:,} batches", ' text-anchor="end"'),
        ]
    )


_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="Validation losses with float32 and with bf16">
<style>
text {{ font: 12px sans-serif; fill: #1f2328 }} .title {{ font: bold 14px sans-serif }}
path {{ fill: none; stroke-width: 1.5 }} .single {{ stroke: #8c959f }}
.half {{ stroke: #1f6feb; stroke-dasharray: 5 3 }}
.frame {{ fill: none; stroke: #d1d9e0 }} .page {{ fill: #fff }}
@media (prefers-color-scheme: dark) {{
.page {{ fill: #0d1117 }} text {{ fill: #f0f6fc }} .frame {{ stroke: #3d444d }}
}}
</style>
<rect width="100%" height="100%" class="page"/>
{parts}
</svg>
"""


def _text(x: int, y: int, text: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}"{attributes}>{escape(text, quote=False)}</text>'


def main() -> None:
    shutil.copyfile(MEASURED, CURVES)
    PICTURE.write_text(drawn(json.loads(CURVES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
