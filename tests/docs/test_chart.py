"""The chart in the README shows the figures of the pages, and the counted lines are true."""

from __future__ import annotations

import json
import re
from html import unescape

from benchmarks import chart, curves
from tests.docs.pages import ROOT


def test_the_chart_is_what_the_script_draws() -> None:
    assert chart.CHART.read_text("utf-8") == chart.drawn()


def test_its_bars_have_the_recorded_figures_in_proportion() -> None:
    svg = unescape(chart.CHART.read_text("utf-8"))
    widths = re.findall(r'<rect [^>]*width="(\d+)" [^>]*fill="#\w{6}"', svg)
    shares = [0.43, 1, 0.93, 0.39, 1, 0.53, 0.85, 1]  # of the longest bar of the panel
    assert [round(int(width) / chart.BARS, 2) for width in widths] == shares
    labels = ["28.1", "65.2", "60.7", "28.7", "73.1", "38.5"]
    for label in (*labels, "1.617 (82 s)", "1.89 (105 s)"):
        assert f">{label}</text>" in svg


def test_the_curves_are_what_the_script_draws() -> None:
    measured = json.loads(curves.CURVES.read_text("utf-8"))
    assert curves.PICTURE.read_text("utf-8") == curves.drawn(measured)


def test_each_curve_ends_where_its_last_loss_is() -> None:
    """Two runs of a cfg: 100 batches are the right edge, and the losses are its upper and lower
    ends."""
    picture = curves.drawn({"gru": {"float32": [[(20, 3.0), (100, 1.0)]], "bf16": [[(100, 2.0)]]}})
    right, top, bottom = curves.MARGIN + curves.WIDTH, curves.MARGIN // 2, curves.HEIGHT
    lines = dict(re.findall(r'<path class="(\w+)" d="M[^"]*?([\d.]+ [\d.]+)"/>', picture))
    assert lines["single"] == f"{right:.1f} {top + bottom:.1f}"
    assert lines["half"] == f"{right:.1f} {top + bottom / 2:.1f}"


def test_the_core_has_as_many_lines_as_the_readme_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.split("## Read first")[1].split("\n## ")[0]
    files = re.findall(r"`(\w+/\w+\.py)`", section)
    lines = sum(len((ROOT / "minidark" / f).read_text("utf-8").splitlines()) for f in files)
    assert len(files) == 9
    counted = f"{round(lines, -2):,} lines"
    assert f"about {counted}" in section
    assert f"about {counted}" in (ROOT / "README.md").read_text("utf-8")
