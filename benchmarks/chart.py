"""The chart of the README, from the figures in docs/: `python -m benchmarks.chart` writes
docs/images/measured.svg. A test compares the file with what this module draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import svg

DOCS = Path(__file__).parents[1] / "docs"
CHART = DOCS / "images" / "measured.svg"

WIDTH, NAMES, BARS = 760, 300, 330  # pixels: the chart, the names at its left, the longest bar
HEIGHT, GAP, MARGIN = 22, 8, 24  # of a bar, between bars, around the chart
OURS, OTHERS = "#1f6feb", "#8c959f"


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured figure. label: printed beside the bar."""

    name: str
    value: float
    label: str

    @property
    def ours(self) -> bool:
        return self.name.startswith("minidark")


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one unit. Lower is better in all panels."""

    title: str
    bars: list[Bar]


def panels() -> Iterator[Panel]:
    """Raises ValueError if a figure is missing in docs/."""
    performance = (DOCS / "performance.md").read_text("utf-8")
    size = "2 layers of 128, 50 streams of 50 characters: ms a training step"
    for row, module, title in (
        ("train 2x128 T50 S50, nn.GRU", "nn.GRU", f"GRU, {size}"),
        (
            "train lstm 2x128 T50 S50, nn.LSTM",
            "nn.LSTM",
            "LSTM of the same size, which is char-rnn's default: ms a training step",
        ),
    ):
        line = _line(performance, row)
        names = {
            "minidark, compiled kernels": "fast",
            "minidark, numpy only": "numpy",
            f"PyTorch, {module}": module,
        }
        figures = {name: _figure(line, column) for name, column in names.items()}
        yield Panel(title, [Bar(name, float(figure), figure) for name, figure in figures.items()])
    recipes = (DOCS / "recipes.md").read_text("utf-8")
    bars = []
    for name, row in (
        ("minidark, bytepairs", "`bytepairs`"),
        ("nanoGPT's recipe for a CPU", "nanoGPT's recipe"),
    ):
        _, _, loss, _, seconds = _cells(recipes, row)
        loss = loss.partition(" ")[0]
        bars.append(Bar(name, float(loss), f"{loss} ({seconds})"))
    title = "tinyshakespeare, windows of 64: nats a character, after the time in brackets"
    yield Panel(title, bars)


def _line(page: str, begin: str) -> str:
    for line in page.splitlines():
        if line.startswith(f"| {begin}"):
            return line
    raise ValueError(f"no row {begin!r}")


def _cells(page: str, begin: str) -> list[str]:
    return [cell.strip() for cell in _line(page, begin).strip("|").split("|")]


def _figure(line: str, name: str) -> str:
    found = re.search(rf"\b{re.escape(name)} (\d+(?:\.\d+)?)", line)
    if not found:
        raise ValueError(f"no figure of {name} in {line!r}")
    return found[1]


def drawn() -> str:
    """The chart as SVG."""
    parts, y = [], MARGIN
    for panel in panels():
        parts.append(svg.text(MARGIN, y + 14, panel.title, ' class="title"'))
        y += HEIGHT + GAP
        longest = max(bar.value for bar in panel.bars)
        for bar in panel.bars:
            length = round(BARS * bar.value / longest)
            parts.append(svg.text(MARGIN, y + 15, bar.name))
            parts.append(
                f'<rect x="{NAMES}" y="{y}" width="{length}" height="{HEIGHT}" rx="3" '
                f'fill="{OURS if bar.ours else OTHERS}"/>'
            )
            parts.append(svg.text(NAMES + length + 8, y + 15, bar.label))
            y += HEIGHT + GAP
        y += 2 * GAP
    parts.append(
        svg.text(MARGIN, y + 6, "Two cores of one machine in each panel; shorter is better.")
    )
    return svg.page(WIDTH, y + MARGIN, "Training time and loss of minidark and others", parts)


if __name__ == "__main__":
    CHART.write_text(drawn(), encoding="utf-8")
