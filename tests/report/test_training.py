"""The page of a run, in a browser: it shows the log's figures, whatever became of the run."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.cfg.source import recorded_text
from minidark.errors import visible
from minidark.files.locks import holding
from minidark.files.shipped import find_cfg
from minidark.report.charts import gradient_chart, loss_chart, speed_chart
from minidark.report.live import follow_run
from minidark.report.run import read_run_folder
from minidark.report.training import Live, write_run_page
from minidark.report.verdict import duration, trend
from minidark.training.same_run import cfg_values
from tests.report.browser import opened
from tests.report.runs import LAYERS, line, logged, trained, written
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg

pytest.importorskip("jinja2", reason="needs the extra report")
PHONE = {"viewport": {"width": 390, "height": 800}}


def page_of(folder: Path) -> Path:
    file = folder.with_suffix(".html")
    write_run_page(file, read_run_folder(folder))
    return file


@pytest.fixture(scope="session")
def shown(real: Path) -> Path:
    """The page of `real`."""
    return page_of(real)


def test_its_page_in_a_browser(real: Path, shown: Path, chromium: Any) -> None:
    """One page load: the verdict, tiles, tables, charts with their switches, and the samples."""
    lines = logged(real)
    validated = [one for one in lines if "valid_loss" in one]
    best = min(one["valid_loss"] for one in validated)
    with opened(chromium, shown) as page:
        verdict = page.inner_text(".verdict")
        assert verdict.startswith(f"{best / math.log(2):.3f} bits per character after 700 batches,")
        tiles = page.locator(".tiles").inner_text()
        assert f"best validation\n{best / math.log(2):.3f}\nbits per character" in tiles
        assert "batches\n700\nof 700" in tiles
        assert f"training average\n{lines[-1]['average'] / math.log(2):.3f}\nbits" in tiles
        page.click("summary")
        rows = page.locator("details tbody tr").all_inner_texts()
        assert [row.split("\t")[0] for row in rows] == [str(one["batch"]) for one in validated]
        assert [row.split("\t")[4] for row in rows] == [f"{v['valid_loss']:.4f}" for v in validated]
        assert [row.endswith("the best") for row in rows] == [
            one["valid_loss"] == best for one in validated
        ]
        assert page.locator(".command").first.text_content() == (
            "minidark train a.cfg 'my text.txt' --seed 5"
        )
        assert "It was resumed with" in page.inner_text("main")
        check_labels(page, lines)
        check_samples(page, lines)
        check_loss_chart(page, lines)


def check_labels(page: Any, lines: list[dict[str, Any]]) -> None:
    """Every chart says in words what it shows."""
    labels = [f.get_attribute("aria-label") for f in page.locator("svg.figure").all()]
    assert page.locator("section h2").all_inner_texts() == [
        "Loss", "Learning to write", "Gradients", "Speed", "Learning rate",
    ]  # fmt: skip
    first, last = (lines[k]["average"] / math.log(2) for k in (0, -1))
    assert f"goes from {first:.4g} at batch 10 to {last:.4g} at batch 700" in labels[0]
    norms = [one["gradient_norms"]["0.gru"] for one in lines]
    assert f"The gradient norm of 0.gru goes from {norms[0]:.3g} to {norms[-1]:.3g}." in labels[1]


def check_samples(page: Any, lines: list[dict[str, Any]]) -> None:
    """The slider shows one sample at a time, and the chart its place."""
    samples = [(one["batch"], visible(one["sample"])) for one in lines if "sample" in one]
    assert page.locator(".samples pre").all_text_contents() == [text for _, text in samples]
    places = []
    for k, (batch, text) in reversed([*enumerate(samples)]):
        page.locator("#sample").fill(str(k))
        assert page.locator(".samples pre:visible").all_text_contents() == [text]
        assert page.locator(".samples h3:visible").inner_text() == f"After {batch} batches"
        places.append(float(page.locator(".chosen").get_attribute("x1")))
    assert places == sorted({*places}, reverse=True)


def check_loss_chart(page: Any, lines: list[dict[str, Any]]) -> None:
    """The curve is that of the log, also on a logarithmic scale; values show at the pointer."""
    chart = page.locator(".chart").first
    bits = [one["average"] / math.log(2) for one in lines]
    for shown, values in ((chart, bits), (chart, [math.log(value) for value in bits])):
        points = points_of(shown)
        scale = (max(values) - min(values)) / (points[0][1] - points[-1][1])  # down is more
        for k, (x, y) in enumerate(points):
            batch = 10 + 690 * (x - points[0][0]) / (points[-1][0] - points[0][0])
            assert batch == pytest.approx(lines[k]["batch"], abs=1)
            drawn = values[0] + (values[-1] - values[0]) * (y - points[0][1]) / (
                points[-1][1] - points[0][1]
            )
            assert drawn == pytest.approx(values[k], abs=0.02 * abs(scale) + 0.02)
        chart.get_by_label("Logarithmic").check()
    raw = points_of(chart)
    chart.get_by_label("Smoothing").fill("0.9")
    smooth = points_of(chart, "path.line:not(.faint)")
    assert points_of(chart) == raw  # the faint line behind
    moves = [sum(abs(b[1] - a[1]) for a, b in pairwise(line)) for line in (smooth, raw)]
    assert moves[0] < moves[1]
    chart.get_by_label("Smoothing").fill("0")
    chart.locator("svg.figure").focus()
    page.keyboard.press("Home")
    assert chart.locator(".keys .at").inner_text() == "batch 10"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    assert f"{bits[0]:.3f}"[:4] in chart.locator(".keys li").nth(1).inner_text()
    box = chart.locator("svg.figure").bounding_box()
    page.mouse.move(box["x"] + points[30][0], box["y"] + 50)
    assert chart.locator(".keys .at").inner_text() == f"batch {lines[30]['batch']}"
    assert f"{bits[30]:.3f}"[:4] in chart.locator(".keys li").nth(1).inner_text()


def points_of(chart: Any, path: str = "path.line") -> list[list[float]]:
    drawn = chart.locator(path).first.get_attribute("d")
    return [[*map(float, pair.split())] for pair in re.findall(r"[ML]([\d. -]+)", drawn)]


def test_a_live_page_renews_itself_until_the_run_ends(tmp_path: Path, chromium: Any) -> None:
    """The page is opened once, as a file. What the reader chose survives its reloads."""
    samples = [line(500, sample="first"), line(1000, sample="second", valid_loss=1.0)]
    folder, file = written(tmp_path / "run", samples, batches=2000), tmp_path / "page.html"
    with holding(folder):
        run = read_run_folder(folder)
        write_run_page(file, run, running=True, live=Live(time.time(), 1, 90))
        with opened(chromium, file, **PHONE) as page:
            assert page.inner_text(".state") == "Running."
            assert "Renewed" in page.inner_text("#live")
            page.locator("#sample").fill("0")
            page.get_by_label("Logarithmic").check()
            with open(folder / "log.jsonl", "a") as log:
                log.write(json.dumps(line(2000, sample="third", last=True)) + "\n")
            threading.Timer(0.5, os.unlink, [folder / ".minidark.lock"]).start()
            follow_run(file, folder, began=lambda: None, pause=0.1)
            page.get_by_text("Finished.").wait_for()
            assert page.locator("#live").count() == 0
            assert page.get_by_label("Logarithmic").is_checked()
            assert page.inner_text(".samples pre:visible") == "first"
            page.locator("#sample").fill("2")
            assert page.inner_text(".samples pre:visible") == "third"


def test_a_reload_keeps_the_focus_and_waits_for_a_drag(tmp_path: Path, chromium: Any) -> None:
    samples = [line(500, sample="first"), line(1000, sample="second")]
    folder, file = written(tmp_path / "run", samples, batches=2000), tmp_path / "page.html"
    write_run_page(file, read_run_folder(folder), running=True, live=Live(time.time(), 1, 90))
    marked, renewed = "document.body.dataset.marked = 1", "body:not([data-marked])"
    with opened(chromium, file) as page:
        page.focus("#sample")
        page.evaluate(marked)
        page.wait_for_selector(renewed)
        page.wait_for_selector("#sample:focus")
        page.hover("#sample")
        page.mouse.down()
        for at in range(20):  # a reload may have begun before
            page.mouse.move(100 + at, 100)
            page.evaluate(marked)
            page.wait_for_timeout(2500)
            if not page.locator(renewed).count():
                break
        assert not page.locator(renewed).count()
        page.mouse.up()
        page.wait_for_selector(renewed)


def test_a_run_is_followed_while_its_folder_is_locked(tmp_path: Path) -> None:
    folder, file = written(tmp_path / "run", [line(10)], batches=99), tmp_path / "page.html"
    pages: list[str] = []
    with holding(folder):

        def began() -> None:
            pages.append(file.read_text())
            (folder / ".minidark.lock").unlink()  # as if the run were killed

        follow_run(file, folder, began, pause=0.05)
    assert 'id="live"' in pages[0]
    assert "Running." in pages[0]
    text = file.read_text()
    assert 'id="live"' not in text
    assert "Stopped or killed; continue with --resume auto." in text


@pytest.mark.parametrize(
    ("losses", "course"),
    [
        ([3, 2, 1], None),
        ([3, 2, 1.5, 1.2, 1.1], "falling"),
        ([3, 1.2, 1.001, 1.0, 1.0, 1.001, 1.0, 1.0], "level"),
        ([3, 2, 1, 1.2, 1.3, 1.4], "rising"),
        ([3, 1.2, 1.3, 1.29, 1.0], "falling"),  # one that jumped
        ([-1, -2, -3, -4], "falling"),
        ([0.0] * 5, "level"),
        ([1e300, -1e300, 1e300, -1e300, 1e300], "level"),
    ],
)
def test_the_course_of_a_run(losses: list[float], course: str | None) -> None:
    assert trend(losses) == course


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.25, "4.2 s"), (59.6, "1 min 0 s"), (150, "2 min 30 s"), (11_520, "3 h 12 min"),
     (187_200, "2 days 4 h"), (1e300, "1e+300 s"), (-1, "-1 s")],
)  # fmt: skip
def test_times_are_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_long_and_reversed_names_stay_in_their_place(tmp_path: Path, chromium: Any) -> None:
    words = ["minidark", "train", "\N{RIGHT-TO-LEFT OVERRIDE}abc", "--set", "x" * 300]
    folder = written(tmp_path / "run", [line(10)], command=words, seed=5, cfg="y" * 200, batches=20)
    with opened(chromium, page_of(folder), **PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        first, second = (page.locator(".command span").nth(k).bounding_box() for k in (2, 3))
        assert (first["y"], first["x"] < second["x"]) == (second["y"], True)
        copied = page.evaluate("""() => {
            getSelection().selectAllChildren(document.querySelector(".command"));
            return getSelection().toString();
        }""")
        assert shlex.split(copied) == [*words, "--seed", "5"]


def test_a_single_point_is_a_dot(tmp_path: Path, chromium: Any) -> None:
    with opened(chromium, page_of(written(tmp_path / "run", [line(10)], batches=20))) as page:
        assert page.locator(".chart").first.locator("circle").count() == 1
        assert page.locator(".chart").last.locator("circle").count() == 1


def test_an_axis_has_two_numbers(tmp_path: Path, chromium: Any) -> None:
    folder = written(tmp_path / "run", [line(10), line(90), line(990)], batches=999)
    with opened(chromium, page_of(folder), **PHONE) as page:
        seconds = page.locator(".chart").nth(2).locator("text.x")  # from 0.9 to 9.9
        assert seconds.all_text_contents() == ["2", "4", "6", "8"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_page(shown: Path, chromium: Any, scheme: str) -> None:
    with opened(chromium, shown, color_scheme=scheme, **PHONE) as page:
        page.click("summary")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        ratio = page.evaluate(CONTRAST)
        assert ratio >= 4.5, ratio


# The least contrast (WCAG 2) between letters and what is behind them, of tiles, samples and state.
CONTRAST = """() => {
  const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((v) => {
    v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  const light = (c) => { const [r, g, b] = rgb(c); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { const c = getComputedStyle(e).backgroundColor;
    return /, 0\\)$/.test(c) ? behind(e.parentElement) : c; };
  return Math.min(...[...document.querySelectorAll(
    "dt, dd, small, pre, .state, td, figcaption, .keys li, .hint")]
    .map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
}"""

ODD: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "nothing yet": ([], {}, "No batch has been logged yet"),
    "one line": ([line(10)], {}, "Stopped or killed; continue with --resume auto."),
    "no validation": ([line(10), line(20, last=True)], {"batches": 20}, "Finished."),
    "out of patience": (
        [line(10, valid_loss=1), line(20, last=True, valid_loss=2)], {"batches": 99},
        "Finished by early stopping (--patience).",
    ),
    "diverged": (
        [line(10), {"batch": 11, "diverged": "batch 11: the loss is nan"}], {},
        "Diverged: batch 11: the loss is nan.",
    ),
    "no gradient": ([line(10, gradient_norms={}), line(20, gradient_norms={})], {}, "Stopped"),
    "no nats": (
        [line(10, average=-1, valid_loss=7.5, best=True)], {"in_nats": False}, "7.5000 cost",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_whatever_became_of_the_run_there_is_a_page(case: str, tmp_path: Path) -> None:
    lines, facts, said = ODD[case]
    assert said in text_of(page_of(written(tmp_path / "run", lines, **facts)))


def text_of(page: Path) -> str:
    """What is to be read in it, but for curves."""
    text = re.sub(r"<(style|script|svg).*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", text))


def test_what_a_sample_or_a_command_smuggles_in_is_text(tmp_path: Path, chromium: Any) -> None:
    lines = [line(10, sample="</pre><script>1</script>\x00\x1b[31m" + 500 * "x")]
    facts = {"cfg": "<b>.cfg", "command": ["<i>"]}
    with opened(chromium, page_of(written(tmp_path / "run", lines, **facts)), **PHONE) as page:
        shown = page.inner_text(".samples pre").rstrip("x")
        assert shown == "</pre><script>1</script>\\x00\\x1b[31m"
        assert page.inner_text(".command") == "'<i>' --seed 5"
        assert page.inner_text("h1") == "<b>, a training run"
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_infinite_norms_are_gaps(tmp_path: Path) -> None:
    norms = [{"0.gru": None}, {"0.gru": 0}, {"0.gru": 2}, {"0.gru": 3}]
    lines = [line(10 * n, gradient_norms=norm) for n, norm in enumerate(norms, start=1)]
    chart = gradient_chart(read_run_folder(written(tmp_path / "a", lines)))
    assert "goes from 0 to 3." in chart.label
    assert chart.lines[0].y == [None, 0, 2, 3]


@pytest.mark.parametrize(("scale", "unit"), [(1, "seconds"), (10, "minutes"), (1e3, "hours")])
def test_time_is_in_units_that_fit(tmp_path: Path, scale: float, unit: str) -> None:
    lines = [line(n, seconds=scale * n) for n in (10, 20, 30)]
    assert speed_chart(read_run_folder(written(tmp_path / "run", lines))).x == [unit]


def test_a_long_run_is_no_large_page(tmp_path: Path) -> None:
    lines = [line(10 * n, valid_loss=1 + math.sin(n)) for n in range(1, 10_001)]
    file = page_of(written(tmp_path / "run", lines))
    assert file.stat().st_size < 500_000
    text = file.read_text()
    best = min(lines, key=lambda one: one["valid_loss"])["batch"]
    assert text.count("the best</td>") == 1
    assert f'<td class="number">{best:,}</td>' in text
    assert 'class="number">100,000</td>' in text
    assert "A selection of 10,000 validations" in text


def test_a_cost_of_another_layer_has_no_bits(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", 20, (*LAYERS[:2], "logistic"), valid_fraction=0.2)
    text = text_of(page_of(folder))
    assert f"{logged(folder)[-1]['valid_loss']:.4f}" in text
    assert not re.search(r"\bbits\b|\bnats\b", text)


@each_shipped_cfg
def test_the_cfg_that_is_shown_makes_the_same_network(
    name: str, units: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = cfg_values(load_network(find_cfg(shipped_cfg(name, units))))
    shown = tmp_path / "shown.cfg"
    shown.write_text(recorded_text(values))
    assert cfg_values(load_network(shown)) == values


def test_the_cfg_has_every_digit() -> None:
    sections = [{"section": "net", "learning_rate": 0.00123456789, "decay": 1e-07}]
    assert recorded_text(sections) == "[net]\nlearning_rate=0.00123456789\ndecay=1e-07\n"


ABSURD: dict[str, dict[str, Any]] = {
    "1e300": {"loss": -1e300, "average": 1e300, "rate": 1e300, "seconds": 1e300, "epochs": 1e300,
              "valid_loss": -1e300, "gradient_norms": {"0.gru": 1e300, "1.connected": 1e-300}},
    "tiny": {"loss": 5e-324, "average": 5e-324, "rate": 5e-324, "valid_loss": 5e-324},
    "2**62": {"symbols": 2**62, "batch": 2**62},
    "many layers": {"gradient_norms": {f"{k}.한글 नमस्ते{'x' * 200}": 1.0 for k in range(1000)}},
}  # fmt: skip


def test_absurd_figures_are_drawn_soon_and_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Any
) -> None:
    """Warnings are errors here, and the browser's console stays silent. Each chart has a line for
    each series and ticks that differ."""
    for name, absurd in ABSURD.items():
        lines = [{**line(10 * n, valid_loss=1.0), **absurd} for n in range(1, 12)]
        lines[0] = {**line(10), "gradient_norms": lines[1]["gradient_norms"]}
        began = time.process_time()
        file = page_of(written(tmp_path / name.replace("*", ""), lines))
        assert time.process_time() - began < 5
        assert capfd.readouterr() == ("", "")
        with opened(chromium, file, **PHONE) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            for chart in page.locator(".chart").all():
                ticks = chart.locator("text.y").all_text_contents()
                assert len({*ticks}) == len(ticks) >= 1, ticks
                assert "NaN" not in chart.locator("svg.figure").inner_html()


def test_a_run_that_was_resumed_thousands_of_times_has_few_marks(tmp_path: Path) -> None:
    again = [{"batch": n, "at": "", "command": ["a"]} for n in range(1, 5000)]
    folder = written(tmp_path / "run", [line(10), line(20)], resumed=again)
    assert 50 < len(loss_chart(read_run_folder(folder)).marks) <= 100


def test_of_many_layers_the_chart_says_that_it_has_the_first(tmp_path: Path) -> None:
    norms = {f"{k}.gru": 1.0 for k in range(40)}
    lines = [line(10 * n, gradient_norms=norms) for n in (1, 2)]
    chart = gradient_chart(read_run_folder(written(tmp_path / "run", lines)))
    assert "the first 30 of 40" in chart.caption
    assert [one.name for one in chart.lines] == [f"{k}.gru" for k in range(30)]


def test_no_control_character_of_a_name_is_in_a_page(tmp_path: Path) -> None:
    facts = {"cfg": "a\x1b[2J.cfg", "command": ["minidark", "train", "\x9b2J"],
             "began": "\x1b", "device": "\x1b]0;x\x07"}  # fmt: skip
    lines = [line(10, sample="\x1b[31m"), {"batch": 11, "diverged": "\x1b[2J"}]
    page = page_of(written(tmp_path / "run", lines, **facts)).read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    assert r"a\x1b[2J" in page
