"""`minidark diff`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import assert_wrong_usage, output, run
from tests.helpers import cfg

END = ("connected output=256 activation=linear", "softmax")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(cfg("net inputs=256", "gru output=4 tanh=1", *END))
    (folder / "same.cfg").write_text("# said otherwise\n" + cfg(
        "network inputs=256 batch=1", "gru tanh=1 output=4", "conn output=256 activation=linear",
        "soft", "cost",
    ))  # fmt: skip
    (folder / "b.cfg").write_text(
        cfg("net inputs=256 adam=1 decay=0", "gru output=5 tanh=1", "dropout", *END)
    )


def test_networks_that_mean_the_same_say_nothing() -> None:
    result = run("diff", "a.cfg", "same.cfg", "--exit-code", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_differences_are_told_as_a_diff() -> None:
    assert output("diff", "a.cfg", "b.cfg").decode().splitlines() == [
        "--- a.cfg",
        "+++ b.cfg",
        "[net] momentum: 0.9 -> none",
        "[net] decay: 0.0001 -> 0",
        "[net] adam: 0 -> 1",
        "[net] B1: none -> 0.9",
        "[net] B2: none -> 0.999",
        "[net] eps: none -> 1e-07",
        "  0 [gru] output: 4 -> 5",
        "+ 1 [dropout]",
        "  1 -> 2 [connected] inputs: 4 -> 5",
        "parameters: 4,424 -> 5,481 (+1,057)",
    ]


def test_keys_of_minidark_are_explained() -> None:
    shown = output("diff", "a.cfg", "--set", "gru.reset_after=1", "--set", "gru.tanh=0").decode()
    assert shown.splitlines()[2:] == [
        "  0 [gru] tanh: 1 -> 0",
        "  0 [gru] reset_after: 0 -> 1",
        "      (1: r acts after the product with the state, as in nn.GRU; 0: before; weights fit "
        "one form)",
    ]


def test_exit_code_is_1_only_where_it_is_asked_for_and_they_differ() -> None:
    assert run("diff", "a.cfg", "b.cfg").exit_code == 0
    assert run("diff", "a.cfg", "b.cfg", "--exit-code").exit_code == 1
    assert run("diff", "a.cfg", "a.cfg", "--exit-code").exit_code == 0
    assert run("diff", "a.cfg", "none.cfg").exit_code == 3


def test_overrides_are_of_b_alone_which_may_be_a_again() -> None:
    shown = output("diff", "a.cfg", "--set", "gru.tanh=0").decode()
    assert shown.splitlines()[:3] == [
        "--- a.cfg", "+++ a.cfg as overridden", "  0 [gru] tanh: 1 -> 0",
    ]  # fmt: skip
    assert output("diff", "b.cfg", "a.cfg", "--set", "net.adam=1").count(b"adam") == 0


def test_json_is_one_object() -> None:
    shown = json.loads(output("diff", "a.cfg", "b.cfg", "--json"))
    assert (shown["a"], shown["b"], shown["same"]) == ("a.cfg", "b.cfg", False)
    assert shown["layers"][0]["changes"] == [{"key": "output", "a": 4, "b": 5}]
    assert shown["parameters"] == [4424, 5481]
    same = json.loads(output("diff", "a.cfg", "a.cfg", "--json"))
    assert (same["same"], same["net"], same["layers"]) == (True, [], [])


def test_one_cfg_alone_is_wrong_usage() -> None:
    said = "diff needs two cfgs, A and B, or A and --set"
    assert_wrong_usage(run("diff", "a.cfg"), said)
