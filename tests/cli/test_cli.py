"""The command line: what it prints where, what it leaves, and with which exit code it ends."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import Result

import minidark
from minidark import MinidarkError, load_network
from minidark.cli import cli
from minidark.errors import visible
from tests.cli.running import Started, lay_out, run
from tests.golden_cases import GOLDEN, record
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=4 time_steps=8 max_batches=4 learning_rate=.01 adam=1",
    "gru output=6 tanh=1",
    "connected output=256 activation=linear",
    "softmax",
)
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 200
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(CFG, TEXT)


def run_apart(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    command = [sys.executable, "-m", "minidark", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **kwargs)


def only_line(stderr: str) -> str:
    """The one line of an error, checked to be no more than that."""
    assert "Traceback" not in stderr
    (line,) = stderr.splitlines()
    assert line.startswith("minidark: error: ")
    return line.removeprefix("minidark: error: ")


def assert_refused(result: Result, code: int, message: str) -> None:
    assert only_line(result.stderr) == message
    assert (result.exit_code, result.stdout) == (code, "")


# --- help, version, usage -----------------------------------------------------------------


def test_python_m_minidark_tells_its_version() -> None:
    done = run_apart("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0, f"minidark {minidark.__version__}\n", "",
    )  # fmt: skip


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_help_begins_with_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    begin, _, options = result.stdout.partition("Options:")
    assert options
    assert f"  minidark {command} " in begin


def test_help_of_the_whole_lists_every_command() -> None:
    result = run("-h")
    assert result.exit_code == 0
    assert all(f"\n  {command} " in result.stdout for command in ("train", "generate", "valid"))


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_line_in_the_help_is_the_first_of_the_commands_own(name: str) -> None:
    listed = cli.commands[name]
    _, command, rest = cli.resolve_command(click.Context(cli), [name, "rest"])
    assert command is not None
    assert command is not listed
    assert (command.name, rest) == (name, ["rest"])
    assert command.get_short_help_str(limit=1000) == listed.get_short_help_str(limit=1000) != ""
    shared = [option for option in command.params if option.name in ("quiet", "verbose", "debug")]
    assert len(shared) == 3


@pytest.mark.parametrize(
    ("typed", "meant"), [("trian", "train"), ("generat", "generate"), ("inof", "info")]
)
def test_a_mistyped_command_is_told_the_nearest(typed: str, meant: str) -> None:
    result = run(typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"(did you mean '{meant}'?)" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["qqqq"], "No such command 'qqqq'."),
        (["train", "a.cfg"], "Missing argument 'DATA...'"),
        (["generate", "a.cfg"], "the weights are missing: minidark generate CFG WEIGHTS"),
        (
            ["generate", "a.cfg", "a.weights", "--temp", "-1"],
            "-1.0 is not in the range 0, or 1e-20 and more",
        ),
        (["generate", "a.cfg", "a.weights", "--len", "ten"], "'ten' is not a valid integer"),
        (["generate", "a.cfg", "a.weights", "--top-p", "0"], "0.0 is not in the range 0<x<=1"),
        (["info", "a.cfg", "--weights-order", "keras"], "'keras' is not one of"),
        (
            ["train", "a.cfg", "text.txt", "--batches", "0"],
            "0 is not in the range 1 or more",
        ),
        (["train", "a.cfg", "text.txt", "--valid-fraction", "1"], "1.0 is not in the range 0<=x<1"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(args: list[str], said: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


# --- wrong cfgs, weights and texts --------------------------------------------------------

COMMANDS = {
    "train": ["text.txt"],
    "generate": ["a.weights"],
    "valid": ["a.weights", "text.txt"],
    "info": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_or_missing_cfg_is_3(command: str) -> None:
    rest = COMMANDS[command]
    Path("bad.cfg").write_text(CFG.replace("output=6", "output=64x"))
    assert_refused(run(command, "bad.cfg", *rest), 3, "bad.cfg:10: output='64x' is not an integer")
    missing = "none.cfg: cannot read: No such file or directory"
    assert_refused(run(command, "none.cfg", *rest), 3, missing)


@pytest.mark.parametrize("command", COMMANDS)
def test_set_overrules_the_cfg_and_is_checked_like_it(command: str) -> None:
    result = run(command, "a.cfg", *COMMANDS[command], "--set", "gru.output")
    assert_refused(result, 3, "--set gru.output is not section.key=value")
    result = run(command, "a.cfg", *COMMANDS[command], "--set", "lstm.output=4")
    assert_refused(result, 3, "--set lstm.output=4: no [lstm] in this cfg")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_key_is_a_warning_and_with_strict_an_error(command: str) -> None:
    Path("odd.cfg").write_text(CFG.replace("tanh=1", "tanh=1\nouput=7"))
    doubt = "odd.cfg:12: unknown key 'ouput' in [gru] (did you mean 'output'?)"
    result = run(command, "odd.cfg", *COMMANDS[command])
    assert result.exit_code == 0
    assert result.stderr.splitlines().count(f"minidark: warning: {doubt}") == 1
    assert_refused(run(command, "odd.cfg", *COMMANDS[command], "--strict"), 3, doubt)


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_keeps_warnings_back(command: str) -> None:
    Path("odd.cfg").write_text(CFG.replace("tanh=1", "tanh=1\nouput=7"))
    assert "ouput" not in run("--quiet", command, "odd.cfg", *COMMANDS[command]).stderr


SHORT = {
    "train": ["text.txt", "--weights", "short.weights"],
    "generate": ["short.weights"],
    "valid": ["short.weights", "text.txt"],
    "info": ["short.weights"],
}


@pytest.mark.parametrize("command", SHORT)
def test_weights_that_do_not_fit_are_4(command: str, folder: Path) -> None:
    whole = (folder / "a.weights").read_bytes()
    (folder / "short.weights").write_bytes(whole[:-4])
    message = (
        "short.weights: layer 1.connected.weights is 4 bytes short: the file has "
        f"{len(whole) - 4:,}, this cfg needs {len(whole):,}; is it the cfg they were made with?"
    )
    assert_refused(run(command, "a.cfg", *SHORT[command]), 4, message)
    (folder / "short.weights").unlink()
    missing = "short.weights: cannot read: No such file or directory"
    assert_refused(run(command, "a.cfg", *SHORT[command]), 4, missing)


def test_a_text_that_is_empty_missing_or_too_short_is_4() -> None:
    Path("empty.txt").write_bytes(b"")
    Path("short.txt").write_bytes(b"12345678")
    empty = "empty.txt: empty"
    assert_refused(run("train", "a.cfg", "empty.txt"), 4, empty)
    assert_refused(run("valid", "a.cfg", "a.weights", "empty.txt"), 4, empty)
    none = "none.txt: cannot read: No such file or directory"
    assert_refused(run("train", "a.cfg", "none.txt"), 4, none)
    assert_refused(run("valid", "a.cfg", "a.weights", "none.txt"), 4, none)
    few = run("valid", "a.cfg", "a.weights", stdin=b"x")
    assert_refused(few, 4, "standard input: 1 character; at least two are needed")
    result = run("train", "a.cfg", "short.txt", "--seed", "1", "--valid-fraction", "0")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == (
        "minidark: error: 8 characters to train on; a window of time_steps=8 needs 9: "
        "use more text or a smaller time_steps"
    )


def test_an_empty_seed_is_4() -> None:
    result = run("generate", "a.cfg", "a.weights", "--seed", "", "--srand", "1")
    assert_refused(result, 4, "the seed is empty; sampling needs at least one symbol")


def test_debug_shows_the_traceback_and_the_line_all_the_same() -> None:
    result = run("--debug", "info", "none.cfg")
    assert result.exit_code == 3
    assert "Traceback (most recent call last):" in result.stderr
    assert result.stderr.endswith(
        "\nminidark: error: none.cfg: cannot read: No such file or directory\n"
    )


# --- generate -----------------------------------------------------------------------------

NAME = "text_shakespeare_gru"
TRAINED = (str(GOLDEN / NAME / "net.cfg"), str(GOLDEN / NAME / "net.weights"))


@pytest.mark.parametrize("call", record(NAME)["generate"], ids=lambda call: str(call["srand"]))
def test_generate_prints_what_darknet_prints(call: dict[str, Any]) -> None:
    figures = {"--srand": "srand", "--len": "len", "--temp": "temp", "--seed": "seed"}
    args = [arg for option, key in figures.items() for arg in (option, str(call[key]))]
    result = run("generate", *TRAINED, *args)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes == bytes.fromhex(call["stdout_hex"])


def generated(*args: str) -> bytes:
    result = run("generate", "a.cfg", "a.weights", "--len", "40", *args)
    assert result.exit_code == 0
    return result.stdout_bytes


def test_the_same_srand_gives_the_same_text_and_another_another() -> None:
    text = generated("--seed", "def ", "--srand", "3")
    assert generated("--seed", "def ", "--srand", "3") == text
    assert generated("--seed", "def ", "--srand", "4") != text
    assert text.startswith(b"def ")
    assert text.endswith(b"\n")
    assert len(text) == 4 + 40 + 1


def test_without_srand_a_fresh_one_is_told_that_gives_the_same_text() -> None:
    fresh = run("generate", "a.cfg", "a.weights", "--len", "40")
    told = re.fullmatch(r"minidark: --srand ([0-9]+)\n", fresh.stderr)
    assert told
    assert generated("--srand", told[1]) == fresh.stdout_bytes
    assert fresh.stdout_bytes.startswith(b"\n\n")
    assert run("generate", "a.cfg", "a.weights", "--len", "0").stderr != fresh.stderr


def test_samples_are_those_of_srand_and_the_next_ones() -> None:
    singles = [(srand, generated("--srand", str(srand))) for srand in (7, 8, 9)]
    below = [b"--- srand %d:\n%s" % single for single in singles]
    assert generated("--srand", "7", "--samples", "3") == b"".join(below)


def test_a_seed_may_be_any_utf_8() -> None:
    assert generated("--srand", "1", "--seed", "f\u00fc").startswith("f\u00fc".encode())


def test_temperature_0_and_top_k_1_take_the_likeliest_whatever_the_draws() -> None:
    texts = {generated("--srand", srand, "--temp", "0") for srand in "123"}
    texts |= {generated("--srand", srand, "--top-k", "1") for srand in "123"}
    texts |= {generated("--srand", srand, "--top-p", "1e-6") for srand in "123"}
    assert len(texts) == 1
    assert texts != {generated("--srand", "1")}


def test_the_weights_order_can_be_overruled() -> None:
    net = load_network("a.cfg", seed=1, overrides=["gru.output=256"])
    net.save_weights("square.weights")
    args = ["generate", "a.cfg", "square.weights", "--set", "gru.output=256", "--srand", "1"]
    plain, same, other = (
        run(*args, *order).stdout_bytes
        for order in ([], ["--weights-order", "pjreddie"], ["--weights-order", "alexey"])
    )
    assert plain == same != other


def test_without_arguments_the_shipped_network_speaks() -> None:
    result = run("generate", "--srand", "1", "--len", "30")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout_bytes) == 2 + 30 + 1


# --- valid and info -----------------------------------------------------------------------


def strict_json(text: str) -> Any:
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_valid_measures_what_darknet_measures() -> None:
    """In bits, to the last printed digit; darknet, which sums in float32, is off by less."""
    darknets = record(NAME)["valid"]
    result = run(
        "valid", *TRAINED, "--seed", darknets["seed"], "--json", stdin=darknets["stdin"].encode()
    )
    assert (result.exit_code, result.stderr) == (0, "")
    figures = strict_json(result.stdout)
    last = re.search(
        r"([0-9]+) BPC: ([0-9.]+) +Perplexity: ([0-9.]+) +Word Perplexity: ([0-9.]+)",
        darknets["last_line"],
    )
    assert last
    assert figures["characters"] == int(last[1])
    bits = [figures["bits_per_character"]]
    bits += [math.log2(figures[name]) for name in ("perplexity", "word_perplexity")]
    darknets_bits = [float(last[2]), math.log2(float(last[3])), math.log2(float(last[4]))]
    assert bits == pytest.approx(darknets_bits, rel=0, abs=1e-4)


def test_valid_reads_a_file_or_standard_input_and_prints_a_table() -> None:
    by_file = run("valid", "a.cfg", "a.weights", "text.txt")
    by_pipe = run("valid", "a.cfg", "a.weights", stdin=TEXT)
    assert by_file.exit_code == by_pipe.exit_code == 0
    assert by_file.stdout == by_pipe.stdout
    rows = [re.split(r" {2,}", line.strip()) for line in by_file.stdout.splitlines()]
    figures = strict_json(run("valid", "a.cfg", "a.weights", "text.txt", "--json").stdout)
    assert rows == [
        ["characters", "8,999"],
        ["nats per character", f"{figures['nats_per_character']:,.4f}"],
        ["bits per character", f"{figures['bits_per_character']:,.4f}"],
        ["perplexity", f"{figures['perplexity']:,.4f}"],
        ["word perplexity", "-", "(over a million: words are not predicted)"],
    ]
    assert figures["word_perplexity"] > 1e6
    assert figures["bits_per_character"] == pytest.approx(8, abs=0.5)


def test_valids_json_is_json_for_a_word_that_is_long_beyond_measure() -> None:
    result = run("valid", "a.cfg", "a.weights", "--json", stdin=b"x" * 1000)
    assert result.exit_code == 0
    assert strict_json(result.stdout)["characters"] == 999


def test_info_counts_layers_parameters_and_bytes() -> None:
    result = run("info", "a.cfg", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    facts = strict_json(result.stdout)
    gru = 3 * 6 * 256 + 3 * 6 * 6
    assert facts == {
        "layers": [
            {"layer": 0, "type": "gru", "inputs": 256, "outputs": 6, "parameters": gru + 36,
             "stored": gru + 36, "multiply_adds": gru},
            {"layer": 1, "type": "connected", "inputs": 6, "outputs": 256,
             "parameters": 1536 + 256, "stored": 1536 + 256, "multiply_adds": 1536},
            {"layer": 2, "type": "softmax", "inputs": 256, "outputs": 256, "parameters": 0,
             "stored": 0, "multiply_adds": 0},
        ],
        "parameters": gru + 36 + 1792,
        "weight_file_bytes": Path("a.weights").stat().st_size,
        "multiply_adds": gru + 1536,
        "streams": 4,
        "time_steps": 8,
        "subdivisions": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("header_transposed",
         {"version": "0.1001.0", "order": "alexey", "transposed": True, "seen": 777}),
        ("header_v10_int64_seen",
         {"version": "1.0.0", "order": "pjreddie", "transposed": False, "seen": 2**33 + 5}),
        ("alexey_gru",
         {"version": "0.2.5", "order": "alexey", "transposed": False, "seen": 999}),
    ],
)  # fmt: skip
def test_info_tells_what_a_weight_file_says_of_itself(name: str, facts: dict[str, Any]) -> None:
    files = (str(GOLDEN / name / "net.cfg"), str(GOLDEN / name / "net.weights"))
    assert strict_json(run("info", *files, "--json").stdout)["weights"].items() >= facts.items()
    result = run("info", *files)
    told = result.stdout
    assert result.stderr.count("net.weights: header ") == (facts["order"] == "alexey")  # once
    assert f"these weights: version {facts['version']} (" in told
    assert f"{facts['order']}'s order of arrays" in told
    assert (", transposed)" in told) == facts["transposed"]
    assert f"{facts['seen']:,} rows seen" in told


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn"])
def test_a_bare_name_is_a_shipped_cfg(name: str) -> None:
    facts = strict_json(run("info", name, "--json").stdout)
    assert facts["layers"][-1]["outputs"] == 256


def test_set_changes_the_network_that_is_shown() -> None:
    args = ["--set", "gru.output=9", "--set", "net.batch=6", "--set", "net.subdivisions=2"]
    facts = strict_json(run("info", "a.cfg", "--json", *args).stdout)
    assert facts["layers"][0]["outputs"] == facts["layers"][1]["inputs"] == 9
    assert (facts["streams"], facts["subdivisions"]) == (3, 2)
    assert "3 streams of 8 steps, 2 passes." in run("info", "a.cfg", *args).stdout


# --- train --------------------------------------------------------------------------------


def seen(path: Path | str) -> int:
    (rows,) = struct.unpack_from("<q", Path(path).read_bytes(), 12)
    return int(rows)


def test_train_leaves_its_weights_and_says_so(folder: Path) -> None:
    result = run("train", "a.cfg", "text.txt", "--save-every", "3", "--seed", "5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert sorted(p.name for p in (folder / "backup").iterdir()) == [
        "a.backup", "a.backup.json", "a.ckpt", "a.ckpt.prev", "a_best.weights",
        "a_best.weights.json", "a_final.weights", "a_final.weights.json", "log.jsonl", "run.json",
    ]  # fmt: skip
    assert (seen("backup/a.backup"), seen("backup/a_final.weights")) == (3 * 32, 4 * 32)
    best = Path("backup/a_best.weights").read_bytes()
    assert best == Path("backup/a_final.weights").read_bytes()
    shown, _, after = result.stderr.partition("--- a sample after 4 batches:\n")
    begin, line, validated = shown.splitlines()
    assert begin == (
        "6,544 parameters, 4 streams of 8 steps; 8,550 characters to train on, 450 to validate "
        "on; --seed 5"
    )
    assert re.fullmatch(
        r"4: 5\.[0-9]{6}, 5\.[0-9]{6} avg, 0\.010000 rate, [0-9.]+ seconds, 0\.014971 epochs", line
    )
    assert re.fullmatch(
        r"4: validation 5\.[0-9]{4} nats, [78]\.[0-9]{3} bits per character, the best so far",
        validated,
    )
    sample, _, end = after.partition("\n---\n")
    logged = Path("backup/log.jsonl").read_text().splitlines()
    assert visible(json.loads(logged[-1])["sample"]) == sample, "drawn once"
    look = "look backup/ text.txt" if find_spec("jinja2") else "report backup/"
    assert end.splitlines() == [
        f"minidark: wrote {Path('backup/a_final.weights')}",
        "minidark: next, you can type",
        "    minidark generate backup/",
        f"    minidark {look}",
    ]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1000, "950 characters to train on, 50 to validate on, too few to validate;"),
        pytest.param(20_000_000, "19,000,000 characters to train on, 1,000,000 held out, "
                     "524,288 of them, evenly spread, to validate on;", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_train_tells_how_much_it_validates_on(size: int, said: str) -> None:
    Path("zeros.txt").write_bytes(bytes(size))
    result = run("train", "a.cfg", "zeros.txt", "--batches", "1")
    assert said in result.stderr.splitlines()[0]


def trained(*args: str) -> bytes:
    """The final weights of a run into a folder of its own."""
    result = run("train", "a.cfg", "text.txt", "--backup", "b", *args)
    assert result.exit_code == 0, result.stderr
    return Path("b/a_final.weights").read_bytes()


def test_the_same_seed_trains_the_same_network_and_another_another() -> None:
    first = trained("--seed", "5")
    assert trained("--seed", "5") == first
    assert trained("--seed", "6") != first


def test_a_fresh_seed_is_told_and_trains_the_same_network() -> None:
    fresh = run("train", "a.cfg", "text.txt", "--backup", "fresh")
    told = re.search(r"--seed ([0-9]+)$", fresh.stderr, re.MULTILINE)
    assert told
    assert trained("--seed", told[1]) == Path("fresh/a_final.weights").read_bytes()


def test_training_goes_on_from_weights_and_counts_their_batches() -> None:
    Path("start.weights").write_bytes(trained("--seed", "5", "--batches", "3"))
    assert seen("start.weights") == 96
    result = run("train", "a.cfg", "text.txt", "--weights", "start.weights", "--backup", "c")
    assert result.exit_code == 0
    assert seen("c/a_final.weights") == 128
    args = ["train", "a.cfg", "text.txt", "--weights", "start.weights", "--batches", "3"]
    done = run(*args)
    assert done.exit_code == 2
    assert "these weights have already seen 3 of 3 batches" in done.stderr
    assert run(*args, "--clear", "--backup", "d").exit_code == 0
    assert seen("d/a_final.weights") == 96


def test_with_clear_too_the_best_is_better_than_the_weights_that_were_given() -> None:
    trained("--seed", "5", "--batches", "30")
    Path("b/a_final.weights").rename("start.weights")
    args = ["train", "a.cfg", "text.txt", "--weights", "start.weights", "--batches", "3"]
    useless = ["--set", "net.learning_rate=100", "--valid-fraction", ".3"]
    result = run(*args, *useless, "--clear", "--backup", "e")
    assert result.exit_code == 0, result.stderr
    assert "3: validation" in result.stderr
    assert not Path("e/a_best.weights").exists()


def test_several_texts_are_one() -> None:
    Path("one.txt").write_bytes(TEXT[:5000])
    Path("two.txt").write_bytes(TEXT[5000:])
    whole = trained("--seed", "5")
    result = run("train", "a.cfg", "one.txt", "two.txt", "--backup", "c", "--seed", "5")
    assert result.exit_code == 0
    assert Path("c/a_final.weights").read_bytes() == whole


def test_clip_norm_shortens_the_steps_of_sgd() -> None:
    args = ["--weights", "a.weights", "--seed", "5", "--set", "net.adam=0", "--set", "net.decay=0"]
    start, free, clipped = (
        np.frombuffer(data[20:], "<f4")
        for data in (
            Path("a.weights").read_bytes(), trained(*args), trained(*args, "--clip-norm", "1e-12")
        )
    )  # fmt: skip
    assert np.abs(free - start).max() > 1e-5
    assert 0 < np.abs(clipped - start).max() < 1e-12


def test_a_cfg_without_max_batches_needs_batches() -> None:
    result = run("train", "a.cfg", "text.txt", "--set", "net.max_batches=0")
    assert_refused(result, 3, "a.cfg: no max_batches in [net]; add it, or use --batches N")
    assert len(trained("--set", "net.max_batches=0", "--batches", "1")) > 20


@pytest.mark.parametrize("backup", ["text.txt", "text.txt/b"])
def test_an_unwritable_backup_folder_is_found_out_before_the_first_batch(backup: str) -> None:
    result = run("train", "a.cfg", "text.txt", "--backup", backup)
    assert result.exit_code == 1
    assert only_line(result.stderr).startswith(f"{Path(backup)}: cannot write: ")
    assert Path("text.txt").read_bytes() == TEXT


def test_a_network_that_does_not_predict_its_inputs_is_3() -> None:
    result = run("train", "a.cfg", "text.txt", "--set", "connected.output=200", "--seed", "1")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "minidark: error: a.cfg: the last layer has 200 outputs; to predict the next of 256 "
        "symbols (inputs=256) it needs 256"
    )


def test_a_run_that_diverges_is_5_and_says_what_to_try() -> None:
    fast = ["--set", "net.learning_rate=1e20", "--set", "net.adam=0", "--batches", "40"]
    done = run_apart("train", "a.cfg", "text.txt", "--seed", "1", *fast)
    assert (done.returncode, done.stdout) == (5, "")
    begin, *lines = done.stderr.splitlines()
    assert begin.endswith("--seed 1")
    assert re.fullmatch(
        r"batch [0-9]+: the loss is nan; 0\.gru\.uz\.\w+ is the first with NaN or infinity; "
        r"try a lower learning_rate, or --clip-norm 1",
        only_line("\n".join(lines)),
    )
    assert not Path("backup/a_final.weights").exists()


# --- signals and pipes --------------------------------------------------------------------


def start(*args: str) -> Started:
    command = [sys.executable, "-m", "minidark", *args]
    return Started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_and_tells_by_its_exit_code(number: int, code: int) -> None:
    with start(
        "train", "a.cfg", "text.txt", "--batches", "10000000", "--kernels", "numpy"
    ) as process:
        assert process.stderr
        begun = process.stderr.readline()  # printed once the handlers are there
        assert b"--seed" in begun
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"")
    saved = Path("backup/a.backup")
    assert (
        err.decode().splitlines()[-1]
        == f"minidark: stopped; {saved} is saved, --resume auto continues"
    )
    assert b"Traceback" not in err
    net = load_network("a.cfg", saved)
    assert net.seen > 0
    assert net.seen % 32 == 0


ENDLESS = ("generate", "a.cfg", "a.weights", "--len", "100000000", "--srand", "1",
           "--kernels", "numpy")  # fmt: skip


@POSIX
def test_an_interrupted_generate_is_130_without_a_traceback() -> None:
    with start(*ENDLESS) as process:
        assert process.stdout
        assert len(process.stdout.read(10)) == 10
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b""


@POSIX
def test_a_reader_that_goes_away_ends_generate_in_silence() -> None:
    with start(*ENDLESS) as process:
        assert process.stdout
        assert process.stderr
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        err = process.stderr.read()
        code = process.wait(timeout=30)
    assert err == b""
    assert code == 0


def test_errors_of_a_real_process_are_one_line_and_its_exit_code() -> None:
    done = run_apart("info", "none.cfg")
    assert (done.returncode, done.stdout) == (3, "")
    assert only_line(done.stderr) == "none.cfg: cannot read: No such file or directory"


def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own_is_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As onnxruntime does while it is imported."""

    def imported(*args: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise MinidarkError("ONNX needs onnxruntime") from None

    monkeypatch.setattr("minidark.cli.options.cfg_options.CfgChoice.path", imported)
    result = run("check", "rnn")
    assert (result.exit_code, result.stderr) == (130, "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
