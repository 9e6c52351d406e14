"""Figures: their colours are the page's, their bytes the drawing's, their names their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from minidark import BackendError
from minidark.errors import visible
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


EPOCH = "SOURCE_DATE_EPOCH"
DRAWN = """
from minidark.report.figures import figure_svg, literal
def draw(figure):
    figure.add_subplot().plot([0, 1], label=literal("한글 नमस्ते \\x1b[2J" * 9))
    figure.axes[0].legend()
print(figure_svg(draw, "한글"))
"""


def drawn(folder: Path, **variables: str) -> str:
    """By a process of its own, which says nothing on standard error."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", EPOCH)}
    ended = subprocess.run(
        [sys.executable, "-c", DRAWN], cwd=folder, capture_output=True, encoding="utf-8",
        env={**environment, **variables, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.slow
def test_nothing_around_it_changes_a_figure(tmp_path: Path) -> None:
    """Neither what a notebook's kernel exports, nor a build, nor a person's settings."""
    plain = drawn(tmp_path)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.labelcolor: red\n")
    notebook = "module://no_such_package.backend"
    assert drawn(tmp_path, MPLBACKEND=notebook, SOURCE_DATE_EPOCH="9" * 30) == plain
    assert drawn(tmp_path, MPLBACKEND="nonsense", SOURCE_DATE_EPOCH="not a date") == plain


def test_what_the_environment_chose_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPOCH, "not a date")
    figure_svg(draw, "lines")
    assert os.environ[EPOCH] == "not a date"


def test_a_name_in_any_script_is_shown_without_a_word_and_cut() -> None:
    name = "한글 नमस्ते \x1b[2J" + "x" * 1000

    def plot(figure: Any) -> None:
        figure.add_subplot().plot([0, 1], label=literal(name))
        figure.axes[0].legend()

    svg = str(figure_svg(plot, name))
    assert "\x1b" not in svg
    assert f">{visible(name)[:37]}...</text>" in svg
