"""Commands in the pages: each has the options it is shown with, and the quick start runs."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from minidark.cli import COMMANDS, cli
from minidark.cli.commands.rnn import VERBS, parse_line
from tests.cli.running import run
from tests.docs.pages import PAGES, ROOT, fences, prose

SHELL = ("", "sh")  # what a fence of commands is marked as, if it is marked
INLINE = re.compile(r"`minidark ([a-z]+)((?: [^`]*)?)`")
PLACES = re.compile(r"<!-- generated: \w+ -->")


def commands(page: str) -> list[list[str]]:
    """The words of every `minidark ...` in the fences, without what comes behind a pipe."""
    lines = (
        line
        for block in fences(page)
        if block.language in SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
    )
    typed = (line.strip().removeprefix("$ ") for line in lines)
    return [split(line) for line in typed if line.startswith("minidark ")]


def split(line: str) -> list[str]:
    """A shell line's words behind `minidark`, up to a pipe, a redirection or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    ends = {"|", "<", ">", "&&", ";", ">>"}
    return [*itertools.takewhile(lambda word: word not in ends, lexer)][1:]


SHOWN = [(page.name, words) for page in PAGES for words in commands(page.read_text("utf-8"))]


def test_commands_are_found() -> None:
    assert len(SHOWN) > 30
    assert split("minidark a 'b c' --d < in | head # e") == ["a", "b c", "--d"]


def test_a_command_that_is_shown_is_one_that_can_be_typed() -> None:
    wrong = {}
    for page, words in SHOWN:
        try:
            parse(words)
        except (click.ClickException, AssertionError) as error:
            wrong[page, *words] = error
    assert wrong == {}


def parse(words: list[str]) -> None:
    """Raises what the command line finds wrong."""
    root = click.Context(cli, info_name="minidark", **cli.context_settings)
    if words == ["--version"]:
        return
    name, command, rest = cli.resolve_command(root, words)
    assert command
    with contextlib.suppress(click.exceptions.Exit):  # of --help
        command.make_context(name, [*rest], parent=root)
    if name == "rnn":
        assert parse_line(rest).words[0] in VERBS


# --- the quick start ----------------------------------------------------------------------


SMALL = {
    "train": ["--batches", "2", "--save-every", "1", "--set", "gru.output=64"],
    "generate": ["--len", "50", "--set", "gru.output=64"],
    "valid": ["--set", "gru.output=64"],
}


def steps() -> Iterator[list[str]]:
    """The quick start's commands on small settings: two batches of 64 units, fifty characters."""
    for words in commands((ROOT / "docs" / "quick-start.md").read_text("utf-8")):
        with_a_cfg = len(words) > 1 and not words[1].startswith("-")
        yield words + (SMALL.get(words[0], []) if with_a_cfg else [])


@pytest.fixture
def folder_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With texts; what else a command needs, one before it leaves."""
    for name in ("data.txt", "other.txt"):
        (tmp_path / name).write_bytes((ROOT / "docs" / "parity.md").read_bytes()[:5000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_quick_start_works_from_its_first_command_to_its_last(
    folder_of_the_reader: Path,
) -> None:
    for words in steps():
        result = run(*words)
        assert result.exit_code == 0, f"{words}: {result.stderr}"
    left = {path.name for path in (folder_of_the_reader / "backup").iterdir() if path.is_file()}
    assert left == files_that_a_run_leaves("rnn") - {"rnn_N.weights", "rnn_N.weights.json"}


def files_that_a_run_leaves(base: str) -> set[str]:
    """Those in the table of docs/commands.md."""
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    _, table = page.split("\n## Files of a run\n")
    rows = [row for row in table.split("\n## ")[0].splitlines() if row.startswith("| `")]
    weights = "BASE.backup", "BASE_N.weights", "BASE_best.weights", "BASE_final.weights"
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    assert names >= {*weights, "FILE.json"}
    names = names - {"FILE.json"} | {f"{name}.json" for name in weights}
    return {name.replace("BASE", base) for name in names}


# --- commands within sentences ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_within_a_sentence_exists_and_has_its_options(page: Path) -> None:
    root = click.Context(cli, info_name="minidark", **cli.context_settings)
    for name, rest in INLINE.findall(prose(page.read_text("utf-8"))):
        assert name in COMMANDS
        _, command, _ = cli.resolve_command(root, [name])
        assert command
        known = {flag for param in command.get_params(root) for flag in param.opts}
        assert {*re.findall(r"(?<!\S)--[a-z-]+", rest)} <= known, f"{name}{rest}"
