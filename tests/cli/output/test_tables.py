"""What commands print in columns: it fits a terminal of 80, and nothing of it is cut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.table import Table

from minidark import load_network
from minidark.cli import COMMANDS, SECTIONS
from minidark.cli.output.tables import add_figures, print_table
from minidark.errors import number_of
from minidark.files import shipped
from tests.cli.running import output, run
from tests.helpers import cfg

CFG = cfg(
    "net inputs=256 batch=1 time_steps=1 max_batches=1",
    "lstm output=1000 batch_normalize=1",
    "rnn output=3",
    "connected output=256 activation=linear",
    "softmax",
)
TEXT = b"The quick brown fox jumps over the lazy dog, \x01\x02\x03 and on.\n" * 40


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    load_network("a.cfg", seed=1).save_weights("a.weights")
    (folder / "text.txt").write_bytes(TEXT)


PROSE = ("weight file:", "these weights:")


def longest(text: str) -> int:
    return max(map(len, text.splitlines()))


# --- the help -----------------------------------------------------------------------------


def test_the_help_of_the_whole_fits_a_screen_and_cuts_nothing() -> None:
    shown = run("--help").stdout
    assert len(shown.splitlines()) <= 45
    assert longest(shown) <= 80
    assert "..." not in shown.partition("\n\n")[2]
    for name in COMMANDS:
        first = run(name, "--help").stdout.split("\n\n")[1].strip().replace("\n  ", " ")
        assert re.search(rf"^  {name} +{re.escape(first)}$", shown, re.MULTILINE), name


def test_each_command_is_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len({*listed})
    assert {*listed} <= {*COMMANDS}
    shown = run("--help").stdout
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name}  ", shown, re.MULTILINE)) == 1
    headings = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    assert headings == [*SECTIONS]


def test_the_options_in_the_help_of_the_whole_are_accepted() -> None:
    options = run("--help").stdout.partition("Options: ")[2]
    for option in re.findall(r"(?<![\w`])--?\w+", options.partition("`")[0]):
        assert run(option, "ops", "rnn").exit_code == 0, option


# --- tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "info a.cfg a.weights",
        "statistics a.cfg a.weights",
        "gradcheck b.cfg",
        "valid a.cfg a.weights text.txt --worst 5",
        "train b.cfg text.txt --explain",
        "compare b.cfg a-cfg-with-a-long-name.cfg text.txt --parameters 9000 --batches 1 "
        "--seeds 1,2,3,4,5",
    ],
)
def test_a_table_fits_80_columns(command: str) -> None:
    for name in ("b.cfg", "a-cfg-with-a-long-name.cfg"):
        Path(name).write_text(CFG.replace("batch_normalize=1", "forget_bias=1"))
    lines = output_of(command).partition("\n---")[0].splitlines()
    shown = "\n".join(line for line in lines if not line.startswith(PROSE))
    assert 60 < longest(shown) <= 80
    assert "…" not in shown


def output_of(command: str) -> str:
    result = run(*command.split())
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", shipped.names("cfg", ".cfg"))
def test_info_of_a_shipped_cfg_fits(name: str) -> None:
    assert longest(output("info", name).decode().partition("\n\n")[0]) <= 80


def test_a_name_that_is_too_long_is_folded_and_numbers_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("name", box=None, pad_edge=False)
    add_figures(table, "many things", "batches", "one")
    name = "".join(map(str, range(100)))
    table.add_row(name, "1,234,567,890", "1,234", "5")
    print_table(table)
    shown = capsys.readouterr().out
    assert longest(shown) <= 80
    assert "1,234,567,890" in shown
    assert "".join(line.split(" ")[0] for line in shown.splitlines()[1:]) == name


def test_counts_of_nan_are_a_column_if_there_are_any() -> None:
    assert "NaN" not in output_of("statistics a.cfg a.weights")
    net = load_network("a.cfg", "a.weights")
    net.parameters()[0].value[0] = float("nan")
    net.save_weights("a.weights")
    shown = output_of("statistics a.cfg a.weights")
    head, *rows = shown.splitlines()
    assert head.endswith(" NaN/inf")
    assert [row.split()[-1] for row in rows if row.endswith(" 1")] == ["1"]


# --- one of something ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [(1, "stream", "1 stream"), (0, "stream", "0 streams"), (2500, "batch", "2,500 batches"),
     (1, "pass", "1 pass"), (2, "pass", "2 passes")],
)  # fmt: skip
def test_a_count_has_its_noun(count: int, noun: str, expected: str) -> None:
    assert number_of(count, noun) == expected


def test_one_stream_is_no_streams() -> None:
    assert "A batch: 1 stream of 1 step, 1 pass." in output_of("info a.cfg")
    Path("b.cfg").write_text(CFG.replace("batch_normalize=1", "forget_bias=1"))
    assert "1 stream of 1 step" in output_of("train b.cfg text.txt --explain")
    result = run("train", "b.cfg", "text.txt")
    assert "1 stream of 1 step; " in result.stderr
    assert "a sample after 1 batch:" in result.stderr


# --- word perplexity ----------------------------------------------------------------------


def word_perplexity(text: bytes) -> str:
    (line,) = re.findall(r"^word perplexity +(.*)$", valid(text), re.MULTILINE)
    return str(line)


def valid(text: bytes) -> str:
    return output("valid", "b.cfg", "b.weights", stdin=text).decode()


def test_a_word_perplexity_over_a_million_is_a_dash_with_its_reason() -> None:
    """Zero weights predict each of four symbols alike: 2 bits, so a word of n has 2**(2 n)."""
    Path("b.cfg").write_text(cfg("net inputs=256", "connected output=256 activation=linear",
                                 "softmax"))  # fmt: skip
    net = load_network("b.cfg")
    for p in net.parameters():
        p.value[...] = 0
    net.parameters()[0].value[...] = [-1e4 * (n not in b"ab \n") for n in range(256)]
    net.save_weights("b.weights")
    assert float(word_perplexity(b"ab " * 900)) == pytest.approx(2 ** (2 * 3), rel=0.01)
    shown = float(word_perplexity(b"abababab " * 900).replace(",", ""))
    assert shown == pytest.approx(2 ** (2 * 9), rel=0.02)
    long = word_perplexity(b"abababababa " * 90)
    assert long == "-  (over a million: words are not predicted)"
    longer = word_perplexity(b"ab" * 30 + b" " + b"ab" * 30)
    assert longer == "-  (over a million: 60 characters between blanks)"
