"""The model of a batch on many ranks, against figures worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks.simulator import Batch, Link, Work, batch

# Forward 2 s, then the upper layer 1 s with 10 bytes and the lower 3 s with 20; the update 1 s.
WORK = Work(2.0, [(3.0, 20), (1.0, 10)], 1.0, addition=10.0)
SLOW = Link("slow", latency=0.5, bandwidth=10.0)  # 10 bytes: .5 + 1 + 1 s; 20 bytes: .5 + 2 + 2 s


def test_one_rank_waits_for_nobody() -> None:
    assert batch(WORK, 1, SLOW) == Batch(7.0, 0.0)
    assert WORK.computed == 7.0


def test_a_sum_is_hidden_behind_the_layers_below_but_for_the_lowest() -> None:
    # The upper's goes from 3 to 5.5 s, the lower is done at 6 s, and its goes on to 10.5 s.
    assert batch(WORK, 2, SLOW) == Batch(11.5, 4.5)


def test_a_sum_waits_for_the_one_before_it() -> None:
    # Two exchanges each: the upper's from 3 to 8 s, the lower's from 8 to 17 s.
    assert batch(WORK, 4, SLOW) == Batch(18.0, 11.0)


def test_a_measured_batch_is_a_third_forward_and_backward_by_the_work_of_layers() -> None:
    work = Work.of(10.0, 1.0, works=[2, 0, 1], sizes=[20, 0, 10], addition=10.0)
    assert work.forward == pytest.approx(3.0)
    assert [seconds for seconds, _ in work.layers] == pytest.approx([4.0, 0.0, 2.0])
    assert work.computed == pytest.approx(10.0)
    assert work.times(0.5).computed == pytest.approx(5.5)
