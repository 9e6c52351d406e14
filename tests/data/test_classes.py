"""Which targets are classes, and which of them are rare."""

from __future__ import annotations

import pytest

from minidark.data.classes import classes_of, rare_classes


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        (["b", "a", "b", "a"], ["a", "b"]),
        (["b", "a", "b"], []),  # they do not repeat
        ([str(n % 20) for n in range(40)], sorted(str(n) for n in range(20))),
        ([str(n % 21) for n in range(99)], []),
        (["a", "a"], ["a"]),
    ],
)
def test_classes_are_few_and_repeat(targets: list[str], classes: list[str]) -> None:
    assert classes_of(targets) == classes
    assert classes_of([t.encode() for t in targets]) == [c.encode() for c in classes]


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        ({"a": 50, "b": 10}, {}),
        ({"a": 50, "b": 9}, {"b": 9}),
        ({"a": 9, "b": 3}, {"b": 3, "a": 9}),
        ({"a": 1980, "b": 20}, {}),
        ({"a": 1981, "b": 19}, {"b": 19}),
        ({str(n): 2 for n in range(21)}, {}),  # not classes
    ],
)
def test_a_class_of_few_pairs_is_rare(counts: dict[str, int], rare: dict[str, int]) -> None:
    found = rare_classes([name for name, count in counts.items() for _ in range(count)])
    assert [*found.items()] == [*rare.items()]
