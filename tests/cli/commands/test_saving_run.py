"""Training runs whose disk fails, whose folder is taken, or that are stopped in a save."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidark import load_network
from minidark.files import disk
from minidark.training.checkpoint import Checkpoint, newest_sound
from tests.cli.running import assert_refused, run
from tests.faults import failing, temporaries
from tests.helpers import cfg

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals and limits")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 200
TRAIN = ["train", "a.cfg", "text.txt", "--seed", "1", "--save-every", "2"]
FULL = "No space left on device"
KEPT = "; the previous file is unchanged"
WEIGHTS = ("a.backup", "a_best.weights", "a_final.weights")


@pytest.fixture(autouse=True)
def texts(folder: Path) -> None:
    Path("text.txt").write_bytes(TEXT)
    Path("a.cfg").write_text(
        cfg(
            "net inputs=256 batch=4 time_steps=8 max_batches=6 learning_rate=.01 adam=1",
            "gru output=6 tanh=1",
            "connected output=256 activation=linear",
            "softmax",
        )
    )


@contextlib.contextmanager
def started(
    *args: str, begin: tuple[str, ...] = ("-m", "minidark"), limit: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A training run in a process of its own, which does not outlive the test."""
    command = [sys.executable, *begin, *TRAIN, *args]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=limit
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(met: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if met():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def warnings(stderr: str) -> list[str]:
    return re.findall("minidark: warning: (.*)", stderr)


def seen(path: str) -> int:
    """Batches that the weights have seen; reading them checks that the file is whole."""
    return load_network("a.cfg", path).seen // 32


def checkpoints() -> dict[str, int]:
    """The batches of those that there are; reading them checks that they are whole."""
    return {p.name: Checkpoint.read(p).batch for p in sorted(Path("backup").glob("*.ckpt*"))}


def logged() -> list[int]:
    """The batches whose lines the log has."""
    lines = Path("backup/log.jsonl").read_text().splitlines()
    return [json.loads(line)["batch"] for line in lines]


# --- saves that fail --------------------------------------------------------------------------


def fail_writes(patch: pytest.MonkeyPatch, first: int, last: float) -> None:
    """Let the saves from number `first` to `last` of a run fail at their first write, and so the
    lines of the log that are written between them. The probe at the start is save 0 and run.json
    save 1; then three after each second batch: a.backup, its record, and a.ckpt."""
    saves = iter(range(10**6))
    real, number = disk.System(), [0]

    def stat_(*args: object) -> os.stat_result:
        number[0] = next(saves)
        return real.stat(*args)

    def write(descriptor: int, part: memoryview) -> int:
        if first <= number[0] <= last:
            raise OSError(errno.ENOSPC, FULL)
        return real.write(descriptor, part)

    patch.setattr(disk, "SYSTEM", disk.System(stat=stat_, write=write))


def test_a_save_that_fails_is_a_warning_and_the_next_may_succeed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Saves 5 and 6, after batch 4: a.backup, and a.ckpt; then the line of the last batch."""
    fail_writes(monkeypatch, 5, 6)
    result = run(*TRAIN)
    assert result.exit_code == 0, result.stderr
    assert warnings(result.stderr) == [
        f"backup/{name}: cannot write: {FULL}{kept}; the run continues"
        for name, kept in (("a.backup", KEPT), ("a.ckpt", KEPT), ("log.jsonl", ""))
    ]
    assert [seen(f"backup/{name}") for name in WEIGHTS] == [6, 6, 6]
    assert checkpoints() == {"a.ckpt": 6, "a.ckpt.prev": 2}
    assert logged() == [6]
    assert temporaries(Path("backup")) == []


def test_a_run_whose_last_saves_failed_trains_to_its_end_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_writes(monkeypatch, 5, 10**6)
    result = run(*TRAIN)
    assert result.exit_code == 1
    assert seen("backup/a.backup") == 2
    assert not Path("backup/a_final.weights").exists()
    assert newest_sound("backup/a.ckpt")[1].batch == 2
    assert logged() == []
    names = ("log.jsonl", "a.ckpt", *WEIGHTS)
    line, run_, old, best, final = (f"backup/{name}: cannot write: {FULL}" for name in names)
    old, run_ = old + KEPT, run_ + KEPT
    assert warnings(result.stderr) == [
        f"{said}; the run continues" for said in (old, run_, line, best, old, final, line, run_)
    ]
    assert result.stderr.splitlines()[-1] == (
        f"minidark: error: {'; '.join([old, run_, line, best, final])}"
    )
    assert "wrote" not in result.stderr
    assert temporaries(Path("backup")) == []


def test_a_record_that_cannot_be_written_is_told_and_the_weights_are_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_writes(monkeypatch, 9, 9)  # saves 2 to 7: after batches 2 and 4; 8, 9: a_best.weights
    result = run(*TRAIN)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"minidark: error: backup/a_best.weights.json: cannot write: {FULL}"
    )
    assert seen("backup/a_best.weights") == 6


def test_a_folder_that_cannot_be_synced_is_no_claim_about_the_old_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the folder after a rename; those of the probe and of run.json, before the first batch,
    succeed."""
    synced = [0]

    def fsync(descriptor: int) -> None:
        os.fsync(descriptor)
        synced[0] += stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if synced[0] > 2 and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk, "SYSTEM", disk.System(fsync=fsync))
    result = run(*TRAIN)
    assert result.exit_code == 1
    said = "the new file is in place, but may be lost in a power cut: Input/output error"
    assert {*warnings(result.stderr)} == {
        f"backup/{name}: {said}; the run continues" for name in (*WEIGHTS, "a.ckpt")
    }
    assert [seen(f"backup/{name}") for name in WEIGHTS] == [6, 6, 6]
    assert checkpoints() == {"a.ckpt": 6, "a.ckpt.prev": 4}


@pytest.mark.parametrize(
    ("last", "code", "batches"),
    [(3, 0, [10, 20, 30, 33]), (10**6, 1, [])],
    ids=["for a while", "for ever"],
)
def test_a_log_that_cannot_be_written_is_tried_with_its_lines_again(
    last: int, code: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches without a line between are no successes; and the log is no hindrance to a.ckpt."""
    log = Path("backup/log.jsonl")
    opened = [0]  # the first time before the first batch

    def open_(path: Path, *args: int) -> int:
        opened[0] += path == log
        if path == log and 2 <= opened[0] <= last:
            raise OSError(errno.ENOSPC, FULL)
        return os.open(path, *args)

    monkeypatch.setattr(disk, "SYSTEM", disk.System(open=open_))
    said = f"{log}: cannot write: {FULL}"
    result = run(*TRAIN, "--batches", "33", "--save-every", "15")
    assert result.exit_code == code, result.stderr
    assert {*warnings(result.stderr)} == {f"{said}; the run continues"}
    assert logged() == batches
    assert checkpoints() == {"a.ckpt": 33, "a.ckpt.prev": 30}
    if code:
        assert result.stderr.splitlines()[-1] == f"minidark: error: {said}"


def test_darknets_own_train_saves_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_writes(monkeypatch, 1, 10**6)
    result = run("rnn", "train", "a.cfg", "-file", "text.txt")
    assert result.exit_code == 1
    final = f"backup/a_final.weights: cannot write: {FULL}"
    assert result.stderr.splitlines()[-2:] == [
        f"minidark: warning: {final}; the run continues", f"minidark: error: {final}",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EDQUOT", "EACCES"])
def test_a_disk_that_fails_from_the_start_is_told_before_the_first_batch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = getattr(errno, name)
    monkeypatch.setattr(disk, "SYSTEM", failing(lambda n, called: called == "write", code))
    assert_refused(run(*TRAIN), 1, f"backup: cannot write: {os.strerror(code)}")
    assert list(Path("backup").iterdir()) == []


@pytest.mark.slow
@POSIX
def test_a_limit_on_the_size_of_files_is_a_failed_save() -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    with started("--batches", "40", limit=limit) as process:
        told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    large = "cannot write: File too large"
    assert warnings(told)[0] == f"backup/a.backup: {large}; the run continues"
    assert told.splitlines()[-1] == "minidark: error: " + "; ".join(
        f"backup/{name}: {large}" for name in ("a.backup", "a.ckpt", *WEIGHTS[1:])
    )
    assert sorted(path.name for path in Path("backup").iterdir()) == ["log.jsonl", "run.json"]
    assert logged() == [10, 20, 30, 40]


# --- a real disk ------------------------------------------------------------------------------


def next_line(process: subprocess.Popen[bytes], holding: bytes) -> str:
    assert process.stderr
    for line in process.stderr:
        if holding in line:
            return line.decode().rstrip("\n")
    raise AssertionError(f"it never said {holding!r}")


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(1024))


@pytest.mark.slow
@pytest.mark.parametrize("freed", [True, False], ids=["freed again", "full to the end"])
def test_a_disk_that_gets_full_while_training(disk: Path, freed: bool) -> None:
    """Without validations, since a best that failed is tried again only at the next best."""
    args = ("--batches", "10000000", "--save-every", "50", "--valid-fraction", "0")
    with started("--backup", "disk", *args) as process:
        until((disk / "a.backup.json").exists, "no backup")
        assert process.stderr
        os.set_blocking(process.stderr.fileno(), False)
        told = b""

        def warned() -> bool:
            """Fills what a save that was under way has left free, too."""
            nonlocal told
            fill(disk)
            told += process.stderr.read() or b""  # type: ignore[union-attr]
            return re.search(rb"disk/a\.backup.*continues\n", told) is not None

        until(warned, "no warning")
        os.set_blocking(process.stderr.fileno(), True)
        said = next(line for line in told.decode().splitlines() if "disk/a.backup" in line)
        assert re.fullmatch(
            rf"minidark: warning: disk/a\.backup(\.json)?: cannot write: {FULL}{KEPT}; "
            "the run continues", said
        )  # fmt: skip
        before = seen("disk/a.backup")
        assert before % 50 == 0
        if freed:
            (disk / "ballast").unlink()
            until(lambda: seen("disk/a.backup") > before, "no new backup")
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1].decode()
    assert process.returncode == (130 if freed else 1)
    last = rest.splitlines()[-1]
    if freed:
        assert last.startswith("minidark: stopped; disk/a.backup is saved")
    else:
        assert last.startswith("minidark: error: disk/")
        # One may have fitted into what the other's temporary file left free for a moment.
        failed = [f"disk/{name}: cannot write: {FULL}{KEPT}" for name in ("a.backup", "a.ckpt")]
        assert any(said in last for said in failed)
    assert seen("disk/a.backup") >= before
    assert temporaries(disk) == []


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_while_training(disk: Path) -> None:
    with started("--backup", "disk", "--batches", "10000000", "--save-every", "50") as process:
        until((disk / "a.ckpt").exists, "no checkpoint")  # it comes last
        until(lambda: read_only(disk), "it is busy")
        assert "Read-only file system" in next_line(process, b"warning")
        before = seen("disk/a.backup")
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    told_last, readonly = told.splitlines()[-1], "cannot write: Read-only file system"
    assert told_last.startswith("minidark: error: disk/")
    assert {*told_last.removeprefix("minidark: error: ").split("; disk/")} == {
        f"disk/log.jsonl: {readonly}",
        f"a.backup: {readonly}{KEPT}",
        f"a.ckpt: {readonly}{KEPT}",
    }
    assert seen("disk/a.backup") == before


def read_only(disk: Path) -> bool:
    done = subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True)
    return done.returncode == 0  # not while a save has a file open


# --- two runs, killed runs, stopped runs --------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_and_names_the_first() -> None:
    with started("--batches", "10000000") as process:
        until(Path("backup/a.backup").exists, "no backup")
        for args in (TRAIN, ["rnn", "train", "a.cfg", "-file", "text.txt"]):
            result = run(*args)
            assert result.exit_code == 1
            assert result.stderr.splitlines()[-1] == (
                f"minidark: error: backup: in use by another run, process {process.pid}; "
                "use another folder for this one"
            )
        assert run(*TRAIN, "--backup", "other").exit_code == 0
        process.kill()
        process.communicate(timeout=60)
    assert run(*TRAIN).exit_code == 0


@pytest.mark.slow
@POSIX
def test_a_run_killed_in_a_save_leaves_a_temporary_file_that_the_next_removes() -> None:
    killed = [
        "import glob, os",
        "from minidark.files import disk",
        "from minidark.__main__ import main",
        "def fsync(descriptor):",
        "    saved = [os.stat(path).st_ino for path in glob.glob('backup/.minidark.*.tmp')]",
        "    if os.path.exists('go') and os.fstat(descriptor).st_ino in saved:",
        "        os.kill(os.getpid(), 9)  # and not while a line is added to the log",
        "disk.SYSTEM = disk.System(fsync=fsync)",
        "main()",
    ]
    with started("--batches", "10000000", begin=("-c", "\n".join(killed))) as process:
        until(Path("backup/a.ckpt").exists, "no checkpoint")  # it comes last
        Path("go").touch()
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(temporaries(Path("backup"))) == 1
    assert seen("backup/a.backup") % 2 == 0
    assert run(*TRAIN).exit_code == 0
    assert sorted(path.name for path in Path("backup").iterdir()) == sorted(
        [*(name + end for name in WEIGHTS for end in ("", ".json")),
         "a.backup.before", "a.backup.before.json",
         "a.ckpt", "a.ckpt.prev", "log.jsonl", "run.json"]
    )  # fmt: skip


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_stops_at_once_even_in_a_save(number: int, code: int) -> None:
    slow = [
        "import os, time",
        "from minidark.files import disk",
        "from minidark.__main__ import main",
        "def fsync(descriptor):",
        "    if os.path.exists('go'):",
        "        open('saving', 'w').close()",
        "        for _ in range(600):",  # a signal that another thread gets wakes no sleep
        "            time.sleep(.1)",
        "disk.SYSTEM = disk.System(fsync=fsync)",
        "main()",
    ]
    with started("--batches", "10000000", begin=("-c", "\n".join(slow))) as process:
        until(Path("backup/a.backup").exists, "no backup")
        Path("go").touch()
        until(Path("saving").exists, "no save")
        before = seen("backup/a.backup")
        process.send_signal(number)
        next_line(process, b"interrupt again to stop at once")
        began = time.monotonic()
        process.send_signal(number)
        told = process.communicate(timeout=60)[1].decode()
    assert time.monotonic() - began < 20
    assert process.returncode == code
    assert told == "minidark: stopped at once; earlier saves are intact\n"
    assert seen("backup/a.backup") == before
    assert temporaries(Path("backup")) == []
