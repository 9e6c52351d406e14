"""`minidark doctor`: what it finds, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidark
from minidark.cli.commands.doctor import EXTRAS, nameless, shortened
from tests.cli.running import output, run

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def facts(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output("doctor", "--json", *args))
    return found


def test_versions_are_those_that_run() -> None:
    versions = facts()["versions"]
    assert versions["minidark"] == minidark.__version__
    assert versions["python"].endswith(platform.python_version())
    assert (versions["numpy"], versions["click"]) == (np.__version__, version("click"))


def test_an_extra_is_there_if_its_packages_are() -> None:
    extras = facts()["extras"]
    for name, (packages, gives) in EXTRAS.items():
        assert extras[name]["gives"] == gives
        assert extras[name]["installed"] == all(extras[name]["packages"][p] for p in packages)
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for name, (packages, _) in EXTRAS.items():
        wanted = {re.split(r"[\[><=]", requirement)[0] for requirement in declared[name]}
        assert set(packages) == wanted


def test_a_missing_extra_tells_how_to_get_it_and_cuda_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minidark.cli.commands.doctor._version", lambda name: None)
    shown = output("doctor").decode()
    for name in EXTRAS:
        assert f"pip install 'minidark[{name}]'" in shown
    assert "--  cuda         device 'cuda' needs cupy; pip install" in shown
    assert facts()["cuda"]["works"] is False


def test_it_leaves_nothing_and_needs_no_folder(folder: Path) -> None:
    assert facts()["files"]["writable"] is True
    assert [*folder.iterdir()] == []
    assert facts("--backup", "runs/deep/down")["files"]["writable"] is True
    assert [*folder.iterdir()] == []


def test_a_folder_that_cannot_be_written_is_1(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    result = run("doctor", "--backup", "file")
    assert result.exit_code == 1
    assert re.search(r"(?m)^--  backup .*cannot write: ", result.stdout)
    assert json.loads(run("doctor", "--backup", "file", "--json").stdout)["ok"] is False


def test_shipped_files_that_are_gone_are_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setattr("minidark.files.shipped.folder", lambda kind: folder / kind)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    shipped = json.loads(result.stdout)["shipped"]
    assert shipped["loads"] is False
    assert str(folder) not in shipped["why"]
    assert nameless(f"{folder}/cfg: cannot read") == "~/cfg: cannot read"


def test_no_machine_and_no_person_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    home = folder / "home-of-somebody"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home / "work")
    for args in ([], ["--json"]):
        shown = output("doctor", *args).decode()
        assert "home-of-somebody" not in shown
        assert len(platform.node()) < 4 or platform.node() not in shown
    assert facts()["files"]["folder"] == str(Path("~/work/backup"))
    assert shortened(home) == "~"


def test_a_pipe_is_no_terminal_and_has_no_colours() -> None:
    command = [sys.executable, "-m", "minidark", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})  # fmt: skip
    terminal = json.loads(done.stdout)["terminal"]
    assert terminal["stdout_is_a_terminal"] is terminal["colour"] is False
    assert terminal["encoding"] == "ascii"
    assert done.stderr == ""


def test_every_part_has_a_line() -> None:
    lines = output("doctor").decode().splitlines()
    assert all(re.match(r"(ok|--)  \S", line) for line in lines)
    names = [line[4:].split()[0] for line in lines]
    assert names == ["minidark", "core", *EXTRAS, "PyTorch", "BLAS", "kernels", "cuda", "backup",
                     "shipped", "terminal"]  # fmt: skip


def line(name: str, shown: bytes) -> str:
    (found,) = re.findall(rf"(?m)^(?:ok|--)  {name} +(.*)$", shown.decode())
    return str(found)


@pytest.mark.slow
def test_each_kind_of_layer_is_compiled_or_not_yet(tmp_path: Path) -> None:
    """In a folder of its own, where a [gru] has run, whose products are those of [connected]."""
    pytest.importorskip("numba")
    make = (
        "import numpy as np; from minidark.backend import compiled\n"
        "def zeros(*shape): return np.zeros(shape, 'f')\n"
        "compiled.gru_sequence(zeros(8, 1, 6), zeros(6), zeros(9, 1, 2), zeros(8, 1, 2),\n"
        "                      zeros(4, 2), zeros(2, 2), True)"
    )
    doctor = ["-m", "minidark", "doctor"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = []
    for words in (doctor, ["-c", make], doctor, [*doctor, "--json"]):
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True,
                              check=True, timeout=100)  # fmt: skip
        said.append(done.stdout)
    none, _, one, as_json = said
    by = "the first long run compiles"
    rest = "[lstm] [rnn] [attention]"
    assert line("kernels", none) == f"fast: {by} [gru] [lstm] [rnn] [connected] [attention]"
    assert line("kernels", one) == f"fast: compiled for [gru] [connected]; {by} {rest}"
    kernels = json.loads(as_json)["kernels"]
    assert (kernels["compiled"], kernels["to_compile"]) == (
        ["gru", "connected"],
        ["lstm", "rnn", "attention"],
    )
    assert kernels["kept"] is False


@pytest.mark.slow
def test_threads_are_of_the_kernels_and_of_numpys_products() -> None:
    pytest.importorskip("threadpoolctl")
    command = [sys.executable, "-m", "minidark", "doctor"]
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, timeout=60, check=True,
                          env={**environment, "OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
    assert re.search(
        r"; \d+ threads? for the fast kernels, 1 thread for numpy's products "
        r"\(OPENBLAS_NUM_THREADS=1\)$",
        line("BLAS", done.stdout),
    )


def test_pytorch_has_a_line_that_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gives = "convert from .pt, and verify the .py that convert writes"
    monkeypatch.setattr("minidark.cli.commands.doctor._version", lambda name: None)
    assert line("PyTorch", output("doctor")) == f"{gives}: pip install torch"
    monkeypatch.setattr("minidark.cli.commands.doctor._version", lambda name: f"{name}-1")
    assert line("PyTorch", output("doctor")) == f"{gives} (torch torch-1)"
