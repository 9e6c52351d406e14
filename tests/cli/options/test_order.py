"""Files that stand in each other's places: what to give is said, and nothing is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark.files import shipped
from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.shipped_cfgs import NARROW, shipped_cfg

TEXT = b"It is a text, and no cfg.\n" * 100
BOTH = "contains weights and cfg: name it twice"
MODEL = "is a model of another program; convert it with `minidark convert"
FIRST = "is not a cfg, by its name, and the cfg comes first"
SHIPPED = "CFG may be a shipped one, such as rnn"


@pytest.fixture(autouse=True)
def text(folder: Path) -> None:
    (folder / "text.txt").write_bytes(TEXT)
    (folder / "input").write_bytes(TEXT)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train text.txt rnn", "rnn is a cfg and text.txt is not: the cfg comes first"),
        ("train input rnn", "rnn is a cfg and input is not: the cfg comes first"),
        ("train none.txt my.cfg", "my.cfg is a cfg and none.txt is not: the cfg comes first"),
        ("valid text.txt rnn", "rnn is a cfg and text.txt is not: the cfg comes first"),
        ("compare text.txt gru lstm", "gru is a cfg and text.txt is not: the cfg comes first"),
        ("train text.txt", f"text.txt {FIRST}: minidark train CFG DATA...; {SHIPPED}"),
        ("train input", f"input {FIRST}: minidark train CFG DATA...; {SHIPPED}"),
        ("vec text.txt", f"text.txt {FIRST}: minidark vec CFG WEIGHTS; {SHIPPED}"),
        (
            "train a.weights",
            "a.weights is a weight file: put its cfg before it",
        ),
        ("generate a.onnx", f"a.onnx {MODEL} a.onnx NAME.safetensors`"),
        ("valid rnn a.pt", f"a.pt {MODEL} a.pt NAME.safetensors`"),
        ("statistics a.npz", f"a.npz {BOTH}, minidark statistics CFG WEIGHTS"),
        (
            "statistics a.npz text.txt",
            "text.txt is not a weight file; a.npz contains weights and cfg: name it twice, one "
            "after the other",
        ),
    ],
)
def test_what_to_give_is_said(line: str, message: str) -> None:
    result = run(*line.split())
    assert_wrong_usage(result, message)
    assert result.stderr.startswith(f"Usage: minidark {line.split()[0]} ")


@pytest.mark.parametrize("line", ["train rnn", "valid rnn", "vec my.cfg", "look rnn a.weights"])
def test_a_cfg_without_the_rest_is_clicks_own_message(line: str) -> None:
    result = run(*line.split())
    assert result.exit_code == 2
    assert "Error: Missing argument '" in result.stderr


@pytest.mark.parametrize("name", ["n" * 5000, "n" * 5000 + ".txt"])
def test_a_name_that_no_file_can_have_is_as_missing_as_others(name: str) -> None:
    result = run("train", shipped_cfg("rnn", NARROW), name)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"minidark: error: {'n' * 97}...: cannot read: ")
    assert run("info", name).exit_code == 3


def test_a_file_that_has_a_shipped_cfgs_name_is_a_text() -> None:
    Path("rnn").write_bytes(TEXT)
    Path("net.txt").write_text("[net]\ninputs=256\n[connected]\noutput=256\n[softmax]\n")
    result = run("train", "net.txt", "rnn", "--batches", "1")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("name", ["rnn.cfg", "cfg/rnn.cfg"])
def test_a_missing_file_of_a_shipped_name_is_told_of_the_bare_name(name: str) -> None:
    said = f"{name}: no such file; use the bare name rnn for the shipped cfg"
    assert_refused(run("train", name, "text.txt"), 3, said)


def test_messages_name_a_shipped_cfg_as_it_was_typed() -> None:
    wrong = ["rnn", "--set", "gru.output=x"]
    assert_refused(run("info", *wrong), 3, "rnn as overridden: output='x' is not an integer")
    result = run("check", *wrong)
    assert result.stdout.startswith("rnn as overridden: error: output='x' is not an integer")
    assert result.stderr == "minidark: rnn: 1 mistake, no warnings\n"
    unknown = run("diff", "rnn", "--set", "gru.tanh=0", "--set", "net.momentum=.5")
    assert str(shipped.folder("cfg")) not in unknown.stdout + unknown.stderr
