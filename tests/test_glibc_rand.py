"""glibc's rand(), against recorded values and against a scalar loop."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidark.glibc_rand import RAND_MAX, SEQUENTIAL, GlibcRand
from tests.golden_cases import GOLDEN
from tests.selection import examples

RECORDED = json.loads((GOLDEN / "rand.json").read_text())
MANY = 12_000


def scalar_rand(seed: int, n: int) -> list[int]:
    """The first n draws, one after another, as random_r.c describes them."""
    seed = seed % 2**32 or 1
    r = [seed - 2**32 if seed >= 2**31 else seed]
    for _ in range(30):
        r.append(16807 * r[-1] % 2147483647)
    for i in range(31, 34):
        r.append(r[i - 31])
    for i in range(34, 344 + n):
        r.append((r[i - 31] + r[i - 3]) % 2**32)
    return [value >> 1 for value in r[344:]]


SEQUENCE = scalar_rand(7, MANY)


@pytest.mark.parametrize("seed", RECORDED)
def test_first_draws_are_those_recorded(seed: str) -> None:
    rand = GlibcRand(int(seed))
    assert [rand.rand() for _ in range(8)] == RECORDED[seed]["first"]


@pytest.mark.parametrize("seed", RECORDED)
def test_draws_after_a_million_are_those_recorded_both_drawn_and_skipped(seed: str) -> None:
    drawn, skipped = GlibcRand(int(seed)), GlibcRand(int(seed))
    skipped.skip(1_000_000)
    wanted = RECORDED[seed]["from_1000000"]
    assert drawn.draw(1_000_004)[-4:].tolist() == wanted
    assert skipped.draw(4).tolist() == wanted


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 5, -1, 2**32 + 9])
def test_every_seed_begins_as_the_scalar_loop_does(seed: int) -> None:
    assert GlibcRand(seed).draw(400).tolist() == scalar_rand(seed, 400)


@pytest.mark.parametrize(
    "n", [0, 1, 2, 3, 30, 31, 32, SEQUENTIAL - 1, SEQUENTIAL, SEQUENTIAL + 1, MANY]
)
def test_a_draw_of_any_length_is_the_scalar_loops_and_is_followed_by_the_next(n: int) -> None:
    rand, wanted = GlibcRand(42), scalar_rand(42, n + 40)
    assert rand.draw(n).tolist() == wanted[:n]
    assert rand.draw(40).tolist() == wanted[n:]


def test_the_default_seed_is_1() -> None:
    assert GlibcRand().rand() == GlibcRand(1).rand() == 1804289383


STEPS = st.lists(
    st.tuples(st.sampled_from(["rand", "draw", "skip", "uniform"]), st.integers(0, 300)),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=examples(60), deadline=None)
def test_draw_skip_rand_and_uniform_walk_along_one_sequence(steps: list[tuple[str, int]]) -> None:
    rand, at = GlibcRand(7), 0
    for kind, n in steps:
        wanted = SEQUENCE[at : at + n]
        match kind:
            case "rand":
                n = 1
                assert rand.rand() == SEQUENCE[at]
            case "draw":
                assert rand.draw(n).tolist() == wanted
            case "skip":
                rand.skip(n)
            case _:
                np.testing.assert_array_equal(rand.uniform(n), uniform(wanted))
        at += n
    assert rand.draw(3).tolist() == SEQUENCE[at : at + 3]


def uniform(draws: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """(float)rand() / RAND_MAX * 2 - 1, one float operation at a time."""
    f = np.float32
    values = [f(draw) / f(RAND_MAX) * f(2) - f(1) for draw in draws]
    return np.array(values, dtype=np.float32)


def test_uniform_is_darknets_in_float32() -> None:
    values = GlibcRand(7).uniform(5000)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, uniform(SEQUENCE[:5000]))


def test_long_draws_and_single_draws_walk_along_one_sequence() -> None:
    rand = GlibcRand(7)
    drawn = rand.draw(5).tolist() + rand.draw(SEQUENTIAL).tolist()
    drawn += [rand.rand(), rand.rand()]
    drawn += rand.draw(SEQUENTIAL + 7).tolist()
    assert drawn == SEQUENCE[: 5 + SEQUENTIAL + 2 + SEQUENTIAL + 7]


def test_eight_million_draws_end_where_a_skip_ends() -> None:
    drawn, skipped = GlibcRand(3), GlibcRand(3)
    values = drawn.draw(8_000_000)
    skipped.skip(7_999_990)
    assert values[-10:].tolist() == skipped.draw(10).tolist()
    assert drawn.rand() == skipped.rand()


@pytest.mark.parametrize("total", [10**6 + 1, 10**15])
def test_a_huge_skip_is_two_that_add_up_to_it(total: int) -> None:
    whole = GlibcRand(5)
    whole.skip(total)
    wanted = whole.draw(64).tolist()
    cuts = [0, 1, 257, total // 3, total]
    parts = GlibcRand(5)
    for begin, end in pairwise(cuts):
        parts.skip(end - begin)
    assert parts.draw(64).tolist() == wanted
    assert len(set(wanted)) > 60
    after_one_draw = GlibcRand(5)
    after_one_draw.rand()
    after_one_draw.skip(total - 1)
    assert after_one_draw.draw(64).tolist() == wanted


def test_draws_stay_within_rand_max() -> None:
    draws = GlibcRand(9).draw(100_000)
    assert draws.max() <= RAND_MAX
    assert draws.max() > RAND_MAX * 0.999
    assert draws.min() < RAND_MAX * 0.001
