"""`minidark demo`: the commands that it prints and runs, and the files that it does not touch."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from click.testing import Result

from minidark.cli.commands import demo
from minidark.files import shipped
from tests.cli.running import Started, assert_refused, assert_wrong_usage, run
from tests.docs.pages import ROOT
from tests.shipped_cfgs import NARROW, narrowed

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 60
SHORT = ("--batches", "2")
pytest.importorskip("jinja2", reason="needs the extra report")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """A text where a test runs, and a file `rnn`, which is taken before the shipped cfg."""
    (folder / "my.txt").write_bytes(TEXT)
    (folder / "rnn").write_text(narrowed(shipped.find_cfg("rnn").read_text(), NARROW))


def commands(result: Result) -> list[str]:
    """The printed commands; samples of these texts have no such lines."""
    return [line for line in result.stdout.splitlines() if line.startswith("minidark ")]


def shown(*args: str) -> Result:
    result = run("demo", *SHORT, *args)
    assert result.exit_code == 0, result.stderr or result.exception
    return result


def bytes_of(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def recorded(folder: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Path(folder, "run.json").read_text())
    return record


def test_it_trains_samples_and_writes_a_page_by_commands_that_can_be_pasted() -> None:
    result = shown("my.txt", "--backup", "mine", "-o", "mine.html")
    printed = commands(result)
    assert printed == [
        "minidark train rnn my.txt --batches 2 --backup mine",
        "minidark generate mine/ --len 600",
        "minidark play mine/ -o mine.html",
    ]
    *_, last = result.stdout.splitlines()
    assert last == f"Open mine.html in a browser: {Path('mine.html').absolute().as_uri()}"
    begin, _, rest = result.stdout.partition("\n\nminidark train")
    assert begin.startswith("Before training")
    assert len(begin.splitlines()[-1]) == demo.BEFORE
    _, _, after = rest.partition("--len 600\n")
    assert len(after.encode(errors="replace")) > 600  # a sample, then the third command
    assert (recorded("mine")["batches"], recorded("mine")["overrides"]) == (2, [])
    page = Path("mine.html").read_bytes()
    again = run(*shlex.split(printed[-1])[1:])  # pasted
    assert (again.exit_code, Path("mine.html").read_bytes()) == (0, page)


def test_without_a_text_it_is_the_shipped_one_by_names_that_work_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(demo, "_run", lambda name, arguments: ran.append([name, *arguments]))
    run("demo")
    (_, cfg, text, *rest), sample, page = ran
    assert cfg == "rnn"  # works in any folder
    assert Path(text).read_bytes() == (ROOT / "texts" / "alice.txt").read_bytes()
    assert rest == ["--batches", "2000", "--set", "dropout.probability=.5"]
    assert (sample, page) == (["generate", "backup/", "--len", "600"], ["play", "backup/"])
    monkeypatch.chdir(ROOT)
    run("demo", "--backup", os.fspath(tmp_path / "b"), "-o", os.fspath(tmp_path / "b.html"))
    assert ran[3][:3] == ["train", "cfg/rnn.cfg", "texts/alice.txt"]


def test_repeated_it_does_not_train_again() -> None:
    shown("my.txt")
    before = bytes_of("backup")
    Path("play.html").unlink()
    again = shown("./my.txt")
    assert commands(again)[0] == "minidark train rnn ./my.txt --batches 2 --resume auto"
    assert "Before training" not in again.stdout
    assert "this run is finished" in again.stderr
    assert bytes_of("backup") == before
    assert Path("play.html").exists()


@pytest.mark.parametrize("other", ["another text", "another length", "damaged", "weights alone"])
def test_it_does_not_touch_another_run(other: str) -> None:
    Path("backup").mkdir()
    if other == "weights alone":
        Path("backup/old_final.weights").write_bytes(b"x")
    elif other == "damaged":
        Path("backup/run.json").write_text('{"resumed": [], "cfg": 1, "text": 2}')
    else:
        Path("your.txt").write_bytes(TEXT)
        data, batches = ("your.txt", "2") if other == "another text" else ("my.txt", "3")
        assert run("train", "rnn", data, "--batches", batches).exit_code == 0
    before = bytes_of("backup")
    refused = run("demo", "my.txt", *SHORT)
    assert_wrong_usage(refused, "backup contains another run; name a new one with --backup")
    assert bytes_of("backup") == before
    assert not Path("play.html").exists()


def test_mistakes_are_reported_before_any_work() -> None:
    assert_refused(
        run("demo", "missing.txt"), 4, "missing.txt: cannot read: No such file or directory"
    )
    Path("play.html").write_text("mine")
    result = run("demo", "my.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "play.html exists and is not an earlier output" in result.stderr
    assert not Path("backup").exists()
    shown("my.txt", "--force")
    assert Path("play.html").read_bytes() != b"mine"


def test_names_that_look_like_options_are_names() -> None:
    Path("-my.txt").write_bytes(TEXT)
    for _ in range(2):  # the second one finds the run of the first
        result = shown("--backup", "-mine", "-o", "-mine.html", "--", "-my.txt")
        train, sample, page = commands(result)
        assert train.startswith("minidark train rnn ./-my.txt --batches 2 --backup -mine")
        assert (sample, page) == (
            "minidark generate ./-mine/ --len 600", "minidark play ./-mine/ -o -mine.html"
        )  # fmt: skip


def test_empty_names_are_reported_before_any_work() -> None:
    assert_refused(run("demo", ""), 4, ": cannot read: No such file or directory")
    assert_wrong_usage(run("demo", "my.txt", "-o", ""), "the name of the output file is empty")
    assert not Path("backup").exists()


def test_a_report_repeats_the_training_with_its_seed() -> None:
    shown("my.txt", "--backup", "mine")
    before = Path("mine/rnn_final.weights").read_bytes()
    *_, command = run("report", "mine").stdout.splitlines()
    seed = recorded("mine")["seed"]
    assert command.strip() == (f"minidark train rnn my.txt --batches 2 --backup mine --seed {seed}")
    assert run(*shlex.split(command)[1:]).exit_code == 0
    assert Path("mine/rnn_final.weights").read_bytes() == before


def test_without_the_extra_it_trains_and_names_the_command_for_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    result = shown("my.txt")
    assert result.stderr.splitlines()[-1] == (
        "minidark: no page without the extra: pip install 'minidark[report]'; then minidark play "
        "backup/"
    )
    assert Path("backup/rnn_final.weights").exists()
    assert not Path("play.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_an_interrupt_ends_it_cleanly_and_the_same_command_resumes() -> None:
    command = [sys.executable, "-m", "minidark", "demo", "my.txt", "--batches", "200"]
    environment = {**os.environ, "MINIDARK_KERNELS": "numpy"}  # which need no compiling
    with Started(command, stdout=PIPE, stderr=PIPE, env=environment) as process:
        assert process.stderr
        heard = b""
        while not heard.endswith(b" epochs\n"):  # until a batch is done
            line = process.stderr.readline()
            assert line, heard
            heard += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert b"minidark generate" not in out
    *_, stopped, last = err.decode().splitlines()
    assert stopped == "minidark: stopped; backup/rnn.backup is saved, --resume auto continues"
    assert last == "minidark: the same `minidark demo` command resumes it"
    assert not Path("play.html").exists()
    again = run("demo", "my.txt", "--batches", "200")
    assert again.exit_code == 0, again.stderr
    assert "resuming from backup/rnn.ckpt, after batch " in again.stderr
    assert Path("play.html").exists()


def test_the_shipped_text_is_small_and_plain() -> None:
    text = (shipped.folder("texts") / demo.TEXT).read_bytes()
    assert text.startswith(b"                ALICE'S ADVENTURES IN WONDERLAND\n")
    assert len(text) < 200_000
    assert text.isascii()
    assert b"\r" not in text
    assert b"Gutenberg" not in text
