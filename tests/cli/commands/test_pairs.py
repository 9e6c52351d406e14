"""`train --pairs`, `predict` and `score`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minidark import Pairs, Predictor, load_network, score, train
from minidark.data.pairs import EITHER
from minidark.inference.metrics import metrics
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=128 batch=8 time_steps=12 adam=1 learning_rate=.02 decay=0 max_batches=60",
    "gru output=16 tanh=1", "connected output=128 activation=linear", "softmax",
)  # fmt: skip
METRICS = {"bleu", "chrf", "bleu_signature", "chrf_signature", "lowercase"}
COLOURS = ["red", "green", "blue"]


def lines(count: int = 120, mark: str = "\t") -> str:
    """A digit, a letter that does not matter, and the colour of the digit."""
    rng = np.random.default_rng(0)
    drawn = {f"{rng.integers(6)}{chr(97 + rng.integers(26))}" for _ in range(3 * count)}
    return "".join(f"{s}{mark}{COLOURS[int(s[0]) % 3]}\n" for s in sorted(drawn)[:count])


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "pairs.tsv").write_text(lines())


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of 250 batches."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "a.cfg").write_text(CFG)
    (folder / "pairs.tsv").write_text(lines())
    net = load_network(folder / "a.cfg", seed=1, kernels="numpy")
    for _ in train(net, Pairs(folder / "pairs.tsv"), 250, seed=1):
        pass
    net.save_weights(folder / "a.weights")
    return folder / "a.weights"


@pytest.fixture
def weights(learned: Path, folder: Path) -> str:
    shutil.copy(learned, folder)
    return learned.name


def trained(*more: str) -> str:
    result = run("train", "a.cfg", "pairs.tsv", "--pairs", "--seed", "1", *more)
    assert result.exit_code == 0, result.stderr
    return result.stderr


# --- train --------------------------------------------------------------------------------


def test_training_shows_exact_pairs_and_logs_them(folder: Path) -> None:
    said = trained("--valid-fraction", ".4", "--batches", "200")
    first, *rest = said.splitlines()
    assert first == (
        "9,184 parameters, 8 streams of 12 steps; 72 pairs to train on, 48 to validate on; --seed 1"
    )
    *_, validated = [line for line in rest if "validation" in line]
    found = re.fullmatch(
        r"200: validation (0\.\d{4}) nats per target character, (\d+\.\d\d%) exact, "
        "the best so far",
        validated,
    )
    assert found
    last = json.loads((folder / "backup" / "log.jsonl").read_text().splitlines()[-1])
    assert f"{last['valid_exact']:.2%}" == found[2]
    assert last["valid_exact"] > 0.8
    assert json.loads((folder / "backup" / "run.json").read_text())["separator"] == "\t"
    assert (folder / "backup" / "a_best.weights").exists()


def test_a_sample_is_a_few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidark.training.records.SAMPLE_EVERY", 50)
    said = trained()
    assert "--- a sample after 50 batches:\n" in said
    begun, ended = said.split("--- a sample after ")[1:]
    for sample in (begun, ended):
        assert len(re.findall(r"^\d[a-z] -> ", sample, re.MULTILINE)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "--tokenized"], "--tokenized is for texts; the symbols of pairs are bytes"),
        (["--pairs", "pairs.tsv", "a.tsv"], f"3 files of pairs; {EITHER}"),
        (["--separator", ","], "--separator needs --pairs"),
        (["--skip-bad"], "--skip-bad needs --pairs"),
        (
            ["--valid", "a", "--valid-fraction", ".1"],
            "--valid holds out nothing; omit --valid-fraction",
        ),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: list[str], message: str) -> None:
    assert_wrong_usage(run("train", "a.cfg", "pairs.tsv", *arguments), message)


def test_a_wrong_line_is_4_and_named(folder: Path) -> None:
    (folder / "pairs.tsv").write_text(lines(9) + "1x red\n")
    result = run("train", "a.cfg", "pairs.tsv", "--pairs")
    message = "pairs.tsv: line 10 has no separator; a pair is a source, a tab, a target"
    assert_refused(result, 4, message)
    (folder / "pairs.tsv").write_text(lines(9) + "1x\tred, and much more\n")
    message = (
        "pairs.tsv: line 10 has 21 symbols, which is the longest pair for time_steps=12; "
        "--set net.time_steps=21 fits all"
    )
    assert_refused(run("train", "a.cfg", "pairs.tsv", "--pairs"), 4, message)


def test_a_run_goes_on_as_pairs_and_refuses_another_file_or_separator(folder: Path) -> None:
    trained("--batches", "30")
    result = run("train", "a.cfg", "pairs.tsv", "--resume", "auto", "--batches", "60")
    assert result.exit_code == 0, result.stderr
    went_on = (folder / "backup" / "a_final.weights").read_bytes()
    trained("--backup", "whole")
    assert went_on == (folder / "whole" / "a_final.weights").read_bytes()

    again = ("train", "a.cfg", "pairs.tsv", "--resume", "auto", "--batches", "90")
    found = run(*again, "--separator", ",")
    path = Path("backup", "a.ckpt")
    assert_wrong_usage(found, f"{path}: this run was started with --separator '\\t', not ','")
    (folder / "pairs.tsv").write_text(lines(119))
    found = run(*again)
    assert (found.exit_code, found.stdout) == (4, "")
    assert "pairs.tsv: 8 bytes shorter than before; a run resumes only with" in found.stderr


def halves(name: str, text: str) -> tuple[str, str]:
    """Two files instead of one."""
    for side, suffix in enumerate(("a", "b")):
        parts = [line.split("\t")[side] for line in text.splitlines()]
        Path(f"{name}.{suffix}").write_text("".join(f"{part}\n" for part in parts))
    return f"{name}.a", f"{name}.b"


def test_two_files_train_as_one(folder: Path) -> None:
    trained("--batches", "30")
    result = run("train", "a.cfg", *halves("two", lines()), "--pairs", "--seed", "1",
                 "--batches", "30", "--backup", "two")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    final = "a_final.weights"
    assert (folder / "two" / final).read_bytes() == (folder / "backup" / final).read_bytes()
    again = run("train", "a.cfg", "two.a", "two.b", "--resume", "auto", "--backup", "two",
                "--batches", "60")  # fmt: skip
    assert again.exit_code == 0, again.stderr
    trained("--backup", "whole")
    assert (folder / "two" / final).read_bytes() == (folder / "whole" / final).read_bytes()
    swapped = run("train", "a.cfg", "pairs.tsv", "pairs.tsv", "--pairs")
    assert swapped.exit_code == 4
    assert "pairs.tsv: line 1 contains the separator, a tab; pairs are one file" in swapped.stderr


def test_files_to_validate_on_are_found_again(folder: Path) -> None:
    (folder / "v.tsv").write_text(lines(60))
    said = trained("--batches", "30", "--valid", "v.tsv")
    assert "120 pairs to train on, 60 to validate on" in said
    result = run("train", "a.cfg", "pairs.tsv", "--resume", "auto", "--batches", "60")
    assert result.exit_code == 0, result.stderr
    two = halves("v", lines(60))
    trained("--backup", "two", *(word for path in two for word in ("--valid", path)))
    final = "a_final.weights"
    assert (folder / "two" / final).read_bytes() == (folder / "backup" / final).read_bytes()
    assert json.loads((folder / "two" / "run.json").read_text())["valid"] == ["v.a", "v.b"]
    (folder / "v.tsv").write_text(lines(59))
    result = run("train", "a.cfg", "pairs.tsv", "--resume", "auto", "--batches", "90")
    assert result.exit_code == 4
    assert "a run resumes only with the same data to validate on" in result.stderr
    result = run("train", "a.cfg", "pairs.tsv", "--pairs", "--explain", "--valid", "v.tsv")
    assert result.exit_code == 0, result.stderr


def test_a_text_to_validate_on(folder: Path) -> None:
    text = "the cat sat on the mat. " * 60
    (folder / "a.txt").write_text(text)
    (folder / "v.txt").write_text(text)
    result = run("train", "a.cfg", "a.txt", "--valid", "v.txt", "--valid", "v.txt")
    assert result.exit_code == 0, result.stderr
    assert "1,440 characters to train on, 2,880 to validate on" in result.stderr
    result = run("train", "a.cfg", "a.txt", "--resume", "auto", "--batches", "70")
    assert result.exit_code == 0, result.stderr


def test_lines_that_are_no_pairs_are_skipped_and_counted(folder: Path) -> None:
    bad = lines().splitlines()
    bad[7:7] = ["1x\tred\tblue", "alone"]
    (folder / "bad.tsv").write_text("\n".join(bad) + "\n")
    call = ("train", "a.cfg", "bad.tsv", "--pairs", "--seed", "1", "--backup", "bad")
    assert_refused(run(*call), 4, "bad.tsv: line 8 has 2 separators; a pair is a source, a tab, a "
                   "target")  # fmt: skip
    result = run(*call, "--skip-bad", "--batches", "30")
    assert result.exit_code == 0, result.stderr
    told = (
        "minidark: warning: skipped 2 of 122 lines, which are not pairs; the first: bad.tsv: line "
        "8 has 2 separators; a pair is a source, a tab, a target"
    )
    assert told in result.stderr.splitlines()
    result = run("train", "a.cfg", "bad.tsv", "--resume", "auto", "--backup", "bad",
                 "--batches", "60")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert told in result.stderr.splitlines()
    trained()
    final = "a_final.weights"
    assert (folder / "bad" / final).read_bytes() == (folder / "backup" / final).read_bytes()


# --- predict ------------------------------------------------------------------------------


def test_lines_in_lines_out(weights: str) -> None:
    net = load_network("a.cfg", weights, batch=1, kernels="numpy")
    sources = ["0a", "1b", "", "2c", "5z"]
    shown = output("predict", "a.cfg", weights, stdin="\r\n".join(sources).encode())
    best = [found[0] for found in Predictor(net).search(sources)]
    assert shown == b"".join(p.target + b"\n" for p in best)
    assert [p.text for p in best] == ["red", "green", "", "blue", "blue"]
    assert output("predict", "a.cfg", weights, stdin=b"") == b""


def test_several_targets_with_their_scores(weights: str) -> None:
    net = load_network("a.cfg", weights, batch=1, kernels="numpy")
    options = ("--beam", "4", "--n-best", "3")
    shown = output("predict", "a.cfg", weights, *options, "--scores", stdin=b"0a\n1b\n").decode()
    (first, second) = Predictor(net, 4, 3).search(["0a", "1b"])
    wanted = "".join(f"{p.score:.4f}\t{p.text}\n" for p in (*first, *second))
    assert shown == wanted
    assert "-" in shown.split("\t")[0]
    as_json = output("predict", "a.cfg", weights, *options, "--json", stdin=b"0a\n1b\n")
    told = [json.loads(line) for line in as_json.splitlines()]
    assert [line["source"] for line in told] == ["0a", "1b"]
    assert told[0]["predictions"] == [
        {"target": p.text, "nats": p.score, "cut": p.cut} for p in first
    ]


TOLD = (
    "minidark: warning: pairs.tsv looks like pairs; use --pairs to learn to predict their targets"
)


@pytest.mark.parametrize(
    ("cfg_", "text", "told"),
    [
        ("a.cfg", b"a\tb\n" * 300, True),
        ("a.cfg", b"a\tb\n" * 100 + b"and on without one\n" * 9, True),
        ("a.cfg", b"a\tb\n" * 99 + b"and one without\n" * 9, False),
        ("a.cfg", b"a\tb\tc\n" * 300, False),
        ("pairs.cfg", b"no tab in it\n" * 30, True),
    ],
)
def test_a_text_that_looks_like_pairs_is_told(cfg_: str, text: bytes, told: bool) -> None:
    Path("pairs.tsv").write_bytes(text)
    Path("pairs.cfg").write_bytes(Path("a.cfg").read_bytes())
    call = ("train", cfg_, "pairs.tsv", "--batches", "1", "--backup", "b")
    result = run(*call)
    assert result.exit_code == 0, result.stderr
    assert (TOLD in result.stderr.splitlines()) == told
    assert TOLD not in run(*call, "--resume", "auto", "--batches", "2").stderr


def test_more_targets_than_the_beam_are_wrong_usage(weights: str) -> None:
    asked = ("predict", "a.cfg", weights, "--n-best", "2")
    result = run(*asked, "--beam", "1", stdin=b"")
    assert_wrong_usage(result, "--n-best 2 is more than --beam 1")
    two = output(*asked, stdin=b"0a\n")
    assert two == output(*asked, "--beam", "2", stdin=b"0a\n")
    assert two.count(b"\n") == 2


def test_a_wrong_line_is_named_behind_what_was_predicted(weights: str) -> None:
    result = run("predict", "a.cfg", weights, stdin=b"0a\n" * 300 + b"0a\tred\n")
    assert result.exit_code == 4
    assert result.stdout == "red\n" * 300
    said = "line 301 contains the separator '\\t'; a source is only the part before it"
    assert result.stderr == f"minidark: error: {said}\n"


def test_targets_that_do_not_end_are_told(weights: str) -> None:
    result = run("predict", "a.cfg", weights, "--max-length", "2", stdin=b"0a\n1b\n")
    assert result.stdout == "re\ngr\n"
    said = "2 of 2 targets did not end within --max-length 2"
    assert result.stderr == f"minidark: warning: {said}\n"


def typed_until_refused(descriptor: int) -> None:
    for _ in range(1000):
        os.write(descriptor, b"0a\n" * 100)
        time.sleep(0.02)


def start(weights: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "minidark", "predict", "a.cfg", weights]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


def test_a_line_that_is_typed_is_answered_before_the_next(weights: str) -> None:
    with start(weights) as process:
        assert process.stdin
        assert process.stdout
        for line, answer in [(b"0a\n", b"red\n"), (b"1b\n2c\n", b"green\nblue\n"), (b"\n", b"\n")]:
            process.stdin.write(line)
            process.stdin.flush()
            assert b"".join(process.stdout.readline() for _ in answer.splitlines()) == answer
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_goes_away_ends_it_in_silence(weights: str) -> None:
    with start(weights) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            typed_until_refused(process.stdin.fileno())
        assert process.stderr.read() == b""
        assert process.wait() == 0


# --- score --------------------------------------------------------------------------------


def test_a_score_of_classes_has_a_table(weights: str) -> None:
    net = load_network("a.cfg", weights, batch=1, kernels="numpy")
    found = score(net, Pairs("pairs.tsv"))
    shown = output("score", "a.cfg", weights, "pairs.tsv").decode().splitlines()
    assert [line.split() for line in shown[:6] if "interval" not in line] == [
        ["pairs", "120"],
        ["accuracy", f"{found.exact:.2%}"],
        ["macro", "F1", f"{found.classification.macro_f1:.4f}"],
        ["character", "error", "rate", f"{found.character_error_rate:.2%}"],
        ["nats", "per", "symbol", f"{found.nats:.4f}"],
    ]
    assert found.exact > 0.9
    assert shown[7].split()[:4] == ["true", "blue", "green", "red"]
    table = {line.split()[0]: [*map(int, line.split()[1:])] for line in shown[8:11]}
    wanted = Counter(line.split("\t")[1] for line in lines().splitlines())
    assert {true: sum(row) for true, row in table.items()} == wanted
    counts = found.confusion()
    assert table["red"][:3] == [counts["red"].get(c, 0) for c in ("blue", "green", "red")]


def test_a_score_as_json_and_the_worst(weights: str, folder: Path) -> None:
    (folder / "other.tsv").write_text("0a|red\n1b|grey\n2c|violet\n")
    found = json.loads(
        output("score", "a.cfg", weights, "other.tsv", "--separator", "|", "--json", "--worst", "5")
    )
    # A network that was trained with tabs; another separator is another network's.
    assert found["pairs"] == 3
    (folder / "other.tsv").write_text("0a\tred\n1b\tgrey\n2c\tviolet\n")
    found = json.loads(output("score", "a.cfg", weights, "other.tsv", "--json", "--worst", "5"))
    assert {*found} - METRICS == {
        "pairs", "exact", "character_error_rate", "nats_per_symbol", "nats_per_character", "worst",
    }  # fmt: skip
    assert found["exact"] == pytest.approx(1 / 3)
    assert [pair["line"] for pair in found["worst"]] == [3, 2]
    assert found["worst"][1] == {
        "line": 2, "source": "1b", "target": "grey", "predicted": "green", "edits": 2,
    }  # fmt: skip
    shown = output("score", "a.cfg", weights, "other.tsv", "--worst", "1").decode()
    assert shown.splitlines()[-1] == "line 3: 2c -> blue (not violet)"
    assert shown.splitlines()[1].split() == ["exact", "33.33%"]


def test_a_score_of_two_files_with_bad_lines(weights: str, folder: Path) -> None:
    wanted = output("score", "a.cfg", weights, "pairs.tsv", "--json")
    assert output("score", "a.cfg", weights, *halves("two", lines()), "--json") == wanted
    (folder / "bad.tsv").write_text("alone\n0a\tviolet\n" + lines())
    result = run("score", "a.cfg", weights, "bad.tsv", "--skip-bad", "--worst", "1")
    assert result.exit_code == 0, result.stderr
    assert (
        "skipped 1 of 122 lines, which are not pairs; the first: bad.tsv: line 1 has no sepa"
        in (result.stderr)
    )
    assert result.stdout.splitlines()[-1] == "line 2: 0a -> red (not violet)"
    result = run("score", "a.cfg", weights, "a", "b", "c")
    assert_wrong_usage(result, f"3 files of pairs; {EITHER}")


@pytest.mark.parametrize("lowercase", [False, True])
def test_a_score_has_bleu_and_chrf_if_sacrebleu_is_there(weights: str, lowercase: bool) -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is missing; extra 'metrics'")
    Path("other.tsv").write_text("0a\tRed\n1b\tgrey\n2c\tblue\n3c\tred\n4d\tgreen\n")
    call = ("score", "a.cfg", weights, "other.tsv", *(["--lowercase"] if lowercase else []))
    found = json.loads(output(*call, "--json"))
    predicted, targets = ["red", "green", "blue", "red", "green"], [
        line.split("\t")[1] for line in Path("other.tsv").read_text().splitlines()
    ]  # fmt: skip
    wanted = metrics(predicted, targets, lowercase)
    assert {name: found[name] for name in METRICS} == dataclasses.asdict(wanted)
    shown = output(*call).decode().splitlines()
    case = ", lowercase" if lowercase else ""
    assert f"{'BLEU' + case:20} {wanted.bleu:14.2f}" in shown
    assert f"{'chrF' + case:20} {wanted.chrf:14.2f}" in shown
    assert wanted.chrf > 10


def test_a_score_works_without_sacrebleu(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sacrebleu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    found = json.loads(output("score", "a.cfg", weights, "pairs.tsv", "--json"))
    assert not METRICS & {*found}
    assert b"BLEU" not in output("score", "a.cfg", weights, "pairs.tsv")
    result = run("score", "a.cfg", weights, "pairs.tsv", "--lowercase")
    message = "BLEU and chrF need sacrebleu: pip install 'minidark[metrics]'"
    assert_refused(result, 1, message)


def test_a_length_penalty_is_passed_on(weights: str) -> None:
    net = load_network("a.cfg", weights, batch=1, kernels="numpy")
    typed = b"0a\n1b\n5z\n"
    options = ("--beam", "4", "--n-best", "4", "--max-length", "9")
    for penalty in (0.0, 3.0):
        shown = output("predict", "a.cfg", weights, *options, "--length-penalty", f"{penalty}",
                       stdin=typed)  # fmt: skip
        predictor = Predictor(net, 4, 4, max_length=9, length_penalty=penalty)
        found = predictor.search(typed.split())
        assert shown == b"".join(p.target + b"\n" for each in found for p in each)
    result = run("predict", "a.cfg", weights, "--length-penalty", "-1", stdin=b"")
    assert result.exit_code == 2


def test_a_network_without_a_softmax_is_3() -> None:
    Path("b.cfg").write_text(CFG.replace("[softmax]", "[logistic]"))
    result = run("train", "b.cfg", "pairs.tsv", "--pairs")
    assert result.exit_code == 3
    assert "b.cfg: does not end in a plain [softmax]" in result.stderr
