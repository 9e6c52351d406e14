"""`minidark compare`: the table, the page, and what stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.errors import SaveError
from minidark.report import pages
from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.helpers import cfg
from tests.report.browser import opened

NET = "net inputs=256 batch=4 time_steps=8 learning_rate=.02 adam=1"
OUT = ("connected output=256 activation=linear", "softmax")
BOTH = ("compare", "a.cfg", "b.cfg", "text.txt")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    Path("a.cfg").write_text(cfg(NET, "gru output=6 tanh=1", *OUT))
    Path("b.cfg").write_text(cfg(NET, "lstm output=9", *OUT))
    Path("text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog.\n" * 200)


def facts_of(*args: str) -> dict[str, Any]:
    result = run(*BOTH, *args, "--json")
    assert result.exit_code == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_the_table_says_what_was_trained_and_how_well() -> None:
    result = run(*BOTH, "--parameters", "9000", "--batches", "120", "--seeds", "1,2")
    assert result.exit_code == 0, result.stderr
    (head, *rows), said = (
        part.splitlines() for part in result.stdout.split("\n\n---")[0].split("\n\n")
    )
    means = {row.split()[0]: float(row.split()[1]) for row in rows}
    best = min(means, key=lambda name: means[name])
    assert " ".join(said).startswith(f"best: {best} with {means[best]:.3f} ± ")
    assert all(len(line) <= 80 for line in (head, *rows, *said))
    assert re.split(r"  +", head) == [
        "cfg", "bits/char", "parameters", "widths", "memory", "chars/s", "batches",
        "seconds",
    ]  # fmt: skip
    for row, name, layer in zip(rows, "ab", ("gru", "lstm"), strict=True):
        found = re.split(r"  +", row)
        assert re.fullmatch(r"\d\.\d{3} ± \d\.\d{3}", found[1])
        width = f"{layer}.output={found[3]}"
        net = load_network(f"{name}.cfg", overrides=[width], kernels="numpy")
        parameters = sum(p.value.size for p in net.parameters())
        assert (found[0], found[2], found[6]) == (name, f"{parameters:,}", "120")
        assert f"{name}: recurrent width {found[3]}, {parameters:,} parameters" in result.stderr
    assert "--- a:\n" in result.stdout
    assert "b, seed 2: 120: validation" in result.stderr


def test_the_figures_are_those_of_the_runs_that_are_kept() -> None:
    facts = facts_of("--batches", "30", "--seeds", "5", "--backup", "runs")
    assert facts["cfgs"][0]["widths"] == [6]
    for cfg_, name in zip(facts["cfgs"], "ab", strict=True):
        log = Path("runs", f"{name}-seed5", "log.jsonl").read_text().splitlines()
        nats = json.loads(log[-1])["valid_loss"]
        assert 2 ** cfg_["bits_per_character"] == pytest.approx(2.718281828459045**nats)
        (one,) = cfg_["runs"]
        assert (one["seed"], one["batches"], one["symbols"]) == (5, 30, 30 * 32)


def test_seconds_are_a_budget_too() -> None:
    facts = facts_of("--seconds", "0.3")
    assert facts["seconds"] == 0.3
    for cfg_ in facts["cfgs"]:
        (one,) = cfg_["runs"]
        assert one["batches"] > 1


def test_a_page_that_cannot_be_written_is_told_before_anything_is_trained() -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    result = run(*BOTH, "-o", "none/page.html")  # no line of what takes part
    assert_refused(result, 1, "none/page.html: cannot write: No such file or directory")
    Path("folder").mkdir()
    assert_refused(run(*BOTH, "-o", "folder"), 1, "folder: cannot write: Is a directory")


def paths(chart: Any) -> tuple[str, ...]:
    """The path of each line of a chart."""
    return tuple(line.get_attribute("d") for line in chart.locator("path.line").all())


def test_its_page_in_a_browser(chromium: Any) -> None:
    """One page load: the table, the best, the differences, and the chart with its switches."""
    pytest.importorskip("jinja2", reason="needs the extra report")
    Path("한글 नमस्ते\x1b[31m.cfg").write_text(Path("b.cfg").read_text())
    often = ["--batches", "200", "--valid-fraction", ".03"]
    words = ["compare", "a.cfg", "한글 नमस्ते\x1b[31m.cfg", "text.txt", *often]
    result = run(*words, "--seeds", "1,2", "-o", "page.html", "--json")
    assert "\x1b" not in result.stdout + result.stderr
    assert "arning" not in result.stderr
    facts = json.loads(result.stdout)
    with opened(chromium, Path("page.html"), viewport={"width": 390, "height": 800}) as page:
        page.click("summary")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator(".hint:visible").count() >= 1  # the table scrolls, and says so
        rows = [row.split("\t") for row in page.locator(".ranked").first.locator(
            "tbody tr").all_inner_texts()]  # fmt: skip
        best = page.locator("tr.best").inner_text()
        runs = [row.split("\t") for row in page.locator("details tbody tr").all_inner_texts()]
        differences = page.locator(".differences tbody tr").all_inner_texts()
        label = page.locator("svg.figure").get_attribute("aria-label")
        assert page.locator(".samples pre").count() == 2
        chart = page.locator(".chart")
        curves = {}
        for kind in ("validation", "training"):
            chart.get_by_role("radio", name=kind).check()
            for by in ("characters", "seconds"):
                chart.get_by_role("radio", name=by).check()
                along = chart.locator("text.x").all_text_contents()
                assert len({*along}) == len(along) > 1
                curves[kind, by] = paths(chart)  # of all: the slowest run's may be the same by both
        assert len({*curves.values()}) == 4
        chart.get_by_label("Logarithmic").check()
        assert paths(chart) != curves["training", "seconds"]
    names = [r"a", r"한글 नमस्ते\x1b[31m"]
    for row, name, cfg_ in zip(rows, names, facts["cfgs"], strict=True):
        mean, deviation = cfg_["bits_per_character"], cfg_["bits_deviation"]
        assert row[0].replace("the best", "").strip() == name
        assert row[1] == f"{mean:.3f} ± {deviation:.3f}"
    winner = min(facts["cfgs"], key=lambda cfg_: cfg_["bits_per_character"])
    assert f"{winner['bits_per_character']:.3f}" in best
    assert "the best" in best
    assert differences == ["layer\tgru output=6 tanh=1\tlstm output=5"]
    assert [(row[1], row[6]) for row in runs] == [
        (str(one["seed"]), f"{one['bits']:.3f}") for cfg_ in facts["cfgs"] for one in cfg_["runs"]
    ]
    for cfg_ in facts["cfgs"]:
        for one in cfg_["runs"]:
            assert re.search(rf"seed {one['seed']}: from [\d.]+ to {one['last_bits']:.3f}", label)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_shows_what_is_finished() -> None:
    command = [sys.executable, "-m", "minidark", *BOTH, "--batches", "100", "--seeds"]
    seeds = ",".join(map(str, range(500)))
    with subprocess.Popen(
        [*command, seeds], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        while "a, seed 1:" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        shown, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.startswith("cfg")
    assert " 100 " in shown
    assert re.search(r"minidark: stopped; \d+ of 1000 runs are finished\n$", told)


def test_where_every_run_diverged_the_exit_code_is_5() -> None:
    result = run(*BOTH, "--batches", "50", "--set", "net.learning_rate=1e38", "--set", "net.adam=0")
    assert result.exit_code == 5
    assert result.stderr.endswith(
        "minidark: error: every run diverged; try a lower learning_rate\n"
    )
    assert "(1 diverged)" in result.stdout


def test_a_run_that_fails_does_not_lose_those_before_it() -> None:
    Path("runs").mkdir()
    Path("runs/b-seed2").write_text("a file where the folder should be")
    result = run(*BOTH, "--batches", "10", "--seeds", "1,2", "--backup", "runs", "--json")
    assert result.exit_code == 1
    assert "minidark: error: " in result.stderr.splitlines()[-1]
    assert "b-seed2: cannot write: " in result.stderr
    runs = [(c["name"], r["seed"]) for c in json.loads(result.stdout)["cfgs"] for r in c["runs"]]
    assert runs == [("a", 1), ("a", 2), ("b", 1)]


def test_a_page_that_cannot_be_written_does_not_lose_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: Any) -> None:
        raise SaveError("page.html: cannot write: No space left on device")

    monkeypatch.setattr(pages, "write_atomically", full)
    result = run(*BOTH, "--batches", "2", "-o", "page.html")
    assert result.exit_code == 1
    assert result.stdout.startswith("cfg  bits/char")
    *_, last = result.stderr.splitlines()
    assert last == "minidark: error: page.html: cannot write: No space left on device"


def test_wrong_usage_is_told() -> None:
    assert_wrong_usage(
        run("compare", "a.cfg", "text.txt"), "compare needs two or more cfgs, and then the text"
    )
    assert_wrong_usage(
        run(*BOTH, "--batches", "9", "--seconds", "9"),
        "use either --batches or --seconds, not both",
    )
    for seeds, said in (
        ("1,x", "'1,x' is not a list of whole numbers separated by commas."),
        ("1,1", "'1,1' contains a seed twice."),
    ):
        assert_wrong_usage(run(*BOTH, "--seeds", seeds), f"Invalid value for '--seeds': {said}")


def test_what_it_needs_is_said_before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    message = "needs jinja2: pip install 'minidark[report]'"
    assert_refused(run(*BOTH, "-o", "page.html", "--backup", "runs"), 1, message)
    assert not Path("runs").exists()


def test_errors_name_the_cfg_that_they_are_of() -> None:
    Path("b.cfg").write_text(cfg(NET, *OUT))
    said = "b.cfg: has no recurrent width to scale from 65,792 towards 99 parameters"
    assert_refused(run(*BOTH, "--parameters", "99"), 3, said)
    Path("b.cfg").write_text(cfg(NET, "gru output=x", *OUT))
    assert_refused(run(*BOTH), 3, "b.cfg:9: output='x' is not an integer")


@pytest.mark.parametrize("page", ["b.cfg", "text.txt"])
def test_a_page_is_not_written_over_what_is_read(page: str) -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    before = Path(page).read_bytes()
    said = f"{page} is an input of this command; write to another file"
    assert_wrong_usage(run(*BOTH, "--batches", "2", "-o", page), said)
    assert Path(page).read_bytes() == before


@pytest.mark.parametrize("name", ["c[red]d", "c[/b]", "c$x_$", ":smile:", os.fsdecode(b"\xff")])
def test_names_are_shown_as_they_are(name: str) -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    try:
        folder = Path(f"{name}.cfg").parent
        folder.mkdir(exist_ok=True)
        Path(f"{name}.cfg").write_text(Path("a.cfg").read_text())
    except (OSError, ValueError):
        pytest.skip("this system has no such names")
    result = run(
        "compare", f"{name}.cfg", "b.cfg", "text.txt", "--batches", "20", "-o", "page.html"
    )
    assert result.exit_code == 0, result.exception
    shown = Path(f"{name}.cfg").stem.encode(errors="backslashreplace").decode()
    assert result.stdout.splitlines()[1].split()[0] == shown
    page = Path("page.html").read_text()
    names = re.findall(r'"name":(".*?"),', page)
    assert f"{shown}, seed 1" in map(json.loads, names)
