"""What a training run keeps when something goes wrong around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import Started, assert_refused, run
from tests.helpers import cfg

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 200
LONG = ["--batches", "10000000"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(
        cfg(
            "net inputs=256 batch=4 time_steps=8 max_batches=4 learning_rate=.01 adam=1",
            "gru output=6 tanh=1",
            "connected output=256 activation=linear",
            "softmax",
        )
    )
    Path("text.txt").write_bytes(TEXT)


def start(*args: str, stderr: int = subprocess.PIPE) -> Started:
    command = [sys.executable, "-m", "minidark", "train", "a.cfg", "text.txt", *args]
    return Started(command, stdout=subprocess.PIPE, stderr=stderr)


@pytest.mark.slow
def test_a_run_whose_standard_error_is_closed_trains_to_its_end() -> None:
    with start("--batches", "60") as process:
        assert process.stderr
        process.stderr.close()
        assert process.wait(timeout=60) == 0
    assert load_network("a.cfg", "backup/a_final.weights").seen == 60 * 32


@pytest.mark.slow
@POSIX
def test_a_closed_terminal_saves_too() -> None:
    with start(*LONG) as process:
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGHUP
    assert load_network("a.cfg", "backup/a.backup").seen > 0


@pytest.mark.slow
@POSIX
def test_the_first_signal_says_that_a_second_stops_at_once() -> None:
    with start(*LONG) as process:
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=30)[1]
    assert b"finishing this batch, then saving; interrupt again to stop at once" in told


def test_weights_that_diverged_in_the_last_update_replace_nothing() -> None:
    assert run("train", "a.cfg", "text.txt", "--seed", "1").exit_code == 0
    good = Path("backup/a_final.weights").read_bytes()
    fast = ["--set", "net.learning_rate=1e42", "--set", "net.adam=0", "--batches", "1"]
    result = run("train", "a.cfg", "text.txt", "--seed", "1", "--valid-fraction", "0", *fast)
    assert result.exit_code == 5
    assert "contains NaN or infinity after batch 1" in result.stderr
    assert Path("backup/a_final.weights").read_bytes() == good


def test_a_run_that_goes_on_keeps_the_best_until_it_is_better() -> None:
    assert run("train", "a.cfg", "text.txt", "--seed", "1", "--batches", "300").exit_code == 0
    best = Path("backup/a_best.weights").read_bytes()
    worse = ["--set", "net.learning_rate=.5", "--batches", "303"]
    again = ["--weights", "backup/a_best.weights", *worse]
    result = run("train", "a.cfg", "text.txt", "--seed", "1", *again)
    assert result.exit_code == 0
    assert "validation" in result.stderr
    assert "the best so far" not in result.stderr
    assert Path("backup/a_best.weights").read_bytes() == best


def test_a_folder_in_the_place_of_a_weight_file_is_found_out_before_training() -> None:
    Path("backup/a_final.weights").mkdir(parents=True)
    result = run("train", "a.cfg", "text.txt")
    assert result.exit_code == 1
    assert result.stderr == "minidark: error: backup: cannot write: Is a directory\n"


@pytest.mark.parametrize("size", ["gru.output=99999999", "net.inputs=2147483647"])
def test_a_layer_larger_than_the_machine_is_refused_before_it_is_made(size: str) -> None:
    result = run("info", "a.cfg", "--set", size)
    assert result.exit_code == 3
    assert " GiB to train; this machine has " in result.stderr
    assert result.stderr.startswith("minidark: error: a.cfg")


def test_weights_that_predict_nan_generate_nothing() -> None:
    net = load_network("a.cfg")
    net.parameters()[-1].value[...] = np.nan
    net.save_weights("nan.weights")
    words = ["generate", "a.cfg", "nan.weights", "--srand", "1", "--seed", "a"]
    refused = run(*words)
    assert (refused.exit_code, refused.stdout_bytes) == (4, b"")
    assert "1.connected.weights[0, 0] is nan" in refused.stderr
    result = run(*words, "--allow-nonfinite")
    assert result.exit_code == 5
    assert "NaN or infinite" in result.stderr


@pytest.mark.parametrize("end", ["logistic", "cost", "softmax groups=2"])
def test_a_cost_that_is_no_nats_is_not_told_in_bits(end: str) -> None:
    Path("b.cfg").write_text(Path("a.cfg").read_text().replace("[softmax]", "\n".join(
        ["[" + end.split()[0] + "]", *end.split()[1:]])))  # fmt: skip
    trained = run("train", "b.cfg", "text.txt", "--seed", "1")
    assert trained.exit_code == 0
    assert "validation cost " in trained.stderr
    assert "bits" not in trained.stderr
    measured = run("valid", "b.cfg", "backup/b_final.weights", "text.txt")
    assert measured.exit_code == 3
    assert measured.stderr == (
        "minidark: error: b.cfg: does not end in a plain [softmax]: its cost is not in bits\n"
    )


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_may_stand_before_or_behind_the_command(place: str) -> None:
    words = ["generate", "a.cfg", "a.weights", "--len", "3"]
    load_network("a.cfg").save_weights("a.weights")
    assert "--srand" in run(*words).stderr
    quiet = ["--quiet", *words] if place == "before" else [*words, "--quiet"]
    assert run(*quiet).stderr == ""


@pytest.mark.parametrize(
    ("option", "text"),
    [("--valid-fraction", "nan"), ("--clip-norm", "inf"), ("--batches", "9" * 12)],
)
def test_what_is_no_finite_number_is_wrong_usage(option: str, text: str) -> None:
    assert run("train", "a.cfg", "text.txt", option, text).exit_code == 2


ONE_SYMBOL = (
    "minidark: warning: batch=1 and time_steps=1 train on one symbol at a time, so no gradient "
    "reaches an earlier step; set batch to the number of streams, and time_steps to about 50 "
    "in [net]"
)
WIDE_TEXT = (
    "minidark: warning: wide.txt looks like UTF-16, but would be read byte by byte; save it as "
    "UTF-8"
)


@pytest.mark.parametrize("command", ["train a.cfg", "rnn train a.cfg -file"])
def test_what_is_hardly_meant_is_warned_of_before_the_first_batch(command: str) -> None:
    """darknet's cfgs for sampling train on one symbol a batch."""
    Path("wide.txt").write_bytes(TEXT.decode().encode("utf-16-le"))
    one = ["--set", "net.batch=1", "--set", "net.time_steps=1"]
    for text, options, wanted in (
        ("wide.txt", one, [ONE_SYMBOL, WIDE_TEXT]),
        ("wide.txt", [], [WIDE_TEXT]),
        ("text.txt", one, [ONE_SYMBOL]),
        ("text.txt", one[2:], []),
    ):
        result = run(*command.split(), text, *options)
        assert result.exit_code == 0
        warnings = [line for line in result.stderr.splitlines() if "warning" in line]
        assert [line for line in warnings if "already contains" not in line] == wanted


YOUNG = cfg(
    "net inputs=256 batch=8 time_steps=1 learning_rate=0 max_batches=500",
    *2 * ("rnn batch_normalize=1 output=32 activation=leaky",),
    "connected output=256 activation=linear",
    "softmax",
)
LAGGING = "the rolling statistics of batch norm have not settled yet"


def test_a_validation_with_young_rolling_statistics_does_not_end_the_run() -> None:
    """Five batches move them from zero by a twentieth, so that inference overflows; training,
    which takes the batch's own, does not."""
    Path("b.cfg").write_text(YOUNG)
    trained = run("train", "b.cfg", "text.txt", "--seed", "1", "--batches", "5", "--patience", "1")
    assert trained.exit_code == 0
    (warning,) = (line for line in trained.stderr.splitlines() if "warning" in line)
    assert warning == (
        f"minidark: warning: batch 5: the validation cost is nan: {LAGGING}; the run continues, "
        "and this validation does not count"
    )
    *_, last = (json.loads(line) for line in Path("backup/log.jsonl").read_text().splitlines())
    assert last["last"]
    assert "valid_loss" not in last
    assert not Path("backup/b_best.weights").exists()
    more = ["--weights", "backup/b_final.weights", "--batches", "6", "--seed", "1"]
    again = run("train", "b.cfg", "text.txt", *more)
    assert again.exit_code == 0
    assert again.stderr.count(LAGGING) == 1  # before the first batch, and after the last
    assert load_network("b.cfg", "backup/b_final.weights").seen == 6 * 8


def test_a_validation_that_fails_for_another_cause_ends_the_run() -> None:
    Path("b.cfg").write_text(YOUNG)
    rate = ["--set", "net.learning_rate=1e39"]
    assert run("train", "b.cfg", "text.txt", "--seed", "1", "--batches", "1", *rate).exit_code == 5
    plain = ["--set", "rnn.batch_normalize=0", "--set", "rnn.shortcut=1"]
    grown = run("train", "b.cfg", "text.txt", "--seed", "1", "--batches", "1", *plain)
    assert grown.exit_code == 5
    assert "batch 1: the validation cost is nan" in grown.stderr


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "the rolling statistics of batch norm are zero: this network is not trained; load "
         "trained weights"),
        (["backup/b_final.weights"], f"{LAGGING}: train these weights for more batches"),
    ],
)  # fmt: skip
def test_a_sample_that_fails_by_batch_norm_names_it(weights: list[str], message: str) -> None:
    Path("b.cfg").write_text(YOUNG)
    if weights:
        run("train", "b.cfg", "text.txt", "--seed", "1", "--batches", "5")
    result = run("rnn", "generate", "b.cfg", *weights, "-srand", "1")
    assert result.exit_code == 5
    (line,) = (line for line in result.stderr.splitlines() if "error" in line)
    assert line == (f"minidark: error: the network's output is NaN or infinite; {message}")


def test_a_checkpoint_in_the_place_of_weights_names_resume() -> None:
    run("train", "a.cfg", "text.txt", "--seed", "1")
    said = (
        "backup/a.ckpt: a checkpoint, which `train --resume backup/a.ckpt` resumes; the "
        "weights of the run are beside it, as BASE_best.weights or BASE_final.weights"
    )
    for command in ("generate a.cfg", "train a.cfg text.txt --weights", "info a.cfg"):
        assert_refused(run(*command.split(), "backup/a.ckpt"), 4, said)
    load_network("a.cfg").save_weights("a.safetensors")
    Path("a.safetensors").rename("a.weights")
    said = "a.weights: its content is .safetensors; rename it"
    assert_refused(run("generate", "a.cfg", "a.weights"), 4, said)


@pytest.mark.parametrize(
    "command", ["train a.cfg", "valid a.cfg a.weights", "rnn train a.cfg -file"]
)
def test_a_dash_is_no_text(command: str) -> None:
    load_network("a.cfg").save_weights("a.weights")
    said = (
        "-: cannot read: No such file or directory; - does not mean standard input here: save "
        "the input to a file first"
    )
    assert_refused(run(*command.split(), "-", stdin=TEXT), 4, said)
