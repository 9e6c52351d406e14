"""`score` of classes: interval, macro F1, a table of 80 columns, and the baseline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from minidark import load_network
from minidark.cli.output.tables import WIDTH
from minidark.inference.baseline import logistic_regression
from minidark.inference.classification import Classification, wilson
from tests.cli.running import assert_refused, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=8 time_steps=40", "gru output=4 tanh=1",
    "connected output=256 activation=linear", "softmax",
)  # fmt: skip
TRAIN = [(f"{'fine' if n % 2 else 'bad'} number {n}", "yes" if n % 2 else "no") for n in range(40)]
TEST = [(f"a {'fine' if n % 2 else 'bad'} one {n}", "yes" if n % 2 else "no") for n in range(30)]
FIGURES = ("accuracy", "accuracy_interval", "macro_f1")


def write(path: Path, pairs: list[tuple[str, str]]) -> None:
    path.write_text("".join(f"{s}\t{t}\n" for s, t in pairs))


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    write(folder / "train.tsv", TRAIN)
    write(folder / "test.tsv", TEST)
    load_network("a.cfg", seed=1).save_weights("a.weights")


CALL = ("score", "a.cfg", "a.weights", "test.tsv", "--max-length", "3")


def test_classes_have_an_interval_and_macro_f1() -> None:
    found = json.loads(output(*CALL, "--json"))
    assert (found["accuracy"], found["macro_f1"]) == (0, 0)  # the network is not trained
    assert found["accuracy_interval"] == list(wilson(0, 30))
    shown = output(*CALL).decode().splitlines()
    assert [line.split() for line in shown[1:4]] == [
        ["accuracy", "0.00%"], ["95", "%", "interval", "0.00-11.35%"], ["macro", "F1", "0.0000"],
    ]  # fmt: skip


def test_other_targets_have_none_of_it(folder: Path) -> None:
    write(folder / "test.tsv", [(str(n), str(n)) for n in range(5)])
    assert not {*FIGURES, "confusion"} & {*json.loads(output(*CALL, "--json"))}


def test_the_baseline_is_beside_it() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is missing; extra 'learning'")
    found = json.loads(output(*CALL, "--baseline", "train.tsv", "--json"))
    predicted = logistic_regression(*zip(*TRAIN, strict=True), [s for s, _ in TEST])  # type: ignore[call-arg]
    wanted = Classification([t for _, t in TEST], predicted)
    assert wanted.accuracy > 0.9
    assert found["baseline"] == {
        "method": "logistic regression",
        "accuracy": wanted.accuracy,
        "accuracy_interval": list(wanted.interval),
        "macro_f1": wanted.macro_f1,
    }
    shown = output(*CALL, "--baseline", "train.tsv").decode().splitlines()
    assert shown[4] == "logistic regression"
    assert shown[5].split() == ["accuracy", f"{wanted.accuracy:.2%}"]


def test_the_baseline_reads_the_same_form(folder: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is missing; extra 'learning'")
    wanted = output(*CALL, "--baseline", "train.tsv", "--json")
    for name in ("train", "test"):
        lines = (folder / f"{name}.tsv").read_text().splitlines()
        rows = [line.split("\t") for line in lines]
        text = "".join(f"{target},{source}\n" for source, target in rows)
        (folder / f"{name}.csv").write_text(f"t,s\n{text}")
    call = ("score", "a.cfg", "a.weights", "test.csv", "--max-length", "3", "--columns", "s,t")
    assert output(*call, "--baseline", "train.csv", "--json") == wanted


def test_shared_sources_are_counted(folder: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is missing; extra 'learning'")
    write(folder / "train.tsv", TRAIN + TEST[:3])
    result = run(*CALL, "--baseline", "train.tsv")
    message = "3 of 30 sources are also in train.tsv, so the baseline has seen them"
    assert f"minidark: warning: {message}\n" in result.stderr


def test_a_baseline_without_classes_or_scikit_learn_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is missing; extra 'learning'")
    write(folder / "test.tsv", [(str(n), str(n)) for n in range(5)])
    message = "test.tsv: --baseline is for classes, at most 20 different targets that repeat"
    assert_refused(run(*CALL, "--baseline", "train.tsv"), 4, message)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = (
        "the baseline needs scikit-learn: pip install 'minidark[learning]', or omit --baseline"
    )
    assert_refused(run(*CALL, "--baseline", "train.tsv"), 1, message)


@pytest.mark.parametrize(
    "name", ["class {}", "조금 긴 이름의 분류 번호 {}", "{} is a name of many words"]
)
def test_the_table_of_twenty_classes_fits_80_columns(folder: Path, name: str) -> None:
    names = [name.format(n) for n in range(20)]
    write(folder / "test.tsv", [(f"s{n}", names[n % 20]) for n in range(60)])
    shown = output(*CALL, "--set", "net.time_steps=80").decode().splitlines()
    assert max(cell_len(line) for line in shown) <= WIDTH
    first = [at for at, line in enumerate(shown) if line.startswith("true ")]
    assert len(first) > 1
    heads = "".join(shown[at].removeprefix("true") for at in first)
    assert heads.count(name[:3] if name.startswith(("class", "조")) else " is a") == 20
    for at in first:  # all rows, in each part
        assert [line[:3] for line in shown[at + 1 : at + 21]] == [n[:3] for n in sorted(names)]
