"""What `train` warns of before the first batch, because it is hardly meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from minidark.cfg.rules import ONE_SYMBOL_HINT, UTF16, one_symbol
from minidark.data.pairs import looks_like_pairs
from minidark.data.text import looks_like_utf16
from minidark.network import Network
from minidark.training.backups import base_name

PAIRS_CFG = "pairs"  # what the shipped cfg for them is called


def text_doubts(net: Network, data: Sequence[str]) -> Iterator[str]:
    """Of a text of bytes, which can be read, and of how the cfg reads it."""
    if said := one_symbol(net.options):
        yield f"{said}; {ONE_SYMBOL_HINT} in [net]"
    for path in data:
        if looks_like_utf16(path):
            yield f"{path} {UTF16}; save it as UTF-8"


def pairs_doubt(cfg: Path, data: Sequence[str]) -> str | None:
    """What to say where pairs are about to be trained on as a text."""
    if len(data) == 1 and (base_name(cfg) == PAIRS_CFG or looks_like_pairs(data[0])):
        return f"{data[0]} looks like pairs; --pairs learns to predict their targets"
    return None
