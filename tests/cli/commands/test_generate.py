"""`minidark generate`: how its text comes, and what it copies."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from minidark.inference.generate import until
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


# --- where a sample begins and ends -------------------------------------------------------

SAID = ("generate", *PARROT, "--temp", "0", "--srand", "1", "--len")


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("c", "abc"),
        ("cd", "abcd"),
        ("é", "abcdé"),
        ("é€", "abcdé€"),
        ("€a", "abcdé€a"),
        ("dé€abcd", "abcdé€abcd"),
        ("zz", "abcdé€abcdé€abc"),
        ("\n\nab", "abcdé€abcdé€abc"),  # half of it is in the seed
    ],
)
def test_a_sample_ends_with_its_stop(stop: str, expected: str) -> None:
    always("abcdé€")
    result = run(*SAID, str(2 * len("abcdé€".encode()) + 3), "--stop", stop)
    assert result.stdout_bytes == f"\n\n{expected}\n".encode(), result.stderr


def test_a_stop_may_be_a_part_of_a_character() -> None:
    always("a€b")
    assert run(*SAID, "9", "--stop", r"\xe2\x82", "--escapes").stdout_bytes == b"\n\na\xe2\x82\n"


def test_each_sample_has_a_stop_of_its_own() -> None:
    many = ("--samples", "3", "--srand", "5", "--len", "60", "--temp", "2")
    texts = run("generate", "a.cfg", "a.weights", *many).stdout_bytes
    whole = re.split(rb"--- srand \d:\n\n\n", texts)[1:]
    stop = re.findall(rb"[a-z]", whole[1])[1]
    ends = run("generate", "a.cfg", "a.weights", *many, "--stop", stop.decode()).stdout_bytes
    short = re.split(rb"--- srand \d:\n\n\n", ends)[1:]
    assert len(whole) == len(short) == 3
    assert whole != short
    for text, ended in zip(whole, short, strict=True):
        before, found, _ = text.partition(stop)
        assert ended == (before + found + b"\n" if found else text)


def test_words_have_stops_too() -> None:
    Path("w.cfg").write_text(CFG.replace("256", "3"))
    net = load_network("w.cfg")
    for p in net.parameters():
        p.value[...] = 0
    net.layers[1].parameters()[0].value[...] = [0, 99, 0]  # always the second word
    net.save_weights("w.weights")
    Path("w.tokens").write_text("one\ntwo\nthree\n")
    words = ("generate", "w.cfg", "w.weights", "--tokens", "w.tokens", "--len", "9")
    assert run(*words, "--stop", "two two").stdout == "one two two\n"
    assert run(*words, "--stop", "o t").stdout == "one two t\n"


@pytest.mark.parametrize("cuts", range(40))
def test_until_finds_a_stop_in_any_pieces(cuts: int) -> None:
    random = np.random.default_rng(cuts)
    text = random.choice([b"a", b"b"], 30).tobytes()
    stop = random.choice([b"a", b"b"], random.integers(1, 6)).tobytes()
    at = sorted({0, 30, *random.integers(0, 31, random.integers(0, 20)).tolist()})
    pieces = [text[i:j] for i, j in itertools.pairwise(at)]
    before, found, _ = text.partition(stop)
    assert b"".join(until(iter(pieces), stop)) == before + found


def test_until_asks_for_nothing_after_a_stop() -> None:
    pieces = iter([b"ab", b"cd", b"ef"])
    assert list(until(pieces, b"bc")) == [b"ab", b"c"]
    assert list(pieces) == [b"ef"]


def test_escapes_are_read_where_they_are_asked_for() -> None:
    def begin(*args: str) -> bytes:
        return run("generate", "a.cfg", "a.weights", "--len", "0", *args).stdout_bytes[:-1]

    assert begin("--seed", r"a\nb") == rb"a\nb"
    assert begin("--seed", r"a\nb", "--escapes") == b"a\nb"
    assert begin("--seed", r"\t\r\0\\n\xe9\u20ac€", "--escapes") == b"\t\r\0\\n" + (
        b"\xe9" + "€€".encode()
    )
    for wrong in ("\\q", "\\", "\\x1", "\\u12", "\\ud800"):
        result = run("generate", "a.cfg", "a.weights", "--seed", f"a{wrong}!", "--escapes")
        assert result.exit_code == 2, wrong
        assert r" is not an escape; use \n, \r, \t, \0, \\, \xHH (a byte)" in result.stderr


def test_a_seed_is_read_from_a_file_or_standard_input() -> None:
    always("abcdé€")
    seed = "x\\n é€a\n".encode() + b"\xff\x00a"
    Path("seed.txt").write_bytes(seed)
    expected = seed + "bcdé\n".encode()
    assert run(*SAID, "5", "--seed-file", "seed.txt").stdout_bytes == expected
    assert run(*SAID, "5", "--seed-file", "seed.txt", "--escapes").stdout_bytes == expected
    assert run(*SAID, "5", "--seed-file", "-", stdin=seed).stdout_bytes == expected


def test_seeds_and_stops_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    call = ("generate", "a.cfg", "a.weights")
    both = run(*call, "--seed", "a", "--seed-file", "seed.txt")
    assert_wrong_usage(both, "use either --seed or --seed-file, not both")
    assert_wrong_usage(run(*call, "--stop", ""), "--stop needs a text")
    missing = "none.txt: cannot read: No such file or directory"
    assert_refused(run(*call, "--seed-file", "none.txt"), 4, missing)
    empty = "standard input: empty; a seed needs at least one character"
    assert_refused(run(*call, "--seed-file", "-", stdin=b""), 4, empty)
    monkeypatch.setattr("minidark.cli.commands.generate.LONGEST_SEED", 3)
    Path("seed.txt").write_bytes(b"abcd")
    long = "seed.txt: more than 3 bytes, the limit for a seed"
    assert_refused(run(*call, "--seed-file", "seed.txt"), 4, long)


def test_the_copied_stretch_is_of_what_was_sampled() -> None:
    always("abcdef")
    Path("one.txt").write_text("bcd")
    result = run(*SAID, "100", "--stop", "f", "--check-copy", "one.txt")
    assert "longest copied stretch: 3 of 6 characters" in result.stderr


def test_a_seed_that_is_typed_counts_more_than_one_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("seed.txt").write_text("file")
    monkeypatch.setenv("MINIDARK_GENERATE_SEED_FILE", "seed.txt")
    call = ("generate", "a.cfg", "a.weights", "--len", "0")
    assert run(*call).stdout == "file\n"
    assert run(*call, "--seed", "typed").stdout == "typed\n"
    monkeypatch.setenv("MINIDARK_GENERATE_SEED", "set")
    assert run(*call, "--seed-file", "seed.txt").stdout == "file\n"
