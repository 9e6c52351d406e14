"""Real `mpiexec` runs: the same bytes for any number of ranks, and what ends one ends all."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minidark import BackendError
from minidark.training.checkpoint import Checkpoint
from minidark.training.parallel.mpi import find_ranks, started
from minidark.training.parallel.ranks import Ranks
from tests.cli.running import Started, run
from tests.helpers import cfg

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and MPIEXEC.exists()),
    reason="needs mpi4py and mpich; pip install 'minidark[mpi]'",
)
OPEN_MPI = shutil.which("mpiexec.openmpi")  # Debian's name; as root it asks to be told twice
OPEN_MPIS = [OPEN_MPI or "", "--allow-run-as-root", "--oversubscribe"]
needs_open_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and OPEN_MPI),
    reason="needs mpi4py and Debian's openmpi-bin",
)
SECONDS = 60  # in which each of these is over, however busy the machine is
NETS = {
    "a": (
        "net inputs=256 batch=16 subdivisions=2 time_steps=5 learning_rate=.1 max_batches=6",
        "dropout probability=.2",
        "gru output=8 tanh=1 batch_normalize=1",
    ),
    "other": ("net inputs=256 batch=8 time_steps=5 max_batches=6", "gru output=9"),
    "endless": (
        "net inputs=256 batch=8 time_steps=5 learning_rate=.01 max_batches=1000000",
        "gru output=8",
    ),
}
OUT = ("connected output=256 activation=linear", "softmax")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder with NETS and a text, twice."""
    for name, sections in NETS.items():
        (tmp_path / f"{name}.cfg").write_text(cfg(*sections, *OUT))
    for name in ("text", "copy"):
        (tmp_path / f"{name}.txt").write_bytes(bytes(range(97, 123)) * 200)
    return tmp_path


def check_that_one_rank_spoke(said: Sequence[str]) -> None:
    """Of what it trains, batch 6, a validation, the end and what comes next."""
    for begin in (
        "8,736 parameters, ",
        "6: ",
        "6: validation",
        "minidark: wrote ",
        "minidark: next",
    ):
        assert sum(line.startswith(begin) for line in said) == (2 if begin == "6: " else 1), said


class Run:
    """A run of several ranks, started in `folder`, with the options of each; or those of all."""

    def __init__(
        self,
        folder: Path,
        ranks: int,
        *options: str,
        last: Sequence[str] = (),
        mpiexec: Sequence[str] = (str(MPIEXEC),),
    ):
        """last: the words of the last rank, where they are others."""
        self.folder, self.ranks = folder, ranks
        command = [sys.executable, "-m", "minidark", "train"]
        rank = "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"
        noted = ["sh", "-c", f'echo $$ > pid.{rank}; exec "$@"', "sh"]
        parts = [["-n", str(ranks - bool(last)), *noted, *command, *options]]
        if last:
            parts.append([":", "-n", "1", *noted, *command, *last])
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self.process = Started(
            [*mpiexec, *(word for part in parts for word in part)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: Any) -> None:
        """No process outlives its test."""
        self.process.__exit__(*error)
        for rank in range(self.ranks):
            pid = self.folder / f"pid.{rank}"
            if pid.exists() and f"{self.folder}" in where(int(pid.read_text())):
                os.kill(int(pid.read_text()), signal.SIGKILL)

    def end(self, silent: bool = True) -> tuple[int, list[str]]:
        """Its exit code, and what it said; mpiexec is not `silent` where a rank was killed."""
        out, said = self.process.communicate(timeout=SECONDS)
        assert out == b"" or not silent
        return self.process.returncode, said.decode().splitlines()

    def until(self, path: str) -> None:
        """Wait until it has written this."""
        deadline = time.monotonic() + SECONDS
        while not (self.folder / path).exists():
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def until_gone(self, rank: int) -> None:
        """Wait until a rank has ended, which mpiexec need not do."""
        deadline = time.monotonic() + SECONDS
        while f"{self.folder}" in where(self.pid(rank)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def pid(self, rank: int) -> int:
        return int((self.folder / f"pid.{rank}").read_text())


def where(pid: int) -> str:
    """The folder that a process works in; nothing of one that is gone."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def trained(folder: Path, ranks: int, *options: str, **how: Any) -> list[str]:
    with Run(folder, ranks, *options, **how) as running:
        code, said = running.end()
    assert code == 0, said
    return said


def left(folder: Path) -> dict[str, Any]:
    """All that a run left in its folder, but for its times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    kept = Checkpoint.read(folder / "a.ckpt")
    values = dataclasses.asdict(dataclasses.replace(kept, began="", seconds=0))
    values["arrays"] = {name: a.tobytes() for name, a in kept.arrays.items()}
    weights = [(folder / f"a{end}").read_bytes() for end in ("_final.weights", "_best.weights")]
    return {"log": [{**line, "seconds": 0} for line in lines], "weights": weights, **values}


def alone(*options: str) -> None:
    """The same command, without mpiexec."""
    done = run("train", *options)
    assert done.exit_code == 0, done.stderr


ALIKE = ("a.cfg", "text.txt", "--seed", "1", "--shards", "4", "--threads", "1")


@needs_mpi
def test_one_two_and_four_ranks_leave_the_same_bytes_and_go_on_in_another_number(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(there)
    alone(*ALIKE, "--backup", "one")
    one = left(there / "one")
    said = trained(there, 2, *ALIKE, "--backup", "two")
    assert left(there / "two") == one
    check_that_one_rank_spoke(said)
    trained(there, 4, *ALIKE, "--backup", "four")
    assert left(there / "four") == one

    trained(there, 2, *ALIKE, "--backup", "half", "--batches", "3")
    trained(there, 4, *ALIKE[:2], "--resume", "auto", "--backup", "half", "--batches", "6")
    again = left(there / "half")
    for values in (one, again):  # the end of the half was validated, and logged, out of turn
        for name in ("log", "lowest", "fruitless", "unvalidated", "validated", "batches"):
            del values[name]
        del values["weights"][1]
    assert again == one


@needs_mpi
def test_without_shards_each_rank_has_one(there: Path) -> None:
    trained(there, 2, *ALIKE[:4], "--threads", "1", "--batches", "1")
    assert json.loads((there / "backup" / "run.json").read_text())["shards"] == 2


@needs_mpi
def test_a_rank_with_another_cfg_is_one_line_and_4(there: Path) -> None:
    with Run(there, 2, *ALIKE[:4], last=("other.cfg", *ALIKE[1:4])) as running:
        code, said = running.end()
    assert (code, said) == (
        4,
        ["minidark: error: rank 1 has a cfg different from rank 0's; all ranks of a run need "
         "the same"],
    )  # fmt: skip
    assert not (there / "backup").exists()


@needs_mpi
def test_what_is_wrong_for_all_is_told_once(there: Path) -> None:
    with Run(there, 2, "missing.cfg", "text.txt") as running:
        code, said = running.end()
    assert (code, len(said)) == (3, 1), said
    assert said[0].startswith("minidark: error: missing.cfg: ")


ENDLESS = ("endless.cfg", "text.txt", "--seed", "1", "--threads", "1", "--save-every", "2")


@needs_mpi
def test_what_one_rank_raises_ends_all_with_its_line(there: Path) -> None:
    """The text of one of them is cut while it trains."""
    last = ("endless.cfg", "copy.txt", *ENDLESS[2:])
    with Run(there, 2, *ENDLESS, "--quiet", last=last) as running:
        running.until("backup/endless.ckpt")
        (there / "copy.txt").write_bytes(b"cut")
        code, said = running.end()
    assert code == 4
    assert said == ["minidark: error: rank 1: copy.txt: became shorter since the start"]
    assert Checkpoint.read(there / "backup" / "endless.ckpt").batch >= 2


@needs_mpi
def test_a_rank_that_is_killed_ends_all_and_the_checkpoint_is_whole(there: Path) -> None:
    with Run(there, 2, *ENDLESS, "--quiet") as running:
        running.until("backup/endless.ckpt")
        os.kill(running.pid(1), signal.SIGKILL)
        code, _ = running.end(silent=False)
        assert code
        running.until_gone(0)
    assert Checkpoint.read(there / "backup" / "endless.ckpt").batch >= 2


@needs_mpi
def test_a_rank_that_is_stuck_is_noticed(there: Path) -> None:
    with Run(there, 2, *ENDLESS, "--quiet", "--rank-timeout", "3") as running:
        running.until("backup/endless.ckpt")
        os.kill(running.pid(1), signal.SIGSTOP)
        code, said = running.end()
    assert code == 1
    assert said == [
        "minidark: error: no answer from rank 1 for 3 seconds (--rank-timeout): it hangs or is cut "
        "off, or waits for another rank that does"
    ]
    assert Checkpoint.read(there / "backup" / "endless.ckpt").batch >= 2


@needs_mpi
@pytest.mark.parametrize(("whom", "number"), [("all", signal.SIGTERM), ("rank 1", signal.SIGINT)])
def test_a_signal_of_one_is_that_of_all_and_the_run_can_be_gone_on_with(
    there: Path, monkeypatch: pytest.MonkeyPatch, whom: str, number: int
) -> None:
    with Run(there, 2, *ENDLESS) as running:
        running.until("backup/endless.ckpt")
        os.kill(running.process.pid if whom == "all" else running.pid(1), number)
        code, said = running.end()
    assert code == 128 + number
    assert said[-1].endswith("backup/endless.backup is saved, --resume auto continues")
    stopped = Checkpoint.read(there / "backup" / "endless.ckpt")
    monkeypatch.chdir(there)
    shutil.copy(there / "endless.cfg", there / "a.cfg")
    kernels = str(stopped.computing["kernels"])  # a short run alone would take others
    alone(
        *("a.cfg", *ENDLESS[1:4], "--shards", "2", "--kernels", kernels),
        *("--batches", str(stopped.batch)),
    )
    whole = Checkpoint.read(there / "backup" / "a.ckpt")
    assert {n: a.tobytes() for n, a in stopped.arrays.items()} == {
        n: a.tobytes() for n, a in whole.arrays.items()
    }


# --- Open MPI, for the basics -------------------------------------------------------------


@needs_open_mpi
def test_open_mpi_leaves_the_same_bytes(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there)
    alone(*ALIKE, "--backup", "one")
    said = trained(there, 2, *ALIKE, "--backup", "two", mpiexec=OPEN_MPIS)
    assert left(there / "two") == left(there / "one")
    check_that_one_rank_spoke(said)


@needs_open_mpi
def test_open_mpi_ends_all_with_the_line_and_the_code_of_one(there: Path) -> None:
    """It adds lines of its own."""
    last = ("other.cfg", *ALIKE[1:4])
    with Run(there, 2, *ALIKE[:4], last=last, mpiexec=OPEN_MPIS) as running:
        code, said = running.end()
    assert code == 4
    assert sum("error: rank 1 has a cfg different from rank 0's" in line for line in said) == 1, (
        said
    )


# --- without any --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, 1),
        ({"PMI_RANK": "2", "PMI_SIZE": "4"}, 4),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"PMI_RANK": "", "PMI_SIZE": "many"}, 1),
        ({"PMI_SIZE": "\N{SUPERSCRIPT TWO}"}, 1),
        ({"PMI_SIZE": "9" * 5000}, 1),
    ],
)
def test_mpiexec_is_known_by_what_it_sets(environment: dict[str, str], found: int) -> None:
    assert started(environment) == found


def test_a_process_by_itself_imports_no_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    for size in (None, "1"):
        if size:
            monkeypatch.setenv("PMI_SIZE", size)
        assert type(find_ranks()) is Ranks


def test_ranks_without_mpi4py_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # or it would be set for the tests behind
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(BackendError, match=r"2 ranks, .* pip install 'minidark\[mpi\]'"):
        find_ranks()
