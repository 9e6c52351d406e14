"""Finds and their places, and units by likeness, against loops and planted units."""

from __future__ import annotations

import numpy as np
import pytest

from minidark.inference.trace import LayerTrace
from minidark.report.finds import Places, by_likeness, different_units, finds
from minidark.report.properties import PROPERTIES, Tracker

RNG = np.random.default_rng(0)


def tracker(unit: int, correlation: float) -> Tracker:
    return Tracker("0.gru", "h", unit, correlation)


FOUND = {
    "white space": [tracker(9, 0.99)],
    "a digit": [tracker(1, 0.5), tracker(2, 0.4), tracker(3, 0.1)],
    "inside double quotes": [tracker(1, -0.8), tracker(4, 0.7)],
    "depth of brackets": [tracker(5, 0.6)],
    "length of the line": [tracker(6, -0.2)],
    "an upper-case letter": [],
}
CHANCE = {**dict.fromkeys(PROPERTIES, 0.1), "depth of brackets": 0.55, "length of the line": 0.2}


def test_finds_are_ranked_by_their_margin_over_chance_and_white_space_is_last() -> None:
    found = finds(FOUND, CHANCE)
    assert [(one.label, one.unit[2]) for one in found] == [
        ("quotes", 1), ("digits", 1), ("brackets", 5), ("white space", 9),
    ]  # fmt: skip
    assert [one.margin for one in found] == pytest.approx([0.7, 0.4, 0.05, 0.89])


def test_different_units_take_turns_and_no_unit_comes_twice() -> None:
    chosen = [(one.label, one.unit[2]) for one in different_units(FOUND, CHANCE, 9)]
    assert chosen == [("quotes", 1), ("digits", 2), ("brackets", 5), ("quotes", 4),
                      ("white space", 9)]  # fmt: skip
    assert [one.unit[2] for one in different_units(FOUND, CHANCE, 2)] == [1, 2]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_place_has_the_property_and_the_unit_shows_it(sign: int) -> None:
    text = b"1 " + b"a" * 300 + b" 22 33 44 " + b"b" * 300 + b" 55"
    digit = PROPERTIES["a digit"](text)
    values = 0.1 * RNG.normal(size=len(text)) + sign * digit * 0.5
    strongest = text.index(b"33")
    values[strongest] += sign
    values[0] += 3 * sign  # stronger, but by itself
    places = Places((LayerTrace("0.gru", "gru", {"h": values[:, None]}),), text)
    assert places.of("a digit", tracker(0, sign * 0.9)) == strongest


def test_places_of_characters_count_characters() -> None:
    text = "한국어 12 글".encode()
    starts = np.array([0, 3, 6, 9, 10, 11, 12, 13])
    values = np.array([0, 0, 0, 0, 1.0, 0.9, 0, 0])[:, None]
    places = Places((LayerTrace("0.gru", "gru", {"h": values}),), text, starts)
    assert places.of("a digit", tracker(0, 0.9)) == 4


def test_similar_units_are_neighbours() -> None:
    groups = RNG.permutation(np.repeat(np.arange(5), 8))
    signals = RNG.normal(size=(200, 5))
    values = signals[:, groups] + 0.2 * RNG.normal(size=(200, groups.size))
    order = by_likeness(values)
    assert sorted(order) == [*range(groups.size)]
    changes = np.count_nonzero(np.diff(groups[order]))
    assert changes == 4  # each group is in one piece


@pytest.mark.parametrize("units", [1, 2, 3])
def test_a_few_units_or_constant_ones_have_an_order(units: int) -> None:
    assert sorted(by_likeness(np.ones((7, units)))) == [*range(units)]
