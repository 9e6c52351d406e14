"""The one loop that drives a run, whoever asked for it: a command, a comparison, darknet's `rnn`.

A run is a `Training` and its followers, which hear of each batch in their order: what is written
comes before what is shown.
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
    """Hears of a run. What it does not override does nothing."""

    reads_samples = False  # whether it wants text from the network now and then

    def saves(self, report: StepReport) -> bool:
        """Whether it takes a checkpoint after this batch: all ranks then bring it together."""
        return False

    def after(self, report: StepReport) -> None:
        """A batch is done."""

    def stop(self) -> None:
        """The run ends before its last batch, because it was asked to."""


class Stop(Protocol):
    """A wish to end a run. `signals` are the numbers that it may come by; `signal` is the one that
    came to this process, 0 before; `agreed` that of all ranks, where there are several."""

    @property
    def signals(self) -> Sequence[int]: ...
    @property
    def signal(self) -> int: ...

    agreed: int | None

    @property
    def due(self) -> int:
        """The signal that the run is to end by, at this batch; 0 for none."""


def follow(
    training: Training, followers: Sequence[Follower] = (), stop: Stop | None = None
) -> StepReport | None:
    """Let a run go to its last batch, or to that in which `stop` is due. The last report; None
    where no batch was to come. Only the rank that leads has followers. Raises what training does.
    """
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
    """After a batch, on all ranks: let one signal of any rank be that of all, and say whether the
    run is saved now, for it or as the rank that leads wants it."""
    if ranks.size == 1 or stop is None:
        return saving
    flags = np.array([saving, *(stop.signal == number for number in stop.signals)], np.float64)
    ranks.sum(flags)
    asked = (n for n, heard in zip(stop.signals, flags[1:], strict=True) if heard)
    stop.agreed = next(asked, 0)
    return bool(flags[0] or stop.agreed)
