"""How many numbers a layer stores, from its options alone, before any array is made."""

from __future__ import annotations

import os
from collections.abc import Callable

from minidark.cfg import options as o
from minidark.errors import CfgError

COPIES = 2  # of every parameter there are at least its value and its gradient


def _sublayers(norm: bool, *shapes: tuple[int, int]) -> int:
    """Floats of sublayers (inputs, outputs): biases, weights, and three more with batch norm."""
    return sum(out * (i + 1 + 3 * norm) for i, out in shapes)


def _norm(options: o.GruOptions | o.LstmOptions | o.RnnOptions | o.ConnectedOptions) -> bool:
    return options.batch_normalize and not options.dontloadscales


def _gru(options: o.GruOptions, inputs: int) -> tuple[int, int]:
    n = options.output
    return _sublayers(_norm(options), *[(inputs, n)] * 3, *[(n, n)] * 3), n


def _lstm(options: o.LstmOptions, inputs: int) -> tuple[int, int]:
    n = options.output
    return _sublayers(_norm(options), *[(inputs, n)] * 4, *[(n, n)] * 4), n


def _rnn(options: o.RnnOptions, inputs: int) -> tuple[int, int]:
    n, hidden = options.output, options.hidden or options.output
    return _sublayers(_norm(options), (inputs, hidden), (hidden, hidden), (hidden, n)), n


def _connected(options: o.ConnectedOptions, inputs: int) -> tuple[int, int]:
    return _sublayers(_norm(options), (inputs, options.output)), options.output


SIZES: dict[str, tuple[type[o.LayerOptions], Callable[..., tuple[int, int]]]] = {
    "gru": (o.GruOptions, _gru),
    "lstm": (o.LstmOptions, _lstm),
    "rnn": (o.RnnOptions, _rnn),
    "connected": (o.ConnectedOptions, _connected),
    "conn": (o.ConnectedOptions, _connected),
    "batchnorm": (
        o.BatchnormOptions,
        lambda options, inputs: (0 if options.dontloadscales else 3 * inputs, inputs),
    ),
}


def check_memory(type_: str, options: o.LayerOptions, inputs: int, itemsize: int) -> None:
    """Raise CfgError where a layer alone would need more memory than the machine has."""
    if type_ not in SIZES:
        return
    floats, outputs = SIZES[type_][1](options, inputs)
    needed, there = COPIES * itemsize * floats, _physical_memory()
    if there and needed > there:
        raise CfgError(
            f"output={outputs} over {inputs} inputs makes {floats:,} parameters, which take "
            f"{needed / 2**30:,.1f} GiB to train; this machine has {there / 2**30:,.1f} GiB"
        )


def _physical_memory() -> int | None:
    """Bytes, where the platform tells."""
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if not all(name in getattr(os, "sysconf_names", {}) for name in names):
        return None
    pages, size = map(os.sysconf, names)
    return pages * size
