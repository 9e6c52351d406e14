"""Classes: targets of pairs that are few and repeat, such as the labels of reviews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

FEW = 20  # up to this many distinct targets are classes
RARE_PAIRS, RARE_SHARE = 10, 0.01  # a class with fewer pairs is rare

Target = TypeVar("Target", str, bytes)


def classes_of(targets: Sequence[Target]) -> list[Target]:
    """The distinct targets, sorted, if they are few and repeat; otherwise none."""
    distinct = sorted(set(targets))
    return distinct if len(distinct) <= min(FEW, len(targets) // 2) else []


def rare_classes(targets: Sequence[Target]) -> dict[Target, int]:
    """The classes of fewer than RARE_PAIRS pairs or less than RARE_SHARE of them, with their
    counts, the rarest first."""
    counts = Counter(targets)
    least = max(RARE_PAIRS, RARE_SHARE * len(targets))
    rare = [name for name in classes_of(targets) if counts[name] < least]
    return {name: counts[name] for name in sorted(rare, key=lambda name: counts[name])}
