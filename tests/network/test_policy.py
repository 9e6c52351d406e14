"""The learning rate at a batch number, against the formulas written out as numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from minidark.cfg.options import NetOptions
from minidark.network.policy import learning_rate


def rate(batch: int, **options: Any) -> float:
    """The rate of a network with learning_rate .5."""
    net = NetOptions(learning_rate=0.5, **options)
    return learning_rate(batch, net, undrawn)


def undrawn() -> float:
    raise AssertionError("only the random policy draws")


E = math.e

CASES: list[tuple[dict[str, Any], dict[int, float]]] = [
    ({"policy": "constant"}, {0: 0.5, 1: 0.5, 10**9: 0.5}),
    (
        {"policy": "step", "step": 10, "scale": 0.1},
        {0: 0.5, 1: 0.5, 9: 0.5, 10: 0.05, 11: 0.05, 19: 0.05, 20: 0.005, 35: 0.0005},
    ),
    ({"policy": "step", "step": 1, "scale": 3.0}, {1: 1.5, 2: 4.5, 3: 13.5}),
    (
        {"policy": "steps", "steps": (10, 20, 40), "scales": (0.1, 5.0, 0.5)},
        {1: 0.5, 9: 0.5, 10: 0.05, 19: 0.05, 20: 0.25, 39: 0.25, 40: 0.125, 10**9: 0.125},
    ),
    ({"policy": "exp", "gamma": 0.9}, {0: 0.5, 1: 0.45, 2: 0.405, 3: 0.3645}),
    ({"policy": "exp"}, {1: 0.5, 1000: 0.5}),
    ({"policy": "exp", "gamma": 0.5}, {10**6: 0.0}),
    (
        {"policy": "poly", "power": 2.0, "max_batches": 100},
        {0: 0.5, 1: 0.5 * 0.99 * 0.99, 50: 0.125, 90: 0.005, 100: 0.0, 101: 0.0, 300: 0.0},
    ),
    ({"policy": "poly", "max_batches": 10}, {5: 0.5 / 16, 8: 0.5 / 625}),
    (
        {"policy": "sigmoid", "gamma": 1.0, "step": 30},
        {29: 0.5 * E / (1 + E), 30: 0.25, 31: 0.5 / (1 + E), 32: 0.5 / (1 + E * E)},
    ),
    ({"policy": "sigmoid", "gamma": 0.1, "step": 30}, {1: 0.5 / (1 + math.exp(-2.9))}),
    ({"policy": "sigmoid", "gamma": 1e9, "step": 30}, {1: 0.5, 30: 0.25, 31: 0.0, 10**9: 0.0}),
    ({"policy": "sigmoid", "gamma": -1e9, "step": 30}, {1: 0.0, 30: 0.25, 31: 0.5}),
    ({"policy": "sigmoid", "gamma": 1.0, "step": 1}, {10**6: 0.0}),
    (
        {"policy": "cosine", "max_batches": 60},
        {0: 0.5, 20: 0.375, 30: 0.25, 40: 0.125, 60: 0.0, 61: 0.0, 10**6: 0.0},
    ),
    (
        {"policy": "cosine", "max_batches": 70, "burn_in": 10, "power": 1.0},
        {5: 0.25, 10: 0.5, 30: 0.375, 40: 0.25, 50: 0.125, 70: 0.0},
    ),
    ({"policy": "cosine", "max_batches": 10, "burn_in": 10}, {10: 0.5, 11: 0.0}),
    (
        {"policy": "constant", "burn_in": 10},
        {0: 0.0, 1: 0.5e-4, 5: 0.5 / 16, 9: 0.5 * 0.6561, 10: 0.5, 11: 0.5},
    ),
    ({"policy": "constant", "burn_in": 10, "power": 1.0}, {1: 0.05, 7: 0.35, 9: 0.45, 10: 0.5}),
    ({"policy": "constant", "burn_in": 1}, {1: 0.5}),
    (
        {"policy": "step", "step": 4, "scale": 0.5, "burn_in": 10, "power": 1.0},
        {8: 0.4, 9: 0.45, 10: 0.125, 12: 0.0625},
    ),
    ({"policy": "random", "burn_in": 10, "power": 1.0}, {4: 0.2}),
]


@pytest.mark.parametrize(
    ("options", "batch", "wanted"),
    [
        pytest.param(options, batch, wanted, id=f"{options['policy']}{number}-{batch}")
        for number, (options, rates) in enumerate(CASES)
        for batch, wanted in rates.items()
    ],
)
def test_the_rate_is_the_formulas(options: dict[str, Any], batch: int, wanted: float) -> None:
    assert rate(batch, **options) == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_random_draws_anew_each_time_and_raises_to_the_power() -> None:
    draws = iter([0.5, 0.25, 1.0])
    net = NetOptions(learning_rate=0.5, policy="random", power=2.0)
    rates = [learning_rate(batch, net, lambda: next(draws)) for batch in (1, 1, 2)]
    assert rates == [0.125, 0.03125, 0.5]


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "exp", "gamma": 2.0},
        {"policy": "step", "step": 1, "scale": 2.0},
    ],
)
def test_a_rate_that_grows_beyond_all_numbers_is_infinite_as_in_c(options: dict[str, Any]) -> None:
    assert rate(5000, **options) == math.inf
