"""`train --epochs`: the fewest batches that show the training part so often."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.files import shipped
from tests.cli.running import assert_wrong_usage, run
from tests.helpers import cfg

NET = "net inputs=256 batch=6 subdivisions=2 time_steps=7 learning_rate=.01 adam=1"
LAYERS = ("gru output=6", "connected output=256 activation=linear", "softmax")
CFG = cfg(NET, *LAYERS)
ROWS = 6 * 7  # of a batch
SIZE, HELD = 1000, 50


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(b"abcdefghij" * (SIZE // 10))
    lines = "".join(f"{n}\t{n * n}\n" for n in range(100))
    (folder / "pairs.txt").write_text(lines)


def trained(*args: str, code: int = 0) -> list[dict[str, Any]]:
    """The log of a run."""
    result = run("train", *args)
    assert result.exit_code == code, result.stderr
    return [json.loads(line) for line in Path("backup/log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("epochs", ["1", "2", "3", ".5", "0.1", "1.5"])
def test_the_last_batch_is_the_first_that_reaches_the_epochs(epochs: str) -> None:
    last = trained("a.cfg", "text.txt", "--epochs", epochs)[-1]
    wanted = float(epochs) * (SIZE - HELD)
    assert last["batch"] * ROWS == last["symbols"]
    assert last["symbols"] - ROWS < wanted <= last["symbols"]
    assert last["epochs"] == last["symbols"] / (SIZE - HELD)


def test_an_exact_number_of_epochs_is_exact() -> None:
    """950 characters in batches of 38 are 25 batches; with floats, 0.28 epochs could be 8."""
    same = ("--set", "net.batch=2", "--set", "net.time_steps=19")
    for epochs, batches in (("1", 25), ("3", 75), (".28", 7), (".56", 14), (".04", 1)):
        assert trained("a.cfg", "text.txt", *same, "--epochs", epochs)[-1]["batch"] == batches


def test_pairs_are_read_once_in_an_epoch() -> None:
    """95 of 100 pairs, 3 in a pass and 2 passes in a batch: 32 passes, 16 batches."""
    for epochs, batches in (("1", 16), ("2", 32), ("1.1", 18)):
        last = trained("a.cfg", "pairs.txt", "--pairs", "--epochs", epochs)[-1]
        assert last["batch"] == batches
        assert last["epochs"] == 1 or epochs != "1"


def test_symbols_of_byte_pairs_are_counted_as_symbols() -> None:
    Path("b.cfg").write_text(
        cfg("net inputs=260 batch=2 time_steps=5", "bytepairs", "gru output=6",
            "connected output=260 activation=linear", "softmax")
    )  # fmt: skip
    last = trained("b.cfg", "text.txt", "--epochs", "1")[-1]
    assert last["epochs"] == pytest.approx(1, abs=0.05)
    assert last["batch"] * 10 < SIZE - HELD, "a symbol is several characters"


def test_all_of_data_is_an_epoch_with_other_data_to_validate_on() -> None:
    last = trained("a.cfg", "text.txt", "--valid", "text.txt", "--epochs", "1")[-1]
    assert last["batch"] == -(-SIZE // ROWS)


def test_the_learning_rate_falls_over_the_epochs() -> None:
    Path("a.cfg").write_text(cfg(f"{NET} policy=cosine max_batches=7", *LAYERS))
    lines = trained("a.cfg", "text.txt", "--epochs", "2")
    assert (lines[-1]["batch"], lines[-1]["rate"]) == (46, 0)
    values = json.loads(Path("backup/run.json").read_bytes())
    assert values["batches"] == values["cfg_values"][0]["max_batches"] == 46
    assert load_network("backup/run.json").options.max_batches == 46


def test_a_resumed_run_ends_where_it_would_have_ended() -> None:
    trained("a.cfg", "text.txt", "--epochs", "2", "--seed", "3")
    Path("backup").rename("whole")
    trained("a.cfg", "text.txt", "--epochs", "1", "--seed", "3")
    assert trained("a.cfg", "text.txt", "--epochs", "2", "--resume", "auto")[-1]["batch"] == 46
    ends = [Path(folder, "a_final.weights").read_bytes() for folder in ("whole", "backup")]
    assert ends[0] == ends[1]


def test_epochs_follow_those_of_the_weights() -> None:
    trained("a.cfg", "text.txt", "--epochs", "1")
    more = ("--weights", "backup/a_final.weights", "--epochs", "1")
    last = trained("a.cfg", "text.txt", *more)[-1]
    assert (last["batch"], last["symbols"]) == (46, 23 * ROWS)
    assert trained("a.cfg", "text.txt", *more, "--clear")[-1]["batch"] == 23
    resumed = trained("a.cfg", "text.txt", "--resume", "auto", "--epochs", "2")[-1]
    assert (resumed["batch"], resumed["symbols"]) == (46, 46 * ROWS)


def test_explain_takes_epochs() -> None:
    result = run("train", "a.cfg", "text.txt", "--epochs", "2", "--explain", "--json")
    assert json.loads(result.stdout)["batches"] == 46


def test_only_one_length_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    both = run("train", "a.cfg", "text.txt", "--epochs", "1", "--batches", "3")
    assert_wrong_usage(both, "use either --batches or --epochs, not both")
    monkeypatch.setenv("MINIDARK_BATCHES", "3")
    assert trained("a.cfg", "text.txt", "--epochs", "1")[-1]["batch"] == 23
    monkeypatch.delenv("MINIDARK_BATCHES")
    monkeypatch.setenv("MINIDARK_EPOCHS", "1")
    assert trained("a.cfg", "text.txt", "--batches", "3")[-1]["batch"] == 3
    monkeypatch.delenv("MINIDARK_EPOCHS")
    for wrong in ("0", "-1", "nan", "inf", "many"):
        assert run("train", "a.cfg", "text.txt", "--epochs", wrong).exit_code == 2
    many = run("train", "a.cfg", "text.txt", "--epochs", "1e9")
    expected = "--epochs 1e+09 is 22,619,047,620 batches, more than 2,147,483,647"
    assert_wrong_usage(many, expected)


# --- options of other programs ------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a.cfg text.txt --learning-rate .1", "use --set net.learning_rate=.1"),
        ("a.cfg text.txt --learning-rate=.1", "use --set net.learning_rate=.1"),
        ("a.cfg text.txt --lr", "use --set net.learning_rate=X"),
        ("--lr --seed 1 a.cfg text.txt", "use --set net.learning_rate=X"),
        ("a.cfg text.txt --hidden 64", "use --set gru.output=64"),
        ("lstm text.txt --hidden 64", "use --set lstm.output=64"),
        ("--hidden 64 none.cfg text.txt", "use --set gru.output=64"),
        ("a.cfg text.txt --batch-size 9", "use --set net.batch=9"),
    ],
)
def test_a_key_of_the_cfg_is_named_with_its_set(typed: str, expected: str) -> None:
    option = next(word for word in typed.split() if word.startswith("--")).partition("=")[0]
    message = f"No such option '{option}', because it is a key of the cfg: {expected}"
    assert_wrong_usage(run("train", *typed.split()), message)


def test_a_set_that_is_named_is_accepted() -> None:
    for name in shipped.names("cfg", ".cfg"):
        equal = name in ("translate", "bytepairs-long")  # their [shortcut] adds equal widths
        width = "256" if equal else "9"
        said = run("train", name, "text.txt", "--hidden", width).stderr
        assert run("info", name, "--set", said.split("--set ")[1].strip()).exit_code == 0


def test_layers_are_sections() -> None:
    expected = (
        "No such option '--layers', because the cfg has a section for each layer; `minidark init "
        "--preset large` shows a cfg with two"
    )
    assert_wrong_usage(run("train", "a.cfg", "text.txt", "--layers", "2"), expected)
    assert len(re.findall(r"^\[gru\]", run("init", "--preset", "large").stdout, re.MULTILINE)) == 2


def test_other_unknown_options_are_told_as_before() -> None:
    assert_wrong_usage(run("train", "a.cfg", "text.txt", "--zzz"), "No such option '--zzz'.")
    result = run("doctor", "--learning-rate")
    assert_wrong_usage(result, "No such option '--learning-rate'.")
