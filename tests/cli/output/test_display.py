"""How a training run shows itself: on a terminal, in a pipe, to a program, not at all."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from minidark import load_network
from minidark.cli.output.display import Bar
from minidark.cli.output.stderr import tell
from minidark.training.report import StepReport
from tests.cli.running import output, run
from tests.cli.terminal import NO_TERMINALS, on_terminal
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=25",
    "gru output=6",
    "connected output=256 activation=linear",
    "softmax",
)
CALL = ("train", "a.cfg", "text.txt", "--seed", "1")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog.\n" * 200)


@NO_TERMINALS
def test_on_a_terminal_there_is_a_bar() -> None:
    seen = on_terminal(*CALL)
    assert seen.code == 0
    assert "25/25" in seen.screen
    assert "━" in seen.screen
    assert "\x1b[38;5" in seen.screen
    assert "20: " not in seen.screen


@NO_TERMINALS
def test_no_color_leaves_the_bar_and_takes_its_colours() -> None:
    seen = on_terminal(*CALL, NO_COLOR="1")
    assert "25/25" in seen.screen
    assert not re.search(r"\x1b\[[0-9;]*[34]8;", seen.screen)
    assert not re.search(r"\x1b\[3[0-7]m", seen.screen)


@NO_TERMINALS
def test_a_dumb_terminal_gets_lines_without_any_escape() -> None:
    seen = on_terminal(*CALL, TERM="dumb")
    assert "\x1b" not in seen.screen
    assert "\n20: " in seen.screen
    assert "25/25" not in seen.screen


@NO_TERMINALS
@pytest.mark.parametrize("option", ["--quiet", "-v"])
def test_quiet_is_silent_and_v_is_not(option: str) -> None:
    seen = on_terminal(*CALL, option)
    assert seen.code == 0
    assert (seen.screen == "") == (option == "--quiet")


def test_quiet_is_silent_in_a_pipe_too() -> None:
    result = run(*CALL, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    again = run(*CALL, "--quiet", "--resume", "auto")
    assert (again.exit_code, again.stderr) == (0, "")
    wrong = run(*CALL, "--quiet", "--set", "gru.output=0")
    assert wrong.exit_code == 3
    assert wrong.stderr.startswith("minidark: error: ")


@NO_TERMINALS
def test_json_is_for_programs_and_the_bar_for_those_who_watch() -> None:
    seen = on_terminal(*CALL, "--json", stdout=False)
    assert "25/25" in seen.screen
    assert len(seen.stdout.splitlines()) == 3


def test_json_is_what_the_log_holds() -> None:
    printed = output(*CALL, "--json", "--quiet").decode()
    assert printed == Path("backup/log.jsonl").read_text()
    assert [json.loads(line)["batch"] for line in printed.splitlines()] == [10, 20, 25]


@pytest.mark.slow
def test_a_reader_of_json_that_goes_away_does_not_end_the_run() -> None:
    command = [sys.executable, "-m", "minidark", *CALL, "--json", "--batches", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b'{"batch": 10,')
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert b"Traceback" not in said
    assert load_network("a.cfg", "backup/a_final.weights").seen == 200 * 32


@pytest.mark.slow
@NO_TERMINALS
def test_tables_have_escapes_on_a_terminal_that_knows_them_only() -> None:
    assert "\x1b[1m" in on_terminal("info", "a.cfg").screen
    assert "\x1b" not in on_terminal("info", "a.cfg", TERM="dumb").screen
    assert "\x1b" not in on_terminal("info", "a.cfg", stdout=False).stdout


@pytest.mark.parametrize(("in_bits", "loss"), [(True, "3.02"), (False, "2.093")])
def test_the_figures_leave_room_for_the_bar_in_80_columns(in_bits: bool, loss: str) -> None:
    bar = Bar(Progress(console=Console(file=io.StringIO())), 100, in_bits)
    bar.after(StepReport(5, False, 2, 2.093, 0.1, 16854, 2.0, 1, valid_loss=2.634))
    valid = "3.80 bits" if in_bits else "2.634"
    figures = f"loss {loss}, validation {valid}, 8,427 chars/s"
    assert bar.progress.tasks[0].fields["figures"] == figures


def test_a_sample_does_not_reach_the_terminal_as_an_escape() -> None:
    screen = io.StringIO()
    Bar(Progress(console=Console(file=screen, width=80)), 100, True).note("a\x1b[2J\x9b2Jb")
    assert screen.getvalue() == "a\\x1b[2J\\x9b2Jb\n"


def test_what_is_told_is_no_escape_either(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a\x1b[2J\x9b2Jb")
    assert capsys.readouterr().err == "a\\x1b[2J\\x9b2Jb\n"
