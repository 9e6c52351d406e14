"""The matrix of other machines: what a row says when tests pass, fail or cannot run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests import machines
from tests.machines import CORETYPE, HASWELL, CannotRunError, Row, Target, run

pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
TESTS = """
import os

def test_right():
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"

def test_wrong():
    assert "{}" == ""
"""


@pytest.fixture(autouse=True)
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machines, "BUILD", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "status"), [("", "green"), ("word", "RED")])
def test_a_row_is_green_or_red_and_says_what_computed(
    tmp_path: Path, wrong: str, status: str
) -> None:
    tests = tmp_path / "test_it.py"
    tests.write_text(TESTS.replace("{}", wrong))
    result = run(Row("one thread", {"OPENBLAS_NUM_THREADS": "1"}), [str(tests)])
    assert result.status == status
    assert result.facts["numpy"] == np.__version__
    assert result.facts["threads"] == 1
    assert re.fullmatch(r"\d x \d+( unfused)?(, bf16 by (matrix|vector))?", result.facts["tile"])
    if wrong:
        assert "test_it.py::test_wrong; see " in result.remark
        assert "test_right" not in result.remark


@pytest.mark.slow
def test_a_blas_kernel_that_is_not_taken_is_said_not_tested(tmp_path: Path) -> None:
    result = run(Row("no such", {CORETYPE: "Nonesuch"}), [str(tmp_path)])
    assert result.status == "cannot run"
    assert result.remark == (
        f"numpy's BLAS uses {result.facts['blas']} instead: Nonesuch does not support this "
        "processor, or is not in this BLAS"
    )


def test_what_this_processor_or_system_lacks_is_said() -> None:
    with pytest.raises(CannotRunError, match=r"has no amx-nonesuch$|is x86-64; this is"):
        machines.check_processor(Target("haswell", "", ("amx-nonesuch",)))
    assert run(Row("old", versions=("3.1", "newest")), []) == machines.Result(
        "cannot run", "no python3.1 on PATH or in pyenv's versions"
    )


def test_no_row_inherits_what_decides_how_this_machine_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in machines.KNOBS:
        monkeypatch.setenv(name, "this")
    found = machines.surroundings(Row("plain"))
    assert [name for name in machines.KNOBS if found.get(name) == "this"] == []
    folders = {
        machines.surroundings(row)["NUMBA_CACHE_DIR"]
        for row in (Row("a"), Row("b", target=HASWELL), Row("c", versions=("3.11", "oldest")))
    }
    assert len(folders) == 3


def test_the_oldest_dependencies_are_the_floors_of_the_project() -> None:
    newest, oldest = machines.requirements("newest"), machines.requirements("oldest")
    assert [r.replace(">=", "==") for r in newest if r not in oldest] == [
        r for r in oldest if r not in newest
    ]
    names = {re.split("[=>]", r)[0] for r in oldest if "==" in r}
    assert names == {"numpy", "click", "pyyaml", "rich", "safetensors", "numba", "threadpoolctl"}
    assert {*machines.TOOLS} <= {re.split("[=>]", r)[0] for r in newest}


def test_the_matrix_has_every_row_once() -> None:
    for matrix in (machines.short, machines.full):
        names = [row.name for row in matrix()]
        assert len({*names}) == len(names)
