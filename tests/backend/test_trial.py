"""Which number of threads a trial chooses, with times from a table instead of a clock."""

from __future__ import annotations

import pytest

trial = pytest.importorskip(
    "minidark.backend.compiled.trial", reason="numba is not installed; the extra 'fast' has it"
)


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
