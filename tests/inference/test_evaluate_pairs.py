"""Pairs of any length are evaluated in bounded memory, as if each was read alone."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidark import DataError, Network, Pairs, score
from minidark.data.pairs import END
from minidark.inference import valid
from minidark.inference.valid import GROUP_ROWS, WINDOW, _groups, evaluate_pairs
from tests.conftest import WriteText
from tests.helpers import network, randomize

TAB = ord("\t")
STACKS = [
    ["gru output=6 tanh=1"],
    ["gru output=6 tanh=1", "dropout probability=.5", "lstm output=5"],
    ["gru output=6 tanh=1", "attention over=source output=6 memory=40 keys=4"],
]


def make(*layers: str, dtype: str = "float64", outputs: int = 16) -> Network:
    net = network(
        f"net inputs={outputs} batch=4 time_steps=9", *layers,
        f"connected output={outputs} activation=linear", "softmax", dtype=dtype,
    )  # fmt: skip
    randomize(net.layers)
    return net


def lines(*lengths: tuple[int, int]) -> bytes:
    rng = np.random.default_rng(0)
    parts = [b"\t".join(bytes(rng.integers(1, 9, n).tolist()) for n in pair) for pair in lengths]
    return b"\n".join(parts) + b"\n"


@pytest.mark.parametrize("layers", STACKS, ids=["gru", "lstm", "attention"])
def test_windows_and_groups_change_nothing(
    layers: list[str], write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WINDOW": 7, "LONG": 10, "GROUP_ROWS": 60}.items():
        monkeypatch.setattr(valid, name, value)
    net = make(*layers)
    lengths = [(3, 2), (50, 1), (1, 30), (25, 9), (4, 2), (26, 8), (2, 2), (14, 1), (60, 50)]
    pairs = Pairs(write_text(lines(*lengths)))
    nats, exact = 0.0, 0
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        y = net.twin(1).predict(np.array([*source, TAB, *target]))[len(source) :]
        truth = [*target, END]
        nats -= sum(math.log(row[symbol]) for row, symbol in zip(y, truth, strict=True))
        exact += y.argmax(axis=1).tolist() == truth
    evaluated: list[int] = []
    found = evaluate_pairs(net, pairs, np.arange(len(pairs)), done=evaluated.append)
    assert found.nats == pytest.approx(nats, rel=1e-10)
    assert (found.pairs, found.exact) == (len(lengths), exact)
    assert found.symbols == sum(target + 1 for _, target in lengths)
    assert evaluated[-1] == len(lengths)
    assert evaluated == sorted({*evaluated})


@given(st.lists(st.integers(3, 3 * GROUP_ROWS), max_size=200), st.integers(1, 64))
def test_groups_are_small_and_of_similar_lengths(lengths: list[int], streams: int) -> None:
    lengths.sort()
    groups = [*_groups(np.array(lengths, np.intp), streams)]
    assert [n for group in groups for n in group] == [*range(len(lengths))]
    for group in groups:
        shortest, longest = lengths[group[0]], lengths[group[-1]]
        assert len(group) == 1 or len(group) * longest <= GROUP_ROWS
        assert longest <= 2 * shortest + WINDOW
        assert len(group) <= streams


def test_short_pairs_stay_together() -> None:
    assert [len(g) for g in _groups(np.sort(np.arange(130) % 90 + 3), 64)] == [64, 64, 2]


def test_one_long_source_takes_little_memory(write_text: WriteText) -> None:
    net = make("gru output=8 tanh=1", dtype="float32", outputs=64)
    pairs = Pairs(write_text(lines(*[(5, 2)] * 100, (100_000, 2))))
    evaluate_pairs(net, pairs, np.arange(len(pairs) - 1))  # allocates what later calls reuse
    tracemalloc.start()
    try:
        evaluate_pairs(net, pairs, np.arange(len(pairs)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The ids take 1.7 MB. One pass over 64 streams took 1.6 GB for the outputs alone.
    assert peak < 10e6


def test_a_pair_that_would_take_minutes_is_refused_first(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.inference.score.LONGEST", 20)
    net = make(*STACKS[0])
    pairs = Pairs(write_text(lines((3, 2), (17, 2), (30, 2), (4, 4))))
    monkeypatch.setattr("minidark.inference.score.Predictor", None)  # nothing is predicted
    with pytest.raises(DataError) as error:
        score(net, pairs)
    assert str(error.value) == (
        f"{pairs.path}: line 3 has 33 symbols; a pair can have 20; shorten or remove it"
    )


def test_time_steps_allow_longer_pairs(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.inference.score.LONGEST", 5)
    steps: list[tuple[int, int]] = []
    pairs = Pairs(write_text(lines((3, 2), (4, 4))))
    score(make(*STACKS[0]), pairs, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (4, 4)]
