"""Draws six units of the shipped network and the property that each tracks, as one SVG.

    head -c 2000 held-out.txt > text.txt
    python docs/_ext/neurons.py text.txt docs/images/neurons.svg

The units are those that `minidark look` ranks first. Each panel shows the text where its unit is
easiest to see. The picture follows the reader's light or dark theme.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np

from minidark import load_network
from minidark.files.shipped import folder
from minidark.inference.trace import trace
from minidark.report.finds import Find, different_units
from minidark.report.look import Look

UNITS, COLUMNS, LINES = 6, 71, 5
CELL, LINE, SIZE = 6.3, 18, 10.4  # pixels: width of a character, height of a line, font
PANEL = (COLUMNS * CELL + 24, LINES * LINE + 50)
GAP = 12
LEVELS = 13  # tints; the middle one is the paper's colour
LIGHT = ("#7fb0e6", "#fffdf9", "#f3a254", "#1d1f23", "#d9d4c8")  # low, middle, high, ink, rule
DARK = ("#1f62a6", "#16181c", "#96500b", "#e3e1dc", "#373b43")
BEFORE = 1  # lines before the place

Line = list[int]  # indices of characters


def gallery(look: Look) -> str:
    """The SVG of the first finds of a text."""
    found = different_units(look.trackers, look.by_chance, UNITS)
    width, height = PANEL
    total = (2 * width + GAP, -(-len(found) // 2) * (height + GAP) - GAP)
    panels = [
        f'<g transform="translate({n % 2 * (width + GAP):g} {n // 2 * (height + GAP):g})">'
        f"{''.join(_panel(look, find))}</g>"
        for n, find in enumerate(found)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]:g} {total[1]:g}" '
            f'width="{total[0]:g}" height="{total[1]:g}" role="img" '
            'aria-label="Six excerpts of a text, each tinted by one unit of the network">',
            f"<style>{_style()}</style>",
            *panels,
            "</svg>\n",
        ]
    )


def _panel(look: Look, find: Find) -> Iterator[str]:
    """A frame, a title and the lines around the place where the unit is easiest to see."""
    layer, value, unit = find.unit
    rows = next(one.values[value][:, unit] for one in look.layers if one.name == layer)
    low = -1.0 if rows.min() < 0 else 0.0
    levels = np.rint((rows - low) / (1 - low) * (LEVELS - 1)).clip(0, LEVELS - 1).astype(int)
    yield f'<rect class="paper" width="{PANEL[0]:g}" height="{PANEL[1]:g}" rx="6"/>'
    sign = "\N{MINUS SIGN}" if find.tracker.correlation < 0 else "+"
    title = f"{find.label} {sign}{abs(find.tracker.correlation):.2f}"
    yield f'<text class="title" x="12" y="24">{title}</text>'
    right = PANEL[0] - 12
    yield f'<text class="unit" x="{right:g}" y="24">{value} of unit {unit}</text>'
    lines = _lines(look.characters)
    place = look.places.of(find.name, find.tracker)
    at = max((n for n, line in enumerate(lines) if line[0] <= place), default=0)
    first = max(0, min(at - BEFORE, len(lines) - LINES))
    for n, line in enumerate(lines[first : first + LINES]):
        yield from _line(look.characters, line, levels, 36 + n * LINE)


def _lines(characters: list[str]) -> list[Line]:
    """The lines of a text, folded at blanks to at most COLUMNS characters, without empty ones."""
    lines: list[Line] = [[]]
    for at, character in enumerate(characters):
        if character == "\n":
            lines.append([])
            continue
        if len(lines[-1]) == COLUMNS:
            blanks = [n for n, one in enumerate(lines[-1]) if characters[one] == " "]
            cut = blanks[-1] + 1 if blanks and blanks[-1] > COLUMNS // 2 else COLUMNS
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
        lines[-1].append(at)
    return [line for line in lines if any(characters[at].strip() for at in line)]


def _line(characters: list[str], line: Line, levels: np.ndarray, top: int) -> Iterator[str]:
    """A tint and a bar for each run of one level, and the text over them."""
    x = 12.0
    for level, run in groupby(line, key=lambda at: int(levels[at])):
        width = len([*run]) * CELL
        bar = 2.5 * level / (LEVELS - 1)
        yield f'<rect class="t{level}" x="{x:g}" y="{top}" width="{width:g}" height="{LINE - 2}"/>'
        if level:
            y = top + LINE - 2 - bar
            yield f'<rect class="bar" x="{x:g}" y="{y:g}" width="{width:g}" height="{bar:g}"/>'
        x += width
    text = "".join(characters[at] if characters[at].isprintable() else " " for at in line)
    blanks = len(text) - len(text.lstrip())
    shown = text.strip()
    yield (
        f'<text x="{12 + blanks * CELL:g}" y="{top + 13}" textLength="{len(shown) * CELL:g}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(shown, quote=False)}</text>'
    )


def _style() -> str:
    font = "ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace"
    return (
        f"text{{font:{SIZE}px {font};white-space:pre}}"
        ".title{font:600 14px system-ui,sans-serif}"
        ".unit{font:12px system-ui,sans-serif;text-anchor:end}.bar{opacity:.5}"
        f"{_colours(LIGHT)}@media(prefers-color-scheme:dark){{{_colours(DARK)}}}"
    )


def _colours(theme: tuple[str, ...]) -> str:
    low, middle, high, ink, rule = theme
    half = (LEVELS - 1) / 2
    fills = [
        _mixed(low, middle, n / half) if n < half else _mixed(middle, high, n / half - 1)
        for n in range(LEVELS)
    ]
    tints = [f".t{n}{{fill:{fill}}}" for n, fill in enumerate(fills)]
    return f"text,.bar{{fill:{ink}}}.paper{{fill:{middle};stroke:{rule}}}{''.join(tints)}"


def _mixed(one: str, other: str, share: float) -> str:
    ends = [[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in (one, other)]
    parts = (round(a + (b - a) * share) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def main(text: str, output: str) -> None:
    """Write the SVG of the shipped network on a text."""
    cfg, weights = folder("cfg") / "rnn.cfg", folder("weights") / "rnn.weights"
    net = load_network(cfg, weights, batch=1)
    symbols = np.frombuffer(Path(text).read_bytes(), dtype=np.uint8)
    Path(output).write_text(gallery(Look(trace(net, symbols))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
