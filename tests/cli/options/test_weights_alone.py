"""Weights without their cfg: the record beside them leads to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from minidark import load_network
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=2",
    "gru output=6 tanh=1",
    "gru output=5",
    "connected output=256 activation=linear",
    "softmax",
)
SET = ("--set", "0.output=9", "--set", "gru.tanh=0")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 40
SAMPLE = ("--len", "20", "--srand", "1")
WEIGHTS = "run/a_final.weights"


@pytest.fixture(autouse=True)
def a_run(folder: Path) -> None:
    """run/, of a.cfg with --set, and text.txt."""
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(TEXT)
    done = run("train", "a.cfg", "text.txt", *SET, "--backup", "run", "--seed", "1")
    assert done.exit_code == 0, done.stderr


@pytest.fixture
def without_run_json() -> None:
    Path("run/run.json").unlink()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("generate",), SAMPLE),
        (("generate", *SAMPLE), ()),
        (("valid",), ("text.txt", "--json")),
        (("valid", "--json"), ()),
        (("info",), ("--json",)),
        (("vec",), ()),
        (("look", "--json"), ("text.txt",)),
    ],
)
@pytest.mark.parametrize("has_run_json", [True, False])
def test_weights_alone_are_read_with_their_cfg_and_set_values(
    before: tuple[str, ...], after: tuple[str, ...], has_run_json: bool
) -> None:
    expected = output(*before, "a.cfg", WEIGHTS, *after, *SET, stdin=TEXT)
    if not has_run_json:
        Path("run/run.json").unlink()
    assert output(*before, WEIGHTS, *after, stdin=TEXT) == expected


def test_the_cfg_that_is_used_is_told() -> None:
    assert run("info", WEIGHTS).stderr == "minidark: using run/run.json\n"
    Path("run/run.json").unlink()
    told = "minidark: using a.cfg --set 0.output=9 --set gru.tanh=0\n"
    assert run("info", WEIGHTS).stderr == told
    assert run("--quiet", "info", WEIGHTS).stderr == ""


def test_a_run_json_of_another_run_is_passed_over() -> None:
    expected = output("generate", WEIGHTS, *SAMPLE)
    path = Path("run/run.json")
    values = json.loads(path.read_bytes())
    values["cfg_values"][1]["output"] = 7
    path.write_text(json.dumps(values))
    assert output("generate", WEIGHTS, *SAMPLE) == expected
    path.write_text("{")
    assert output("generate", WEIGHTS, *SAMPLE) == expected


@pytest.mark.usefixtures("without_run_json")
def test_a_cfg_is_found_beside_weights_that_moved() -> None:
    expected = output("generate", WEIGHTS, *SAMPLE)
    Path("run").rename("moved")
    Path("a.cfg").rename("moved/a.cfg")
    assert output("generate", "moved/a_final.weights", *SAMPLE) == expected


@pytest.mark.usefixtures("without_run_json")
@pytest.mark.parametrize("text", [None, "no cfg",
                                  CFG.replace("[gru]\noutput=5", "[rnn]\noutput=5")])  # fmt: skip
def test_a_cfg_that_is_missing_or_changed_is_named(text: str | None) -> None:
    Path("a.cfg").unlink()
    if text:
        Path("a.cfg").write_text(text)
    result = run("generate", WEIGHTS, *SAMPLE)
    refused = (
        f"{WEIGHTS}: made with a.cfg, which is missing or has other layers now; put the cfg of "
        "these weights before them"
    )
    assert_refused(result, 4, refused)


@pytest.mark.parametrize("record", [None, "{", "other"])
def test_weights_without_their_record_ask_for_the_cfg(record: str | None) -> None:
    beside = Path(f"{WEIGHTS}.json")
    if record == "other":  # the weights were replaced
        load_network("a.cfg", seed=5).save_weights(WEIGHTS)
    elif record is None:
        beside.unlink()
    else:
        beside.write_text(record)
    asked = (
        f"{WEIGHTS} is a weight file, and {beside} does not record its cfg: put its cfg before it"
    )
    for words in (["generate", WEIGHTS], ["valid", WEIGHTS, "text.txt"], ["info", WEIGHTS]):
        assert_wrong_usage(run(*words), asked)


@pytest.mark.usefixtures("without_run_json")
def test_a_record_cannot_ask_for_a_network_that_the_file_cannot_fill() -> None:
    beside = Path(f"{WEIGHTS}.json")
    record = json.loads(beside.read_bytes())
    record["layers"] = [line.replace("=9 ", "=20000 ").replace("=9", "=20000")
                        for line in record["layers"]]  # fmt: skip
    beside.write_text(json.dumps(record))
    result = run("info", WEIGHTS)
    assert result.exit_code == 4
    assert "has other layers now" in result.stderr


def test_convert_finds_the_cfg() -> None:
    output("convert", WEIGHTS, "one.npz")
    output("convert", WEIGHTS, "two.npz", "--cfg", "a.cfg", *SET)
    assert output("generate", "one.npz", *SAMPLE) == output("generate", "two.npz", *SAMPLE)
    shutil.copy(WEIGHTS, "bare.weights")
    refused = "bare.weights does not contain its cfg; add --cfg CFG"
    assert_wrong_usage(run("convert", "bare.weights", "x.npz"), refused)


def test_an_archive_is_named_once() -> None:
    output("convert", WEIGHTS, "one.npz")
    expected = output("valid", "one.npz", "one.npz", "text.txt")
    assert output("valid", "one.npz", "text.txt") == expected
    assert output("valid", "one.npz", stdin=TEXT) == expected
    assert json.loads(output("look", "one.npz", "text.txt", "--json"))["characters"] == 1800


def test_files_in_the_wrong_order_are_told_as_before() -> None:
    swapped = f"{WEIGHTS} is a weight file and a.cfg is a cfg: the cfg comes first"
    assert_wrong_usage(run("valid", WEIGHTS, "a.cfg", "text.txt"), swapped)
    twice = f"{WEIGHTS} is a weight file: put its cfg before it"
    assert_wrong_usage(run("valid", WEIGHTS, "b.weights", "text.txt"), twice)
    missing = "none.weights is a weight file, and there is no such file"
    assert_wrong_usage(run("valid", "none.weights", "text.txt"), missing)
