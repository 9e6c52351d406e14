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

from minidark.files.disk import write_atomically
from minidark.inference.trace import Floats, LayerTrace, Trace
from minidark.report.packing import GATES, pack
from minidark.report.pages import encoded, render_page
from minidark.report.properties import by_chance, trackers

log = logging.getLogger(__name__)

LARGEST = 3_000_000  # bytes of a page
STEPS = (254, 126, 62, 46, 30, 22, 14, 10, 6)  # even, so that 0 is a level between -1 and 1
LIKELIEST = 5  # symbols shown of each prediction
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
    """The number of steps in which each unit (H,) is below `low` or above `high`."""

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

    of_bytes: the length of the whole text, if only its beginning was read.
    """

    def __init__(self, trace: Trace, of_bytes: int | None = None):
        self.trace, self.of_bytes = trace, of_bytes
        self.text = trace.symbols.astype(np.uint8).tobytes()
        self.surprise = trace.surprise()
        self.trackers = trackers(trace.layers, self.text)
        self.by_chance = by_chance(trace.layers, self.text)
        self.saturation = {
            (layer.name, value): Saturation.of(value, rows)
            for layer in trace.layers
            for value, rows in layer.values.items()
        }

    def figures(self) -> dict[str, Any]:
        """Characters, bits per character, the saturation of each value (mean share of time over
        its units), the five best trackers of each property, and the chance baselines."""
        steps = self.trace.symbols.size
        return {
            "characters": steps,
            "of_characters": self.of_bytes or steps,
            "bits_per_character": float(self.surprise.mean()),
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
        order, p = likeliest(self.trace.outputs)
        names = {int(symbol): symbol_name(int(symbol)) for symbol in np.unique(order)}
        data = {
            "cells": cells(self.text),
            "bytes": [*self.text],
            "names": names,
            "likeliest": order.tolist(),
            "probabilities": np.round(p.astype(np.float64), 5).tolist(),
            "surprise": np.round(self.surprise, 3).tolist(),
            "layers": [self._layer(layer, steps) for layer in self.trace.layers],
            "by_chance": {name: round(r, 3) for name, r in self.by_chance.items()},
            "trackers": {
                name: [[t.layer, t.value, t.unit, round(t.correlation, 4)] for t in units]
                for name, units in self.trackers.items()
            },
        }
        page = render_page(
            "look",
            title=f"The units of {cfg}",
            cfg=cfg,
            weights=weights,
            levels=steps + 1,
            figures=self.figures(),
            properties=[*self.trackers],
            data=data,
        )
        return encoded(page)

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
                    "below": [saturation.low, saturation.below.tolist()],
                    "above": [saturation.high, saturation.above.tolist()],
                }
            )
        units = layer.values[values[0]["name"]].shape[1]
        return {"name": layer.name, "type": layer.type, "units": units, "values": values}


def likeliest(outputs: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The LIKELIEST most likely symbols of each row of outputs (T, O), and their probabilities:
    (T, 5) each, or fewer columns if O is smaller."""
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :LIKELIEST]
    return order, np.take_along_axis(outputs, order, axis=1)


def cells(text: bytes) -> list[str]:
    """The text shown for each byte. The first byte of a character shows the character, the others
    are empty. Invalid UTF-8 and invisible characters are escaped as in Python."""
    labels = []
    for character in text.decode("utf-8", "surrogateescape"):
        size = len(character.encode("utf-8", "surrogateescape"))
        labels += [_visible(character), *[""] * (size - 1)]
    return labels


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
