"""docs/look.md: what it says of the shipped network is so, on a text that is written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from minidark.files.shipped import folder
from minidark.inference.trace import Trace, trace
from minidark.report.look import STEPS
from minidark.report.properties import PROPERTIES, trackers

DOC = (Path(__file__).parents[2] / "docs" / "look.md").read_text(encoding="utf-8")
TEXT = b"""
The value of "colour" is a string, and if it is not given then "None" is taken in its place.  The
method "draw(shape, (width, height))" returns a new object (see the section "Shapes" for the
types that it may have), or raises "ValueError" where the shape has no area.

In the form "draw(*shapes)" each of the arguments is drawn in turn, and the result is the last one
of them; this is the same as "for shape in shapes: draw(shape)" (but for the name "shape", which is
then not bound).
"""


@pytest.fixture(scope="module")
def shipped() -> Trace:
    net = load_network(
        folder("cfg") / "rnn.cfg", folder("weights") / "rnn.weights", batch=1, kernels="numpy"
    )
    return trace(net, np.frombuffer(TEXT, dtype=np.uint8))


def test_unit_160_knows_quotes(shipped: Trace) -> None:
    best = trackers(shipped.layers, TEXT)["inside double quotes"][0]
    assert (best.value, best.unit) == ("h", 160)
    assert best.correlation < -0.6
    assert "| inside double quotes | `h` of 160 |" in DOC


def test_unit_222_counts_brackets(shipped: Trace) -> None:
    best = trackers(shipped.layers, TEXT)["depth of brackets"][0]
    assert (best.value, best.unit) == ("h", 222)
    assert best.correlation < -0.5
    assert "| depth of brackets | `h` of 222 |" in DOC


def test_every_property_has_a_row_and_the_levels_are_named() -> None:
    for name in PROPERTIES:
        assert f"| {name} |" in DOC
    *others, last = (str(steps + 1) for steps in STEPS[1:])
    assert f"{', '.join(others)} and {last}" in DOC
