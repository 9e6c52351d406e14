"""Texts of several files, parts of them, and the streams that read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from minidark import DataError, Text
from minidark.text import RESTART, Streams

FILES = [b"The quick ", b"", b"brown", b" fox jumps\n", b"."]
WHOLE = b"".join(FILES)


def written(folder: Path, files: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}.txt" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return paths


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Text]:
    with Text(written(tmp_path, FILES), 256) as text:
        yield text


def test_files_are_one_text_across_their_borders(text: Text) -> None:
    assert text.size == len(WHOLE)
    for start in range(len(WHOLE) + 1):
        for stop in range(start, len(WHOLE) + 1):
            assert bytes(text.read(start, stop).tolist()) == WHOLE[start:stop]


def test_symbols_are_ids_for_indexing_and_all_256_bytes_are_read(tmp_path: Path) -> None:
    with Text(written(tmp_path, [bytes(range(256))]), 256) as text:
        ids = text.read(0, 256)
    assert ids.dtype == np.intp
    assert ids.tolist() == list(range(256))


@pytest.mark.parametrize(
    ("fraction", "begin"), [(0.0, 27), (0.05, 26), (0.1, 25), (0.5, 14), (0.99, 1)]
)
def test_the_last_share_of_a_text_is_kept_for_validation(
    text: Text, fraction: float, begin: int
) -> None:
    train, valid = text.split(fraction)
    assert (train.begin, train.end, valid.begin, valid.end) == (0, begin, begin, 27)
    assert (train.size, valid.size) == (begin, 27 - begin)


def test_a_window_begins_again_past_the_end_of_its_part(text: Text) -> None:
    begin, end = 4, 19  # "quick brown fox"
    part = text.part(begin, end)
    endless = WHOLE[begin:end] * 5
    for at in range(part.size):
        for length in (1, 2, 14, 15, 16, 31, 46):
            assert bytes(part.window(at, length).tolist()) == endless[at : at + length]


def test_a_part_of_one_symbol_is_that_symbol_again_and_again(text: Text) -> None:
    assert bytes(text.part(4, 5).window(0, 4).tolist()) == b"qqqq"


def test_streams_give_steps_by_streams_and_the_truth_is_what_follows(text: Text) -> None:
    streams = Streams(text.part(0, text.size), 5, np.random.default_rng(1))
    begins = streams.offsets.copy()
    assert len(set(begins.tolist())) > 1
    x, truth = streams.next(6)
    assert x.shape == truth.shape == (6, 5)
    endless = WHOLE * 2
    for stream, at in enumerate(begins):
        assert bytes(x[:, stream].tolist()) == endless[at : at + 6]
        assert bytes(truth[:, stream].tolist()) == endless[at + 1 : at + 7]


def test_windows_of_a_stream_follow_one_another_round_and_round(text: Text) -> None:
    streams = Streams(text.part(0, text.size), 3, np.random.default_rng(2))
    begins = streams.offsets.copy()
    lengths = [4, 7, 1, 40, 9]
    windows = [streams.next(steps) for steps in lengths]
    x = np.concatenate([x for x, _ in windows])
    truth = np.concatenate([truth for _, truth in windows])
    endless = WHOLE * 5
    for stream, at in enumerate(begins):
        assert bytes(x[:, stream].tolist()) == endless[at : at + sum(lengths)]
    np.testing.assert_array_equal(truth[:-1], x[1:])


def test_streams_begin_anywhere_in_their_part_and_nowhere_else(text: Text) -> None:
    streams = Streams(text.part(4, 9), 400, np.random.default_rng(0))
    assert set(streams.offsets.tolist()) == {0, 1, 2, 3, 4}
    x, truth = streams.next(3)
    assert set(bytes(x.reshape(-1).tolist())) == set(bytes(truth.reshape(-1).tolist()))
    assert set(bytes(x.reshape(-1).tolist())) == set(b"quick")


def test_the_same_seed_gives_the_same_streams(text: Text) -> None:
    part = text.part(0, text.size)
    one, same, other = (Streams(part, 50, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.offsets, same.offsets)
    assert one.restart() == same.restart()
    assert (one.offsets != other.offsets).any()


def test_a_restart_moves_one_stream_in_64_and_says_which(text: Text) -> None:
    assert RESTART == 1 / 64
    streams = Streams(text.part(0, text.size), 64_000, np.random.default_rng(5))
    before = streams.offsets.copy()
    chosen = streams.restart()
    assert 880 < len(chosen) < 1120  # a thousand, within four deviations
    assert all(type(stream) is int for stream in chosen)
    moved = np.flatnonzero(streams.offsets != before)
    assert set(moved.tolist()) <= set(chosen)
    assert len(moved) > 0.9 * len(chosen)  # one in 27 lands where it was
    assert streams.offsets.min() >= 0
    assert streams.offsets.max() < text.size


@pytest.mark.parametrize(
    ("begin", "end", "byte", "offset"), [(0, 27, 84, 0), (1, 27, 104, 1), (12, 15, 111, 2)]
)
def test_a_symbol_out_of_range_is_named_with_its_place_in_its_file(
    tmp_path: Path, begin: int, end: int, byte: int, offset: int
) -> None:
    paths = written(tmp_path, FILES)
    with Text(paths, 33) as text, pytest.raises(DataError) as error:
        text.read(begin, end)
    path = paths[2] if begin == 12 else paths[0]
    assert str(error.value) == (
        f"{path}: byte {byte} at offset {offset}; this network's symbols are 0 to 32, "
        "bytes take inputs=256"
    )


def test_the_largest_symbol_that_a_network_has_is_read(tmp_path: Path) -> None:
    with Text(written(tmp_path, [b"\x02\x04"]), 5) as text:
        assert text.read(0, 2).tolist() == [2, 4]
    with Text(written(tmp_path, [b"\x02\x05"]), 5) as text:
        assert text.read(0, 1).tolist() == [2]
        with pytest.raises(DataError, match=r"byte 5 at offset 1; .* are 0 to 4, "):
            text.read(0, 2)


def test_no_symbols_at_all_are_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"", b""])
    with pytest.raises(DataError) as error:
        Text(paths, 256)
    assert str(error.value) == f"{paths[0]}, {paths[1]}: empty; a network learns from text"


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_what_cannot_be_read_is_refused_and_what_was_opened_is_closed(
    tmp_path: Path, name: str
) -> None:
    paths = [*written(tmp_path, [b"text"]), tmp_path / name]
    with pytest.raises(DataError, match=r"cannot read: No such file|not a regular file"):
        Text(paths, 256)


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"first ", b"second"])
    with Text(paths, 256) as text:
        os.truncate(paths[1], 3)
        assert bytes(text.read(0, 9).tolist()) == b"first sec"
        with pytest.raises(DataError) as error:
            text.read(4, 12)
    assert str(error.value) == (
        f"{paths[1]}: shorter than it was at the start; it changed meanwhile"
    )


def test_what_a_file_grows_by_is_not_read(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"ab", b"cd"])
    with Text(paths, 256) as text:
        paths[0].write_bytes(b"abXX")
        assert bytes(text.read(0, 4).tolist()) == b"abcd"


def test_closing_a_text_closes_its_files(tmp_path: Path) -> None:
    with Text(written(tmp_path, FILES), 256) as text:
        pass
    assert all(f.file.closed for f in text.files)
