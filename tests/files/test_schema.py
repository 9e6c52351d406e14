"""JSON against tables: what fits, what does not, and how its place is told."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from minidark.files.schema import (
    DEEPEST,
    Anything,
    Flag,
    Kind,
    ListOf,
    MapOf,
    OneOf,
    Optional,
    Real,
    Record,
    String,
    Value,
    Whole,
    mistake,
    parse,
)

FITS: list[tuple[Kind, Any]] = [
    (Whole(), -5), (Whole(0), 0), (Whole(most=None), 10**400), (Real(), 5), (Real(0), 0.5),
    (Real(0, below=1), 0.99), (String(), ""), (String(path=True), "a/b"), (Flag(), True),
    (OneOf(("a", "b")), "b"), (Optional(Whole()), None), (ListOf(Whole()), []),
    (MapOf(Flag()), {"a": False}), (Record({"a": Flag()}), {"a": True}),
    (Record({"a": Flag()}, absent=frozenset("a")), {}),
    (Record({}, others=Anything()), {"a": [[{}]]}), (Value(), [1, "a", None, True, 0.5]),
]  # fmt: skip
NOT: list[tuple[Kind, Any, str]] = [
    (Whole(), True, "it is True; expected a whole number"),
    (Whole(), 2**63, "it is 9223372036854775808; expected a whole number"),
    (Whole(1), 0, "it is 0; expected a whole number from 1"),
    (Real(), float("nan"), "it is nan; expected a finite number"),
    (Real(), 10**400, "it is 1000000000000000000000000000000000000...; expected a finite number"),
    (Real(0, below=1), 1, "it is 1; expected a finite number from 0 to below 1"),
    (String(), 1, "it is 1; expected a text"),
    (String(3), "four", "it is 'four'; expected a text"),
    (String(path=True), "\0", r"it is '\x00'; expected the name of a file"),
    (String(utf8=True), "\ud800", r"it is '\ud800'; expected a text"),
    (Flag(), 1, "it is 1; expected true or false"),
    (OneOf(("a", "b")), "c", "it is 'c'; expected one of a, b"),
    (Optional(Whole()), "a", "it is 'a'; expected a whole number, or null"),
    (ListOf(Whole(), least=1), [], "it is []; expected a list of 1 or more"),
    (ListOf(Whole()), [1, [2]], "[1] is [2]; expected a whole number"),
    (MapOf(Flag()), {"a\n": 1}, r"a\n is 1; expected true or false"),
    (Record({"a": ListOf(Record({"b": Flag()}))}), {"a": [{"b": 2}]},
     "a[0].b is 2; expected true or false"),
    (Record({"a": Flag()}), {}, "a is missing"),
    (Record({}), {"a": 1}, "a is not known"),
    (Record({}), [], "it is []; expected an object"),
    (Value(), [[1]], "it is [[1]]; expected a value of a cfg"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), FITS)
def test_what_fits_has_no_mistake(kind: Kind, value: Any) -> None:
    assert mistake(value, kind) is None


@pytest.mark.parametrize(("kind", "value", "said"), NOT)
def test_what_does_not_fit_is_told_with_its_place(kind: Kind, value: Any, said: str) -> None:
    assert mistake(value, kind) == said


def test_depth_is_limited_and_soon_found_out() -> None:
    assert parse("[" * DEEPEST + "]" * DEEPEST)
    for depth in (DEEPEST + 1, 600, 100_000):
        began = time.process_time()
        with pytest.raises(ValueError, match=r"^it (is not JSON|is nested deeper than 32 levels)$"):
            parse("[" * depth + "]" * depth)
        assert time.process_time() - began < 10


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"9" * 5000])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it is not JSON$"):
        parse(data)


def test_what_json_writes_is_read() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
    assert parse(json.dumps(value)) == value
