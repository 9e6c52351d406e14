"""Warnings of `train` before the first batch, about probable mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from minidark.cfg.rules import ONE_SYMBOL_HINT, UTF16, one_symbol
from minidark.data.classes import rare_classes
from minidark.data.pairs import Pairs, looks_like_pairs
from minidark.data.text import looks_like_utf16
from minidark.errors import echo
from minidark.network import Network
from minidark.weights.run_folder import base_name

PAIRS_CFG = "pairs"  # name of the shipped cfg for pairs


def text_doubts(net: Network, data: Sequence[str]) -> Iterator[str]:
    """Warnings about readable texts of bytes, and about how the cfg reads them."""
    if doubt := one_symbol(net.options):
        yield f"{doubt}; {ONE_SYMBOL_HINT} in [net]"
    for path in data:
        if looks_like_utf16(path):
            yield f"{path} {UTF16}; save it as UTF-8"


def pairs_doubt(cfg: Path, data: Sequence[str]) -> str | None:
    """A warning if a file of pairs is about to be trained on as a text."""
    if len(data) == 1 and (base_name(cfg) == PAIRS_CFG or looks_like_pairs(data[0])):
        return f"{data[0]} looks like pairs; use --pairs to learn to predict their targets"
    return None


def classes_doubt(pairs: Pairs) -> str | None:
    """A warning that names classes with few pairs."""
    if not (rare := rare_classes(pairs.targets)):
        return None
    counts = ", ".join(f"{echo(name.decode())} {count:,}" for name, count in rare.items())
    return (
        f"{pairs.path}: few of the {len(pairs):,} pairs have these targets: {counts}; the network "
        "may never predict them"
    )
