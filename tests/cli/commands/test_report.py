"""`minidark report`, and what `train` leaves for it."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 100
NET = "net inputs=256 batch=4 time_steps=8 learning_rate=.01"
OUT = ("connected output=256 activation=linear", "softmax")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    Path("a.cfg").write_text(cfg(NET, "gru output=6 tanh=1", *OUT))
    Path("text.txt").write_bytes(TEXT)


def trained(*args: str, code: int = 0) -> str:
    result = run("train", "a.cfg", "text.txt", "--backup", "b", "--seed", "3", *args)
    assert result.exit_code == code, result.stderr
    return result.stderr


def reported(*args: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(output("report", "b", "--json", *args))
    return facts


def test_a_run_in_a_few_lines_in_figures_and_on_a_page() -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    trained("--batches", "30")
    lines = [json.loads(line) for line in Path("b/log.jsonl").read_text().splitlines()]
    cost = lines[-1]["valid_loss"]
    facts = reported("-o", "page.html")
    assert (facts["state"], facts["batch"], facts["seed"]) == ("finished", 30, 3)
    assert facts["best"] == {"batch": 30, "nats": cost, "bits": cost / math.log(2)}
    said = output("report", "b").decode()
    assert all(len(line) <= 80 for line in said.splitlines())
    assert f"result                 {cost / math.log(2):.3f} bits per character after 30 b" in said
    command = said.partition("command\n")[2].replace("\\\n", " ")  # as a shell reads it
    assert shlex.split(command) == shlex.split(facts["command"])
    assert f"best validation        {cost:.4f} nats = {cost / math.log(2):.3f} bits, at" in said
    page = Path("page.html").read_text()
    assert f"{cost / math.log(2):.3f} <small>bits per character" in page
    assert "<h2>Learning to write</h2>" in page
    assert_wrong_usage(run("report", "b", "--live"), "--live needs a page: add -o FILE")
    result = run("report", "b", "-o", "page.html")
    assert (result.stdout_bytes, result.stderr) == (b"", "minidark: wrote page.html\n")


def test_the_sample_after_the_last_batch_is_what_generate_gives() -> None:
    trained("--batches", "12")
    (sample,) = reported()["samples"]
    text = output("generate", "a.cfg", "b/a_final.weights", "--len", "200", "--srand", "12")
    assert sample == {"batch": 12, "text": text.decode(errors="replace").strip()}


def test_a_run_that_diverged_is_told_as_such_until_it_goes_on() -> None:
    trained("--batches", "60", "--save-every", "20")
    trained("--batches", "60", "--set", "net.learning_rate=1e38", code=5)
    facts = reported()
    assert facts["state"] == "diverged"
    assert facts["diverged"].startswith("batch ")
    assert "state                  diverged: batch" in output("report", "b").decode()


def test_what_is_no_run_is_one_line() -> None:
    Path("empty").mkdir()
    assert_refused(
        run("report", "nowhere"),
        4,
        "nowhere: no such folder; expected the --backup folder of `train`",
    )
    assert_refused(
        run("report", "empty"),
        4,
        "empty: no run.json; expected the --backup folder of `train`",
    )
    trained("--batches", "10")
    Path("b/log.jsonl").write_text("1: 3.5, 3.5 avg\n")
    said = f"{Path('b/log.jsonl')}:1: '1: 3.5, 3.5 avg' is not a log line of this version"
    assert_refused(run("report", "b"), 4, f"{said} of `train`: it is not JSON")


def test_without_the_extra_figures_are_told_and_a_page_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained("--batches", "10")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert reported()["batch"] == 10
    Path("page.html").write_text("before")
    message = "needs jinja2: pip install 'minidark[report]'"
    assert_refused(run("report", "b", "-o", "page.html", "--force"), 1, message)
    assert Path("page.html").read_text() == "before"


def test_train_writes_events_and_says_before_the_first_batch_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained("--batches", "10")
    before = Path("b/log.jsonl").read_bytes()
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
        told = trained("--batches", "20", "--tensorboard", code=1)
    assert told == (
        "minidark: error: --tensorboard needs tensorboard: pip install 'minidark[tensorboard]'\n"
    )
    assert Path("b/log.jsonl").read_bytes() == before
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs the extra tensorboard",
    )
    trained("--batches", "20", "--tensorboard")
    events = reader.EventAccumulator("b/tensorboard")
    events.Reload()
    lines = [json.loads(line) for line in Path("b/log.jsonl").read_text().splitlines()]
    assert [(e.step, e.value) for e in events.Scalars("loss/batch")] == [
        (line["batch"], pytest.approx(line["loss"], rel=1e-6)) for line in lines
    ]


@pytest.mark.parametrize("page", ["b/log.jsonl", "b/a_final.weights", "text.txt", "a.cfg"])
def test_a_page_is_not_written_over_a_file_of_the_run(page: str) -> None:
    trained("--batches", "10")
    before = Path(page).read_bytes()
    said = f"{page} is an input of this command; write to another file"
    assert_wrong_usage(run("report", "b", "-o", page), said)
    assert Path(page).read_bytes() == before


def test_nothing_in_a_run_reaches_the_terminal_as_an_escape() -> None:
    trained("--batches", "10")
    facts = json.loads(Path("b/run.json").read_text())
    Path("b/run.json").write_text(json.dumps({**facts, "cfg": "\x1b[2J\x9b2J.cfg"}))
    said = output("report", "b").decode()
    assert "\\x1b[2J\\x9b2J.cfg" in said
    assert not set("\x1b\x9b") & set(said)


def test_a_file_is_no_run() -> None:
    said = "text.txt: a file; expected a run's folder, the --backup of `train`"
    assert_refused(run("report", "text.txt"), 4, said)
