"""docs/cfg.md and docs/runs.md: their examples give what stands there, their tables are whole."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from minidark.cfg.check import check_cfg
from minidark.cfg.options import POLICY_NAMES
from minidark.cli.commands.experiment import KEYS, read_experiment
from minidark.layers.activations import ACTIVATIONS
from tests.cli.running import run

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def documented(page: str) -> set[str]:
    """What stands between backquotes."""
    return set(re.findall(r"`([^`\n]*)`", text_of(page)))


def blocks(text: str, kind: str) -> list[str]:
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", text)
    return [block for name, block in found if name == kind]


def example(page: str, command: str) -> tuple[list[str], str]:
    """The words of the one example that begins with this command, and what it prints."""
    (block,) = [b for b in blocks(text_of(page), "") if b.startswith(f"$ minidark {command} ")]
    line, _, shown = block.partition("\n")
    return shlex.split(line)[2:], shown


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_diff_is_what_it_prints() -> None:
    words, shown = example("cfg.md", "diff")
    assert run(*words).stdout == shown


def test_the_check_is_what_it_prints_of_the_cfg_without_its_tanh() -> None:
    cfg, *others = blocks(text_of("cfg.md"), "ini")
    assert len(others) == 3  # links between layers, an attention, byte pairs
    for text in (cfg, *others):
        assert check_cfg(text.encode(), "my.cfg").findings == []
    Path("my.cfg").write_text(cfg.replace("tanh=1\n", ""))
    words, shown = example("cfg.md", "check")
    result = run(*words)
    assert result.stdout + result.stderr == shown


def test_the_readmes_cfg_is_clean() -> None:
    (cfg,) = blocks(README.read_text(encoding="utf-8"), "ini")
    assert check_cfg(cfg.encode(), "my.cfg").findings == []


def test_policies_and_activations_are_all_there() -> None:
    assert {*POLICY_NAMES, *ACTIVATIONS} <= documented("cfg.md")


def test_the_lines_of_explain_are_those_it_prints() -> None:
    Path("data.txt").write_bytes(b"Some text, over and over. " * 200)
    words, shown = example("runs.md", "train")
    lines = run(*words, "--set", "gru.output=8").stdout.splitlines()
    assert [line[:12] for line in lines] == [line[:12] for line in shown.splitlines()]


def test_the_experiment_is_six_runs_named_as_told() -> None:
    Path("data.txt").write_bytes(b"text")
    (yaml,) = blocks(text_of("runs.md"), "yaml")
    Path("widths.yaml").write_text(yaml)
    runs = read_experiment("widths.yaml")
    assert len(runs) == 6
    assert runs[0].folder == Path("runs/widths/gru.output=128,seed=1")
    assert "runs/widths/gru.output=128,seed=1" in documented("runs.md")


def test_every_key_of_an_experiment_has_a_row() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|", text_of("runs.md"))
    assert {*KEYS} <= {*rows}


def test_run_json_has_what_is_told_of_it() -> None:
    Path("text.txt").write_bytes(b"Some text, over and over. " * 200)
    run("train", "rnn", "text.txt", "--batches", "1", "--set", "gru.output=4")
    record = json.loads(Path("backup/run.json").read_text())
    assert record["overrides"] == ["gru.output=4"]
