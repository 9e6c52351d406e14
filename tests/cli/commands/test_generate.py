"""`minidark generate`: how its text comes, and what it copies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import assert_refused, assert_wrong_usage, run
from tests.helpers import cfg

CFG = cfg("net inputs=256", "gru output=6", "connected output=256 activation=linear", "softmax")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    load_network("a.cfg", seed=1).save_weights("a.weights")


def always(text: str) -> None:
    """parrot.weights: a network that says the bytes of `text`, no two alike, in their order."""
    symbols = np.frombuffer(text.encode(), np.uint8)
    net = load_network("a.cfg", seed=1, overrides=["gru.output=256", "gru.tanh=1"])
    for p in net.parameters():
        p.value[...] = 0
    values = {p.name: p.value for p in net.parameters()}
    values["0.gru.uz.biases"][...] = -30  # all of the state is the candidate's
    values["0.gru.uh.weights"][...] = 30 * np.eye(256)
    follows = np.zeros((256, 256), np.float32)  # what comes behind a byte
    follows[np.roll(symbols, -1), symbols] = 200
    follows[symbols[0], ord("\n")] = 200
    values["1.connected.weights"][...] = follows
    net.save_weights("parrot.weights")


PARROT = ("a.cfg", "parrot.weights", "--set", "gru.output=256", "--set", "gru.tanh=1")


def test_a_parrot_says_its_text() -> None:
    always("abé€")
    out = run("generate", *PARROT, "--len", "14", "--temp", "0", "--srand", "1").stdout_bytes
    assert out == "\n\nabé€abé€\n".encode()


def test_characters_of_several_bytes_are_written_whole() -> None:
    """As the reader of a pipe sees them: what one read gives is whole."""
    always("a😀")
    command = [sys.executable, "-m", "minidark", "generate", *PARROT, "--temp", "0", "--srand", "1"]
    with subprocess.Popen([*command, "--len", "2000"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        pieces = iter(lambda: os.read(process.stdout.fileno(), 1 << 16), b"")  # type: ignore[union-attr]
        text = [piece.decode() for piece in pieces]  # would fail on half a character
    assert "".join(text) == "\n\n" + "a😀" * 400 + "\n"


def test_a_sample_that_ends_within_a_character_keeps_its_bytes() -> None:
    always("a😀")
    out = run("generate", *PARROT, "--len", "3", "--temp", "0", "--srand", "1").stdout_bytes
    assert out == b"\n\na\xf0\x9f\n"


def test_check_copy_tells_the_longest_stretch_and_where_it_stands() -> None:
    always("abcdefghijklmnopqrstuvwxyz")
    Path("one.txt").write_text("No word of it.\n")
    Path("two.txt").write_text("Now: fghijklmn, he said; and abcde")
    options = ["--temp", "0", "--srand", "1", "--len", "26"]
    originals = ["--check-copy", "one.txt", "--check-copy", "two.txt"]
    result = run("generate", *PARROT, *options, *originals)
    assert result.stdout == "\n\nabcdefghijklmnopqrstuvwxyz\n"
    assert result.stderr == (
        "minidark: longest copied stretch: 9 of 26 characters, in one.txt, two.txt at offset 20: "
        "'fghijklmn'\n"
    )


def test_check_copy_tells_of_the_worst_of_several_samples() -> None:
    singles = [run("generate", "a.cfg", "a.weights", "--len", "40", "--srand", n).stdout_bytes[2:-1]
               for n in "789"]  # fmt: skip
    Path("text.txt").write_bytes(b"." + singles[1][3:30] + b".")
    result = run("generate", "a.cfg", "a.weights", "--len", "40", "--srand", "7", "--samples", "3",
                 "--check-copy", "text.txt")  # fmt: skip
    assert "longest copied stretch: 27 of 40 characters, in text.txt at offset 1: " in result.stderr


def test_nothing_copied_is_said_too() -> None:
    always("abc")
    Path("text.txt").write_text("xyz")
    result = run("generate", *PARROT, "--temp", "0", "--srand", "1", "--len", "9", "--check-copy",
                 "text.txt")  # fmt: skip
    assert result.stderr == "minidark: longest copied stretch: 0 of 9 characters\n"


def test_a_text_to_compare_with_that_is_missing_is_found_out_before_sampling() -> None:
    result = run("generate", "a.cfg", "a.weights", "--check-copy", "none.txt", "--srand", "1")
    assert_refused(result, 4, "none.txt: cannot read: No such file or directory")


def test_tokens_are_not_compared() -> None:
    Path("names").write_text("\n".join(f"t{n}" for n in range(256)))
    result = run("generate", "a.cfg", "a.weights", "--check-copy", "a.cfg", "--tokens", "names")
    assert_wrong_usage(result, "--check-copy compares bytes, and does not work with --tokens")


@pytest.mark.parametrize("temperature", ["1e-38", "1e-21"])
def test_a_temperature_out_of_range_is_refused_with_its_range(temperature: str) -> None:
    result = run("generate", "a.cfg", "a.weights", "--temp", temperature)
    said = f"Invalid value for '--temp': {temperature} is not in the range 0, or 1e-20 and more."
    assert_wrong_usage(result, said)
    assert run("generate", "a.cfg", "a.weights", "--temp", "1e-20", "--len", "3").exit_code == 0


def test_darknets_own_flag_has_the_same_range() -> None:
    result = run("rnn", "generate", "a.cfg", "a.weights", "-temp", "1e-38")
    assert_refused(result, 4, "temperature 1e-38 is below 1e-20; 0 picks the most likely symbol")
