"""Files of pairs: what is one, what is none, how they lie side by side, and their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import DataError, Pairs
from minidark.data.pairs import EITHER, END, epoch_order
from tests.conftest import WriteText


def pairs(write_text: WriteText, data: bytes, separator: str = "\t") -> Pairs:
    return Pairs(write_text(data), separator)


# --- lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"one\t\xec\x9d\xbc\ntwo\t2\n", b"one\t\xec\x9d\xbc\r\ntwo\t2\r\n",
     b"one\t\xec\x9d\xbc\ntwo\t2", b"\xef\xbb\xbfone\t\xec\x9d\xbc\ntwo\t2\n"],
)  # fmt: skip
def test_a_line_is_a_pair_however_it_ends(write_text: WriteText, data: bytes) -> None:
    read = pairs(write_text, data)
    assert (read.sources, read.targets) == ([b"one", b"two"], ["일".encode(), b"2"])
    assert len(read) == 2


def test_the_separator_may_be_another_byte(write_text: WriteText) -> None:
    read = pairs(write_text, b"a\tb|c d\n", "|")
    assert (read.sources, read.targets) == ([b"a\tb"], [b"c d"])


A_PAIR = "; a pair is a source, a tab, a target"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"alone", f"line 2 has no separator{A_PAIR}"),
        (b"", f"line 2 has no separator{A_PAIR}"),
        (b"a\tb\tc", f"line 2 has 2 separators{A_PAIR}"),
        (b"\tb", "line 2 has an empty source"),
        (b"a\t", "line 2 has an empty target"),
        (b"a\t\r", "line 2 has an empty target"),
        (b"a\xff\tb", "line 2 is not UTF-8: byte 255 at 1"),
        (b"a\tb\xc3", "line 2 is not UTF-8: byte 195 at 3"),
    ],
)
def test_a_line_that_is_no_pair_is_named(write_text: WriteText, line: bytes, message: str) -> None:
    path = write_text(b"a\tb\n" + line + b"\nc\td\n")
    with pytest.raises(DataError) as error:
        Pairs(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_file_without_lines_is_refused(write_text: WriteText) -> None:
    path = write_text(b"")
    with pytest.raises(DataError, match=r"empty; pairs are lines of a source, '\|', a target"):
        Pairs(path, "|")


@pytest.mark.parametrize("separator", ["", "\n", "\r", "->", "é"])
def test_a_separator_is_one_byte_within_a_line(write_text: WriteText, separator: str) -> None:
    with pytest.raises(DataError, match="is not one ASCII character other than a line end"):
        pairs(write_text, b"a\tb\n", separator)


def test_what_does_not_fit_the_network_is_named(write_text: WriteText) -> None:
    read = pairs(write_text, b"a\tb\nlong\tlonger\nabc\tde\xc3\xa9\n")
    read.check(256, 11)
    with pytest.raises(DataError) as error:
        read.check(256, 10)
    assert str(error.value) == (
        f"{read.path}: line 2 has 11 symbols, which is the longest pair for time_steps=10; "
        "--set net.time_steps=11 fits all"
    )
    with pytest.raises(DataError) as error:
        read.check(128)
    message = f"{read.path}: line 3 contains byte 195; this network's symbols are 0 to 127"
    assert str(error.value) == message
    with pytest.raises(DataError, match=r"the separator '\|' are not among this network's"):
        pairs(write_text, b"a|b\n", "|").check(100)


def test_of_pairs_that_are_too_long_the_longest_is_named_at_once(write_text: WriteText) -> None:
    lengths = {1: 982, 5: 1156, 308: 1507}
    lines = [b"%s\tb\n" % (b"a" * (lengths.get(n, 10) - 2)) for n in range(1, 400)]
    read = pairs(write_text, b"".join(lines))
    with pytest.raises(DataError) as error:
        read.check(256, 100)
    assert str(error.value) == (
        f"{read.path}: line 308 has 1507 symbols, which is the longest pair, and 2 more are too "
        "long for time_steps=100; --set net.time_steps=1507 fits all"
    )
    read.check(256, 1507)


# --- two files, and lines that are skipped ---------------------------------------------------


def two(
    write_text: WriteText, a: bytes, b: bytes, separator: str = "\t", skip_bad: bool = False
) -> Pairs:
    return Pairs((write_text(a), write_text(b)), separator, skip_bad=skip_bad)


def test_two_files_stand_for_pairs(write_text: WriteText) -> None:
    for end in (b"", b"\n"):
        read = two(write_text, b"one\r\ntwo" + end, b"\xef\xbb\xbf\xec\x9d\xbc\n2" + end)
        assert (read.sources, read.targets) == ([b"one", b"two"], ["일".encode(), b"2"])
    read = two(write_text, b"a\tb\n", b"c\n", "|")  # a tab is no separator here
    assert (read.sources, read.targets) == ([b"a\tb"], [b"c"])


@pytest.mark.parametrize(
    ("a", "b", "side", "message"),
    [
        (b"a\nb\tc\n", b"d\ne\n", 0, f"line 2 contains the separator, a tab; {EITHER}"),
        (b"a\nb\n", b"d\ne\tf\n", 1, f"line 2 contains the separator, a tab; {EITHER}"),
        (b"a\n\n", b"d\ne\n", 0, "line 2 has an empty source"),
        (b"a\nb\n", b"\r\ne\n", 1, "line 1 has an empty target"),
        (b"a\nb\n", b"d\ne\xc3\n", 1, "line 2 is not UTF-8: byte 195 at 1"),
    ],
)
def test_a_wrong_line_of_two_files_is_named(
    write_text: WriteText, a: bytes, b: bytes, side: int, message: str
) -> None:
    paths = write_text(a), write_text(b)
    with pytest.raises(DataError) as error:
        Pairs(paths)
    assert str(error.value) == f"{paths[side]}: {message}"


def test_two_files_have_equally_many_lines(write_text: WriteText) -> None:
    a, b = write_text(b"a\n" * 1200), write_text(b"b\n" * 3)
    with pytest.raises(DataError) as error:
        Pairs([a, b], skip_bad=True)
    assert str(error.value) == (
        f"{a} has 1,200 lines, and {b} has 3; sources and targets in two files need equally many "
        "lines"
    )
    with pytest.raises(DataError, match="empty; pairs are one file of lines"):
        two(write_text, b"", b"")
    for paths in ([], [a, a, b]):
        with pytest.raises(DataError, match=rf"^{len(paths)} files; pairs are one file"):
            Pairs(paths)


def test_two_files_are_known_as_two(write_text: WriteText) -> None:
    a, b, c = (two(write_text, *x).identity.undated() for x in ((b"a", b"b"), (b"a", b"b"),
                                                                (b"a", b"c")))  # fmt: skip
    assert a == b != c
    assert len(a.files) == 2
    change = c.change(b)
    assert change is not None
    assert "same size as before, but different bytes" in change


def test_lines_that_are_no_pairs_are_skipped(write_text: WriteText) -> None:
    bad = [b"alone", b"", b"a\tb\tc", b"\tb", b"a\t", b"a\xff\tb"]
    path = write_text(b"a\tb\n" + b"\n".join(bad) + b"\nlong\tlonger\nc\t\xc3\xa9\n")
    with pytest.raises(DataError, match="line 2 has no separator"):
        Pairs(path)
    read = Pairs(path, skip_bad=True)
    assert (read.sources, read.targets) == ([b"a", b"long", b"c"], [b"b", b"longer", "é".encode()])
    assert read.line_numbers == [1, 8, 9]
    assert len(read.skipped) == 6
    assert read.skipped[2] == f"{path}: line 4 has 2 separators{A_PAIR}"
    with pytest.raises(DataError, match="line 8 has 11 symbols, which is the longest pair"):
        read.check(256, 10)
    with pytest.raises(DataError, match="line 9 contains byte 195"):
        read.check(128)
    only = Pairs(write_text(b"a\tb\nlong\tlonger\nc\t\xc3\xa9\n"))
    for fraction in (0, 0.4):
        for ours, theirs in zip(read.split(fraction), only.split(fraction), strict=True):
            assert ours.tolist() == theirs.tolist()
    with pytest.raises(DataError, match=r"no line is a pair; the first: .*line 1 has no sep"):
        Pairs(write_text(b"a\nb\n"), skip_bad=True)


def test_of_two_files_both_lines_are_skipped(write_text: WriteText) -> None:
    read = two(write_text, b"a\nb\tb\nc\n\ne\n", b"1\n2\n\n4\n5\n", skip_bad=True)
    assert (read.sources, read.targets) == ([b"a", b"e"], [b"1", b"5"])
    assert [message.partition(": line ")[2][0] for message in read.skipped] == ["2", "3", "4"]


# --- side by side -------------------------------------------------------------------------


def test_pairs_side_by_side_are_each_a_stream(write_text: WriteText) -> None:
    read = pairs(write_text, b"ab\tx\nc\tyz\nd\te\n")
    batch = read.batch([0, 1], 3)
    _ = END  # what fills a stream up
    tab = ord("\t")
    assert batch.x.T.tolist() == [
        [*b"ab", tab, *b"x"], [*b"c", tab, *b"yz"], [_, _, _, _],
    ]  # fmt: skip
    assert batch.truth.T.tolist() == [
        [-1, -1, *b"x", END], [-1, *b"yz", END], [-1, -1, -1, -1],
    ]  # fmt: skip
    assert (batch.pairs, batch.symbols) == (2, 5)
    assert read.lengths().tolist() == [4, 4, 3]
    assert read.counted().tolist() == [2, 3, 2]
    shorter = read.batch([2], 1)
    assert shorter.truth.T.tolist() == [[-1, *b"e", END]]


# --- what is kept out ---------------------------------------------------------------------


def many(write_text: WriteText, numbers: list[int]) -> Pairs:
    return pairs(write_text, b"".join(b"%d\t%d\n" % (n, 2 * n) for n in numbers))


def sources(read: Pairs, numbers: object) -> list[bytes]:
    return [read.sources[n] for n in np.asarray(numbers)]


def test_the_same_sources_are_kept_out_in_any_order(write_text: WriteText) -> None:
    ascending = many(write_text, [*range(400)])
    other = many(write_text, np.random.default_rng(0).permutation(400).tolist())
    kept = []
    for read in (ascending, other):
        train, held_out = read.split(0.1)
        assert sorted([*train, *held_out]) == [*range(400)]
        assert len(held_out) == 40
        kept.append(sources(read, held_out))
    assert kept[0] == kept[1]
    numbers = sorted(map(int, kept[0]))
    assert numbers[0] < 40  # and from all over the file
    assert numbers[-1] >= 360
    assert max(np.diff(numbers)) < 60
    smaller = ascending.split(0.05)[1]
    assert sources(ascending, smaller) == kept[0][:20]


def test_a_source_is_on_one_side_however_often_it_comes(write_text: WriteText) -> None:
    read = many(write_text, [*range(30)] * 5)
    train, held_out = read.split(0.21)  # would cut through five that are alike
    assert not {*sources(read, train)} & {*sources(read, held_out)}
    assert len(held_out) == 30
    for all_alike in ([7], [7] * 9):
        train, held_out = many(write_text, all_alike).split(0.9)
        assert (len(train), len(held_out)) == (len(all_alike), 0)


@pytest.mark.parametrize("fraction", [-0.1, 1, float("nan")])
def test_a_fraction_that_is_none_is_refused(write_text: WriteText, fraction: float) -> None:
    with pytest.raises(DataError, match="is not at least 0 and below 1"):
        many(write_text, [1, 2]).split(fraction)


# --- the order of an epoch ----------------------------------------------------------------


def test_an_epoch_has_each_pair_once_beside_others_of_its_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 50, 1000)
    numbers = np.flatnonzero(rng.random(1000) < 0.9)
    passes = epoch_order(numbers, lengths, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(passes).tolist()) == numbers.tolist()
    assert sorted(map(len, passes))[1:] == [8] * (len(passes) - 1)
    assert len(passes) == -(-len(numbers) // 8)
    padded = sum(8 * lengths[p].max() for p in passes) / lengths[numbers].sum()
    assert padded < 1.08
    firsts = [int(lengths[p].max()) for p in passes]
    assert firsts != sorted(firsts)


def test_the_order_is_the_seeds_and_the_epochs() -> None:
    numbers, lengths = np.arange(100), np.arange(100) % 7

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [p.tolist() for p in epoch_order(numbers, lengths, 8, seed, epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(-1, 0) == order(2**64 - 1, 0)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_a_file_of_pairs_is_known_as_a_text_is(tmp_path: Path) -> None:
    for name, data in [("a", b"a\tb\n"), ("b", b"a\tb\n"), ("c", b"a\tc\n")]:
        (tmp_path / name).write_bytes(data)
    a, b, c = (Pairs(tmp_path / name).identity.undated() for name in "abc")
    assert a == b != c
