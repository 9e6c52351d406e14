"""Characters of bytes, against texts whose characters are known."""

from __future__ import annotations

import numpy as np
import pytest

from minidark.data.characters import characters, whole_characters


def test_characters_end_at_their_last_bytes() -> None:
    text = "aé—𝄞\n".encode() + b"\xe2\x80\xff"
    found, ends = characters(text)
    assert found == ["a", "é", "—", "𝄞", "\n", "\udce2", "\udc80", "\udcff"]
    np.testing.assert_array_equal(ends, [0, 2, 5, 9, 10, 11, 12, 13])


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("한국".encode()[:5], "한".encode()),
        ("한국".encode(), "한국".encode()),
        (b"a\xe2\x80", b"a"),
        (b"a\x92\xff", b"a\x92\xff"),  # not the beginning of anything
        (b"\xed\x95", b""),
        (b"", b""),
    ],
)
def test_a_cut_text_loses_only_the_beginning_of_a_character(cut: bytes, whole: bytes) -> None:
    assert whole_characters(cut) == whole
