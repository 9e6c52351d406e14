"""Keys of a section, and how their values are read from text.

An options dataclass has a field for each key, made by `key`. `read_options` turns a section's text
into one. Values have minidark's own number grammar, because Python's `int()` also accepts `1_000`
and digits of other scripts.

Source: darknet src/option_list.c (option_find_int, ...), whose `atoi` reads `64x` as 64 and `abc`
as 0; both are errors in minidark.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from minidark.cfg.sections import Doubt, Pair, Refuse, Section, Warn, raise_
from minidark.errors import (
    LONGEST_ECHO,
    OVERRIDDEN,
    CfgError,
    WrongLayerError,
    bare,
    echo,
    nearest,
    not_one_of,
)

LARGEST_INT = 2**31 - 1  # darknet's int
LONGEST_LIST = 1000
WITHOUT_EFFECT = "no effect on recurrent networks"  # documentation of such a key

Check = Callable[[Any], str | None]  # returns None, or what is wrong with the value


def in_range(low: float, high: float = math.inf, *, open_high: bool = False) -> Check:
    def check(value: float) -> str | None:
        if value < low:
            return f"less than {low:g}"
        if value > high or (open_high and value == high):
            return f"not less than {high:g}" if open_high else f"more than {high:g}"
        return None

    return check


AT_LEAST_1, AT_LEAST_0 = in_range(1), in_range(0)


def above_0(value: float) -> str | None:
    return None if value > 0 else "not above 0"


def one_of(*known: str) -> Check:
    def check(value: str) -> str | None:
        return None if value in known else not_one_of(value, known)

    return check


def ascending(values: tuple[int, ...]) -> str | None:
    if values and values[0] < 0:
        return "less than 0"
    return None if list(values) == sorted(set(values)) else "not in ascending order"


def none_negative(values: tuple[float, ...]) -> str | None:
    return "less than 0" if min(values, default=0) < 0 else None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section. `says` is its documentation in one line, with the unit of its value.
    `own`: the key exists only in minidark. `field`: its field, named otherwise if Python reserves
    the name."""

    name: str
    field: str
    kind: Any  # type of its value
    default: Any
    check: Check | None
    says: str
    own: bool
    error: type[CfgError]  # raised for a wrong value

    @property
    def works(self) -> bool:
        """Whether the key has an effect in minidark."""
        return self.says != WITHOUT_EFFECT


def key(
    default: Any,
    check: Check | None,
    says: str,
    *,
    own: bool = False,
    error: type[CfgError] = CfgError,
    name: str | None = None,
) -> Any:
    """A field for a key; `name`: of the key, unless it is the field's."""
    metadata = {"check": check, "says": says, "own": own, "error": error, "name": name}
    return field(default=default, metadata=metadata)


def name_key(default: str, known: Sequence[str], says: str, *, own: bool = False) -> Any:
    """A key whose value is one of the names in a table of the layers."""
    return key(default, one_of(*known), says, own=own, error=WrongLayerError)


Options = TypeVar("Options")


def read_options(
    cls: type[Options],
    section: Section,
    path: Path | str | None,
    warn: Warn,
    refuse: Refuse = raise_,
) -> Options:
    """The section's values, checked. Raises CfgError at the line of a wrong value. Unknown keys,
    and keys without effect on recurrent layers, are reported to `warn`, but an unknown key of an
    override is an error. If `refuse` returns, the value is the default."""
    known = keys_of(cls)
    values: dict[str, Any] = {}
    for pair in section.pairs.values():
        if pair.key not in known:
            hint = _nearest_key(pair.key, known)
            message = f"unknown key {echo(pair.key)} in [{bare(section.type)}]{hint}"
            if pair.line == OVERRIDDEN:  # an override is meant for this network
                refuse(CfgError(message, path, pair.line))
            else:
                warn(Doubt("unknown-key", message), pair.line)
            continue
        if not known[pair.key].works:
            message = f"{pair.key} has no effect on [{section.type}]"
            warn(Doubt("without-effect", message), pair.line)
        try:
            values[known[pair.key].field] = _checked_value(known[pair.key], pair, path)
        except CfgError as error:
            refuse(error)
    return cls(**values)


def _nearest_key(word: str, known: Mapping[str, Key]) -> str:
    """A hint: a known key that is the end of the word, such as `power` of
    `learning_rate_poly_power`, or one with a similar spelling."""
    parts = word.split("_") if len(word) <= LONGEST_ECHO else []
    endings = ("_".join(parts[at:]) for at in range(1, len(parts)))
    ending = next((name for name in endings if name in known), None)
    return f" (did you mean '{ending}'?)" if ending else nearest(word, known)


def _checked_value(key: Key, pair: Pair, path: Path | str | None) -> Any:
    value = _read_value(key.kind, pair, path)
    if key.check and (complaint := key.check(value)):
        raise key.error(f"{pair.key}={echo(pair.value)} is {complaint}", path, pair.line)
    return value


def keys_of(cls: type[Any]) -> dict[str, Key]:
    """The keys of a section by name: its own first, then those of every layer."""
    return _keys(cls)  # type: ignore[arg-type]  # mypy takes a class for its hashless instance


@functools.cache
def _keys(cls: type[Any]) -> dict[str, Key]:
    types_, own = typing.get_type_hints(cls), vars(cls).get("__annotations__", ())
    found = [
        Key(**{**f.metadata, "name": f.metadata["name"] or f.name},
            field=f.name, kind=types_[f.name], default=f.default)
        for f in dataclasses.fields(cls)
    ]  # fmt: skip
    return {key.name: key for key in sorted(found, key=lambda key: key.field not in own)}


def values_of(options: Any) -> dict[str, Any]:
    """The values of a section's options, by key."""
    return {name: getattr(options, key.field) for name, key in keys_of(type(options)).items()}


def _read_value(kind: Any, pair: Pair, path: Path | str | None) -> Any:
    if isinstance(kind, types.UnionType):  # int | None: the key is optional
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        item, texts = typing.get_args(kind)[0], pair.value.split(",")
        if len(texts) > LONGEST_LIST:
            message = f"{pair.key}={echo(pair.value)} has more than {LONGEST_LIST:,} items"
            raise CfgError(message, path, pair.line)
        return tuple(_read_value(item, Pair(pair.key, text, pair.line), path) for text in texts)
    if kind is str:
        return pair.value
    read, expected = READERS[kind]
    try:
        return read(pair.value)
    except OverflowError:
        message = f"{pair.key}={echo(pair.value)} is beyond {LARGEST_INT}, darknet's largest int"
        raise CfgError(message, path, pair.line) from None
    except ValueError:
        message = f"{pair.key}={echo(pair.value)} is not {expected}"
        raise CfgError(message, path, pair.line) from None


def _read_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError
    digits = text.lstrip("+-0") or "0"  # converting a megabyte of digits would be slow
    if len(digits) > 10 or int(digits) > LARGEST_INT:
        raise OverflowError
    return -int(digits) if text.startswith("-") else int(digits)


def _read_float(text: str) -> float:
    # Each digit can match in only one way. Otherwise, as in [0-9]+[.]?[0-9]*, refusing a megabyte
    # of digits before an x would take days.
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text):
        raise ValueError
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _read_flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError
    return text == "1"


READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (_read_int, "an integer"),
    float: (_read_float, "a number"),
    bool: (_read_flag, "0 or 1"),
}
