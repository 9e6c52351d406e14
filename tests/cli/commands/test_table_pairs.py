"""`train --pairs` and `score` with .csv and .jsonl, and the warning of rare classes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from minidark import DataError, Pairs, load_network, train
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=128 batch=8 time_steps=24 adam=1 learning_rate=.02 decay=0 max_batches=20",
    "gru output=8 tanh=1", "connected output=128 activation=linear", "softmax",
)  # fmt: skip
PAIRS = [(f"{'bad' if n % 2 else 'fine'}, {n}", "no" if n % 2 else "yes") for n in range(60)]
COLUMNS = ("--columns", "review,label")
FIELDS = ("--fields", "review,label")
CALL = ("train", "a.cfg", "a.csv", "--pairs", "--seed", "1")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "a.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS))
    write_csv(folder / "a.csv", PAIRS)
    lines = [json.dumps({"review": s, "label": t}) for s, t in PAIRS]
    (folder / "a.jsonl").write_text("\n".join(lines))


def write_csv(path: Path, pairs: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "review"])
        writer.writerows((t, s.replace(" ", "\n")) for s, t in pairs)


def trained(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stderr


def test_the_same_pairs_train_the_same_network_from_each_form(folder: Path) -> None:
    trained("train", "a.cfg", "a.tsv", "--pairs", "--seed", "1", "--backup", "lines")
    said = trained(*CALL, *COLUMNS, "--backup", "csv")
    assert said.count("a.csv: line breaks and tabs in 60 of 60 pairs are read as blanks\n") == 1
    trained("train", "a.cfg", "a.jsonl", "--pairs", "--seed", "1", *FIELDS, "--backup", "jsonl")
    final = [(folder / b / "a_final.weights").read_bytes() for b in ("lines", "csv", "jsonl")]
    assert final[0] == final[1] == final[2]
    run_json = json.loads((folder / "csv" / "run.json").read_text())
    assert (run_json["columns"], run_json["fields"]) == ("review,label", None)

    weights = str(folder / "csv" / "a_final.weights")
    wanted = output("score", "a.cfg", weights, "a.tsv", "--json")
    assert output("score", "a.cfg", weights, "a.csv", *COLUMNS, "--json") == wanted
    assert output("score", "a.cfg", weights, "a.jsonl", *FIELDS, "--json") == wanted


def test_the_folder_of_a_run_names_the_parts_of_tables_but_not_of_lines(folder: Path) -> None:
    """A file of another kind than the run's tables is read without names."""
    (folder / "a.txt").write_bytes((folder / "a.tsv").read_bytes())
    write_csv(folder / "swapped.csv", [(t, s) for s, t in PAIRS])
    swapped = ("swapped.csv", "--columns", "label,review")
    trained(*CALL, *COLUMNS, "--backup", "csv")
    trained("train", "a.cfg", "a.jsonl", "--pairs", "--seed", "1", *FIELDS, "--backup", "jsonl")
    wanted = output("score", "a.cfg", "csv/a_final.weights", "a.tsv", "--json")
    for words in (["csv", "a.csv"], ["csv", "a.txt"], ["jsonl", "a.jsonl"], ["jsonl", "a.tsv"]):
        assert output("score", "--final", *words, "--json") == wanted, words
    assert json.loads(output("score", "--final", "csv", *swapped, "--json"))["pairs"] == 60
    expected = "a.tsv: line 1 has no column 'review'"
    assert expected in run("score", "--final", "csv", "a.tsv").stderr


def test_a_resumed_run_reads_the_same_columns(folder: Path) -> None:
    write_csv(folder / "v.csv", PAIRS[:12])
    valid = ("--valid", "v.csv")
    trained(*CALL, *COLUMNS, *valid, "--batches", "10")
    again = ("train", "a.cfg", "a.csv", "--resume", "auto", "--batches", "20")
    trained(*again, "--columns", '"review",label')
    trained(*CALL, *COLUMNS, *valid, "--backup", "whole")
    final = "a_final.weights"
    assert (folder / "backup" / final).read_bytes() == (folder / "whole" / final).read_bytes()
    path = Path("backup", "a.ckpt")
    again = ("train", "a.cfg", "a.csv", "--resume", "auto", "--batches", "30")
    assert_wrong_usage(
        run(*again, "--columns", "label,review"),
        f"{path}: this run was started with --columns 'review,label', not 'label,review'",
    )
    assert_wrong_usage(run(*again, *FIELDS), f"{path}: this run was started without --fields")


def test_a_run_does_not_resume_with_other_columns_of_its_file() -> None:
    def training(columns: tuple[str, str]) -> object:
        net = load_network("a.cfg", seed=1, kernels="numpy")
        return train(net, Pairs("a.csv", columns=columns), 20, seed=1, resume=checkpoint)

    checkpoint = None
    begun = training(("review", "label"))
    next(begun)  # type: ignore[call-overload]
    checkpoint = begun.checkpoint()  # type: ignore[attr-defined]
    training(("review", "label"))
    with pytest.raises(DataError, match="columns='label,review', and 'review,label' in the check"):
        training(("label", "review"))


def test_a_missing_column_is_4_and_a_wrong_option_2() -> None:
    message = (
        "a.csv: line 1 has no column 'lable' (did you mean 'label'?); its columns are 'label', "
        "'review'; name the source and the target with --columns"
    )
    assert_refused(run(*CALL, "--columns", "review,lable"), 4, message)
    for option in ("--columns", "--fields"):
        assert_wrong_usage(
            run("train", "a.cfg", "a.csv", option, "review,label"), f"{option} needs --pairs"
        )
        result = run(*CALL, option, "review")
        assert result.exit_code == 2
        assert "'review' is not two different names, as in review,label" in result.stderr


def test_bad_rows_are_skipped_and_counted(folder: Path) -> None:
    write_csv(folder / "a.csv", [*PAIRS[:30], ("x", ""), *PAIRS[30:]])
    expected = "a.csv: line 62 has an empty 'label'; fill it in, or use --skip-bad"
    assert_refused(run(*CALL, *COLUMNS), 4, expected)
    said = trained(*CALL, *COLUMNS, "--skip-bad")
    assert f"skipped 1 of 61 lines, which are not pairs; the first: {expected}\n" in said


def test_rare_classes_are_named_once(folder: Path) -> None:
    said = trained(*CALL, *COLUMNS, "--backup", "even")
    assert "few of the" not in said
    write_csv(folder / "a.csv", [*PAIRS, ("x", "maybe"), ("y", "no way"), ("z", "no way")])
    said = trained(*CALL, *COLUMNS, "--batches", "10")
    message = (
        "minidark: warning: a.csv: few of the 63 pairs have these targets: 'maybe' 1, 'no way' 2; "
        "the network may never predict them"
    )
    assert said.splitlines().count(message) == 1
    assert "few of the" not in trained("train", "a.cfg", "a.csv", "--resume", "auto",
                                       "--batches", "20")  # fmt: skip
