"""Texts of several files, parts of them, and the streams that read them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidark import DataError, Text, train
from minidark.data.identity import Identity, sample_offsets
from minidark.data.text import RESTART, Streams
from minidark.data.tokens import TokenText
from tests.helpers import cfg, network

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
        "bytes need inputs=256"
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
    assert str(error.value) == f"{paths[0]}, {paths[1]}: empty"


@pytest.mark.parametrize("name", ["none.txt", "."])
def test_what_cannot_be_read_is_refused_and_what_was_opened_is_closed(
    tmp_path: Path, name: str
) -> None:
    paths = [*written(tmp_path, [b"text"]), tmp_path / name]
    with pytest.raises(
        DataError, match=r"cannot read: No such file|a folder; pass the files in it"
    ):
        Text(paths, 256)


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"first ", b"second"])
    with Text(paths, 256) as text:
        os.truncate(paths[1], 3)
        assert bytes(text.read(0, 9).tolist()) == b"first sec"
        with pytest.raises(DataError) as error:
            text.read(4, 12)
    assert str(error.value) == (f"{paths[1]}: became shorter since the start")


def test_what_a_file_grows_by_is_not_read(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"ab", b"cd"])
    with Text(paths, 256) as text:
        paths[0].write_bytes(b"abXX")
        assert bytes(text.read(0, 4).tolist()) == b"abcd"


def test_closing_a_text_closes_its_files(tmp_path: Path) -> None:
    with Text(written(tmp_path, FILES), 256) as text:
        pass
    assert all(f.file.closed for f in text.files)


def test_threads_may_share_a_text(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes()
    with Text(written(tmp_path, [data[:70_000], data[70_000:]]), 256) as text:

        def read(start: int) -> bool:
            return text.read(start, start + 999).astype(np.uint8).tobytes() == data[start:][:999]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(0, 199_000, 97)))


def test_a_file_that_shrinks_while_training_is_an_error_after_the_batches_before(
    tmp_path: Path,
) -> None:
    net = network("net inputs=4 batch=2 time_steps=5", "gru output=3", "connected output=4",
                  "softmax")  # fmt: skip
    (path,) = written(tmp_path, [bytes(range(4)) * 5000])
    with Text(path, 4) as text:
        reports = train(net, text, 1000)
        for _ in range(3):
            next(reports)
        os.truncate(path, 0)
        with pytest.raises(DataError, match="became shorter since the start"):
            next(reports)
    assert net.batches_seen == 3


# --- what a text is known by --------------------------------------------------------------

LARGE = np.random.default_rng(1).integers(0, 256, 1_000_003).astype(np.uint8).tobytes()


def identity(*paths: Path) -> Identity:
    with Text(paths, 256) as text:
        return text.identity()


@pytest.mark.parametrize("size", [1, 4096, 64 * 4096 - 1, 64 * 4096])
def test_a_small_files_samples_are_the_whole_file(tmp_path: Path, size: int) -> None:
    (path,) = written(tmp_path, [LARGE[:size]])
    (file,) = identity(path).files
    assert file.sampled == hashlib.sha256(LARGE[:size]).hexdigest()


def test_a_large_files_samples_are_64_blocks_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [LARGE])
    os.utime(path, ns=(5, 1_600_000_000_123_456_789))
    begins = [floor(Fraction(i, 63) * (len(LARGE) - 4096)) for i in range(64)]
    samples = b"".join(LARGE[begin : begin + 4096] for begin in begins)
    (file,) = identity(path).files
    assert len(samples) == 64 * 4096
    assert (file.path, file.size, file.modified, file.sampled) == (
        str(path), 1_000_003, os.stat(path).st_mtime_ns, hashlib.sha256(samples).hexdigest(),
    )  # fmt: skip


@given(st.integers(0, 10**14))
def test_samples_lie_in_the_file_and_not_over_one_another(size: int) -> None:
    offsets = sample_offsets(size)
    assert len(offsets) == min(64, -(-size // 4096))
    gaps = np.diff([*offsets, size])
    if size > 64 * 4096:
        assert offsets[0] == 0
        assert gaps[-1] == 4096
        assert 4096 <= gaps[:-1].min() <= gaps[:-1].max() <= gaps[:-1].min() + 1
    else:
        assert all(gaps[:-1] == 4096)


def test_a_text_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    paths = written(tmp_path, [LARGE, b"second"])
    before = identity(*paths)
    assert identity(*paths) == before
    moved = [path.rename(path.with_suffix(".moved")) for path in paths]
    assert identity(*moved) == before
    assert identity(*moved).change(before) is None
    assert identity(*moved[::-1]) != before


def set_byte(path: Path, at: int) -> None:
    """Change one byte and leave the time as it was."""
    times = os.stat(path)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(LARGE + b"12345"), "5 bytes longer than before"),
    (lambda path: os.truncate(path, 1003), "999,000 bytes shorter than before"),
    (lambda path: set_byte(path, 0), "same size as before, but different bytes"),
    (lambda path: set_byte(path, 1_000_002), "same size as before, but different bytes"),
    (
        lambda path: os.utime(path, ns=(1, 1)),
        "modified since, although its size and the sampled bytes are the same",
    ),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_what_changed_is_told_in_one_line(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    paths = written(tmp_path, [b"first", LARGE])
    before = identity(*paths)
    change(paths[1])
    now = identity(*paths)
    assert now != before
    assert now.change(before) == f"{paths[1]}: {said}"


def test_another_number_of_files_is_told(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"a", b"b"])
    assert identity(*paths).change(identity(paths[0])) == "2 files instead of 1 file"
    assert identity(paths[0]).change(identity(*paths)) == "1 file instead of 2 files"


def test_an_identity_is_of_the_file_that_was_opened(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [b"text"])
    before = identity(path)
    with Text(path, 256) as text:
        with path.open("ab") as file:
            file.write(b" and more")
        os.utime(path, ns=(1, 1))
        assert text.identity() == before


def test_an_identity_outlives_the_run_as_json(tmp_path: Path) -> None:
    found = identity(*written(tmp_path, [LARGE, b"b"]))
    assert Identity.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("value", [None, 3, ["x"], [{"size": 1}], [{"path": "a", "what": 1}]])
def test_json_that_is_no_identity_is_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^not the identity of a text: "):
        Identity.from_json(value)  # type: ignore[arg-type]


def test_a_tokenized_text_is_known_by_its_file(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [b"1 2 3\n" * 100_000])
    assert TokenText(path, 4).identity() == identity(path)


# --- ten gigabytes ------------------------------------------------------------------------

RUN = """
import resource, sys
import minidark
net = minidark.load_network(sys.argv[2], seed=1)
with minidark.Text(sys.argv[1], 256) as text:
    text.identity()
    *_, last = minidark.train(net, text, 2)
print(last.valid_symbols, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="Windows has no sparse files by truncation")
def test_ten_gigabytes_take_the_memory_of_ten_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(cfg("net inputs=256 batch=16 time_steps=64", "gru output=16",
                        "connected output=256", "softmax"))  # fmt: skip
    resident = {}
    for size in (10 * 2**20, 10 * 2**30):
        text = tmp_path / f"{size}.txt"
        with text.open("wb") as file:
            file.truncate(size)
        done = subprocess.run(
            [sys.executable, "-c", RUN, text, path], capture_output=True, text=True, check=True
        )
        symbols, resident[size] = map(int, done.stdout.split())
        assert symbols == 2**19
    small, large = resident.values()
    assert large < 1.1 * small
