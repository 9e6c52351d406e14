"""Comments of a cfg by line, so that a rewritten cfg keeps them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Comments:
    """Comments by line number, without their first sign: `alone` have a line to themselves,
    `behind` follow something. Reading a comment removes it."""

    alone: dict[int, str] = field(default_factory=dict)
    behind: dict[int, str] = field(default_factory=dict)

    def add(self, line: int, text: str, alone: bool) -> None:
        printable = "".join(c if c.isprintable() else " " for c in text).rstrip()
        (self.alone if alone else self.behind)[line] = printable

    def before(self, line: float) -> list[str]:
        """Comments that have a line to themselves above this line, as lines."""
        lines = [number for number in self.alone if number < line]
        return [f"#{self.alone.pop(number)}" for number in lines]

    def taken(self, after: int, before: float, wanted: Callable[[str], bool]) -> list[str]:
        """Comments that have a line to themselves between these two, as lines, up to the first
        unwanted one."""
        between = [number for number in self.alone if after < number < before]
        chosen = list(itertools.takewhile(lambda number: wanted(self.alone[number]), between))
        return [f"#{self.alone.pop(number)}" for number in chosen]

    def at(self, line: int) -> str:
        """The comment after this line's contents, with spaces before it."""
        text = self.behind.pop(line, None)
        return "" if text is None else f"  #{text}"

    def within(self, line: int, below: set[int]) -> bool:
        """Whether any comment follows one of the lines `below`, or has a line to itself between
        `line` and them."""
        last = max(below, default=0)
        return any(n in below for n in self.behind) or any(line < n < last for n in self.alone)
