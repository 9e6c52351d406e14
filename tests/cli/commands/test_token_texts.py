"""Tokens on minidark's own commands: `train --tokenized`, `generate --tokens`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from minidark import load_network
from tests.cli.running import assert_refused, assert_wrong_usage, output, run
from tests.helpers import cfg, randomize

NAMES = ["the", "cat", "sat", "<NEWLINE>", "on"]
CFG = cfg(
    "net inputs=5 batch=2 time_steps=4 max_batches=3",
    "gru output=4 tanh=1",
    "connected output=5 activation=linear",
    "softmax",
)


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "names").write_text("".join(f"{name}\n" for name in NAMES))
    (folder / "ids").write_text("0 1 2 4 0 3\n" * 20)
    load_network("a.cfg", seed=1).save_weights("a.weights")


GENERATE = ["generate", "a.cfg", "a.weights", "--tokens", "names", "--srand", "1", "--len", "30"]


def test_generate_speaks_in_names() -> None:
    text = output(*GENERATE, "--seed", "the cat").decode()
    assert text.startswith("the cat ")
    assert text.endswith(" \n")
    words = text[:-1].replace("\n ", "<NEWLINE> ").split(" ")[:-1]
    assert len(words) == 32
    assert {*words} == {*NAMES}


def test_blanks_of_a_seed_do_not_matter_and_newline_is_a_name() -> None:
    one, other = (
        output(*GENERATE, "--seed", seed) for seed in ("on <NEWLINE> the", " on\t<NEWLINE>\nthe")
    )
    assert one == other
    assert one.startswith(b"on \n the ")


def test_without_a_seed_the_first_token_begins() -> None:
    assert output(*GENERATE) == output(*GENERATE, "--seed", "the")


def test_the_first_token_may_be_the_line_break_or_hold_a_blank() -> None:
    for first, shown in (("<NEWLINE>", b"\n "), ("New York", b"New York ")):
        Path("names").write_text("\n".join([first, "cat", "sat", "the", "on"]))
        assert output(*GENERATE).startswith(shown)


def test_a_word_that_is_no_token_is_told_with_the_nearest() -> None:
    result = run(*GENERATE, "--seed", "the catt")
    assert_refused(result, 4, "names: no token is named 'catt' (did you mean 'cat'?)")
    empty = run(*GENERATE, "--seed", " ")
    assert_refused(empty, 4, "the seed is empty; sampling needs at least one symbol")


def test_too_few_names_are_refused() -> None:
    Path("names").write_text("a\nb\n")
    assert_refused(run(*GENERATE), 4, "names: 2 names; this network has 5 tokens")


def test_train_takes_integers() -> None:
    result = run("train", "a.cfg", "ids", "--tokenized", "--seed", "1", "--valid-fraction", "0")
    assert result.exit_code == 0, result.stderr
    assert re.search("120 characters|120 tokens|120 symbols", result.stderr)
    assert load_network("a.cfg", "backup/a_final.weights").seen == 3 * 8


def test_train_names_the_token_that_is_none_and_takes_one_file() -> None:
    Path("bad").write_text("0 1 5")
    result = run("train", "a.cfg", "bad", "--tokenized", "--seed", "1")
    assert_refused(result, 4, "bad: token 2 is 5; this network's are 0 to 4")
    two = run("train", "a.cfg", "ids", "ids", "--tokenized", "--seed", "1")
    assert_wrong_usage(two, "--tokenized takes one file")


# --- characters -----------------------------------------------------------------------------------

LETTERS = ["<pad>", "a", " ", "\n", "\u00e9"]
SPELLED = "a \u00e9a\na " * 20


@pytest.fixture
def letters() -> None:
    lines = ["<NEWLINE>" if letter == "\n" else letter for letter in LETTERS]
    Path("letters").write_text("\n".join(lines) + "\n")
    Path("letters.json").write_text(json.dumps({name: i for i, name in enumerate(LETTERS)}))
    Path("spelled.txt").write_text(SPELLED)
    Path("spelled.ids").write_text(" ".join(str(LETTERS.index(letter)) for letter in SPELLED))


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("names", ["letters", "letters.json"])
def test_names_of_one_character_are_written_without_blanks(names: str) -> None:
    line = ["generate", "a.cfg", "a.weights", "--tokens", names, "--srand", "1", "--len", "40"]
    text = output(*line, "--seed", "a \u00e9").decode()
    assert text.startswith("a \u00e9")
    rest = text[3:-1].replace("<pad>", "0")
    assert len(rest) == 40
    assert {*rest} == {"0", "a", " ", "\n", "\u00e9"}
    assert output(*line) == output(*line, "--seed", "\n")
    refused = run(*line, "--seed", "a\nab")
    assert_refused(refused, 4, f"{names}: no token is named 'b'")


@pytest.mark.usefixtures("letters")
def test_a_text_in_a_networks_characters_is_the_text_of_its_integers() -> None:
    """The same text as integers is the reference, for training and for the figures."""
    common = ["--seed", "1", "--valid-fraction", "0"]
    for name, options in (
        ("spelled.txt", ["--tokens", "letters"]),
        ("spelled.ids", ["--tokenized"]),
    ):
        backup = ["--backup", f"of{Path(name).suffix}"]
        result = run("train", "a.cfg", name, *options, *common, *backup)
        assert result.exit_code == 0, result.stderr
    assert (
        Path("of.txt/a_final.weights").read_bytes() == Path("of.ids/a_final.weights").read_bytes()
    )
    figures = [
        json.loads(output("valid", "a.cfg", "a.weights", *data, "--json"))
        for data in (["spelled.txt", "--tokens", "letters"], ["spelled.ids", "--tokenized"])
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)
    assert figures[0]["characters"] == len(SPELLED) - 1


@pytest.mark.usefixtures("letters")
def test_a_run_in_characters_resumes_without_naming_them_again() -> None:
    whole = ["train", "a.cfg", "spelled.txt", "--seed", "1", "--tokens", "letters"]
    assert run(*whole, "--batches", "3", "--backup", "once").exit_code == 0
    assert run(*whole, "--batches", "2").exit_code == 0
    again = ["train", "a.cfg", "spelled.txt", "--resume", "auto", "--batches", "3"]
    assert run(*again).exit_code == 0
    final = Path("backup/a_final.weights")
    assert final.read_bytes() == Path("once/a_final.weights").read_bytes()
    Path("letters").write_text("<pad>\na\n \n\u00e9\n<NEWLINE>\n")
    changed = run(*again[:-1], "4")
    assert changed.exit_code == 4
    assert "letters: same size as before, but different bytes" in changed.stderr


@pytest.mark.usefixtures("letters")
def test_a_character_without_a_name_is_told_with_its_line() -> None:
    Path("other.txt").write_text("aa\na\tz\n")
    for line in (["train", "a.cfg", "other.txt"], ["valid", "a.cfg", "a.weights", "other.txt"]):
        result = run(*line, "--tokens", "letters")
        assert_refused(result, 4, r"letters: no token is named '\t'; it is in line 2 of other.txt")


def test_a_text_in_words_keeps_its_line_breaks_if_they_have_a_name() -> None:
    Path("text").write_text("the cat\nsat on\tthe cat\n" * 9)
    Path("ids").write_text("0 1 3 2 4 0 1 3 " * 9)
    figures = [
        json.loads(output("valid", "a.cfg", "a.weights", *data, "--json"))
        for data in (["text", "--tokens", "names"], ["ids", "--tokenized"])
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ('{"a": 0, "b": 2}', "the names' numbers are not 0 to 1"),
        ('{"a": true, "b": 0}', "the names' numbers are not 0 to 1"),
        (
            '[1, "a", "b", "c", "d"]',
            "expected a list of names, or an object with a number for each",
        ),
        ('"abcde"', "expected a list of names, or an object with a number for each"),
        ("[" * 100_000, "not JSON, or damaged"),
        ("\udcff", "not JSON, or damaged"),
        ('["a", "b", "\\ud83d", "d", "e"]', "'\\ud83d' is half of a UTF-16 character"),
        ('["a", "b"]', "2 names; this network has 5 tokens"),
    ],
)
def test_names_in_json_are_a_list_or_an_object_of_numbers(names: str, said: str) -> None:
    Path("names.json").write_bytes(names.encode("utf-8", "surrogateescape"))
    line = ["generate", "a.cfg", "a.weights", "--tokens", "names.json", "--srand", "1"]
    assert_refused(run(*line), 4, f"names.json: {said}")


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    plain = output(*GENERATE, "--seed", "the cat")
    Path("names").write_bytes(b"\xef\xbb\xbf" + Path("names").read_bytes())
    assert output(*GENERATE, "--seed", "the cat") == plain


def test_a_line_break_without_a_name_is_refused_in_a_seed_and_in_a_text() -> None:
    Path("names").write_text("the\ncat\nsat\na\non\n")
    Path("text").write_text("the cat\nsat <NEWLINE> on\n")
    said = r"names: no token is named '\n'"
    assert_refused(run(*GENERATE, "--seed", "on <NEWLINE> the"), 4, said)
    valid = run("valid", "a.cfg", "a.weights", "text", "--tokens", "names")
    assert_refused(valid, 4, f"{said}; it is in line 2 of text")


def test_names_are_not_for_pairs_and_not_beside_integers() -> None:
    pairs = run("train", "a.cfg", "ids", "--pairs", "--tokens", "names")
    assert_wrong_usage(pairs, "--tokens is for texts; the symbols of pairs are bytes")
    both = run("valid", "a.cfg", "a.weights", "ids", "--tokens", "names", "--tokenized")
    assert_wrong_usage(both, "use either --tokenized or --tokens, not both")
    both = run("train", "a.cfg", "ids", "--tokens", "names", "--tokenized")
    assert_wrong_usage(both, "use either --tokenized or --tokens, not both")
    two = run("train", "a.cfg", "ids", "ids", "--tokens", "names")
    assert_wrong_usage(two, "--tokens takes one file")


# --- few symbols, as bytes ------------------------------------------------------------------------


def few_symbols(inputs: int, outputs: int) -> None:
    Path("few.cfg").write_text(
        cfg(f"net inputs={inputs}", "gru output=4", f"connected output={outputs}", "softmax")
    )
    load_network("few.cfg", seed=1).save_weights("few.weights")


FEW = ["generate", "few.cfg", "few.weights", "--srand", "1", "--len", "5"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "primer"),
    [(5, 5, b"\0"), (10, 10, b"\0"), (11, 11, b"\n\n"), (256, 5, b"\n\n"), (11, 3, b"\n\n")],
)
def test_without_a_seed_a_network_of_few_symbols_goes_on_from_one_it_has(
    inputs: int, outputs: int, primer: bytes
) -> None:
    few_symbols(inputs, outputs)
    for samples, heads in (("1", [b""]), ("2", [b"--- srand 1:\n", b"--- srand 2:\n"])):
        text = output(*FEW, "--samples", samples)
        for head in heads:
            assert text.startswith(head + primer)
            text = text.removeprefix(head + primer)
            assert max(text[:5]) < outputs
            text = text[5:].removeprefix(b"\n")
        assert text == b""


@pytest.mark.parametrize("samples", ["1", "2"])
def test_a_seed_outside_a_networks_symbols_is_refused_before_anything_is_printed(
    samples: str,
) -> None:
    few_symbols(98, 98)
    result = run(*FEW, "--seed", "abc", "--samples", samples)
    assert_refused(result, 4, "the seed contains byte 98; this network's are 0 to 97")


def test_a_seed_may_hold_what_a_network_never_prints() -> None:
    few_symbols(256, 5)
    assert output(*FEW, "--seed", "abc").startswith(b"abc")
    result = run(*FEW, "--tokens", "names")
    assert_refused(result, 4, "names: 5 names; this network has 256 tokens")


def test_darknets_generate_takes_such_networks_alike() -> None:
    few_symbols(256, 5)
    words = ["rnn", "generate", "few.cfg", "few.weights", "-srand", "1", "-len", "5"]
    assert output(*words).startswith(b"\n\n")
    few_symbols(5, 5)
    assert_refused(run(*words), 4, "the seed contains byte 10; this network's are 0 to 4")


def test_training_on_few_symbols_shows_its_samples() -> None:
    result = run("train", "a.cfg", "ids", "--tokenized", "--seed", "1", "--batches", "501")
    assert result.exit_code == 0, result.stderr
    assert "--- a sample after 500 batches:" in result.stderr


# --- measuring ----------------------------------------------------------------------------

WIDE = 300
WIDE_CFG = cfg(
    f"net inputs={WIDE} batch=2 time_steps=4 max_batches=3",
    "gru output=4 tanh=1",
    f"connected output={WIDE} activation=linear",
    "softmax",
)
IDS = [299, 32, 10, 0, 7, 299, 256, 9, 32, 1]  # of bytes, some of these end words


@pytest.fixture
def wide() -> float:
    """A network of many symbols in wide.cfg and wide.weights, IDS in wide.ids; the bits of each of
    them but the first, from a sum over the rows of float64's outputs."""
    Path("wide.cfg").write_text(WIDE_CFG)
    Path("wide.ids").write_text("\n".join(map(str, IDS)))
    net = load_network("wide.cfg", seed=1)
    randomize(net.layers)
    net.save_weights("wide.weights")
    one = load_network("wide.cfg", "wide.weights", batch=1, time_steps=1, dtype="float64")
    p = one.predict(IDS[:-1])
    bits = [-math.log2(p[t, symbol]) for t, symbol in enumerate(IDS[1:])]
    return sum(bits) / len(bits)


@pytest.mark.parametrize("stdin", [False, True])
def test_valid_measures_tokens(wide: float, stdin: bool) -> None:
    line = ["valid", "wide.cfg", "wide.weights", "--tokenized"]
    data, given = ([], Path("wide.ids").read_bytes()) if stdin else (["wide.ids"], None)
    facts = json.loads(output(*line, *data, "--json", stdin=given))
    assert facts["characters"] == len(IDS) - 1
    assert facts["bits_per_character"] == pytest.approx(wide, rel=1e-5)
    assert facts["perplexity"] == facts["word_perplexity"] == pytest.approx(2**wide, rel=1e-5)
    shown = output(*line, *data, stdin=given).decode().splitlines()
    assert [row.rpartition("  ")[0].strip() for row in shown] == [
        "tokens", "nats per token", "bits per token", "perplexity",
    ]  # fmt: skip


def test_rnn_valid_measures_tokens(wide: float) -> None:
    call = ["rnn", "valid", "wide.cfg", "wide.weights", "-tokenized"]
    *_, last = output(*call, stdin=Path("wide.ids").read_bytes()).decode().splitlines()
    found = re.fullmatch(
        r"9 BPC: ([0-9.]+)   Perplexity: ([0-9.]+)    Word Perplexity: ([0-9.]+)", last
    )
    assert found
    assert float(found[1]) == pytest.approx(wide, abs=1e-4)
    assert found[2] == found[3]


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("valid wide.cfg wide.weights wide.ids", "--tokenized"),
        ("train wide.cfg wide.ids", "--tokenized"),
        ("train wide.cfg wide.ids --explain", "--tokenized"),
        ("rnn train wide.cfg -file wide.ids", "--tokenized"),
        ("rnn valid wide.cfg wide.weights", "-tokenized"),
        ("rnn validtactic wide.cfg wide.weights", "valid -tokenized"),
    ],
)
def test_bytes_are_no_text_for_more_symbols_than_they_have(command: str, flag: str) -> None:
    result = run(*command.split(), stdin=b"32 1 7")
    assert (result.exit_code, result.stdout_bytes) == (3, b"")
    *_, line = result.stderr.splitlines()
    said = f"inputs=300, but a text of bytes has 256 symbols; {flag} reads integers"
    assert line in (f"minidark: error: {said}", f"minidark: error: wide.cfg: {said}")
    assert not Path("backup/wide_final.weights").exists()


def test_byte_pairs_are_learned_from_bytes_and_not_from_tokens() -> None:
    """Each token became the byte of its last eight bits."""
    Path("pairs.cfg").write_text(WIDE_CFG.replace("[gru]", "[bytepairs]\n\n[gru]"))
    Path("many.ids").write_text("1 2 257 3 " * 500)
    result = run("train", "pairs.cfg", "many.ids", "--tokenized")
    message = "pairs.cfg: [bytepairs] learns its symbols from bytes; omit --tokenized"
    assert_refused(result, 3, message)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("5 300", "token 1 is 300; this network's are 0 to 299"),
        ("5 -1", "token 1 is -1; this network's are 0 to 299"),
        ("5 a", "token 1 is 'a', not an integer"),
    ],
)
def test_what_is_no_token_is_named(data: str, message: str) -> None:
    Path("wide.ids").write_text(data)
    line = ["valid", "wide.cfg", "wide.weights", "--tokenized"]
    assert_refused(run(*line, "wide.ids"), 4, f"wide.ids: {message}")
    assert_refused(run(*line, stdin=data.encode()), 4, f"standard input: {message}")


@pytest.mark.parametrize("option", ["--seed a", "--color", "--worst 3"])
def test_what_shows_text_does_not_go_with_tokens(option: str) -> None:
    result = run("valid", "a.cfg", "a.weights", "ids", "--tokenized", *option.split())
    name = option.split()[0]
    assert_wrong_usage(result, f"{name} works on bytes, and not with --tokenized")
