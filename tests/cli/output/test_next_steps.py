"""The end of a run: its sample, and the two commands that are named, which work as they are."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from minidark import load_network
from minidark.inference import generate
from tests.cli.running import run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=2",
    "gru output=6",
    "connected output=256 activation=linear",
    "softmax",
)
WORDS = CFG.replace("256", "9")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 40
LOOKS = find_spec("jinja2") is not None


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "b.cfg").write_text(CFG)
    (folder / "words.cfg").write_text(WORDS)
    (folder / "logistic.cfg").write_text(CFG.replace("softmax", "logistic"))
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "the pairs.txt").write_bytes(b"one\t1\ntwo\t2\n" * 40)
    (folder / "the.tokens").write_text(
        "\n".join(["The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog."])
    )


def named(*arguments: str) -> list[str]:
    """The commands that are named after a run."""
    result = run("train", *arguments, "--seed", "1")
    assert result.exit_code == 0, result.stderr
    _, found, commands = result.stderr.partition("\nminidark: next, you can type\n")
    assert found
    return [line.removeprefix("    minidark ") for line in commands.splitlines()]


LOOK = "look 'my runs/' text.txt"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("a.cfg text.txt", ["generate 'my runs/'", LOOK if LOOKS else "report 'my runs/'"]),
        ("a.cfg 'the pairs.txt' --pairs", ["predict 'my runs/'", "report 'my runs/'"]),
        (
            "a.cfg 'the pairs.txt' --pairs --valid 'the pairs.txt'",
            ["predict 'my runs/'", "score 'my runs/' 'the pairs.txt'"],
        ),
        (
            "words.cfg text.txt --tokens the.tokens",
            ["generate 'my runs/' --tokens the.tokens", "report 'my runs/'"],
        ),
        ("logistic.cfg text.txt", ["info 'my runs/'", "report 'my runs/'"]),
    ],
)
def test_the_commands_after_a_run_work_as_they_are(arguments: str, expected: list[str]) -> None:
    commands = named(*shlex.split(arguments), "--backup", "my runs")
    assert commands == expected
    for command in commands:
        done = run(*shlex.split(command), stdin=b"one\n")
        assert done.exit_code == 0, (command, done.stderr)
        assert done.stdout


def test_in_a_folder_of_several_runs_the_weights_are_named() -> None:
    named("b.cfg", "text.txt")
    commands = named("a.cfg", "text.txt")
    assert commands[0] == "generate backup/a_final.weights"
    assert run(*commands[0].split()).exit_code == 0
    load_network("a.cfg", seed=2).save_weights("backup/a_best.weights")
    assert named("a.cfg", "text.txt", "--valid-fraction", ".5")[0] == (
        "generate backup/a_best.weights"
    )


def test_the_sample_is_drawn_once_and_not_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    real = generate.generate

    def counted(*args: object, **kwargs: object) -> bytes:
        drawn.append(args)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("minidark.training.feeds.generate", counted)
    for option, shown in ((None, True), ("--quiet", False), ("--json", False)):
        drawn.clear()
        result = run("train", "a.cfg", "text.txt", *([option] if option else []))
        assert ("--- a sample after 2 batches:\n" in result.stderr) == shown
        assert ("next, you can type" in result.stderr) == shown
        assert len(drawn) == 1


def test_a_stopped_run_names_no_next_commands() -> None:
    named("a.cfg", "text.txt")
    again = run("train", "a.cfg", "text.txt", "--resume", "auto")
    assert "is finished" in again.stderr
    assert "next" not in again.stderr
