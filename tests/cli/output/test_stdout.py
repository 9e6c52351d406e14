"""Text as it streams out: whole characters, every byte, at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from minidark.cli.output.stdout import whole_characters
from tests.cli.running import run
from tests.helpers import cfg

CFG = cfg("net inputs=256 batch=2 time_steps=4", "gru output=4", "connected output=256", "softmax")


def one_by_one(data: bytes) -> list[bytes]:
    return list(whole_characters(bytes([byte]) for byte in data))


def test_characters_come_whole() -> None:
    text = "aé€😀\n"
    assert one_by_one(text.encode()) == [character.encode() for character in text]


def test_each_comes_with_its_last_byte_and_not_later() -> None:
    given_so_far = 0

    def parts() -> list[bytes]:
        return [bytes([byte]) for byte in "é€x".encode()]

    def counted() -> Iterator[bytes]:
        nonlocal given_so_far
        for part in parts():
            given_so_far += 1
            yield part

    seen = [given_so_far for _ in whole_characters(counted())]
    assert seen == [2, 5, 6]


def test_what_is_no_utf_8_passes_as_it_is() -> None:
    assert b"".join(one_by_one(b"\xff\xe2\x82x\xed\xa0\x80\xc3")) == (
        b"\xff\xe2\x82x\xed\xa0\x80\xc3"
    )


@given(st.lists(st.binary(max_size=4)))
def test_every_byte_comes_whatever_they_are(parts: list[bytes]) -> None:
    cut = list(whole_characters(parts))
    assert b"".join(cut) == b"".join(parts)
    for left, right in pairwise(cut):
        if left and right:  # no cut within a character
            assert len((left + right).decode("utf-8", "surrogateescape")) == len(
                left.decode("utf-8", "surrogateescape")
            ) + len(right.decode("utf-8", "surrogateescape"))


def test_no_control_character_of_a_name_reaches_a_terminal(folder: Path) -> None:
    """What clears a screen is shown as its code: in the cells of tables and in lines."""
    for name in ("a", "b\x1b[2J\x9b2J"):
        Path(f"{name}.cfg").write_text(CFG)
    Path("text.txt").write_bytes(b"Some text, over and over. " * 50)
    cfgs = ("a.cfg", "b\x1b[2J\x9b2J.cfg")
    shown = {
        name: run(name, *cfgs, *rest)
        for name, rest in {
            "compare": ("text.txt", "--batches", "1"),
            "diff": ("--set", "gru.output=5"),
        }.items()
    }
    shown["check"] = run("check", cfgs[1])
    for name, result in shown.items():
        assert result.exit_code == 0, result.stderr
        assert not re.search(r"[\x1b\x9b]", result.stdout), name
        assert r"b\x1b[2J\x9b2J" in result.stdout, name
    assert len(re.findall(r"b\\x1b\[2J\\x9b2J", shown["compare"].stdout)) == 2  # row and sample


def test_nor_by_wrong_usage() -> None:
    for call in (["b\x1b[2J"], ["generate", "b\x1b[2J.weights"], ["train", "rnn", "--\x9b2J"]):
        result = run(*call)
        assert result.exit_code == 2
        assert not re.search(r"[\x1b\x9b]", result.stderr)
        assert r"\x1b[2J" in result.stderr or r"\x9b2J" in result.stderr


def test_long_names_and_numbers_are_cut_in_errors() -> None:
    for call in (
        ["info", "n" * 250], ["train", "rnn", "text.txt", "--batches", "9" * 400],
        ["rnn", "generate", "rnn", "-len", "9" * 400], ["n" * 250], ["generate", "n" * 250, "x"],
        ["gradcheck", "rnn", "--set", f"gru.output={'9' * 5000}"],
    ):  # fmt: skip
        result = run(*call)
        assert result.exit_code in (2, 3)
        assert len(result.stderr) < 600
        assert "..." in result.stderr


def test_an_error_about_a_name_of_two_lines_is_one_line() -> None:
    (line,) = run("info", "two\nlines.cfg").stderr.splitlines()
    assert line.startswith(r"minidark: error: two\nlines.cfg: cannot read: ")
