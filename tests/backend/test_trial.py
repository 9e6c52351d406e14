"""Which number of threads a trial chooses, with times from a table instead of a clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidark.backend import threads

trial: Any = pytest.importorskip(
    "minidark.backend.compiled.trial", reason="numba is not installed; the extra 'fast' has it"
)


steps: Any = pytest.importorskip("minidark.backend.compiled.steps")


def choices(seconds: dict[bool, float], calls: int) -> list[bool]:
    """The choices of a trial in which the first call of each block takes far longer."""
    one, made = trial.Trial(), []
    for call in range(calls):
        several = one.choice()
        made.append(several)
        one.add(several, seconds[several] + (100 if call % trial.BLOCK == 0 else 0))
    return made


@pytest.mark.parametrize(("alone", "several", "wanted"), [(1, 2, False), (2, 1, True)])
def test_the_faster_choice_is_kept_after_both_were_tried(
    alone: float, several: float, wanted: bool
) -> None:
    length = trial.BLOCK * trial.BLOCKS
    made = choices({False: alone, True: several}, length + 50)
    assert made[:length] == ([False] * trial.BLOCK + [True] * trial.BLOCK) * (trial.BLOCKS // 2)
    assert made[length:] == [wanted] * 50


def test_one_fast_call_of_each_block_is_enough() -> None:
    """Other programs may delay any number of calls."""
    one = trial.Trial()
    while not one.decided:
        several = one.choice()
        lucky = one.calls % trial.BLOCK == trial.BLOCK - 1
        one.add(several, (1 if several else 2) if lucky else 1000 * (2 - several))
    assert one.choice()
    one.add(True, 1e9)  # no longer counts
    assert one.choice()


def test_single_streams_of_doubtful_sizes_are_tried_for_each_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two threads are faster here, if there are two."""
    clock, works = [0.0], []

    def spread(shared: Any, size: int, work: int, *args: Any) -> None:
        works.append(work)
        clock[0] += 1 if work and threads.thread_count() == 2 else 2

    monkeypatch.setattr(steps, "spread", spread)
    monkeypatch.setattr(steps.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(steps, "_trials", {})
    length, macs = trial.BLOCK * trial.BLOCKS, steps.DOUBTFUL[-1]
    for count, several in ((1, False), (2, True)):
        monkeypatch.setattr(threads, "_count", count)
        for _ in range(length + 1):
            steps._share(None, None, 4, macs, np.zeros((1, 9)))
        assert works[-1] == (macs // steps.READ if several else 0)
        assert len({*works[-length - 1 :]}) == 2
    tried = dict(steps._trials)
    for streams, size in ((2, macs), (1, steps.DOUBTFUL.start - 1), (1, steps.DOUBTFUL.stop)):
        steps._share(None, None, 4, size, np.zeros((streams, 9)))
        assert works[-1] == streams * size // steps.READ
    assert steps._trials == tried
