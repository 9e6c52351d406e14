"""`predict --classes`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minidark import Classifier, load_network
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=8 time_steps=12", "gru output=6 tanh=1",
    "connected output=256 activation=linear", "softmax",
)  # fmt: skip
CALL = ("predict", "a.cfg", "a.weights", "--classes")
SOURCES = b"one\r\ntwo\n\nthree"


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    load_network("a.cfg", seed=3).save_weights("a.weights")


def test_lines_have_their_likeliest_class(folder: Path) -> None:
    net = load_network("a.cfg", "a.weights", batch=1, kernels="numpy")
    found = [*Classifier(net, ["yes", "né"]).classify(["one", "two", "", "three"])]
    best = [f.best if f else "" for f in found]
    assert output(*CALL, "yes,né", stdin=SOURCES).decode().splitlines() == best
    (folder / "classes.txt").write_bytes(b"\xef\xbb\xbfyes\r\nn\xc3\xa9\n\n")
    assert output(*CALL, "classes.txt", stdin=SOURCES).decode().splitlines() == best
    shown = output(*CALL, "yes,né", "--scores", stdin=SOURCES).decode().split("\n")
    assert shown[2] == ""
    for line, f in zip(shown, found, strict=False):
        assert line == ("\t".join(f"{n}\t{p:.4f}" for n, p in f.ranked()) if f else "")
    lines = output(*CALL, "yes,né", "--json", stdin=SOURCES).splitlines()
    for line, f, source in zip(map(json.loads, lines), found, SOURCES.split(), strict=False):
        if f:
            probabilities = dict(zip(f.classes, f.probabilities, strict=True))
            assert line == {
                "source": source.decode(), "class": f.best, "probabilities": probabilities,
            }  # fmt: skip
        else:
            assert line == {"source": "", "class": None, "probabilities": {}}
            break


def test_classes_that_the_network_does_not_expect_are_doubted() -> None:
    result = run(*CALL, "yes,no", stdin=b"one\n")  # the network is not trained
    assert result.exit_code == 0
    assert "warning: all classes together have a probability of" in result.stderr


def test_the_folder_of_a_run_has_the_separator(folder: Path) -> None:
    (folder / "pairs.txt").write_bytes(b"".join(b"%d;%d\n" % (n, n % 3) for n in range(60)))
    trained = run("train", "a.cfg", "pairs.txt", "--pairs", "--separator", ";", "--backup", "p",
                  "--batches", "9", "--seed", "1")  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    call = ("--final", "--classes", "0,1,2", "--json")
    of_files = ("predict", "a.cfg", "p/a_final.weights", *call[1:])
    found = output("predict", "p", *call, stdin=b"12\n7\n")
    assert found == output(*of_files, "--separator", ";", stdin=b"12\n7\n")
    assert found != output(*of_files, stdin=b"12\n7\n")


def test_options_of_the_search_are_wrong_usage() -> None:
    for option in ("--beam", "--n-best", "--max-length", "--length-penalty"):
        message = f"{option} is for the beam search; --classes does not search"
        assert_wrong_usage(run(*CALL, "yes,no", option, "2", stdin=b""), message)
    message = "--classes 'yes' is neither a file nor two classes, as in yes,no"
    assert_wrong_usage(run(*CALL, "yes", stdin=b""), message)
    assert_refused(run(*CALL, "yes,,no", stdin=b""), 4, "class 2, '', is empty")
