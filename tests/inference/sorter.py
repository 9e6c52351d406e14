"""A network whose attention is set by hand, so that the weights are known.

It writes the letters of its source in capitals and in the order of the alphabet: "cab" becomes
"ABC". After the separator it looks for an a in the source, after A for a b, and so on. Where the
source has no such letter, it looks at the separator and writes the end mark. Weights are 0 or 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minidark import Network
from minidark.backend import Array
from tests.helpers import cfg

LETTERS = "abcdefgh"
ATTENTION = "attention over=source key=0 value=0 memory=9"
OUT = ("connected output={} activation=linear", "softmax")


def sections(symbols: int = 128, *more: str, attention: str = ATTENTION) -> list[str]:
    """The cfg; `more` comes before the attention."""
    made = [f"net inputs={symbols} batch=2 time_steps=12", *more, OUT[0], attention, *OUT]
    return [section.format(symbols) for section in made]


def write_cfg(path: Path | str, symbols: int = 128, *more: str) -> None:
    Path(path).write_text(cfg(*sections(symbols, *more)))


def set_by_hand(net: Network) -> Network:
    """Set all weights of a network of `sections`."""
    width = net.inputs
    arrays: dict[str, Array] = {p.name.split(".", 1)[1]: p.value for p in net.parameters()}
    for value in arrays.values():
        value[...] = 0
    first, last = (p.value for p in net.parameters() if p.name.endswith("connected.weights"))
    first[...] = np.eye(width)
    asks = dict(zip("\t" + LETTERS.upper(), LETTERS + "\t", strict=True))
    for read, wanted in asks.items():
        arrays["attention.query.weights"][ord("\t"), ord(read)] = 1e3
        arrays["attention.query.weights"][ord(wanted), ord(read)] += 2e3
    for seen, written in zip(LETTERS + "\t", LETTERS.upper() + "\n", strict=True):
        last[ord(written), ord(seen)] = 99
    return net
