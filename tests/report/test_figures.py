"""Figures: their colours are the page's, their bytes the drawing's, their names their own."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from minidark import BackendError
from minidark.report.figures import SERIES, figure_svg, literal

pytest.importorskip("matplotlib", reason="needs the extra report")


def draw(figure: Any) -> None:
    axes = figure.add_subplot()
    for k in range(len(SERIES)):
        axes.plot([0, 1], [0, k], label=f"line <{k}>")
    axes.axhline(1, color=SERIES[3], dashes=(2, 2))
    axes.legend()


def test_every_colour_is_the_pages() -> None:
    svg = str(figure_svg(draw, "lines"))
    assert {f"var(--series-{k})" for k in range(len(SERIES))} <= set(
        re.findall(r"var\([^)]*\)", svg)
    )
    assert "currentColor" in svg
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?!\))", re.sub(r'"#\w+"', "", svg))


def test_the_same_drawing_gives_the_same_bytes() -> None:
    assert figure_svg(draw, "lines") == figure_svg(draw, "lines")


def test_it_is_whole_and_says_what_it_shows() -> None:
    root = ET.fromstring(str(figure_svg(draw, 'A "line" & <more>', width=5, height=2)))
    assert root.attrib["aria-label"] == 'A "line" & <more>'
    assert root.attrib["viewBox"] == "0 0 360 144"
    assert "line <5>" in "".join(root.itertext())


def test_two_figures_of_a_page_share_no_names() -> None:
    names = [set(re.findall(r' id="([^"]*)"', str(figure_svg(draw, label)))) for label in "ab"]
    assert names[0]
    assert not names[0] & names[1]


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match=r"needs jinja2 and matplotlib: pip install '.*report"):
        figure_svg(draw, "lines")


@pytest.mark.parametrize("name", ["a$x^2$b", "$\\frac{$", "one $", "a\\$b"])
def test_a_name_is_no_mathematics(name: str) -> None:
    def plot(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], label=literal(name))
        axes.legend()

    assert name in "".join(ET.fromstring(str(figure_svg(plot, "a name"))).itertext())
