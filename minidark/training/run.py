"""The loop that drives every run, for commands, comparisons and darknet's `rnn`.

A run is a `Training` and its followers. They get each batch in order: files are written before
figures are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from minidark.training.parallel.ranks import Ranks
from minidark.training.records import sampled
from minidark.training.report import StepReport
from minidark.training.train import Training


class Follower:
    """Base of followers; methods that are not overridden do nothing."""

    reads_samples = False  # whether it uses samples

    def saves(self, report: StepReport) -> bool:
        """Whether it saves a checkpoint after this batch; all ranks then gather their states."""
        return False

    def after(self, report: StepReport) -> None:
        """Called after each batch."""

    def stop(self) -> None:
        """Called when the run is interrupted before its last batch."""


class Stop(Protocol):
    """A request to stop a run. `signals` are the signal numbers it handles; `signal` is the one
    this process received, 0 before; `agreed` is the one all ranks agreed on, if there are
    several."""

    @property
    def signals(self) -> Sequence[int]: ...
    @property
    def signal(self) -> int: ...

    agreed: int | None

    @property
    def due(self) -> int:
        """The signal to stop for at this batch; 0 for none."""


def follow(
    training: Training, followers: Sequence[Follower] = (), stop: Stop | None = None
) -> StepReport | None:
    """Run until the last batch, or until the batch in which `stop` is due. Returns the last report,
    or None if no batch remained. Only the leading rank has followers. Raises what training
    raises."""
    report, wanted = None, any(one.reads_samples for one in followers)
    for bare in training:
        report = sampled(bare, training) if wanted else bare
        if _agreed(training.ranks, stop, any(one.saves(report) for one in followers)):
            training.gather()
        for one in followers:
            one.after(report)
        if stop and stop.due and not report.last:
            for one in followers:
                one.stop()
            break
    return report


def _agreed(ranks: Ranks, stop: Stop | None, saving: bool) -> bool:
    """After a batch, on all ranks: agree on one signal of any rank, and return whether to save, for
    the signal or because the leading rank wants to."""
    if ranks.size == 1:
        return saving
    signals = stop.signals if stop else ()
    flags = np.array([saving, *(stop and stop.signal == n for n in signals)], np.float64)
    ranks.sum(flags)
    if stop:
        stop.agreed = next((n for n, flag in zip(signals, flags[1:], strict=True) if flag), 0)
    return bool(flags.any())
