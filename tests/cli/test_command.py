"""What every command shares: examples, groups of options, environment variables, hints."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from minidark import load_network
from minidark.cli import COMMANDS, load
from minidark.cli.command import GROUPS, NONE, OWN, long_name, variables
from minidark.files import shipped
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg
from tests.shipped_cfgs import shipped_files as shipped_files

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=4",
    "gru output=6 batch_normalize=1 tanh=0",
    "connected output=256 activation=linear",
    "softmax",
)
OVER_SOURCE = cfg("net inputs=256", "attention over=source", "connected output=256", "softmax")
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 20


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(TEXT)
    load_network("a.cfg", seed=1).save_weights("a.weights")


def options(name: str) -> list[click.Option]:
    return [param for param in load(name).params if isinstance(param, click.Option)]


# --- help ---------------------------------------------------------------------------------


def examples(name: str) -> list[str]:
    """The command lines of the help, without what is said of them."""
    text = load(name).help or ""
    lines = [line.strip() for line in text.partition("\b")[2].partition("\n\n")[0].splitlines()]
    return [re.split(r" {2,}\(", line)[0] for line in lines if line]


SMALL = {  # for the examples: little is computed
    "MINIDARK_BATCHES": "1", "MINIDARK_LEN": "3", "MINIDARK_VALID_FRACTION": "0",
    "MINIDARK_THREADS": "1",  # faster, where other work is on the machine
    **{f"MINIDARK_{command}_SET": "net.batch=2 net.time_steps=8 net.subdivisions=1"
       for command in ("TRAIN", "COMPARE")},
}  # fmt: skip
SHORTER = {"--batches": "1", "--seconds": ".01", "--parameters": "3000"}
GOES_ON = "minidark train rnn data.txt"  # what an example with --resume goes on with
EXPERIMENT = "cfg: a.cfg\ndata: text.txt\n"
EXTRAS = {"compare": "jinja2", "convert": "onnxruntime", "look": "jinja2", "report": "jinja2"}
# Options that need a module of an extra that `make test` does not install, and the refusal without.
OPTIONAL = {
    "--baseline": (
        "sklearn",
        "the baseline needs scikit-learn: pip install 'minidark[learning]', or omit --baseline",
    )
}


def shortened(words: list[str]) -> list[str]:
    """With less of what an example does much of."""
    after = dict(enumerate(words, start=1))
    return [SHORTER.get(after.get(at, ""), word) for at, word in enumerate(words)]


def provide(word: str) -> None:
    """A small file of the kind that a word of an example names."""
    path = Path(word)
    if path.exists() or path.is_absolute():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".cfg":
        path.write_text(OVER_SOURCE if path.stem == "attention" else CFG)
    elif path.suffix == ".txt":
        path.write_bytes(TEXT)
    elif path.suffix == ".ids":
        path.write_text("1 2 3 " * 40)
    elif path.suffix == ".tsv":
        path.write_bytes(b"one\t1\ntwo\t2\n" * 2)
    elif path.suffix == ".csv":
        path.write_bytes(b"review,label\n" + b"one,1\ntwo,2\n" * 2)
    elif path.suffix in (".de", ".en"):
        path.write_bytes(b"one\ntwo\n")
    elif path.suffix == ".yaml" and path.stem == "experiment":
        path.write_text(EXPERIMENT)
    elif path.suffix == ".onnx" and path.stem == "theirs":
        shutil.copy("my.onnx", path)  # which the example before wrote
    elif path.suffix == ".safetensors":
        load_network("rnn", seed=1).save_weights(path)
    elif not path.suffix and path.name in ("backup", "books"):
        assert run("train", "a.cfg", "text.txt", "--backup", word).exit_code == 0


def provide_weights(words: list[str]) -> None:
    """Weights for the cfg that stands in the same line."""
    named = [word for word in words if word.endswith(".weights")]
    if not named or words[0].endswith(".onnx"):  # from which they are made
        return
    known = shipped.names("cfg", ".cfg")
    made_with = next((word for word in words if word.endswith(".cfg") or word in known), "rnn")
    path = shipped.find_cfg(made_with)
    net = load_network(path, seed=1)
    for name in named:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        net.save_weights(name)


@pytest.mark.usefixtures("shipped_files")
@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_in_the_help_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = examples(name)
    assert lines
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    for variable, value in SMALL.items():
        monkeypatch.setenv(variable, value)
    for line in lines:
        first, pipe, second = line.rpartition(" | ")
        line = second if pipe else line
        source = first.split()[-1] if pipe else None
        line, _, into = line.partition(" > ")
        line, _, given = line.partition(" < ")
        program, command, *words = shlex.split(line)
        assert (program, command) == ("minidark", name)
        words = shortened(words)
        read = [word for before, word in zip(["", *words], words, strict=False)
                if before not in ("-o", "--out-cfg")]  # fmt: skip
        for word in [*read, *filter(None, [source, given])]:
            provide(word)
        provide_weights(words[:1] + words[2:] if name == "join" else words)  # not OUT
        if "auto" in words:
            run(*shlex.split(GOES_ON)[1:], "--seed", "1")
        data = Path(given).read_bytes() if given else None
        if pipe:
            data = subprocess.run(first, shell=True, check=True, stdout=subprocess.PIPE).stdout
        done = run(command, *words, stdin=data)
        missing = [why for option, (module, why) in OPTIONAL.items()
                   if option in words and not find_spec(module)]  # fmt: skip
        if missing:
            assert_refused(done, 1, missing[0])
            continue
        assert done.exit_code == 0, (line, done.stderr, done.exception)
        assert done.stdout_bytes or not into


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_line_examples_the_rest(name: str) -> None:
    shown = run(name, "--help").stdout
    usage, _, text = shown.partition("\n\n")
    assert usage.startswith(f"Usage: minidark {name} ")
    blocks = text.split("\n\n")
    assert all(f"{line} ".startswith(f"  minidark {name} ") or " | " in line
               for line in blocks[1].splitlines())  # fmt: skip


def test_options_stand_in_groups() -> None:
    shown = run("train", "--help").stdout
    headings = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert headings == ["Data", "Model", "Training", "Output", "Device", "Options"]
    group = re.search(r"^Training:\n(.*?)\n\n", shown, re.MULTILINE | re.DOTALL)
    assert group
    assert re.findall(r"^  (--[a-z-]+)", group[1], re.MULTILINE) == [
        "--resume", "--batches", "--epochs", "--seed", "--patience", "--clip-norm", "--shards",
    ]  # fmt: skip


def test_each_option_is_listed_once() -> None:
    for name in COMMANDS:
        shown = re.split(r"\n\w+:\n", run(name, "--help").stdout, maxsplit=1)[1]
        for option in options(name):
            if option.hidden:
                continue
            listed = re.findall(rf"^  (?:-\w, )?--{long_name(option)}\b(?!-)", shown, re.MULTILINE)
            assert len(listed) == 1, (name, option.name)


def test_no_heading_names_an_option_that_there_is_not() -> None:
    known = {long_name(option) for name in COMMANDS for option in options(name)}
    known |= {f"{name}.{long_name(option)}" for name in COMMANDS for option in options(name)}
    assert {name for names in GROUPS.values() for name in names} <= known


# --- the environment ----------------------------------------------------------------------


def length(*args: str) -> int:
    return len(output("generate", "a.cfg", "a.weights", "--srand", "1", *args)) - 3


def test_flag_counts_more_than_own_variable_than_shared_than_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert length() == 1000
    monkeypatch.setenv("MINIDARK_LEN", "7")
    assert length() == 7
    monkeypatch.setenv("MINIDARK_GENERATE_LEN", "5")
    assert length() == 5
    assert length("--len", "3") == 3
    monkeypatch.setenv("MINIDARK_GENERATE_LEN", "")
    assert length() == 7


def test_a_variable_counts_more_than_the_cfg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDARK_BATCHES", "2")
    monkeypatch.setenv("MINIDARK_TRAIN_SEED", "11")
    result = run("train", "a.cfg", "text.txt")
    assert result.exit_code == 0
    assert "--seed 11\n" in result.stderr
    assert "\n2: " in result.stderr
    assert "\n4: " not in result.stderr


@pytest.mark.parametrize(("value", "on"), [("1", 1), ("true", 1), ("0", 0), ("false", 0), ("", 0)])
def test_a_switch_is_on_off_or_unset(value: str, on: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDARK_JSON", value)
    shown = output("ops", "a.cfg").decode()
    assert shown.startswith("{") == bool(on)


def test_an_option_that_may_be_given_again_is_split_at_blanks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDARK_SET", "gru.output=9 net.batch=2")
    facts = json.loads(output("info", "a.cfg", "--json"))
    assert (facts["layers"][0]["outputs"], facts["streams"]) == (9, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MINIDARK_LEN", "ten", "'ten' is not a valid integer."),
        ("MINIDARK_GENERATE_LEN", "-1", "-1 is not in the range 0 or more."),
        ("MINIDARK_DEVICE", "tpu", "'tpu' is not one of 'auto', 'cpu', 'cuda'."),
    ],
)
def test_a_wrong_value_names_its_variable(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    result = run("generate", "a.cfg", "a.weights")
    assert_wrong_usage(result, f"Invalid value for the environment variable {name}: {message}")


@pytest.mark.parametrize("name", ["MINIDARK_STRICT", "MINIDARK_QUIET"])
def test_a_wrong_value_of_a_switch_does_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "maybe")
    result = run("generate", "a.cfg", "a.weights")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for the environment variable {name}: 'maybe'" in result.stderr


def test_a_wrong_value_on_the_command_line_names_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDARK_LEN", "3")
    result = run("generate", "a.cfg", "a.weights", "--len", "ten")
    assert_wrong_usage(result, "Invalid value for '--len': 'ten' is not a valid integer.")


@pytest.mark.parametrize("variable", ["MINIDARK_QUIET", "MINIDARK_GENERATE_QUIET"])
def test_quiet_from_the_environment_gives_way_to_v(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    call = ("generate", "a.cfg", "a.weights", "--len", "1")
    assert run(*call).stderr == ""
    assert "--srand" in run(*call, "-v").stderr
    assert "--srand" in run("-v", *call).stderr


def test_text_to_go_on_from_is_not_the_seed_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDARK_SEED", "7")
    call = ("generate", "a.cfg", "a.weights", "--srand", "1", "--len", "1")
    assert output(*call).startswith(b"\n\n")
    monkeypatch.setenv("MINIDARK_GENERATE_SEED", "x")
    assert output(*call).startswith(b"x")


def test_darknets_own_command_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDARK_SET", "gru.output=9")
    monkeypatch.setenv("MINIDARK_RNN_STRICT", "maybe")
    assert run("rnn", "valid", "a.cfg", "a.weights", stdin=b"xyz").exit_code == 0
    said = " ".join(run("rnn", "--help").stdout.split())
    assert "reads no option from the environment" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_variables_and_the_help_says_so(name: str) -> None:
    if name in NONE:
        assert not any(option.envvar for option in options(name))
        return
    stem = f"MINIDARK_{name.upper()}"
    for option in options(name):
        own = long_name(option)
        wanted = [f"{stem}_{own.upper().replace('-', '_')}"]
        if not {own, f"{name}.{own}"} & OWN and own not in ("quiet", "verbose", "debug"):
            wanted.append(wanted[0].replace(stem, "MINIDARK"))
        assert option.envvar == wanted
    said = " ".join(run(name, "--help").stdout.split())
    assert re.search(rf": {stem}_\w+ sets --.*\. The command line takes precedence\.$", said)


def test_variables_are_in_capitals_without_dashes() -> None:
    assert variables("train", "save-every") == ["MINIDARK_TRAIN_SAVE_EVERY", "MINIDARK_SAVE_EVERY"]


# --- what a newcomer does -----------------------------------------------------------------

WEIGHTS_FIRST = "a.weights is a weight file: put its cfg before it"
UNRECORDED = (
    "a.weights is a weight file, and a.weights.json does not record its cfg: put its cfg before it"
)
SWAPPED = "a.weights is a weight file and a.cfg is a cfg: the cfg comes first"
NO_TEXT = "a.weights is a weight file, not a text"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate", "a.weights"], UNRECORDED),
        (["info", "a.weights"], UNRECORDED),
        (["train", "a.weights", "text.txt"], WEIGHTS_FIRST),
        (["generate", "a.weights", "a.cfg"], SWAPPED),
        (["valid", "a.weights", "a.cfg", "text.txt"], SWAPPED),
        (["vec", "a.weights", "a.cfg"], SWAPPED),
        (["valid", "a.cfg", "text.txt", "a.weights"], NO_TEXT),
        (["train", "a.cfg", "a.weights"], NO_TEXT),
        (["train", "text.txt", "a.cfg"], "a.cfg is a cfg and text.txt is not: the cfg comes first"),
        (["generate", "a.cfg"], "the weights are missing: minidark generate CFG WEIGHTS"),
        (
            ["generate", "a.cfg", "a.weights", "-len", "5"],
            "No such option '-l'. darknet's -len is --len here; `minidark rnn` accepts darknet's "
            "flags.",
        ),
    ],
)
def test_files_in_each_others_places_are_told_apart(args: list[str], message: str) -> None:
    assert_wrong_usage(run(*args), message)


def test_a_text_for_weights_is_named() -> None:
    result = run("valid", "a.cfg", "text.txt", "text.txt")
    assert_refused(result, 4, f"text.txt: not a darknet weight file (it begins with {TEXT[:12]!r})")


def test_a_shipped_name_may_be_trained_on_a_cfgs_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks swapped is not always."""
    monkeypatch.chdir(shutil.copytree(".", "inner"))
    Path("a.cfg").write_text(CFG + "#" * 2000)
    assert run("train", "a.cfg", "a.cfg", "--batches", "1").exit_code == 0


def test_no_command_shows_the_help_with_2() -> None:
    result = run()
    assert result.exit_code == 2
    assert "minidark train rnn data.txt" in result.stderr
