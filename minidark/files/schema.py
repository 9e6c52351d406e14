"""JSON from files, and schemas that it must match.

A schema is built of kinds: `Whole`, `Real`, `String`, `Flag`, `OneOf`, `Optional`, `ListOf`,
`MapOf` and `Record`. `mistake` names the first part of a value that does not match, as in
"text[0].size is -1; expected a whole number from 0". Readers check a complete file before they use
any of it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from minidark.errors import bare, echo

LARGEST_WHOLE = 2**63 - 1
LARGEST_REAL = sys.float_info.max
LONGEST_TEXT = 1 << 20  # characters
DEEPEST = 32  # levels of nested lists and objects


def parse(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError if it is invalid or nested deeper than DEEPEST;
    the error's text is the end of a message."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else ()


class Kind(Protocol):
    """A condition for a value; `expected` describes it."""

    @property
    def expected(self) -> str: ...

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        """Yields a message for each part that does not match; `where` is the path of the value."""


def mistake(value: Any, kind: Kind, where: str = "") -> str | None:
    """The first mistake in a value; None if it matches."""
    return next(kind.mistakes(value, where), None)


class _Simple:
    """A kind without parts."""

    @property
    def expected(self) -> str:
        raise NotImplementedError

    def fits(self, value: Any) -> bool:
        raise NotImplementedError

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        if not self.fits(value):
            yield f"{where or 'it'} is {echo(value)}; expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Whole(_Simple):
    """An integer. None: no limit."""

    least: int | None = None
    most: int | None = LARGEST_WHOLE

    @property
    def expected(self) -> str:
        return "a whole number" if self.least is None else f"a whole number from {self.least}"

    def fits(self, value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        low = -LARGEST_WHOLE if self.least is None and self.most is not None else self.least
        return (low is None or value >= low) and (self.most is None or value <= self.most)


@dataclass(frozen=True, slots=True)
class Real(_Simple):
    """A finite number; `below` is exclusive."""

    least: float = -LARGEST_REAL
    most: float = LARGEST_REAL
    below: float = math.inf

    @property
    def expected(self) -> str:
        least = f" from {self.least:g}" if self.least > -LARGEST_REAL else ""
        return f"a finite number{least}" + (f" to below {self.below:g}" if self.below < 1e9 else "")

    def fits(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.least <= value <= self.most and value < self.below


@dataclass(frozen=True, slots=True)
class String(_Simple):
    """A text. `utf8`: it must be encodable as UTF-8. `path`: it must be a valid file name."""

    longest: int = LONGEST_TEXT
    utf8: bool = False
    path: bool = False

    @property
    def expected(self) -> str:
        return "the name of a file" if self.path else "a text"

    def fits(self, value: Any) -> bool:
        return (
            isinstance(value, str)
            and len(value) <= self.longest
            and not (self.path and "\0" in value)
            and not (self.utf8 and any("\ud800" <= c <= "\udfff" for c in value))
        )


@dataclass(frozen=True, slots=True)
class Flag(_Simple):
    """true or false."""

    @property
    def expected(self) -> str:
        return "true or false"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class OneOf(_Simple):
    """One of these texts."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.words)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.words


@dataclass(frozen=True, slots=True)
class Value(_Simple):
    """Any value that a cfg key can have: a number, a text, true, false or null, or a list
    of these."""

    @property
    def expected(self) -> str:
        return "a value of a cfg"

    def fits(self, value: Any) -> bool:
        return all(
            one is None or isinstance(one, str | int | float)
            for one in (value if isinstance(value, list) else [value])
        )


@dataclass(frozen=True, slots=True)
class Optional(_Simple):
    """A value of a kind without parts, or null."""

    kind: _Simple

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or null"

    def fits(self, value: Any) -> bool:
        return value is None or self.kind.fits(value)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list with at least `least` items of a kind."""

    kind: Kind
    least: int = 0

    @property
    def expected(self) -> str:
        return f"a list of {self.least} or more" if self.least else "a list"

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < self.least:
            yield f"{where or 'it'} is {echo(value)}; expected {self.expected}"
            return
        for index, item in enumerate(value):
            yield from self.kind.mistakes(item, f"{where}[{index}]")


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object whose values all have one kind."""

    kind: Kind

    @property
    def expected(self) -> str:
        return "an object"

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where or 'it'} is {echo(value)}; expected {self.expected}"
            return
        for key, item in value.items():
            yield from self.kind.mistakes(item, _joined(where, key))


@dataclass(frozen=True, slots=True)
class Record:
    """An object with these keys. `others`: the kind of further keys, None if they are not
    allowed."""

    keys: Mapping[str, Kind]
    others: Kind | None = None
    absent: frozenset[str] = field(default=frozenset())  # keys that may be missing

    @property
    def expected(self) -> str:
        return "an object"

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where or 'it'} is {echo(value)}; expected {self.expected}"
            return
        for key, kind in self.keys.items():
            if key in value:
                yield from kind.mistakes(value[key], _joined(where, key))
            elif key not in self.absent:
                yield f"{_joined(where, key)} is missing"
        for key in (key for key in value if key not in self.keys):
            if self.others is None:
                yield f"{_joined(where, key)} is not known"
            else:
                yield from self.others.mistakes(value[key], _joined(where, key))


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""

    @property
    def expected(self) -> str:
        return "a value"

    def mistakes(self, value: Any, where: str) -> Iterator[str]:
        return iter(())


def _joined(where: str, key: str) -> str:
    return f"{where}.{bare(key)}" if where else bare(key)
