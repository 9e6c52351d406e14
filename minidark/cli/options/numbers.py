"""Number types of options: ranges of finite numbers with a short name in the help."""

from __future__ import annotations

import math
from typing import Any

import click

from minidark.inference.generate import LEAST_TEMPERATURE

LARGEST_INT = 2**31 - 1  # darknet's int


class Number(click.FloatRange):
    """A FloatRange without NaN and infinity."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(number)


class Temperature(Number):
    """0, or a number that a softmax can divide by."""

    def __init__(self) -> None:
        super().__init__(0)

    def _describe_range(self) -> str:
        return f"0, or {LEAST_TEMPERATURE:g} and more"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if 0 < number < LEAST_TEMPERATURE:
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class _Count(click.IntRange):
    name = "integer"

    def _describe_range(self) -> str:
        return f"{self.min} or more"  # no value reaches the upper bound, darknet's int


def count(least: int = 1) -> click.IntRange:
    """A whole number from `least` to the largest int of a cfg."""
    return _Count(least, LARGEST_INT)


cache_option = click.option(
    "--cache", type=count(0), default=0, metavar="N",
    help="Cache the last N symbols: a symbol that followed a similar state becomes more likely, "
    "which helps with names [none].",
)  # fmt: skip
