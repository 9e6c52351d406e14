"""The folder of a run where CFG and WEIGHTS are asked for: the same output as with its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from minidark import load_network
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=40 learning_rate=.01 adam=1",
    "gru output=6 tanh=1",
    "connected output=256 activation=linear",
    "softmax",
)
SET = ("--set", "gru.output=9", "--set", "gru.tanh=0")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 40
PAIRS = b"".join(b"%d;%d\n" % (n, n % 7) for n in range(300))

SAMPLE = ("--len", "20", "--srand", "1")
COMMANDS = [  # what comes before CFG and WEIGHTS, and what after
    (("generate",), SAMPLE),
    (("generate", *SAMPLE), ()),
    (("valid",), ("text.txt", "--json")),
    (("valid", "--seed", "run"), ("text.txt", "--worst", "2")),
    (("info",), ("--json",)),
    (("vec",), ()),
    (("look", "--json"), ("text.txt",)),
]
FILES = ("a.cfg", "run/a_best.weights", *SET)


@pytest.fixture(autouse=True)
def a_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """run/, of a.cfg with --set, and text.txt. The weights of its files all differ."""
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(TEXT)
    done = run("train", "a.cfg", "text.txt", *SET, "--backup", "run", "--seed", "1", "--batches",
               "3", "--valid-fraction", "0.2")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for number, ending in enumerate(("_best.weights", "_final.weights", ".backup"), 1):
        overrides = [value for value in SET if value != "--set"]
        net = load_network("a.cfg", seed=number, overrides=overrides)
        net.save_weights(f"run/a{ending}")


@pytest.mark.parametrize("folder_name", ["run", "run/", "./run"])
@pytest.mark.parametrize(("before", "after"), COMMANDS)
def test_a_folder_stands_for_cfg_overrides_and_best_weights(
    before: tuple[str, ...], after: tuple[str, ...], folder_name: str
) -> None:
    expected = output(*before, *FILES, *after, stdin=b"fox\n")
    assert output(*before, folder_name, *after, stdin=b"fox\n") == expected


def test_a_folder_may_follow_two_dashes() -> None:
    assert output("generate", *SAMPLE, "--", "run") == output("generate", *SAMPLE, "run")


def test_the_next_best_weights_are_used_and_final_selects_the_final_ones() -> None:
    def sample(*words: str) -> bytes:
        return output("generate", *words, *SAMPLE, "--temp", "1")

    by_ending = {
        ending: sample("a.cfg", f"run/a{ending}", *SET)
        for ending in ("_best.weights", "_final.weights", ".backup")
    }
    assert len({*by_ending.values()}) == 3
    assert sample("run") == by_ending["_best.weights"]
    assert sample("run", "--final") == sample("--final", "run") == by_ending["_final.weights"]
    Path("run/a_best.weights").unlink()
    assert sample("run") == by_ending["_final.weights"]
    Path("run/a_final.weights").unlink()
    assert sample("run") == by_ending[".backup"]
    assert run("generate", "run").stderr.startswith("minidark: using run/a.backup\n")
    refused = "run: no a_final.weights; this run has not ended; omit --final"
    assert_refused(run("generate", "run", "--final"), 4, refused)
    Path("run/a.backup").unlink()
    refused = "run: no a_best.weights; this run has not saved yet"
    assert_refused(run("generate", "run"), 4, refused)


def test_a_changed_or_missing_cfg_has_no_effect() -> None:
    expected = output("generate", "run", *SAMPLE)
    Path("a.cfg").unlink()
    assert output("generate", "run", *SAMPLE) == expected
    assert json.loads(output("info", "run", "--json"))["streams"] == 4
    changed = json.loads(output("info", "run", "--json", "--set", "net.batch=2"))
    assert changed["streams"] == 2, "--set applies to the recorded cfg"


def test_a_shipped_cfgs_name_has_precedence_over_a_folder() -> None:
    shutil.copytree("run", "rnn")
    assert json.loads(output("info", "rnn", "--json"))["layers"][0]["outputs"] == 320
    for name in ("rnn/", "./rnn"):
        assert json.loads(output("info", name, "--json"))["layers"][0]["outputs"] == 9


def test_convert_reads_a_folder() -> None:
    output("convert", "run", "one.safetensors")
    output("convert", "run/a_best.weights", "two.safetensors", "--cfg", "a.cfg", *SET)
    one, two = (output("generate", f"{name}.safetensors", *SAMPLE) for name in ("one", "two"))
    assert one == two
    output("convert", "run", "final.weights", "--final", "--out-cfg", "final.cfg")
    assert output("generate", "final.cfg", "final.weights", *SAMPLE) == output(
        "generate", "run", "--final", *SAMPLE
    )
    refused = "run is the folder of a run, which records its cfg; omit --cfg"
    assert_wrong_usage(run("convert", "run", "x.npz", "--cfg", "a.cfg"), refused)


def test_pairs_of_a_folder_are_read_with_its_separator() -> None:
    Path("pairs.txt").write_bytes(PAIRS)
    done = run("train", "a.cfg", "pairs.txt", "--pairs", "--separator", ";", "--backup", "p",
               "--seed", "1", "--batches", "9", "--valid-fraction", "0.5")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    named = ["a.cfg", "p/a_best.weights"]
    for command, rest, stdin in (
        ("predict", ["--scores"], b"12\n3\n"),
        ("score", ["pairs.txt"], b""),
    ):
        expected = output(command, *named, *rest, "--separator", ";", stdin=stdin)
        assert output(command, "p", *rest, stdin=stdin) == expected
    assert run("score", "p", "pairs.txt", "--separator", ",").exit_code == 4


def test_what_a_folder_lacks_is_said() -> None:
    Path("empty").mkdir()
    lacking = "empty: a folder without run.json; expected a cfg, or the --backup folder of `train`"
    for words in (["generate", "empty"], ["valid", "empty", "text.txt"], ["info", "empty"]):
        assert_refused(run(*words), 3, lacking)
    Path("empty/run.json").write_text("{}")
    result = run("generate", "empty")
    assert result.exit_code == 3
    assert "empty/run.json: damaged, or not the record of a run: cfg is missing" in result.stderr
    shutil.copy("run/a_best.weights", "run/gru_10.weights")
    several = (
        "run: contains the weights of several runs (a, gru); expected those of one: name the "
        "weights, such as run/a_best.weights"
    )
    assert_refused(run("generate", "run"), 4, several)


def test_a_folder_with_other_arguments_is_wrong_usage() -> None:
    both = (
        "run is a folder; the folder of a run stands for CFG and WEIGHTS: omit a.weights, or name "
        "a cfg"
    )
    assert_wrong_usage(run("valid", "run", "a.weights", "text.txt"), both)
    no_folder = "--final selects weights in the folder of a run; name one"
    assert_wrong_usage(run("info", "a.cfg", "--final"), no_folder)
    assert_wrong_usage(run("generate", "--final"), no_folder)
    assert_wrong_usage(run("look", "run"), "Missing argument 'TEXT'.")


def test_weights_set_aside_are_not_another_run() -> None:
    Path("run/a_best.weights").rename("run/a_best.weights.before")
    assert run("generate", "run", *SAMPLE).exit_code == 0


def test_final_from_the_environment_is_for_folders_only(monkeypatch: pytest.MonkeyPatch) -> None:
    final = output("generate", "run", "--final", *SAMPLE)
    monkeypatch.setenv("MINIDARK_FINAL", "1")
    assert output("generate", "run", *SAMPLE) == final
    assert run("generate", *FILES, *SAMPLE).exit_code == 0
    assert run("convert", "run/a_best.weights", "x.npz", "--cfg", "a.cfg", *SET).exit_code == 0


def test_a_folder_with_the_suffix_of_a_cfg_is_a_wrong_cfg() -> None:
    Path("b.cfg").mkdir()
    refused = "b.cfg: a folder; pass the files in it"
    assert_refused(run("generate", "b.cfg", "run/a_best.weights"), 3, refused)


def test_options_that_are_wrong_are_told_before_a_folder_is_read() -> None:
    result = run("valid", "run", "text.txt", "--zzz")
    assert_wrong_usage(result, "No such option '--zzz'.")
    assert run("valid", "run", "--help").stdout.startswith("Usage: minidark valid ")
