"""Finds: units that track a property of the text, and the place where each is easiest to see.

A find's margin is the size of its correlation minus the chance baseline of its property. Finds are
ranked by margin. White space comes last, because even an untrained network distinguishes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.inference.trace import LayerTrace
from minidark.report.properties import (
    LABELS,
    PROPERTIES,
    Floats,
    Starts,
    Tracker,
    all_properties,
    standardized,
)

WHITE_SPACE = "white space"
WINDOW = 120  # bytes or characters on view around a place


@dataclass(frozen=True, slots=True)
class Find:
    """A unit that tracks a property better than chance. margin: above 0."""

    name: str  # of the property
    tracker: Tracker
    margin: float

    @property
    def label(self) -> str:
        """A short name of the property."""
        return LABELS[self.name]

    @property
    def unit(self) -> tuple[str, str, int]:
        """Layer, value and unit."""
        return self.tracker.layer, self.tracker.value, self.tracker.unit


def finds(trackers: dict[str, list[Tracker]], by_chance: dict[str, float]) -> list[Find]:
    """The best unit of each property, if it exceeds chance. The widest margin comes first."""
    return [ranked[0] for ranked in _ranked(trackers, by_chance)]


def different_units(
    trackers: dict[str, list[Tracker]], by_chance: dict[str, float], most: int
) -> list[Find]:
    """At most `most` finds of different units: the best unit of each property that is still free,
    then the next best of each, and white space only if no other is left."""
    ranked = _ranked(trackers, by_chance)
    groups = [
        [queue for queue in ranked if (queue[0].name == WHITE_SPACE) is white_space]
        for white_space in (False, True)
    ]
    chosen: dict[tuple[str, str, int], Find] = {}
    for find in (find for group in groups for find in _in_turns(group, chosen)):
        if len(chosen) == most:
            break
        chosen[find.unit] = find
    return [*chosen.values()]


def _in_turns(queues: list[list[Find]], taken: dict[tuple[str, str, int], Find]) -> Iterator[Find]:
    """One free find of each queue, then another of each, until the queues are empty."""
    rests = [iter(queue) for queue in queues]
    while rests:
        for rest in [*rests]:
            find = next((find for find in rest if find.unit not in taken), None)
            if find:
                yield find
            else:
                rests.remove(rest)


def _ranked(trackers: dict[str, list[Tracker]], by_chance: dict[str, float]) -> list[list[Find]]:
    """The finds of each property that has any, in the order of the properties' best finds."""
    every = [
        [
            Find(name, unit, margin)
            for unit in units
            if (margin := abs(unit.correlation) - by_chance[name]) > 0
        ]
        for name, units in trackers.items()
    ]
    return sorted(filter(None, every), key=lambda one: (one[0].name == WHITE_SPACE, -one[0].margin))


class Places:
    """Where the units of a trace are easiest to see track a property of its text. starts: as in
    `trackers`."""

    def __init__(self, layers: tuple[LayerTrace, ...], text: bytes, starts: Starts = None):
        self.values = {
            (layer.name, value): rows for layer in layers for value, rows in layer.values.items()
        }
        present = np.maximum(standardized(all_properties(text, starts)), 0)
        self.present = dict(zip(PROPERTIES, present, strict=True))

    def of(self, name: str, tracker: Tracker) -> int:
        """The row that contributes most to the correlation, among those where the property is
        above its mean, in the stretch of WINDOW rows that contributes most."""
        rows = self.values[tracker.layer, tracker.value][:, tracker.unit]
        share = self.present[name] * _standard_row(rows) * np.sign(tracker.correlation)
        before = np.concatenate([[0.0], np.cumsum(share)])
        width = min(WINDOW, share.size)
        start = int(np.argmax(before[width:] - before[:-width]))
        return start + int(np.argmax(share[start : start + width]))


def _standard_row(values: npt.NDArray[np.floating]) -> Floats:
    row: Floats = standardized(values.astype(np.float64)[None])[0]
    return row


def by_likeness(values: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """The units of some values (T, H) in an order that puts similar ones beside each other: (H,).

    It begins with the two units whose correlation is largest. The unit most similar to one of the
    two ends is then added at that end, until none is left.
    """
    units = standardized(values.T.astype(np.float64))
    likeness = units @ units.T
    np.fill_diagonal(likeness, -np.inf)
    first, last = np.unravel_index(int(np.argmax(likeness)), likeness.shape)
    head, tail = [int(first)], [int(last)] if last != first else []
    likeness[:, [first, last]] = -np.inf  # columns are units that are still free
    while len(head) + len(tail) < len(likeness):
        ends = likeness[head[-1]], likeness[tail[-1]]
        nearest = [int(end.argmax()) for end in ends]
        side = int(ends[1][nearest[1]] > ends[0][nearest[0]])
        (head, tail)[side].append(nearest[side])
        likeness[:, nearest[side]] = -np.inf
    return np.array([*reversed(head), *tail], dtype=np.intp)
