"""How well classes are predicted: accuracy with its interval, macro F1, and the confusion table.

Of n independent predictions, a share p is right. Wilson's interval at 95 % holds the accuracies
whose test would not reject p, with z = 1.96:

    (p + z**2 / 2n +- z * sqrt(p(1 - p) / n + z**2 / 4n**2)) / (1 + z**2 / n)

The F1 of a class is 2 * right / (its pairs + its predictions). Macro F1 is the mean over the true
classes, so that rare ones count as much as frequent ones.

Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from minidark.data.classes import classes_of

Z = 1.959963984540054  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class Classification:
    """The true class of each pair, and its prediction, which may be none of the classes."""

    true: Sequence[str] = field(repr=False)
    predicted: Sequence[str] = field(repr=False)

    @property
    def classes(self) -> list[str]:
        """The true classes, sorted."""
        return classes_of(self.true)

    @property
    def right(self) -> int:
        return sum(a == b for a, b in zip(self.true, self.predicted, strict=True))

    @property
    def accuracy(self) -> float:
        return self.right / len(self.true)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the accuracy at 95 %."""
        return wilson(self.right, len(self.true))

    @property
    def macro_f1(self) -> float:
        hits = Counter(a for a, b in zip(self.true, self.predicted, strict=True) if a == b)
        sizes = Counter(self.true) + Counter(self.predicted)
        return sum(2 * hits[name] / sizes[name] for name in self.classes) / len(self.classes)

    def confusion(self) -> dict[str, dict[str, int]]:
        """Counts by true class and prediction; predictions outside the classes are included."""
        counts = Counter(zip(self.true, self.predicted, strict=True))
        return {
            true: {p: n for (t, p), n in sorted(counts.items()) if t == true}
            for true in self.classes
        }


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's interval at 95 % for a share of right / count."""
    share, spread = right / count, Z**2 / count
    center = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = ((center + side * half) / (1 + spread) for side in (-1, 1))
    return low if right else 0.0, high if right < count else 1.0
