"""`minidark run`: what a YAML asks for, run after run, and what becomes of the runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from minidark.cli.options.stopping import stoppable
from minidark.training.checkpoint import Checkpoint
from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.helpers import cfg

EXPERIMENT = """\
cfg: a.cfg
data: text.txt
folder: out
options:
  batches: 4
  valid-fraction: .1
set:
  gru.output: [3, 5]
seeds: [1, 2]
"""
NAMES = ["gru.output=3,seed=1", "gru.output=3,seed=2", "gru.output=5,seed=1", "gru.output=5,seed=2"]


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(cfg(
        "net inputs=256 batch=2 time_steps=4 learning_rate=.01", "gru output=4 tanh=1",
        "connected output=256 activation=linear", "softmax",
    ))  # fmt: skip
    (folder / "text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog. " * 60)
    (folder / "e.yaml").write_text(EXPERIMENT)


def write(text: str) -> None:
    Path("e.yaml").write_text(text)


def summary(*args: str, code: int = 0) -> list[dict[str, Any]]:
    result = run("run", "e.yaml", "--json", *args)
    assert result.exit_code == code, result.stderr
    shown = json.loads(result.stdout)
    assert shown.get("exit_code", 0) == code
    runs: list[dict[str, Any]] = shown["runs"]
    return runs


def test_a_sweep_is_every_value_with_every_other_each_in_its_folder() -> None:
    done = summary()
    assert [one["name"] for one in done] == NAMES
    for one in done:
        record = json.loads(Path("out", one["name"], "run.json").read_text())
        assert record["overrides"] == one["overrides"] == [one["name"].split(",")[0]]
        assert record["seed"] == int(one["seed"]) == int(one["name"][-1])
        assert (record["batches"], record["valid_fraction"]) == (4, 0.1)
        assert (one["result"], one["batches"], one["exit_code"]) == ("done", 4, 0)
        log = Path("out", one["name"], "log.jsonl").read_text().splitlines()
        assert one["best_valid_loss"] == json.loads(log[-1])["valid_loss"]


def test_a_run_is_what_the_same_command_line_gives() -> None:
    summary()
    run("train", "a.cfg", "text.txt", "--batches", "4", "--valid-fraction", ".1", "--seed", "2",
        "--set", "gru.output=5", "--backup", "alone")  # fmt: skip
    wanted = Path("alone/a_final.weights").read_bytes()
    assert Path("out/gru.output=5,seed=2/a_final.weights").read_bytes() == wanted
    assert Path("out/gru.output=5,seed=1/a_final.weights").read_bytes() != wanted


def test_without_a_list_it_is_one_run_in_the_folder_itself() -> None:
    write("cfg: a.cfg\ndata: text.txt\noptions: {batches: 3}\n")
    (one,) = summary()
    assert (one["name"], one["folder"]) == ("", str(Path("runs/e")))
    assert Path("runs/e/a_final.weights").exists()


def test_what_is_finished_is_passed_over_and_more_batches_go_on() -> None:
    summary()
    made = {p: p.read_bytes() for p in Path("out").rglob("*.weights")}
    again = summary()
    assert [one["result"] for one in again] == 4 * ["finished before"]
    assert {p: p.read_bytes() for p in Path("out").rglob("*.weights")} == made
    write(EXPERIMENT.replace("batches: 4", "batches: 6"))
    assert [(one["result"], one["batches"]) for one in summary()] == 4 * [("done", 6)]
    whole = EXPERIMENT.replace("batches: 4", "batches: 6").replace("folder: out", "folder: whole")
    write(whole)
    summary()
    for name in NAMES:
        final = [Path(at, name, "a_final.weights").read_bytes() for at in ("out", "whole")]
        assert final[0] == final[1]


def test_what_is_finished_has_one_line_and_no_notes() -> None:
    summary()
    said = run("run", "e.yaml").stderr.splitlines()
    assert said == [f"minidark: run {i} of 4: {name}" for i, name in enumerate(NAMES, start=1)]


@pytest.mark.parametrize("policy", ["cosine", "poly"])
def test_a_run_whose_rate_has_fallen_is_finished_whatever_is_asked_for(policy: str) -> None:
    falling = EXPERIMENT.replace("seeds: [1, 2]", "seeds: 1").replace(
        "gru.output: [3, 5]", f"net.policy: {policy}"
    )
    write(falling)
    summary()
    made = Path("out/a_final.weights").read_bytes()
    for batches in (6, 3):
        write(falling.replace("batches: 4", f"batches: {batches}"))
        result = run("run", "e.yaml")
        assert result.exit_code == 0
        assert result.stderr.splitlines()[1:] == [
            "minidark: this run is finished: its learning-rate schedule ended at batch 4; "
            f"for {batches} batches, use another folder"
        ]
        assert result.stdout.splitlines()[1].split()[1:4] == ["finished", "before", "4"]
    assert Path("out/a_final.weights").read_bytes() == made
    write(falling.replace("valid-fraction: .1", "valid-fraction: .2").replace("4", "6"))
    assert "started with --valid-fraction 0.1, not 0.2" in run("run", "e.yaml").stderr


def test_a_run_that_an_interruption_kept_from_its_turn_is_shown_as_it_was_left() -> None:
    summary()
    shutil.rmtree(Path("out", NAMES[3]))
    write(EXPERIMENT.replace("batches: 4", "batches: 1000000"))
    with subprocess.Popen(
        [sys.executable, "-m", "minidark", "run", "e.yaml", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "steps" not in process.stderr.readline():  # the run's first note
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=60)
    rows = json.loads(shown)["runs"]
    assert [one["result"] for one in rows[1:]] == ["finished before"] * 2 + ["not begun"]
    assert [one["exit_code"] for one in rows] == [130, None, None, None]
    assert [one["batches"] for one in rows[1:]] == [4, 4, 0]


def test_ctrl_c_saves_the_run_and_ends_and_the_next_call_goes_on(folder: Path) -> None:
    write(EXPERIMENT.replace("batches: 4", "batches: 1000000"))
    command = [sys.executable, "-m", "minidark", "run", "e.yaml"]
    first = folder / "out" / NAMES[0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=os.name != "nt") as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not (first / "log.jsonl").exists() or not (first / "log.jsonl").stat().st_size:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    batch = Checkpoint.read(first / "a.ckpt").batch
    rows = [row.split() for row in shown.splitlines()[1:]]
    assert rows[0][:3] == [NAMES[0], "stopped", f"{batch:,}"]
    assert rows[0][-1] == "130"
    assert rows[1:] == [[name, "not", "begun", "0", "-", "0", "-"] for name in NAMES[1:]]
    assert not (folder / "out" / NAMES[1]).exists()

    batch += 3
    write(EXPERIMENT.replace("batches: 4", f"batches: {batch}"))
    (listed, *_) = summary("--dry-run")
    assert listed["goes_on"] is True
    assert listed["command"][-2:] == ["--resume", "auto"]
    done = summary()[0]
    assert (done["name"], done["batches"], done["exit_code"]) == (NAMES[0], batch, 0)
    run("train", "a.cfg", "text.txt", "--batches", str(batch), "--valid-fraction", ".1", "--seed",
        "1", "--set", "gru.output=3", "--backup", "alone")  # fmt: skip
    wanted = Path("alone/a_final.weights").read_bytes()
    assert (first / "a_final.weights").read_bytes() == wanted


def test_each_run_records_the_command_that_trains_it() -> None:
    listed = summary("--dry-run")
    summary()
    recorded = [json.loads(Path(one["folder"], "run.json").read_text()) for one in listed]
    assert [one["command"] for one in recorded] == [one["command"] for one in listed]


def test_the_exit_code_is_the_worst_and_the_rest_is_run() -> None:
    write(EXPERIMENT.replace("gru.output: [3, 5]", "net.learning_rate: [1e38, .01]"))
    done = summary(code=5)
    assert [one["exit_code"] for one in done] == [5, 5, 0, 0]
    assert [one["result"] for one in done] == ["failed", "failed", "done", "done"]


def test_a_run_that_was_begun_otherwise_is_told_and_the_others_run() -> None:
    summary()
    write(
        EXPERIMENT.replace("valid-fraction: .1", "valid-fraction: .2").replace("[1, 2]", "[1, 3]")
    )
    result = run("run", "e.yaml")
    assert result.exit_code == 2
    assert "started with --valid-fraction 0.1, not 0.2" in result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == [
        "failed", "done", "failed", "done",
    ]  # fmt: skip


def test_experiments_with_other_words_do_not_share_a_folder(folder: Path) -> None:
    (folder / "b.cfg").write_text((folder / "a.cfg").read_text())
    summary()
    made = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    for old, new, said in [
        ("valid-fraction: .1", "valid-fraction: .2", "valid-fraction=.1, but this run has "
         "valid-fraction=.2"),
        ("  valid-fraction: .1\n", "", "valid-fraction=.1, but this run has no valid-fraction"),
        ("valid-fraction: .1", "valid-fraction: .1\n  weights: w", "no weights, but this run has "
         "weights=w"),
        ("a.cfg", "b.cfg", "cfg=a.cfg, but this run has cfg=b.cfg"),
    ]:  # fmt: skip
        Path("f.yaml").write_text(EXPERIMENT.replace(old, new))
        assert_refused(
            run("run", "f.yaml"), 3, f"f.yaml:3: {Path('out', NAMES[0])} contains a run of e.yaml "
            f"with {said}; use another `folder: ...`",
        )  # fmt: skip
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == made
    Path("f.yaml").write_text(EXPERIMENT.replace("batches: 4", "batches: 5"))
    assert run("run", "f.yaml").exit_code == 0  # renamed, and longer: the same runs
    Path("out", NAMES[0], "experiment.json").write_bytes(b"{")
    assert run("run", "e.yaml").exit_code == 0


def test_a_sweep_is_not_for_mpiexec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    assert_wrong_usage(run("run", "e.yaml"), "`run` does not work with mpiexec; use `train`")
    assert not Path("out").exists()


def test_a_dry_run_lists_command_lines_and_makes_nothing() -> None:
    result = run("run", "e.yaml", "--dry-run")
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "minidark train a.cfg text.txt --batches 4 --valid-fraction .1 --set gru.output=3 "
        f"--seed 1 --backup {Path('out', NAMES[0])}"
    )
    assert len(lines) == 4
    assert not Path("out").exists()
    assert [one["goes_on"] for one in summary("--dry-run")] == 4 * [False]


def test_cfgs_and_options_sweep_too_and_flags_are_true_or_false(folder: Path) -> None:
    (folder / "ints.txt").write_text("1 2 3 " * 200)
    (folder / "b.cfg").write_text((folder / "a.cfg").read_text())
    write(
        "cfg: [a.cfg, b.cfg]\ndata: [ints.txt]\noptions: {batches: [2, 3], tokenized: true,\n"
        "  clear: false, save-every: 5}\nset: {0.tanh: false}\n"
    )
    listed = summary("--dry-run")
    assert [one["name"] for one in listed] == [
        f"cfg={stem},batches={n}" for stem in "ab" for n in (2, 3)
    ]
    command = listed[0]["command"]
    assert "--tokenized" in command
    assert "--clear" not in command
    assert command[command.index("--set") + 1] == "0.tanh=0"
    assert [one["batches"] for one in summary()] == [2, 3, 2, 3]


WRONG = [
    ("cfg: a.cfg\n", "cfg: a.cfg\nseedz: [1]\n", "2: unknown key 'seedz' in an experiment (did you "
     "mean 'seeds'?)"),
    ("  batches: 4\n", "  batchez: 4\n", "5: unknown key 'batchez' in options (did you "
     "mean 'batches'?)"),
    ("  batches: 4\n", "  batches: four\n", "5: Invalid value for '--batches': 'four' is "
     "not a valid integer"),
    ("  batches: 4\n", "  backup: x\n", "5: backup cannot be set here; use `folder: "
     "...`"),
    ("  batches: 4\n", "  clear: maybe\n", "5: clear='maybe' is not true or false"),
    ("gru.output: [3, 5]", "gruu.output: [3, 5]", "8: gruu.output: override "
     "'gruu.output=3': no [gruu] in this cfg (did you mean 'gru'?)"),
    ("gru.output: [3, 5]", "gru.output: [3, x]", "8: gru.output: output='x' is not an "
     "integer"),
    ("gru.output: [3, 5]", "gru.ouput: 3", "8: gru.ouput: unknown key 'ouput' in [gru] "
     "(did you mean 'output'?)"),
    ("gru.output: [3, 5]", "gru.output: [3, 3]", "8: gru.output contains '3' twice"),
    ("gru.output: [3, 5]", "gru.output: []", "8: gru.output must be a value, or a list of "
     "values for a sweep"),
    ("seeds: [1, 2]", "seeds: [1, x]", "9: Invalid value for '--seed': 'x' is not a "
     "valid integer"),
    ("gru.output: [3, 5]", "net.steps: 5\n  net.policy: steps\n  net.momentum: .5",
     "9: net.policy: policy=steps has 1 steps and 0 scales; it needs the same number of both, "
     "at least one"),
    ("cfg: a.cfg\n", "", "1: an experiment needs `cfg: ...`"),
    ("a.cfg", "none.cfg", "1: none.cfg: cannot read: No such file or directory"),
    ("options:\n", "options: &a\n", "4: anchors and aliases (& and *) are not supported; "
     "write the value out"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_a_mistake_is_told_at_its_line_before_anything_runs(old: str, new: str, said: str) -> None:
    write(EXPERIMENT.replace(old, new))
    assert_refused(run("run", "e.yaml"), 3, f"e.yaml:{said}")
    assert not Path("out").exists()


def test_a_text_that_is_not_there_is_4_before_anything_runs() -> None:
    write(EXPERIMENT.replace("text.txt", "none.txt"))
    assert_refused(run("run", "e.yaml"), 4, "e.yaml:2: none.txt: no such file")
    assert not Path("out").exists()


def test_what_is_no_yaml_is_told_with_its_line() -> None:
    write(EXPERIMENT.replace("seeds: [1, 2]", "seeds: [1, 2"))
    result = run("run", "e.yaml")
    assert result.exit_code == 3
    assert re.match(r"minidark: error: e\.yaml:\d+: ", result.stderr)


def test_what_the_options_and_overrides_together_make_right_is_right(folder: Path) -> None:
    text = (folder / "a.cfg").read_text()
    (folder / "a.cfg").write_text(text.replace("inputs=256", "policy=cosine"))
    write(EXPERIMENT.replace("gru.output: [3, 5]", "net.inputs: 256"))
    assert [one["batches"] for one in summary()] == [4, 4]
    write(EXPERIMENT.replace("gru.output: [3, 5]", "net.momentum: .5"))
    message = "a.cfg:1: [net] needs inputs=N, the number of symbols (256 for bytes)"
    assert_refused(run("run", "e.yaml"), 3, message)


def test_too_many_runs_are_refused() -> None:
    seeds = ", ".join(map(str, range(600)))
    write(EXPERIMENT.replace("[1, 2]", f"[{seeds}]"))
    result = run("run", "e.yaml")
    assert_refused(result, 3, "e.yaml:1: 1,200 runs; the limit is 1,000")


def test_how_many_is_known_before_any_is_made() -> None:
    """15,625 runs, by lists of which none is long: not one of them is made."""
    values = ", ".join(map(str, range(1, 26)))
    write(
        f"cfg: a.cfg\ndata: text.txt\noptions: {{batches: [{values}]}}\n"
        f"set: {{gru.output: [{values}], net.batch: [{values}]}}\n"
    )
    began = time.process_time()
    assert_refused(run("run", "e.yaml"), 3, "e.yaml:1: 15,625 runs; the limit is 1,000")
    assert time.process_time() - began < 5


def test_a_long_list_is_compared_soon() -> None:
    write(EXPERIMENT.replace("text.txt", f"[{', '.join(f't{n}' for n in range(15_000))}]"))
    began = time.process_time()
    assert_refused(run("run", "e.yaml"), 4, "e.yaml:2: t0: no such file")
    assert time.process_time() - began < 15


@pytest.mark.parametrize("outside", ["../out", "a/../../out", "..", "/tmp/minidark-out"])
def test_a_folder_outside_takes_a_flag(outside: str) -> None:
    write(EXPERIMENT.replace("folder: out", f"folder: {outside}"))
    said = f"e.yaml:3: folder {outside} is outside the current folder; --anywhere allows it"
    assert_refused(run("run", "e.yaml"), 3, said)
    assert summary("--dry-run", "--anywhere")[0]["folder"].startswith(str(Path(outside)))


@pytest.mark.parametrize("key", ["cfg", "data", "folder"])
def test_a_name_with_a_nul_is_one_line(key: str) -> None:
    write(re.sub(rf"{key}: .*", f'{key}: "x\\\\0y"', EXPERIMENT))
    result = run("run", "e.yaml")
    assert result.exit_code == 3
    assert re.fullmatch(r"minidark: error: e\.yaml:\d: the character U\+0000 is not allowed\n",
                        result.stderr)  # fmt: skip


@pytest.mark.parametrize(
    "claim", ["[" * 600 + "]" * 600, '{"experiment": "a\\u0000", "words": {}}']
)
def test_a_claim_that_is_none_is_nothing(claim: str) -> None:
    (one,) = {run["folder"] for run in summary("--dry-run")[:1]}
    Path(one).mkdir(parents=True)
    Path(one, "experiment.json").write_text(claim)
    assert summary("--dry-run")


def test_names_have_only_signs_that_any_system_takes() -> None:
    write(
        'cfg: a.cfg\ndata: text.txt\nset: {net.steps: ["1,2", "2,3"], net.policy: steps,\n'
        '  net.scales: "1,1"}\noptions: {batches: 2, weights: [a/b.weights, c:d.weights]}\n'
    )
    assert [one["name"] for one in summary("--dry-run")] == [
        "weights=a_b.weights,net.steps=1,2", "weights=a_b.weights,net.steps=2,3",
        "weights=c_d.weights,net.steps=1,2", "weights=c_d.weights,net.steps=2,3",
    ]  # fmt: skip
    write("cfg: a.cfg\ndata: text.txt\noptions: {batches: 2, weights: [a/b, a:b]}\n")
    assert "two runs would use the folder" in run("run", "e.yaml").stderr


def test_a_damaged_checkpoint_leaves_the_one_before_it() -> None:
    write(EXPERIMENT.replace("  batches: 4", "  batches: 3\n  save-every: 2"))
    summary()
    checkpoint = Path("out", NAMES[0], "a.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    done = summary()
    assert [(one["result"], one["batches"]) for one in done] == [
        ("done", 3), *3 * [("finished before", 3)]
    ]  # fmt: skip


def test_seeds_that_are_one_number_are_one_seed() -> None:
    write(EXPERIMENT.replace("[1, 2]", "[1, +01]"))
    assert_refused(run("run", "e.yaml"), 3, "e.yaml:9: seed contains '+01' twice")


def test_a_signal_in_a_run_is_the_sweeps_too() -> None:
    with stoppable() as outer:
        with stoppable() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.signal == signal.SIGTERM
        assert outer.signal == signal.SIGTERM
        with stoppable() as later:
            assert later.signal == signal.SIGTERM
    with stoppable() as fresh:
        assert not fresh.signal


def test_a_folder_is_shown_as_it_is_named() -> None:
    write(EXPERIMENT.replace("folder: out", "folder: 'out[/b]'").partition("set:")[0])
    result = run("run", "e.yaml")
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines()[1].split()[0] == str(Path("out[/b]"))
