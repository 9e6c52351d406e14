"""A run as its folder tells it, against the log by another computation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from minidark import DataError
from minidark.report.run import figures, read_run_folder
from tests.report.runs import LAYERS, line, logged, trained, written


def test_the_figures_are_those_of_the_log(real: Path) -> None:
    found = figures(read_run_folder(real))
    lines = logged(real)
    validations = {one["batch"]: one["valid_loss"] for one in lines if "valid_loss" in one}
    best = min(validations, key=lambda batch: validations[batch])
    assert (found["state"], found["batch"], found["batches"]) == ("finished", 700, 700)
    assert found["symbols"] == 700 * 4 * 4
    assert found["best"]["batch"] == best
    assert found["best"]["nats"] == validations[best]
    assert 2 ** found["best"]["bits"] == pytest.approx(math.exp(validations[best]))
    assert [v["batch"] for v in found["validations"]] == [*validations]
    assert found["log"]["batch"] == [*range(10, 701, 10)]
    assert (
        found["log"]["gradient_norms"]["1.connected"][7]
        == lines[7]["gradient_norms"]["1.connected"]
    )
    assert {*found["log"]["gradient_norms"]} == {"0.gru", "1.connected"}
    assert found["resumed_after"] == [600]
    assert [s["batch"] for s in found["samples"]] == [500, 600, 700]
    assert found["characters_per_second"] == 700 * 16 / lines[-1]["seconds"]
    assert json.dumps(found, allow_nan=False)


def test_the_command_that_repeats_it_has_its_seed(real: Path, tmp_path: Path) -> None:
    assert figures(read_run_folder(real))["command"] == (
        "minidark train a.cfg 'my text.txt' --seed 5"
    )
    for given in (["--seed", "5"], ["--seed=5"]):
        command = ["minidark", "train", "a.cfg", "t", *given]
        run = read_run_folder(written(tmp_path / given[0], [], command=command))
        assert run.command == command


def test_speeds_are_between_lines_and_none_where_no_time_passed(tmp_path: Path) -> None:
    lines = [line(10 * n, seconds=s) for n, s in enumerate((1.0, 3.0, 3.0, 3.5), start=1)]
    run = read_run_folder(written(tmp_path / "run", lines))
    assert run.speeds == [(3.0, 160.0), (3.5, 640.0)]


def test_a_run_that_goes_on_is_shown_without_its_torn_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", [line(10), line(20)])
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"batch": 30, "lo')
    found = figures(read_run_folder(folder))
    assert (found["state"], found["batch"]) == ("not finished", 20)


def test_a_run_without_a_line_has_no_figures(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", [])
    for _ in range(2):
        found = figures(read_run_folder(folder))
        assert (found["state"], found["batch"], found["average"]) == ("not finished", 0, None)
        assert found["best"] is found["characters_per_second"] is None
        (folder / "log.jsonl").unlink(missing_ok=True)


def test_one_that_diverged_says_where(tmp_path: Path) -> None:
    lines = [line(10), {"batch": 12, "diverged": "batch 12: the loss is nan"}]
    found = figures(read_run_folder(written(tmp_path / "run", lines)))
    assert (found["state"], found["diverged"], found["batch"]) == (
        "diverged", "batch 12: the loss is nan", 10,
    )  # fmt: skip


def test_a_cost_that_is_not_nats_has_no_bits(tmp_path: Path) -> None:
    layers = (*LAYERS[:2], "logistic")
    folder = trained(tmp_path / "run", 20, layers, valid_fraction=0.2)
    found = figures(read_run_folder(folder))
    assert found["best"] == {"batch": 20, "cost": logged(folder)[-1]["valid_loss"]}


def test_a_length_beyond_all_numbers_is_null(tmp_path: Path) -> None:
    norms = {"gradient_norms": {"0.gru": None, "1.connected": 0.25}}
    found = figures(read_run_folder(written(tmp_path / "run", [line(10), line(20, **norms)])))
    assert found["log"]["gradient_norms"] == {"0.gru": [0.5, None], "1.connected": [0.25, 0.25]}


def test_text_that_utf_8_cannot_hold_is_spelled(tmp_path: Path) -> None:
    command = ["minidark", "train", "a.cfg", "\udce9.txt"]
    folder = written(tmp_path / "run", [line(10, sample="\ud800")], command=command)
    run = read_run_folder(folder)
    assert run.command[3] == "\\udce9.txt"
    assert run.samples[0]["sample"] == "\\ud800"


@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense", "[]", "{}", "[" * 20_000, json.dumps({**line(10), "loss": None}),
        json.dumps({**line(10), "loss": math.nan}), json.dumps({**line(10), "loss": True}),
        json.dumps({**line(10), "gradient_norms": {"0.gru": "1"}}),
        json.dumps({k: v for k, v in line(10).items() if k != "gradient_norms"}),
        json.dumps({**line(10), "valid_loss": None}), json.dumps({**line(10), "sample": 1}),
        json.dumps({"batch": 10, "diverged": "in the middle"}), "\xff",
        json.dumps({**line(10), "others": json.loads("[" * 600 + "]" * 600)}),
        json.dumps({**line(10), "gradient_norms": {"another": 1.0}}), "x" * 5_000_000,
    ],
)  # fmt: skip
def test_a_log_of_another_format_is_an_error_with_its_line(tmp_path: Path, wrong: str) -> None:
    folder = written(tmp_path / "run", [line(10)])
    with open(folder / "log.jsonl", "ab") as file:
        file.write(wrong.encode("latin-1") + b"\n" + json.dumps(line(20)).encode() + b"\n")
    with pytest.raises(DataError, match=r"log\.jsonl:2: .* is not a log line of this version") as e:
        read_run_folder(folder)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 400


def test_what_is_no_folder_of_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder; expected the --backup"):
        read_run_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no run\.json; expected the --backup folder"):
        read_run_folder(tmp_path)
    (tmp_path / "log.jsonl").write_text("{")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(
        DataError, match=r"run\.json: damaged, or of another version: command is miss"
    ):
        read_run_folder(tmp_path)


@pytest.mark.parametrize(
    "facts",
    [
        {"seed": "5"},
        {"cfg": None},
        {"in_nats": 1},
        {"resumed": [1]},
        {"text": [{"path": "a"}]},
        {"resumed": [{"batch": 1, "at": "", "command": None}]},
        {"cfg_values": [{}]},
        {"cfg": "a\0.cfg"},
        {"text": [{"path": "a\0", "size": 1, "sampled": ""}]},
        {"command": ["minidark", 1]},
        {"resumed": [{"batch": 1, "at": "", "command": [None]}]},
        {"valid_fraction": 10**400},
        {"batches": -(10**400)},
        {"resumed": [{"batch": 10**400, "at": "", "command": []}]},
    ],
)
def test_a_run_json_of_another_kind_is_an_error(tmp_path: Path, facts: dict[str, Any]) -> None:
    folder = written(tmp_path / "run", [], **facts)
    (name,) = facts
    with pytest.raises(DataError, match=f"json: damaged, or of another version: {name}"):
        read_run_folder(folder)


@pytest.mark.parametrize("key", ["batch", "loss", "seconds", "valid_loss", "gradient_norms"])
def test_a_number_beyond_what_can_be_shown_is_an_error(tmp_path: Path, key: str) -> None:
    wrong: Any = {"0.gru": 10**400} if key == "gradient_norms" else 10**400
    folder = written(tmp_path / "run", [{**line(10), key: wrong}])
    with pytest.raises(DataError, match=r"log\.jsonl:1: .* is not a log line"):
        read_run_folder(folder)


def test_a_run_json_that_nests_deep_is_an_error(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", [], deep=json.loads("[" * 600 + "]" * 600))
    with pytest.raises(DataError, match=r"run\.json: damaged, or of another version"):
        read_run_folder(folder)


def test_a_seed_may_be_of_any_size(tmp_path: Path) -> None:
    run = read_run_folder(written(tmp_path / "run", [], seed=10**30))
    assert run.command[-1] == str(10**30)
