"""The most surprising characters of a text, as facts and as a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from minidark.data.bytepairs import BytePairs
from minidark.data.characters import characters, whole_characters
from minidark.inference.surprise import AFTER, BEFORE, Surprise

COLUMNS = ("bits", "offset", "before", "", "after", "byte", "most likely")
RIGHT = COLUMNS[:3]  # right-aligned, so that each character is next to its neighbours
WIDTHS = (22, 10)  # columns of the text before and after; --json has more


def surprise_facts(surprise: Surprise, pairs: BytePairs) -> dict[str, Any]:
    """A surprise for --json. A symbol may be a part of a character, so `character` has all bytes of
    the characters that the symbol belongs to, and `byte` says which of them it is. Bytes that are
    not valid UTF-8 appear as \\xff."""
    before, after = pairs.decode(surprise.before), pairs.decode(surprise.after)
    symbol = pairs.names[surprise.symbol]
    text = before + symbol + after
    _, ends = characters(text)
    starts = np.concatenate([[0], ends[:-1] + 1])
    first = int(starts[starts <= len(before)][-1])
    last = int(ends[ends >= len(before) + len(symbol) - 1][0])
    earlier, later = text[:first], text[last + 1 :]
    if len(surprise.before) == BEFORE:  # it may begin within a character
        rest = earlier.lstrip(bytes(range(0x80, 0xC0)))
        earlier = rest if len(earlier) - len(rest) < 4 else earlier
    if len(surprise.after) == AFTER:
        later = whole_characters(later)
    return {
        "offset": surprise.offset,
        "bits": finite(surprise.bits),
        "symbol": surprise.symbol,
        "character": _decoded(text[first : last + 1]),
        "byte": _byte_name(symbol, len(before) - first, last + 1 - first),
        "likeliest": surprise.likeliest,
        "likeliest_character": _likeliest(text[first : len(before)], pairs, surprise.likeliest),
        "likeliest_probability": finite(surprise.probability),
        "before": _decoded(earlier),
        "after": _decoded(later),
    }


def surprise_table(surprises: list[dict[str, Any]]) -> Table:
    """A table of surprise_facts(): each character between the text before it and after it."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=True)
    for facts in surprises:
        likeliest, p = _printable(facts["likeliest_character"]), facts["likeliest_probability"]
        row = (
            _rounded(facts["bits"]),
            f"{facts['offset']:,}",
            _last_columns(_printable(facts["before"]), WIDTHS[0]),
            _printable(facts["character"]),
            _last_columns(_printable(facts["after"])[::-1], WIDTHS[1])[::-1],
            facts["byte"],
            f"{likeliest} ({_rounded(p)})",
        )
        table.add_row(*map(Text, row))
    return table


def finite(figure: float) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return figure if math.isfinite(figure) else None


def _byte_name(symbol: bytes, at: int, size: int) -> str:
    """ "0x95 2/3" for the second of three bytes; "" for a symbol of several bytes."""
    if len(symbol) > 1:
        return ""
    return f"0x{symbol[0]:02x}" + (f" {at + 1}/{size}" if size > 1 else "")


def _likeliest(read: bytes, pairs: BytePairs, symbol: int) -> str:
    """The character that the symbol completes, after the bytes of it that were read, or the
    symbol's bytes."""
    spelled = pairs.names[symbol]
    try:
        return (read + spelled).decode()
    except UnicodeDecodeError:
        return _decoded(spelled)


def _decoded(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


def _last_columns(text: str, width: int) -> str:
    """The end of a text, at most `width` columns wide. A Korean character has two."""
    while cell_len(text) > width:
        text = text[1:]
    return text


def _rounded(figure: float | None) -> str:
    """Two decimals, or a dash for NaN and infinity, which damaged weights cause."""
    return "-" if figure is None else f"{figure:.2f}"


def _printable(text: str) -> str:
    """One line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
