"""The page of a run, in a browser: it shows the log's figures, whatever became of the run."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.cfg.source import recorded_text
from minidark.errors import visible
from minidark.files.shipped import find_cfg
from minidark.report.curves import gradient_curve, loss_curve, speed_curve
from minidark.report.run import read_run_folder
from minidark.report.training import write_run_page
from minidark.training.same_run import cfg_values
from tests.report.browser import opened
from tests.report.runs import LAYERS, line, logged, trained, written
from tests.shipped_cfgs import each_shipped_cfg, shipped_cfg

pytest.importorskip("jinja2", reason="needs the extra report")
pytest.importorskip("matplotlib", reason="needs the extra report")
PHONE = {"viewport": {"width": 390, "height": 800}}


def page_of(folder: Path) -> Path:
    file = folder.with_suffix(".html")
    write_run_page(file, read_run_folder(folder))
    return file


@pytest.fixture(scope="session")
def shown(real: Path) -> Path:
    """The page of `real`."""
    return page_of(real)


def test_it_shows_the_figures_of_the_log(real: Path, shown: Path, chromium: Any) -> None:
    lines = logged(real)
    validated = [one for one in lines if "valid_loss" in one]
    best = min(one["valid_loss"] for one in validated)
    with opened(chromium, shown) as page:
        tiles = page.locator(".tiles").inner_text()
        assert f"best validation\n{best / math.log(2):.3f} bits per character" in tiles
        assert "batches\n700 of 700" in tiles
        assert f"training average\n{lines[-1]['average'] / math.log(2):.3f} bits" in tiles
        page.click("summary")
        rows = page.locator("details tbody tr").all_inner_texts()
        assert [row.split("\t")[0] for row in rows] == [str(one["batch"]) for one in validated]
        assert [row.split("\t")[4] for row in rows] == [f"{v['valid_loss']:.4f}" for v in validated]
        assert [row.endswith("the best") for row in rows] == [
            one["valid_loss"] == best for one in validated
        ]
        assert page.locator(".samples pre").all_text_contents() == [
            visible(one["sample"]) for one in lines if "sample" in one
        ]
        assert page.locator(".command").first.text_content() == (
            "minidark train a.cfg 'my text.txt' --seed 5"
        )
        assert "It was resumed with" in page.inner_text("main")


def test_every_curve_tells_in_words_what_it_shows(real: Path, shown: Path, chromium: Any) -> None:
    lines = logged(real)
    with opened(chromium, shown) as page:
        labels = [f.get_attribute("aria-label") for f in page.locator("svg.figure").all()]
        titles = page.locator(".figures h2").all_inner_texts()
    assert titles == ["Loss", "Learning rate", "Gradients", "Speed"]
    first, last = lines[0]["average"], lines[-1]["average"]
    assert f"goes from {first:.4g} at batch 10 to {last:.4g} at batch 700" in labels[0]
    norms = [one["gradient_norms"]["0.gru"] for one in lines]
    assert f"The gradient norm of 0.gru goes from {norms[0]:.3g} to {norms[-1]:.3g}." in labels[2]


def test_the_curve_is_that_of_the_log(real: Path, shown: Path) -> None:
    """The points of the first path in the series' colour, back in nats by a line through them."""
    page = shown.read_text()
    path = next(
        found
        for found in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', page)
        if "var(--series-0)" in found[1]
    )[0]
    points = [[*map(float, pair)] for pair in re.findall(r"[ML] (\S+) (\S+)", path)]
    wanted = [one["average"] for one in logged(real)]
    ys = [y for _, y in points]
    scale = (max(wanted) - min(wanted)) / (min(ys) - max(ys))
    drawn = [max(wanted) + scale * (y - min(ys)) for y in ys]
    assert len(drawn) <= len(wanted)  # points on a straight line are left out
    for (x, _), cost in zip(points, drawn, strict=True):
        batch = 10 + 690 * (x - points[0][0]) / (points[-1][0] - points[0][0])
        assert cost == pytest.approx(wanted[round(batch / 10) - 1], abs=0.02)


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
  return Math.min(...[...document.querySelectorAll("dt, dd, small, pre, .state, td, figcaption")]
    .map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
}"""

ODD: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "nothing yet": ([], {}, "No batch has been logged yet"),
    "one line": ([line(10)], {}, "Not finished: still running, stopped or killed."),
    "no validation": ([line(10), line(20, last=True)], {"batches": 20}, "Finished."),
    "out of patience": (
        [line(10, valid_loss=1), line(20, last=True, valid_loss=2)], {"batches": 99},
        "Finished by early stopping (--patience).",
    ),
    "diverged": (
        [line(10), {"batch": 11, "diverged": "batch 11: the loss is nan"}], {},
        "Diverged: batch 11: the loss is nan.",
    ),
    "no gradient": ([line(10, gradient_norms={}), line(20, gradient_norms={})], {}, "Not finished"),
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


def test_lengths_of_zero_or_beyond_all_numbers_leave_gaps(tmp_path: Path) -> None:
    norms = [{"0.gru": None}, {"0.gru": 0}, {"0.gru": 2}, {"0.gru": 3}]
    lines = [line(10 * n, gradient_norms=norm) for n, norm in enumerate(norms, start=1)]
    assert "goes from 0 to 3." in gradient_curve(read_run_folder(written(tmp_path / "a", lines)))
    gradient_curve(read_run_folder(written(tmp_path / "b", lines[:1])))


@pytest.mark.parametrize(("scale", "unit"), [(1, "seconds"), (10, "minutes"), (1e3, "hours")])
def test_time_is_in_units_that_fit(tmp_path: Path, scale: float, unit: str) -> None:
    lines = [line(n, seconds=scale * n) for n in (10, 20, 30)]
    assert f">{unit}</text>" in speed_curve(read_run_folder(written(tmp_path / "run", lines)))


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


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_figures_are_drawn_soon_and_without_a_word(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Warnings are errors here; the time is the processor's, of two lines as of many."""
    lines = [{**line(10 * n, valid_loss=1.0), **ABSURD[name]} for n in range(1, 12)]
    lines[0] = {**line(10), "gradient_norms": lines[1]["gradient_norms"]}
    began = time.process_time()
    page = page_of(written(tmp_path / "run", lines))
    assert time.process_time() - began < 20
    assert "<svg" in page.read_text()
    assert capfd.readouterr() == ("", "")


def test_a_run_that_was_resumed_thousands_of_times_is_drawn_soon(tmp_path: Path) -> None:
    again = [{"batch": n, "at": "", "command": ["a"]} for n in range(1, 5000)]
    began = time.process_time()
    loss_curve(read_run_folder(written(tmp_path / "run", [line(10), line(20)], resumed=again)))
    assert time.process_time() - began < 10


def test_of_many_layers_the_curve_says_that_it_has_the_first(tmp_path: Path) -> None:
    norms = {f"{k}.gru": 1.0 for k in range(40)}
    lines = [line(10 * n, gradient_norms=norms) for n in (1, 2)]
    svg = str(gradient_curve(read_run_folder(written(tmp_path / "run", lines))))
    assert "the first 30 of 40" in svg
    assert ">29.gru<" in svg
    assert ">30.gru<" not in svg


def test_no_control_character_of_a_name_is_in_a_page(tmp_path: Path) -> None:
    facts = {"cfg": "a\x1b[2J.cfg", "command": ["minidark", "train", "\x9b2J"],
             "began": "\x1b", "device": "\x1b]0;x\x07"}  # fmt: skip
    lines = [line(10, sample="\x1b[31m"), {"batch": 11, "diverged": "\x1b[2J"}]
    page = page_of(written(tmp_path / "run", lines, **facts)).read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    assert r"a\x1b[2J" in page
