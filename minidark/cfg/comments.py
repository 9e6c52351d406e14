"""The comments of a cfg, by line, so that they can go along into its other form."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Comments:
    """By line, without their first sign: those that have a line to themselves, and those behind
    something. What is taken is gone."""

    alone: dict[int, str] = field(default_factory=dict)
    behind: dict[int, str] = field(default_factory=dict)

    def add(self, line: int, text: str, alone: bool) -> None:
        kept = "".join(c if c.isprintable() else " " for c in text).rstrip()
        (self.alone if alone else self.behind)[line] = kept

    def before(self, line: float) -> list[str]:
        """Those alone on a line above this one, as lines."""
        lines = [number for number in self.alone if number < line]
        return [f"#{self.alone.pop(number)}" for number in lines]

    def taken(self, after: int, before: float, wanted: Callable[[str], bool]) -> list[str]:
        """Those alone on a line between these two, as lines, until one is not wanted."""
        between = [number for number in self.alone if after < number < before]
        chosen = list(itertools.takewhile(lambda number: wanted(self.alone[number]), between))
        return [f"#{self.alone.pop(number)}" for number in chosen]

    def at(self, line: int) -> str:
        """What stands behind this line, with blanks before it."""
        text = self.behind.pop(line, None)
        return "" if text is None else f"  #{text}"

    def within(self, line: int, below: set[int]) -> bool:
        """Whether any is behind one of the lines `below`, or alone between them and `line`."""
        last = max(below, default=0)
        return any(n in below for n in self.behind) or any(line < n < last for n in self.alone)
