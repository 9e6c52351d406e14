"""`train --resume`: processes that are killed, stopped and gone on with end in the same bytes."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minidark.training.checkpoint import Checkpoint
from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.helpers import cfg

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 200
NET = "net inputs=256 batch=4 time_steps=8 learning_rate=.01"
OUT = ("connected output=256 activation=linear", "softmax")
ADAM = (f"{NET} adam=1", "dropout probability=.2", "gru output=6 tanh=1", *OUT)


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    write_cfg(*ADAM)
    Path("text.txt").write_bytes(TEXT)


def write_cfg(*sections: str) -> None:
    Path("a.cfg").write_text(cfg(*sections))


def words(backup: str, *args: str) -> list[str]:
    return ["train", "a.cfg", "text.txt", "--backup", backup, *args]


def trained(backup: str, *args: str) -> str:
    """What a run that ends well says."""
    result = run(*words(backup, *args))
    assert result.exit_code == 0, result.stderr
    return result.stderr


def left(backup: str) -> dict[str, Any]:
    """All that a run leaves, but for times and what hangs on when it was stopped."""
    folder = Path(backup)
    data: dict[str, Any] = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in WEIGHTS
    }
    checkpoint = Checkpoint.read(folder / "a.ckpt")
    values = dataclasses.asdict(dataclasses.replace(checkpoint, began="", seconds=0))
    values["arrays"] = {name: a.tobytes() for name, a in values["arrays"].items()}
    data["log"] = [
        {**json.loads(line), "seconds": 0}
        for line in (folder / "log.jsonl").read_text().splitlines()
    ]
    return data | values


WEIGHTS = (".weights", ".backup")


# --- killed -------------------------------------------------------------------------------


KILLED = {
    "adam, dropout": ADAM,
    "sgd, subdivisions": (f"{NET} subdivisions=2", "gru output=6", "gru output=5 tanh=1", *OUT),
    "lstm, dropout": (NET, "lstm output=6", "dropout probability=.5", *OUT),
    "rnn, batch_normalize": (f"{NET} adam=1", "rnn output=6 batch_normalize=1", *OUT),
    "gru, [batchnorm]": (NET, "gru output=6 tanh=1 batch_normalize=1", "batchnorm", *OUT),
    "policy=random": (f"{NET} policy=random", "rnn output=6", "lstm output=5", *OUT),
    "policy=cosine": (f"{NET} adam=1 policy=cosine burn_in=40", "gru output=6 tanh=1", *OUT),
    "clip_norm": (f"{NET} clip_norm=.001 policy=steps steps=99,200 scales=.5,.5", "gru", *OUT),
}


def killed_and_gone_on_with(batches: int, kills: int, seed: int, *args: str) -> int:
    """Kill a training `kills` times, each time going on from what it left, and let it end.
    Returns how often it went on from a checkpoint."""
    rng, going_on, delay = random.Random(seed), 0, 0.0
    for number in range(kills + 1):
        resume = ["--resume", "auto"] if Path("killed/a.ckpt").exists() else []
        going_on += bool(resume)
        command = words("killed", "--batches", str(batches), "--save-every", "7", *args, *resume)
        done = subprocess.Popen(
            [sys.executable, "-m", "minidark", *command], stderr=subprocess.PIPE, text=True
        )
        assert done.stderr
        if number < kills:
            begun = done.stderr.readline() + done.stderr.readline()
            assert "characters to train on" in begun, begun
            delay = rng.uniform(0, 0.25)
            time.sleep(delay)
            done.kill()
        _, told = done.communicate(timeout=100)
        assert done.returncode in ((-signal.SIGKILL, 0) if number < kills else (0,)), told
    return going_on


def check_kills(sections: Sequence[str], batches: int, kills: int, seed: int, *args: str) -> None:
    write_cfg(*sections)
    given = ["--seed", "3", "--valid-fraction", ".03", *args]
    trained("whole", "--batches", str(batches), "--save-every", "7", *given)
    assert killed_and_gone_on_with(batches, kills, seed, *given) > kills // 2
    assert left("killed") == left("whole")


@pytest.mark.slow
@POSIX
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() -> None:
    check_kills(ADAM, 400, 4, 0)


@POSIX
@pytest.mark.long
@pytest.mark.parametrize("case", KILLED)
def test_a_hundred_kills(case: str) -> None:
    check_kills(KILLED[case], 2500, 12, [*KILLED].index(case))


@POSIX
@pytest.mark.long
def test_four_kills_of_the_fast_kernels_on_tokens() -> None:
    pytest.importorskip("numba", reason="the fast kernels need numba")
    Path("text.txt").write_bytes(b" ".join(b"%d" % byte for byte in TEXT))
    check_kills(ADAM, 2500, 4, 0, "--tokenized", "--kernels", "fast")


# --- stopped ------------------------------------------------------------------------------


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(number: int) -> None:
    begin = ["--seed", "3", "--batches", "600", "--save-every", "200", "--patience", "90"]
    command = [sys.executable, "-m", "minidark", *words("stopped", *begin)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr
        process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    stopped = Checkpoint.read("stopped/a.ckpt").batch
    assert 0 < stopped < 600
    told = trained("stopped", "--resume", "auto", "--save-every", "200").splitlines()
    assert told[0] == f"minidark: resuming from {Path('stopped/a.ckpt')}, after batch {stopped}"
    assert "--seed 3" in told[1]
    trained("whole", *begin)
    assert left("stopped") == left("whole")


def test_what_is_not_given_is_as_it_was() -> None:
    begin = ["--seed", "3", "--valid-fraction", ".1", "--clip-norm", ".01", "--patience", "50"]
    trained("part", "--batches", "20", *begin)
    trained("whole", "--batches", "40", *begin)
    trained("part", "--resume", "part/a.ckpt", "--batches", "40")
    whole, part = left("whole"), left("part")
    assert part.pop("log")[-1] == whole.pop("log")[-1]
    for values in (whole, part):  # the end of the shorter run was validated, out of turn
        del values["fruitless"], values["unvalidated"]
    assert part == whole


def test_a_run_that_has_ended_is_told_so_and_that_is_no_error() -> None:
    trained("backup", "--batches", "5")
    before = left("backup")
    told = trained("backup", "--resume", "auto")
    assert told == "minidark: this run is finished after 5 batches; --batches N continues it\n"
    assert left("backup") == before


@pytest.mark.parametrize("policy", ["cosine", "poly"])
def test_a_run_whose_rate_has_fallen_is_told_that_it_goes_no_further(policy: str) -> None:
    write_cfg(f"{NET} policy={policy}", "gru output=6", *OUT)
    trained("backup", "--batches", "5")
    before = left("backup")
    same = ["--resume", "auto"]
    for again in (same, [*same, "--batches", "5"]):
        assert trained("backup", *again) == (
            "minidark: this run is finished: its learning-rate schedule ended at batch 5; to train "
            "further, start a new run with --weights FILE --clear\n"
        )
    assert_wrong_usage(
        run(*words("backup", "--resume", "auto", "--batches", "6")),
        f"{Path('backup/a.ckpt')}: this run is finished: its learning-rate schedule ended at "
        "batch 5; to train further, start a new run with --weights FILE --clear",
    )
    assert left("backup") == before


def test_the_checkpoint_before_is_taken_where_the_newest_is_damaged() -> None:
    trained("backup", "--batches", "6", "--save-every", "4", "--seed", "3")
    whole = left("backup")
    newest = Path("backup/a.ckpt")
    newest.write_bytes(newest.read_bytes()[:-1])
    result = run(*words("backup", "--resume", str(newest)))
    assert_refused(result, 4, f"{newest}: damaged: the checksum does not match")
    damaged, taken, *_ = trained("backup", "--resume", "auto", "--save-every", "4").splitlines()
    assert damaged.startswith(f"minidark: warning: {newest}: damaged")
    assert taken == f"minidark: resuming from {newest}.prev, after batch 4"
    assert left("backup") == whole


def test_the_kernels_stay_those_that_the_run_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="the fast kernels need numba")
    trained("b", "--batches", "2", "--kernels", "fast")
    assert "with the fast kernels" in trained("b", "--batches", "3", "--resume", "auto")
    trained("c", "--batches", "2")  # so short a run takes numpy's
    monkeypatch.setattr("minidark.cli.options.compute.WORTH_COMPILING", 0)
    assert "fast kernels" in trained("d", "--batches", "2")
    assert "fast kernels" not in trained("c", "--batches", "3", "--resume", "auto")
    result = run(*words("c", "--batches", "4", "--resume", "auto", "--kernels", "fast"))
    assert result.exit_code == 1
    assert "kernels fast, and 'numpy' in the checkpoint" in result.stderr


# --- what it is not -----------------------------------------------------------------------


@pytest.mark.parametrize("option", [["--weights", "backup/a.backup"], ["--clear"]])
def test_weights_begin_a_run_and_resume_goes_on_with_one(option: list[str]) -> None:
    result = run(*words("backup", "--resume", "auto", *option))
    assert_wrong_usage(
        result, f"{option[0]} starts a new run and --resume continues one; use one of them"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--seed", "4"], "--seed 3, not 4"),
        (["--valid-fraction", ".2"], "--valid-fraction 0.05, not 0.2"),
        (["--clip-norm", "1"], "--clip-norm 0.0, not 1.0"),
        (["--tokenized"], "--tokenized False, not True"),
    ],
)
def test_an_option_that_says_something_else_is_wrong_usage(option: list[str], said: str) -> None:
    trained("backup", "--batches", "2", "--seed", "3")
    result = run(*words("backup", "--resume", "auto", *option))
    assert_wrong_usage(result, f"{Path('backup/a.ckpt')}: this run was started with {said}")
    trained("backup", "--resume", "auto", "--seed", "3", "--valid-fraction", ".05")


def test_a_run_that_begins_tells_of_the_one_it_will_replace() -> None:
    assert "--resume" not in trained("backup", "--batches", "2")
    said = (
        "minidark: warning: backup already contains a run; its weights will be renamed to "
        "FILE.before at the first save, and its other files will be overwritten; "
    )
    told = trained("backup", "--batches", "2").splitlines()
    goes_on = "--resume auto continues that run, "
    assert told[0] == f"{said}{goes_on}another --backup keeps it"
    Path("backup/a.ckpt").unlink()
    told = trained("backup", "--batches", "2").splitlines()
    said = said.replace("FILE.before", "FILE.before.2")
    assert told[0] == f"{said}another --backup keeps it"
    more = ["--weights", "backup/a_final.weights", "--batches", "4"]
    said = said.replace("FILE.before.2", "FILE.before.3").replace(
        "at the first save", "when they are replaced"
    )
    assert f"{said}{goes_on}another --backup keeps it\n" in trained("backup", *more)


def test_weights_of_a_run_before_are_renamed_and_not_mixed_with_those_of_this_one() -> None:
    trained("backup", "--batches", "5", "--save-every", "2", "--seed", "3")
    Path("backup/b_best.weights").write_bytes(b"of another cfg")
    names = ("a.backup", "a_best.weights", "a_final.weights")
    first = {name: Path("backup", name).read_bytes() for name in names}
    trained("backup", "--batches", "1", "--save-every", "1", "--seed", "4", "--valid-fraction", "0")
    there = {path.name: path.read_bytes() for path in Path("backup").iterdir()}
    assert {name: there[f"{name}.before"] for name in names} == first
    assert there["b_best.weights"] == b"of another cfg"
    assert sorted(name for name in there if name in names) == ["a.backup", "a_final.weights"]
    assert there["a_final.weights"] != first["a_final.weights"]
    said = run("info", "a.cfg", "backup/a_best.weights.before", "--set", "gru.output=7").stderr
    assert "they were made with a.cfg; --set gru.output=6 would fit" in said  # its record is there

    trained("backup", "--batches", "3", "--resume", "auto", "--save-every", "1")
    again = {path.name: path.read_bytes() for path in Path("backup").iterdir()}
    assert {name: again[f"{name}.before"] for name in names} == first


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_no_run_in_a_folder_loses_the_weights_of_an_earlier_one() -> None:
    """Those of one run have one ending, also if it left fewer of them."""
    usual, few = (
        ["--batches", "5", "--save-every", "2"],
        ["--batches", "1", "--valid-fraction", "0"],
    )
    names = ("a.backup", "a_best.weights", "a_final.weights")
    trained("backup", *usual, "--seed", "3")
    kept: dict[str, bytes] = {}
    for seed, ending, options in (
        ("4", ".before", usual),
        ("5", ".before.2", few),
        ("6", ".before.3", usual),
    ):
        there = contents("backup")
        for name in names:
            if name in there:
                kept[f"{name}{ending}"] = there[name]
                kept[f"{name}{ending}.json"] = there[f"{name}.json"]
        trained("backup", *options, "--seed", seed)
        there = contents("backup")
        assert {name: there[name] for name in kept} == kept
    assert len(kept) == 2 * (3 + 3 + 1)


def test_a_run_from_weights_renames_what_it_replaces_and_leaves_a_better_best() -> None:
    trained("backup", "--batches", "5", "--seed", "3")
    before = contents("backup")
    begin = ["--weights", "backup/a_best.weights", "--clear", "--batches", "2"]
    trained("backup", *begin, "--set", "net.learning_rate=3")
    now = contents("backup")
    assert now["a_best.weights"] == before["a_best.weights"]
    assert now["a_final.weights.before"] == before["a_final.weights"] != now["a_final.weights"]
    trained("backup", *begin)
    better = contents("backup")
    assert better["a_best.weights.before.2"] == before["a_best.weights"] != better["a_best.weights"]
    assert better["a_final.weights.before.2"] == now["a_final.weights"]


def test_without_a_checkpoint_there_is_nothing_to_go_on_from() -> None:
    result = run(*words("backup", "--resume", "auto"))
    said = "no checkpoint to resume from; omit --resume to start a new run"
    assert_refused(result, 4, f"{Path('backup/a.ckpt')}: {said}")
    assert not Path("backup").exists()


def test_an_empty_name_is_no_checkpoint_and_begins_no_run() -> None:
    result = run(*words("backup", "--resume", ""))
    assert_wrong_usage(result, "--resume needs auto or a file name")
    assert not Path("backup").exists()


def test_a_folder_in_its_place_is_found_out_before_training() -> None:
    Path("backup/a.ckpt").mkdir(parents=True)
    result = run(*words("backup", "--batches", "2"))
    assert_refused(result, 1, "backup: cannot write: Is a directory")


def test_another_cfg_is_3_and_another_text_4() -> None:
    trained("backup", "--batches", "2")
    write_cfg(*ADAM[:2], "gru output=7 tanh=1", *OUT)
    result = run(*words("backup", "--resume", "auto", "--batches", "9"))
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith(
        "minidark: error: a.cfg: layer 1 [gru] output=7, and output=6 in the checkpoint; "
    )
    write_cfg(*ADAM)
    Path("text.txt").write_bytes(TEXT + b"more")
    result = run(*words("backup", "--resume", "auto", "--batches", "9"))
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1].startswith(
        "minidark: error: text.txt: 4 bytes longer than before; "
    )


# --- what goes wrong meanwhile ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "overwritten", "replaced"])
def test_a_text_that_changes_is_an_error_after_saving_and_the_run_goes_on_with_it_back(
    how: str,
) -> None:
    begin = ["--seed", "3", "--batches", "600", "--save-every", "50"]
    command = [sys.executable, "-m", "minidark", *words("changed", *begin)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not Path("changed/a.ckpt").exists():
            time.sleep(0.01)
            assert process.poll() is None
        if how == "replaced":
            Path("new.txt").write_bytes(TEXT)
            Path("new.txt").replace("text.txt")
        elif how == "cut":
            os.truncate("text.txt", len(TEXT) - 100)
        else:
            with Path("text.txt").open("r+b", buffering=0) as file:
                file.write(TEXT.swapcase())
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 4
    said = {
        "cut": "became shorter since the start",
        "overwritten": "its bytes have changed since the start",
        "replaced": "replaced by another file since the start",
    }
    assert told.splitlines()[-1] == f"minidark: error: text.txt: {said[how]}"
    Path("text.txt").write_bytes(TEXT)
    assert "treated as the same text" in trained("changed", "--resume", "auto")
    trained("whole", *begin)
    assert left("changed")["arrays"] == left("whole")["arrays"]


def test_a_run_that_diverges_keeps_the_last_good_checkpoint() -> None:
    args = ["--seed", "3", "--batches", "90", "--save-every", "2", "--set", "net.adam=0"]
    steps = ["policy=steps", "steps=5", "scales=1e25"]
    write_cfg(f"{NET} {' '.join(steps)}", *ADAM[2:])
    result = run(*words("backup", *args))
    assert result.exit_code == 5
    assert "NaN or infinity" in result.stderr.splitlines()[-1]
    checkpoint = Checkpoint.read("backup/a.ckpt")
    assert checkpoint.batch in (4, 6)
