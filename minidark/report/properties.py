"""Properties of each position of a text, and the units that track them.

A property has a number for each byte. Pearson's correlation with it, of either sign, measures how
well a unit tracks it. This is a fact about one text: unit and property may both correlate with
something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.inference.trace import LayerTrace

Floats = npt.NDArray[np.float64]
Starts = npt.NDArray[np.intp] | None
Property = Callable[[bytes], Floats]  # from T bytes to (T,)


def inside_quotes(text: bytes) -> Floats:
    """1 from an opening double quote to the byte before the closing one, else 0. An empty line
    closes an open quote, so that a stray quote does not invert the rest of the text."""
    pattern = re.compile(rb'"|\xe2\x80\x9c|\xe2\x80\x9d|\n\s*\n')
    inside = np.zeros(len(text))
    opened = None  # position of the open quote
    for match in pattern.finditer(text):
        if opened is not None:
            inside[opened : match.start()] = 1
            opened = match.start() if match.group() == b"\xe2\x80\x9c" else None
        elif match.group() in (b'"', b"\xe2\x80\x9c"):
            opened = match.start()
    if opened is not None:
        inside[opened:] = 1
    return inside


def bracket_depth(text: bytes) -> Floats:
    """The number of open round, square and curly brackets after each byte, never below 0."""
    depths, depth = np.zeros(len(text)), 0
    for at, byte in enumerate(text):
        depth = max(0, depth + (byte in b"([{") - (byte in b")]}"))
        depths[at] = depth
    return depths


def position_in_line(text: bytes) -> Floats:
    """The number of bytes before it in the same line: 0 for a line's first byte."""
    starts = np.zeros(len(text), dtype=np.intp)
    breaks = np.flatnonzero(np.frombuffer(text, dtype=np.uint8)[:-1] == ord("\n"))
    starts[breaks + 1] = breaks + 1
    return (np.arange(len(text)) - np.maximum.accumulate(starts)).astype(np.float64)


def line_length(text: bytes) -> Floats:
    """The length of the whole line, including its line break. The network has not yet read its
    end."""
    lengths = [len(line) + 1 for line in text.split(b"\n")]
    lengths[-1] -= 1
    return np.repeat(lengths, lengths).astype(np.float64)


def _of_bytes(pattern: bytes) -> Property:
    """1 at the first byte of each match, 0 elsewhere."""

    def where(text: bytes) -> Floats:
        marks = np.zeros(len(text))
        marks[[match.start() for match in re.finditer(pattern, text)]] = 1
        return marks

    return where


PROPERTIES: dict[str, Property] = {
    "inside double quotes": inside_quotes,
    "position in the line": position_in_line,
    "length of the line": line_length,
    "depth of brackets": bracket_depth,
    "a digit": _of_bytes(rb"[0-9]"),
    "an upper-case letter": _of_bytes(rb"[A-Z]"),
    "white space": _of_bytes(rb"[ \t\n\r]"),
    "the first letter of a word": _of_bytes(rb"(?<![A-Za-z\x80-\xff])[A-Za-z\x80-\xff]"),
}


LABELS = {  # short names
    "inside double quotes": "quotes",
    "position in the line": "place in line",
    "length of the line": "line length",
    "depth of brackets": "brackets",
    "a digit": "digits",
    "an upper-case letter": "capitals",
    "white space": "white space",
    "the first letter of a word": "word starts",
}


@dataclass(frozen=True, slots=True)
class Tracker:
    """A unit of one layer's gate or state, and its correlation with a property."""

    layer: str
    value: str
    unit: int
    correlation: float  # -1 to 1


def correlations(values: npt.NDArray[np.floating], wanted: Floats) -> Floats:
    """Pearson's correlation of each property (P, T) with each unit's values (T, H): (P, H).
    0 if either of them is constant."""
    units = standardized(values.T.astype(np.float64))
    result: Floats = standardized(wanted) @ units.T
    return result


def standardized(rows: Floats) -> Floats:
    """Each row shifted to mean 0 and scaled to norm 1, or all zeros if it is constant."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = lengths > 1e-9 * np.maximum(1, np.abs(rows).max(axis=1, keepdims=True))
    return np.where(varies, centred / np.where(varies, lengths, 1), 0)


def trackers(
    layers: tuple[LayerTrace, ...], text: bytes, most: int = 10, starts: Starts = None
) -> dict[str, list[Tracker]]:
    """For each property, the `most` best units of every layer's gate or state, the best first. A
    property that is constant over the text has none.

    starts: the first byte of each character, if the layers have a row for each character instead of
    one for each byte. A character has the property of its first byte.
    """
    wanted = all_properties(text, starts)
    result: dict[str, list[Tracker]] = {name: [] for name in PROPERTIES}
    for layer in layers:
        for value, rows in layer.values.items():
            for name, row in zip(PROPERTIES, correlations(rows, wanted), strict=True):
                best = np.argsort(-np.abs(row), kind="stable")[:most]
                result[name] += [
                    Tracker(layer.name, value, int(unit), float(row[unit]))
                    for unit in best
                    if row[unit]
                ]
    for units in result.values():
        units.sort(key=lambda tracker: -abs(tracker.correlation))
    return result


def by_chance(
    layers: tuple[LayerTrace, ...], text: bytes, starts: Starts = None
) -> dict[str, float]:
    """For each property, the chance baseline: the largest absolute correlation of any unit with the
    property shifted by half the text, in a circle. Among so many units, a correlation up to it can
    occur although no unit tracks the property. starts: as in `trackers`."""
    wanted = all_properties(text, starts)
    elsewhere = np.roll(wanted, wanted.shape[1] // 2, axis=1)
    every = [np.abs(correlations(v, elsewhere)) for one in layers for v in one.values.values()]
    best = np.concatenate(every, axis=1).max(axis=1)
    return dict(zip(PROPERTIES, best.tolist(), strict=True))


def all_properties(text: bytes, starts: Starts = None) -> Floats:
    """All properties of each byte, or of each character that begins at one of `starts`: (P, T)."""
    every = np.stack([of(text) for of in PROPERTIES.values()])
    return every if starts is None else every[:, starts]
