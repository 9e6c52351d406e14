"""Text as it streams out: whole characters, every byte, at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from minidark.cli.stdout import whole_characters


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
