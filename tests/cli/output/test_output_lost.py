"""Standard output that cannot be written: one line, exit code 1, and nothing after it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import lay_out
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=40",
    "gru output=6",
    "connected output=256 activation=linear",
    "softmax",
)
CLI = Path(__file__).parents[3] / "minidark" / "cli"
CALLS = [
    ["--version"], ["--help"], ["train", "--help"], ["ops", "a.cfg"], ["ops", "a.cfg", "--json"],
    ["info", "a.cfg"], ["statistics", "a.cfg", "a.weights"], ["init"], ["completion", "bash"],
    ["generate", "a.cfg", "a.weights", "--srand", "1", "--len", "9"],
    ["valid", "a.cfg", "a.weights", "text.txt", "--color"],
    ["rnn", "generate", "a.cfg", "a.weights", "-len", "9"],
    ["train", "a.cfg", "text.txt", "--explain"],
]  # fmt: skip
FULL = "No space left on device"
CLOSED = "Bad file descriptor"
LOST = "standard output: cannot write: "
NEEDS_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows closes no standard stream")
SHELL = (sys.executable, "-m", "minidark")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(CFG, b"The quick brown fox jumps over the lazy dog.\n" * 200)


def called(redirection: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    """A real call, by a shell, as a person types it."""
    command = ["sh", "-c", f'"$@" {redirection}', "sh", *SHELL, *args]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


@pytest.mark.slow
@NEEDS_FULL
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_full_disk_is_one_line_and_1(call: list[str]) -> None:
    ended = called(">/dev/full", *call)
    *_, last = ended.stderr.decode().splitlines()
    assert (ended.returncode, last) == (1, f"minidark: error: {LOST}{FULL}")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("redirection", [">&-", "1</dev/null"], ids=["closed", "only for reading"])
@pytest.mark.parametrize("call", [["--version"], ["--help"], ["info", "a.cfg"]], ids=" ".join)
def test_a_descriptor_that_cannot_be_written_is_too(call: list[str], redirection: str) -> None:
    ended = called(redirection, *call)
    assert (ended.returncode, ended.stderr.decode()) == (1, f"minidark: error: {LOST}{CLOSED}\n")


@POSIX
def test_a_command_that_writes_nothing_needs_no_standard_output() -> None:
    ended = called(">&-", "average", "a.cfg", "b.weights", "a.weights")
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.slow
@NEEDS_FULL
def test_a_full_standard_error_does_not_change_the_exit_code() -> None:
    assert called("2>/dev/full", "info", "none.cfg").returncode == 3
    assert called("2>/dev/full", "no-such-command").returncode == 2
    assert called("2>/dev/full", "check", "a.cfg").returncode == 0


@POSIX
def test_a_reader_that_goes_away_is_no_error() -> None:
    for call in (["info", "a.cfg"], ["generate", "a.cfg", "a.weights", "--len", "100000"]):
        ended = called("| true; exit 0", *call)
        assert b"Exception ignored" not in ended.stderr
        assert b"error" not in ended.stderr


def assert_trained(ended: subprocess.CompletedProcess[bytes], reason: str) -> None:
    """To its end, with one warning."""
    lines = ended.stderr.decode().splitlines()
    warning = f"minidark: warning: {LOST}{reason}; the run continues without this output"
    assert lines.count(warning) == 1
    assert lines[-1] == f"minidark: error: {LOST}{reason}"
    assert ended.returncode == 1
    assert Path("backup/a_final.weights").exists()


@pytest.mark.slow
@NEEDS_FULL
def test_a_run_goes_on_without_its_lines_and_ends_with_1() -> None:
    ended = called(">/dev/full", "train", "a.cfg", "text.txt", "--seed", "1", "--json")
    assert_trained(ended, FULL)


@pytest.mark.slow
def test_so_it_does_on_a_disk_that_fills_up(disk: Path) -> None:
    (disk / "ballast").write_bytes(bytes(252 * 1024))
    ended = called(">disk/lines", "train", "a.cfg", "text.txt", "--batches", "400",
                   "--seed", "1", "--json")  # fmt: skip
    assert_trained(ended, FULL)
    assert (disk / "lines").read_bytes().startswith(b'{"batch": 10, ')


@pytest.mark.slow
@NEEDS_FULL
def test_the_page_of_a_comparison_is_written_before_its_table() -> None:
    ended = called(">/dev/full", "compare", "a.cfg", "a.cfg", "text.txt", "--batches", "2",
                   "-o", "page.html")  # fmt: skip
    assert ended.returncode == 1
    assert Path("page.html").exists()


@POSIX
def test_a_name_that_the_encoding_cannot_hold_is_spelled() -> None:
    name = os.fsdecode(b"\xff.cfg")
    Path(name).write_text(CFG)
    ended = subprocess.run([*SHELL, "diff", "gru", name], capture_output=True, timeout=60,
                           env={**os.environ, "PYTHONIOENCODING": "utf-8"})  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"+++ \\udcff.cfg\n" in ended.stdout


def test_nothing_else_writes_to_standard_output() -> None:
    """All that a command prints goes through `output.stdout`, and notes through `output.stderr`."""
    for path in sorted(CLI.rglob("*.py")):
        if path.name in ("stdout.py", "stderr.py", "words.py"):  # words writes a file of the source
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {
                    "print", "click.echo", "click.secho", "sys.stdout.write",
                    "sys.stdout.buffer.write",
                }, f"{path.name}:{node.lineno}"  # fmt: skip
