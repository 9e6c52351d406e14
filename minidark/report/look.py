"""The page of `minidark look`: a text, and the values of every unit at each character."""

from __future__ import annotations

import functools
import logging
import unicodedata
from bisect import bisect_left
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.data.characters import characters
from minidark.files.disk import write_atomically
from minidark.inference.trace import Floats, LayerTrace, Trace
from minidark.report.finds import Find, Places, by_likeness, different_units, finds
from minidark.report.packing import GATES, pack
from minidark.report.pages import encoded, render_page
from minidark.report.properties import Tracker, by_chance, trackers

log = logging.getLogger(__name__)

LARGEST = 3_000_000  # bytes of a page
STEPS = (254, 126, 62, 46, 30, 22, 14, 10, 6)  # even, so that 0 is a level between -1 and 1
LIKELIEST = 5  # symbols shown of each prediction
PANELS = 6  # units shown at a time
SHOWN = {" ": "␣", "\n": "↵", "\t": "⇥"}
TITLES = {
    ("gru", "z"): "update gate: the share of the old state that is kept",
    ("gru", "r"): "reset gate: the share of the old state that the candidate sees",
    ("gru", "c"): "candidate: the proposed new state",
    ("gru", "h"): "state, which is also the output",
    ("lstm", "i"): "input gate: the share of the candidate that enters the cell",
    ("lstm", "f"): "forget gate: the share of the old cell that is kept",
    ("lstm", "o"): "output gate: the share of the cell that is output",
    ("lstm", "g"): "candidate: the proposed addition to the cell",
    ("lstm", "c"): "cell: the memory",
    ("lstm", "h"): "state, which is also the output",
    ("rnn", "input"): "the input's contribution to the state",
    ("rnn", "self"): "the old state's contribution to the new state",
    ("rnn", "s"): "state",
    ("attention", "attention"): "weight of the step N steps back; over a source, of its step N",
}


@dataclass(frozen=True, slots=True)
class Saturation:
    """The number of characters at which each unit (H,) is below `low` or above `high`."""

    below: Floats
    above: Floats
    low: float  # 0.1, or -0.9 if values can be negative
    high: float  # 0.9

    @classmethod
    def of(cls, name: str, values: Floats) -> Saturation:
        """Source: Karpathy, Johnson and Li 2015, arXiv:1506.02078, section 4.2."""
        low, high = (0.1 if name in GATES or values.min() >= 0 else -0.9), 0.9
        return cls((values < low).sum(axis=0), (values > high).sum(axis=0), low, high)


class Look:
    """A trace of a text's bytes, and statistics of it.

    A character of several bytes has the values after its last byte and the properties of its first.
    of_bytes: the length of the whole text, if only its beginning was read.
    """

    def __init__(self, trace: Trace, of_bytes: int | None = None):
        self.trace, self.of_bytes = trace, of_bytes
        self.text = trace.symbols.astype(np.uint8).tobytes()
        self.characters, self.ends = characters(self.text)
        self.surprise = trace.surprise()
        starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.layers = tuple(_at(layer, self.ends) for layer in trace.layers)
        self.trackers = trackers(self.layers, self.text, starts=starts)
        self.by_chance = by_chance(self.layers, self.text, starts)
        self.places = Places(self.layers, self.text, starts)
        self.saturation = {
            (layer.name, value): Saturation.of(value, rows)
            for layer in self.layers
            for value, rows in layer.values.items()
        }

    @functools.cached_property
    def order(self) -> dict[tuple[str, str], list[int]]:
        """The units of each layer and value, with similar ones beside each other."""
        return {
            (layer.name, value): by_likeness(rows).tolist()
            for layer in self.layers
            for value, rows in layer.values.items()
        }

    def bits_per_character(self) -> float:
        """The mean over all characters but the first. A character has the bits of its bytes."""
        count = len(self.characters) - 1
        scored = self.surprise[self.ends[0] :] if count else self.surprise
        return float(scored.sum() / max(1, count))

    def figures(self) -> dict[str, Any]:
        """Characters and bytes, the bits of each, the saturation of each value (mean share of
        characters over its units), the five best trackers of each property, and the chance
        baselines."""
        steps = len(self.characters)
        return {
            "characters": steps,
            "bytes": len(self.text),
            "of_bytes": self.of_bytes or len(self.text),
            "bits_per_character": self.bits_per_character(),
            "bits_per_byte": float(self.surprise.mean()),
            "saturation": [
                {
                    "layer": layer,
                    "value": value,
                    f"below_{s.low}": float(s.below.mean() / steps),
                    f"above_{s.high}": float(s.above.mean() / steps),
                }
                for (layer, value), s in self.saturation.items()
            ],
            "trackers": {
                name: [asdict(tracker) for tracker in units[:5]]
                for name, units in self.trackers.items()
            },
            "by_chance": self.by_chance,
        }

    def write(self, path: Path | str, cfg: str, weights: str) -> int:
        """Write the page atomically and return its size in bytes. cfg, weights: their names.

        Values are rounded to the largest number of levels that keeps the page within LARGEST.
        Raises BackendError without the extra `report`, and SaveError if the file cannot be written.
        """

        @functools.cache
        def rendered(steps: int) -> bytes:
            return self._rendered(cfg, weights, steps)

        def fits(steps: int) -> bool:
            return len(rendered(steps)) <= LARGEST

        at = 0 if fits(STEPS[0]) else bisect_left(STEPS, True, lo=1, key=fits)
        page = rendered(STEPS[min(at, len(STEPS) - 1)])
        if len(page) > LARGEST:
            log.warning("the page has %s bytes; --len makes it smaller", f"{len(page):,}")
        write_atomically(path, [page])
        return len(page)

    def _rendered(self, cfg: str, weights: str, steps: int) -> bytes:
        multibyte = len(self.characters) < len(self.text)
        page = render_page(
            "look",
            title=f"The units of {cfg}",
            cfg=cfg,
            weights=weights,
            levels=steps + 1,
            figures=self.figures(),
            multibyte=multibyte,
            properties=[*self.trackers],
            data={
                **self._predictions(),
                **self._finds(),
                "cells": self.cells(),
                "ends": self.ends.tolist() if multibyte else None,
                "bytes": [*self.text],
                "surprise": np.round(self.surprise, 3).tolist(),
                "layers": [self._layer(layer, steps) for layer in self.trace.layers],
            },
        )
        return encoded(page)

    def _predictions(self) -> dict[str, Any]:
        """The most likely symbols after each character."""
        order, p = likeliest(self.trace.outputs[self.ends])
        return {
            "names": {int(symbol): symbol_name(int(symbol)) for symbol in np.unique(order)},
            "likeliest": order.tolist(),
            "probabilities": np.round(p.astype(np.float64), 5).tolist(),
        }

    def cells(self) -> list[str]:
        """The text of each character. Invalid UTF-8 and invisible characters are escaped as in
        Python."""
        return [_visible(character) for character in self.characters]

    def _finds(self) -> dict[str, Any]:
        """Units that track properties, with the characters where they are easiest to see."""

        def row(find: Find) -> list[Any]:
            return [find.label, find.name, *self._tracker(find.name, find.tracker)]

        best = finds(self.trackers, self.by_chance)
        several = different_units(self.trackers, self.by_chance, PANELS)
        return {
            "finds": [*map(row, best)],
            "panels": [*map(row, several)],
            "by_chance": {name: round(r, 3) for name, r in self.by_chance.items()},
            "trackers": {
                name: [self._tracker(name, unit) for unit in units]
                for name, units in self.trackers.items()
            },
        }

    def _tracker(self, name: str, unit: Tracker) -> list[Any]:
        place = self.places.of(name, unit)
        return [unit.layer, unit.value, unit.unit, round(unit.correlation, 4), place]

    def _layer(self, layer: LayerTrace, steps: int) -> dict[str, Any]:
        packed = pack(layer, steps)
        values = []
        for name in layer.values:
            saturation = self.saturation[layer.name, name]
            values.append(
                {
                    "name": name,
                    "title": TITLES[layer.type, name],
                    **asdict(packed[name].scale),
                    "data": packed[name].data,
                    "order": self.order[layer.name, name],
                    "below": [saturation.low, saturation.below.tolist()],
                    "above": [saturation.high, saturation.above.tolist()],
                }
            )
        units = layer.values[values[0]["name"]].shape[1]
        return {"name": layer.name, "type": layer.type, "units": units, "values": values}


def _at(layer: LayerTrace, rows: npt.NDArray[np.intp]) -> LayerTrace:
    """These rows of a trace."""
    values = {name: values[rows] for name, values in layer.values.items()}
    return LayerTrace(layer.name, layer.type, values)


def likeliest(outputs: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The LIKELIEST most likely symbols of each row of outputs (T, O), and their probabilities:
    (T, 5) each, or fewer columns if O is smaller."""
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :LIKELIEST]
    return order, np.take_along_axis(outputs, order, axis=1)


def symbol_name(symbol: int) -> str:
    """The name of a predicted symbol: a byte's character, or "#300" for a symbol above 255."""
    if symbol > 255:
        return f"#{symbol}"
    character = bytes([symbol]).decode("utf-8", "surrogateescape")
    return SHOWN.get(character) or _visible(character)


def symbol_text(text: str) -> str:
    """The text of a symbol with its blanks and invisible characters shown."""
    return "".join(SHOWN.get(character) or _visible(character) for character in text)


def _visible(character: str) -> str:
    if unicodedata.combining(character):
        return f"◌{character}"
    if character in SHOWN or character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is not valid UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
