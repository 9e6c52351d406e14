"""The pairs of make bench-learning: nothing that is held out is learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.learning import data, reviews
from minidark import Pairs

NEEDED = {
    "numbers": "num2words",
    "romanization": "korean_romanizer",
    "rated-words": "vaderSentiment",
}


@pytest.mark.parametrize(
    ("words", "stem"),
    [
        ("love loved lovely lovable loving lover", "lov"),
        ("happy happier happiest happiness", "happ"),
        ("admire admiration", "admir"),
        ("is as bus", None),
    ],
)
def test_a_stem_is_a_word_without_its_endings(words: str, stem: str | None) -> None:
    assert {data.stem(word) for word in words.split()} == ({stem} if stem else {*words.split()})


def test_a_family_is_all_that_is_tied_by_stems_or_first_letters() -> None:
    families = data.families_of(["critics", "critic", "critical", "hope", "hopeless", "brokenly",
                                 "broke", "zest"])  # fmt: skip
    assert sorted(map(sorted, families)) == [
        ["broke", "brokenly"], ["critic", "critical", "critics"], ["hope", "hopeless"], ["zest"],
    ]  # fmt: skip


SMALL: dict[str, Callable[[], data.Task]] = {
    "numbers": lambda: data.numbers(1, 999),
    "romanization": lambda: data.romanization(1, 400),
    "rated-words": lambda: data.rated_words(1),
}


@pytest.mark.parametrize("name", SMALL)
def test_held_out_pairs_are_a_share_and_are_not_learned_from(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED[name], reason=f"{NEEDED[name]} is missing; the extra 'learning'")
    task, again = SMALL[name](), SMALL[name]()
    assert (task.train, task.held_out) == (again.train, again.held_out)
    whole = len(task.train) + len(task.held_out)
    share = 0.2 if name == "rated-words" else 0.05
    assert len(task.held_out) == pytest.approx(share * whole, rel=0.03)
    learned = {source for source, _ in task.train}
    assert not learned & {source for source, _ in task.held_out}
    if name == "rated-words":
        kept = {k for s, _ in task.held_out for k in (data.stem(s), s[:5])}
        assert not kept & {k for source in learned for k in (data.stem(source), source[:5])}
    for path, pairs in zip(task.write(tmp_path), (task.train, task.held_out), strict=True):
        read = Pairs(path)
        assert [*zip(read.sources, read.targets, strict=True)] == [
            (source.encode(), target.encode()) for source, target in pairs
        ]


def test_romanization_is_the_librarys_and_meets_assimilation() -> None:
    pytest.importorskip("korean_romanizer", reason="korean-romanizer is missing; 'learning'")
    assert len(data.SYLLABLES) == 2350
    from korean_romanizer.romanizer import Romanizer

    task = data.romanization(1, 400)
    assert all(latin == Romanizer(word).romanize() for word, latin in task.train)
    apart = [
        latin != "".join(Romanizer(syllable).romanize() for syllable in word)
        for word, latin in task.train
    ]
    assert 0.1 < sum(apart) / len(apart) < 0.9


@pytest.mark.parametrize("prefix", ["naver.", ""])
def test_reviews_may_lie_beside_data_of_translation(prefix: str, tmp_path: Path) -> None:
    others = ["multi30k.train.tsv", "multi30k.test.tsv"] if prefix else []
    for name in (f"{prefix}train.tsv", f"{prefix}test.tsv", *others):
        (tmp_path / name).write_bytes(b"good\tpositive\n")
    found = reviews.prepared(tmp_path, tmp_path / "kept")
    assert found.train.name == f"{prefix}train.tsv"
    assert [path.name for path in found.tests] == [f"{prefix}test.tsv"]
