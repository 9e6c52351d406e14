"""The longest stretch that two texts share: against every stretch tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidark import Text
from minidark.inference import novelty
from minidark.inference.novelty import hashes, longest_copied
from tests.conftest import WriteText
from tests.selection import examples


def longest(sample: bytes, text: bytes) -> int:
    """Every stretch of the sample, looked for by Python."""
    stretches = (sample[a:b] for a in range(len(sample)) for b in range(a, len(sample) + 1))
    return max((len(stretch) for stretch in stretches if stretch in text), default=0)


def check(sample: bytes, data: bytes, write_text: WriteText) -> int:
    with Text(write_text(data), 256) as text:
        copied = longest_copied(sample, text)
    assert sample[copied.begin : copied.begin + len(copied.span)] == copied.span
    assert data[copied.offset : copied.offset + len(copied.span)] == copied.span
    assert len(copied.span) == longest(sample, data)
    return len(copied.span)


@pytest.mark.parametrize("length", [*range(1, 20), 31, 32, 33])
def test_a_stretch_of_any_length_is_found(length: int, write_text: WriteText) -> None:
    rng = np.random.default_rng(length)
    data = rng.integers(0, 128, 2000, np.uint8).tobytes()
    sample = bytearray(rng.integers(128, 256, 60, np.uint8).tobytes())
    sample[11 : 11 + length] = data[700 : 700 + length]
    assert check(bytes(sample), data, write_text) == length


@pytest.mark.parametrize(
    ("sample", "data"),
    [(b"", b"x"), (b"a", b"b"), (b"abc", b"c"), (b"aaaaaaaaaaaa", b"aaaaa"), (b"abcabc", b"abcabc"),
     (b"\x00\x00\x01", b"\x00\x01\x00")],
)  # fmt: skip
def test_at_the_edges(sample: bytes, data: bytes, write_text: WriteText) -> None:
    check(sample, data, write_text)


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=30), st.binary(min_size=1, max_size=80))
def test_of_few_symbols_with_much_in_common(
    tmp_path_factory: pytest.TempPathFactory, sample: bytes, data: bytes
) -> None:
    sample, data = bytes(b % 2 for b in sample), bytes(b % 2 for b in data)
    path = tmp_path_factory.getbasetemp() / "few.txt"
    path.write_bytes(data)
    check(sample, data, lambda _: path)


def test_a_stretch_across_two_pieces_is_found(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(0).integers(0, 256, 300, np.uint8).tobytes()
    for piece in (1, 7, 64, 65):
        monkeypatch.setattr(novelty, "PIECE", piece)
        assert check(b"?" + data[50:90] + b"?", data, write_text) == 40


def test_equal_hashes_of_unequal_stretches_are_not_a_copy(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novelty, "hashes", lambda s, n: np.zeros(max(0, s.size - n + 1), np.uint64))
    with Text(write_text(b"bbbb"), 256) as text:
        assert longest_copied(b"aaaa", text).span == b""


def test_hashes_are_of_the_symbols_in_their_order() -> None:
    symbols = np.frombuffer(b"abcdefgabcdefgbadcfeg", np.uint8)
    for length in range(1, 8):
        found = hashes(symbols, length)
        assert found.size == symbols.size - length + 1
        same = [symbols[i : i + length].tobytes() for i in range(found.size)]
        assert len(set(found.tolist())) == len(set(same))
