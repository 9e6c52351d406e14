"""The loop that drives a run, and its followers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from minidark import Text, train
from minidark.backend import Array
from minidark.training.backups import Backups
from minidark.training.parallel.ranks import Ranks
from minidark.training.report import StepReport
from minidark.training.run import Follower, follow
from minidark.training.train import Training
from tests.helpers import network

NET = ("net inputs=100 batch=2 time_steps=5", "gru output=4", "connected output=100", "softmax")


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    path = tmp_path / "text"
    path.write_bytes(bytes(range(32, 96)) * 20)
    with Text(path, 100) as text:
        yield train(network(*NET), text, 6, valid_fraction=0)


class Recorder(Follower):
    def __init__(self, name: str, calls: list[str], saves_at: Sequence[int] = ()):
        self.name, self.calls, self.saves_at = name, calls, saves_at

    def saves(self, report: StepReport) -> bool:
        return report.batch in self.saves_at

    def after(self, report: StepReport) -> None:
        self.calls.append(f"{self.name}{report.batch}")

    def stop(self) -> None:
        self.calls.append(f"{self.name} stops")


class StopAt(Follower):
    """A follower that is the wish to stop as well."""

    signals: Sequence[int] = ()
    signal = 0
    agreed: int | None = None

    def __init__(self, batch: int):
        self.batch, self.due = batch, 0

    def after(self, report: StepReport) -> None:
        self.due = int(report.batch == self.batch)


def test_followers_hear_of_each_batch_in_their_order(training: Training) -> None:
    calls: list[str] = []
    report = follow(training, [Recorder("a", calls), Recorder("b", calls)])
    assert report is not None
    assert report.last
    assert calls == [f"{name}{batch}" for batch in range(1, 7) for name in "ab"]
    assert follow(training, [Recorder("a", calls)]) is None


@pytest.mark.parametrize(("batch", "stops"), [(3, True), (6, False)])
def test_a_run_stops_in_the_batch_in_which_it_is_asked_to(
    training: Training, batch: int, stops: bool
) -> None:
    calls: list[str] = []
    stop = StopAt(batch)
    report = follow(training, [Recorder("a", calls), stop], stop)
    assert report is not None
    assert report.batch == batch
    assert (calls[-1] == "a stops") == stops


def test_the_states_are_gathered_before_any_follower_saves(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Training, "gather", lambda self: calls.append("gather"))
    follow(training, [Recorder("a", calls), Recorder("b", calls, saves_at=(2, 6))])
    wanted = ["a1", "b1", "gather", "a2", "b2", "a3", "b3", "a4", "b4", "a5", "b5", "gather"]
    assert calls == [*wanted, "a6", "b6"]


def test_backups_ask_for_the_states_when_they_save_a_checkpoint(
    training: Training, tmp_path: Path
) -> None:
    asked = []
    with Backups(training.net, tmp_path / "b", "a.cfg", 4, training=training) as backups:
        for report in training:
            asked.append(backups.saves(report))
            backups.after(report)
    assert asked == [False, False, False, True, False, True]


class Follows(Ranks):
    """The second of two ranks; the first one saves a checkpoint after every batch."""

    rank, size = 1, 2

    def sum(self, buffer: Array, after: object = None) -> None:
        buffer[0] += 1


def test_a_rank_without_followers_gathers_when_the_leading_rank_saves(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Training, "gather", lambda self: calls.append("gather"))
    monkeypatch.setattr(Follows, "total", lambda self, number: number)
    training.ranks = Follows()
    training.validation.ranks = Follows()
    follow(training)
    assert calls == ["gather"] * 6
