"""`minidark gradcheck`: its table, its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minidark.backend import Array
from minidark.cli.commands import gradcheck
from minidark.layers.gru import GruLayer
from tests.cli.running import output, run
from tests.helpers import cfg


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    end = ("connected output=9 activation=linear", "softmax")
    (folder / "a.cfg").write_text(cfg("net inputs=9", "gru output=4 tanh=1", *end))
    (folder / "costless.cfg").write_text(cfg("net inputs=9", "gru output=4 tanh=1"))


def test_every_array_has_a_row_and_a_verdict() -> None:
    lines = output("gradcheck", "a.cfg").decode().splitlines()
    rows = [line for line in lines if line.endswith("PASS")]
    assert len(rows) == 12 + 1 + 2 + 1 + 12 + 1
    assert rows[0].split()[:3] == ["0.gru.wz.biases", "4", "6"]
    assert lines[-1] == "PASS: none of 29 arrays exceed 1e-06"


def test_json_has_the_same_and_a_seed_repeats_it() -> None:
    shown = json.loads(output("gradcheck", "a.cfg", "--json", "--seed", "3"))
    assert shown["passed"] is True
    assert shown["arrays"][0]["name"] == "0.gru.wz.biases"
    assert all(0 <= array["error"] <= shown["tolerance"] for array in shown["arrays"])
    assert shown == json.loads(output("gradcheck", "a.cfg", "--json", "--seed", "3"))
    assert shown != json.loads(output("gradcheck", "a.cfg", "--json", "--seed", "4"))


def test_how_far_it_is_is_told_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("gradcheck", "a.cfg").stderr == ""
    monkeypatch.setattr(gradcheck, "QUIET", 0.0)
    lines = run("gradcheck", "a.cfg").stderr.splitlines()
    assert lines[0] == "minidark: compared 1 of 29 arrays"
    assert lines[-1] == "minidark: compared 29 of 29 arrays"


def test_a_wrong_backward_is_1_and_its_arrays_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = GruLayer.backward

    def backward(self: GruLayer, dy: Array, *, need_dx: bool = True) -> Array | None:
        return sound(self, 1.01 * dy, need_dx=need_dx)

    monkeypatch.setattr(GruLayer, "backward", backward)
    result = run("gradcheck", "a.cfg")
    assert result.exit_code == 1
    failed = [line.split()[0] for line in result.stdout.splitlines() if line.endswith("FAIL")]
    assert "0.gru.uz.weights" in failed
    assert not any("connected" in name for name in failed)
    assert result.stdout.splitlines()[-1].startswith("FAIL: 27 of 29 arrays exceed")
    assert json.loads(run("gradcheck", "a.cfg", "--json").stdout)["passed"] is False


def test_a_cfg_without_a_cost_is_3() -> None:
    result = run("gradcheck", "costless.cfg")
    assert result.exit_code == 3
    assert result.stderr.startswith("minidark: error: costless.cfg: this network has no cost")
