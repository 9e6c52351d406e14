"""The progress of `score`: a bar on a terminal, lines elsewhere, nothing with --quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark import load_network
from minidark.cli.output import progress as module
from minidark.cli.output.progress import _Seldom
from tests.cli.running import run
from tests.cli.terminal import NO_TERMINALS, on_terminal
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=8 time_steps=12", "gru output=6 tanh=1",
    "connected output=256 activation=linear", "softmax",
)  # fmt: skip
CALL = ("score", "a.cfg", "a.weights", "a.tsv")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "a.tsv").write_text("a\tb\n" * 4)
    load_network("a.cfg", seed=3).save_weights("a.weights")


def test_without_a_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "scoring" not in run(*CALL).stderr  # too short for one
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    shown = [f"minidark: scoring: {percent} %" for percent in (12, 25, 38, 50, 100)]
    assert [line for line in run(*CALL).stderr.splitlines() if "scoring" in line] == shown
    assert "scoring" not in run(*CALL, "--quiet").stderr


@pytest.mark.slow
@NO_TERMINALS
def test_on_a_terminal_there_is_a_bar() -> None:
    seen = on_terminal(*CALL, stdout=False)
    assert seen.code == 0
    assert "scoring" in seen.screen
    assert "━" in seen.screen
    assert "scoring" not in on_terminal(*CALL, "--quiet", stdout=False).screen
    assert "━" not in on_terminal(*CALL, stdout=False, TERM="dumb").screen


def test_progress_is_shown_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shown = 0.0, []
    monkeypatch.setattr("minidark.cli.output.progress.time.monotonic", lambda: now)
    report = _Seldom(lambda done, total: shown.append(done), 10.0)
    for now in range(35):
        report(int(now), 35)
    assert shown == [10, 20, 30]
