"""What a shipped cfg is, where it is named to people."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minidark.cfg.described import described, title_of_plan, title_of_record
from minidark.cfg.plan import plan_cfg
from minidark.files.shipped import bare_name, find_cfg, names
from tests.cli.running import run
from tests.shipped_cfgs import shipped_files as shipped_files

ROOT = Path(__file__).parents[2]
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 40


@pytest.mark.parametrize(
    ("layers", "normalizes", "expected"),
    [
        ([("gru", 320), ("dropout", 320), ("softmax", 256)], False, "one GRU of 320"),
        ([("gru", 9), ("dropout", 9), ("gru", 9)], False, "two GRUs of 9"),
        ([("gru", 9), ("gru", 8), ("lstm", 8)], False,
         "one GRU of 9, one GRU of 8 and one LSTM of 8"),
        ([("rnn", 1024)] * 12, True, "12 plain RNNs of 1,024 with batch norm"),
        ([("bytepairs", 9), ("lstm", 9), ("attention", 9), ("lstm", 7)], False,
         "one LSTM of 9 and one LSTM of 7 with attention over byte pairs"),
        ([("connected", 9), ("softmax", 9)], True, ""),
    ],
)  # fmt: skip
def test_layers_are_described(
    layers: list[tuple[str, int]], normalizes: bool, expected: str
) -> None:
    assert described(layers, normalizes) == expected


@pytest.mark.parametrize("name", names("cfg", ".cfg"))
def test_the_commands_page_describes_each_shipped_cfg(name: str) -> None:
    path = find_cfg(name)
    title = title_of_plan(path, plan_cfg(path.read_bytes()))
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    row = re.search(rf"^\| `{name}` \| (.*?)(?:, for .*)? \|$", page, re.MULTILINE)
    assert row
    assert title == f"{name}: {row[1]}"


def test_other_files_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "rnn.cfg"
    copy.write_bytes(find_cfg("rnn").read_bytes())
    plan = plan_cfg(copy.read_bytes())
    assert title_of_plan(copy, plan) == "rnn.cfg"
    monkeypatch.chdir(find_cfg("rnn").parent.parent)
    assert title_of_plan("cfg/rnn.cfg", plan) == "rnn: one GRU of 320"
    assert [bare_name(name) for name in ("a\0.cfg", "n" * 9999, "cfg/none.txt")] == [None] * 3


def test_a_record_of_another_version_has_the_bare_name() -> None:
    values = [{"section": "net", "inputs": 4}, {"section": "gru", "output": 7}]
    assert title_of_record(find_cfg("gru"), values) == "gru: one GRU of 7"
    assert title_of_record(find_cfg("gru"), [*values, {"section": "later"}]) == "gru.cfg"


@pytest.mark.usefixtures("shipped_files")
def test_commands_name_shipped_cfgs_with_their_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_bytes(TEXT)
    (rnn,) = re.findall(r"GRU of (\d+)", begin := trained("rnn"))
    assert begin.startswith(f"rnn: one GRU of {rnn}; ")
    assert trained("rnn", "--set", "gru.output=5").startswith("rnn: one GRU of 5; ")
    shown = run("report", "backup").stdout
    assert ["cfg", "rnn: one GRU of 5"] in [row.split(maxsplit=1) for row in shown.splitlines()]
    Path("own.cfg").write_bytes(find_cfg("rnn").read_bytes())
    assert re.match(r"[\d,]+ parameters, ", trained("own.cfg"))
    result = run("compare", "rnn", "lstm", "text.txt", "--batches", "1", "--parameters", "9000")
    assert re.search(r"^rnn: one GRU of \d+, recurrent width ", result.stderr, re.MULTILINE)
    assert re.search(r"^lstm: one LSTM of \d+ ", result.stdout, re.MULTILINE)
    assert re.search(r"^--- lstm: one LSTM of \d+:$", result.stdout, re.MULTILINE)
    facts = json.loads(run("compare", "rnn", "own.cfg", "text.txt", "--batches", "1",
                           "--json").stdout)  # fmt: skip
    labels = [(cfg["name"], cfg["label"]) for cfg in facts["cfgs"]]
    assert labels == [("rnn", f"rnn: one GRU of {rnn}"), ("own", "own")]


def trained(*args: str) -> str:
    """The first line of a run's log that is not a warning."""
    result = run("train", *args, "text.txt", "--batches", "1", "--seed", "1")
    assert result.exit_code == 0, result.stderr
    return next(line for line in result.stderr.splitlines() if "warning" not in line)


@pytest.mark.usefixtures("shipped_files")
def test_pages_name_shipped_cfgs_with_their_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_bytes(TEXT)
    trained("rnn", "--set", "gru.output=5")
    for command in (
        "report backup -o page.html",
        "look backup text.txt -o page.html --force",
        "look rnn backup/rnn_final.weights text.txt --set gru.output=5 -o page.html --force",
        "compare rnn gru text.txt --batches 1 --set gru.output=5 -o page.html --force",
    ):
        assert run(*command.split()).exit_code == 0, command
        assert "rnn: one GRU of 5" in Path("page.html").read_text()
