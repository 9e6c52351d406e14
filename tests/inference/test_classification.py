"""Wilson's interval against published figures and its definition, macro F1 against scikit-learn,
and the baseline."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidark import BackendError, DataError
from minidark.inference.baseline import check_installed, logistic_regression
from minidark.inference.classification import Classification, Z, wilson

NEEDS = "scikit-learn is missing; extra 'learning'"


@pytest.mark.parametrize(
    ("right", "count", "interval"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", method 3
        (81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)  # fmt: skip
def test_wilson_has_the_published_figures(
    right: int, count: int, interval: tuple[float, float]
) -> None:
    assert wilson(right, count) == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_is_z_deviations_from_both_ends(pair: tuple[int, int]) -> None:
    right, count = pair
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            away = abs(right / count - end)
            assert away == pytest.approx(Z * math.sqrt(end * (1 - end) / count), rel=1e-6)


TRUE = ["a", "b", "a", "c", "b", "a", "a", "c"]
PREDICTED = ["a", "b", "b", "a", "b", "x", "a", "y"]


def test_figures_of_classes() -> None:
    found = Classification(TRUE, PREDICTED)
    assert (found.right, found.accuracy) == (4, 0.5)
    assert found.interval == wilson(4, 8)
    assert found.confusion() == {
        "a": {"a": 2, "b": 1, "x": 1}, "b": {"b": 2}, "c": {"a": 1, "y": 1},
    }  # fmt: skip
    of_a, of_b, of_c = 2 * 2 / (4 + 3), 2 * 2 / (2 + 3), 0.0
    assert found.macro_f1 == pytest.approx((of_a + of_b + of_c) / 3)


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=6))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason=NEEDS)
    true, predicted = ([pair[side] for pair in pairs] for side in (0, 1))
    wanted = metrics.f1_score(
        true, predicted, labels=sorted({*true}), average="macro", zero_division=0
    )
    assert Classification(true, predicted).macro_f1 == pytest.approx(wanted)


def test_the_baseline_learns_from_parts_of_words() -> None:
    pytest.importorskip("sklearn", reason=NEEDS)
    sources = [f"{word} {n}" for n in range(20) for word in ("lovely", "dreadful")]
    targets = ["good", "bad"] * 20
    assert logistic_regression(sources, targets, ["lovelier", "dread"]) == ["good", "bad"]
    with pytest.raises(DataError, match="all pairs of the baseline have the target 'good'"):
        logistic_regression(sources, ["good"] * 40, ["x"])


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BackendError) as error:
        check_installed()
    assert str(error.value) == (
        "the baseline needs scikit-learn: pip install 'minidark[learning]', or omit --baseline"
    )
