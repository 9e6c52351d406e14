"""docs/look.md: what it says of the shipped network is so, on a text that is written here."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from minidark import load_network
from minidark.files.shipped import folder
from minidark.inference.trace import Trace, trace
from minidark.report.look import STEPS, Look
from minidark.report.properties import LABELS, PROPERTIES, trackers
from tests.docs.pages import ROOT, extension

DOC = (ROOT / "docs" / "look.md").read_text(encoding="utf-8")
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


def test_the_gallery_shows_six_units_that_the_page_names(shipped: Trace) -> None:
    file = ROOT / "docs" / "images" / "neurons.svg"
    assert file.stat().st_size < 200_000
    drawn = extension("neurons").gallery(Look(shipped))
    for svg in (file.read_text(encoding="utf-8"), drawn):
        texts = [one.text or "" for one in ElementTree.fromstring(svg).iter()]
        units = [re.fullmatch(r"([zrch]) of unit (\d+)", text) for text in texts]
        found = {match.groups() for match in units if match}
        assert len(found) == 6
        assert ("h", "160") in found
        titles = [re.fullmatch("(.*) [+\N{MINUS SIGN}]0\\.\\d\\d", text) for text in texts]
        labels = {match[1] for match in titles if match}
        assert "quotes" in labels <= {*LABELS.values()} - {"white space"}
    assert "](images/neurons.svg)" in DOC


def test_every_property_has_a_row_and_the_levels_are_named() -> None:
    for name in PROPERTIES:
        assert f"| {name} |" in DOC
    *others, last = (str(steps + 1) for steps in STEPS[1:])
    assert f"{', '.join(others)} and {last}" in DOC
