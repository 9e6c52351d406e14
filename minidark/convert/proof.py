"""Whether a written model computes what the network does: it is run, by its own program.

The same symbols go through the model, in two calls with the state carried from one to the other,
and through the network in float64. The largest absolute difference of the outputs is what counts;
of outputs beyond 1, which are no probabilities, as a share of them.

How large it may be depends on the network: a chaotic one amplifies each rounding until the outputs
have nothing in common, and that is no fault of what was written. So the network runs in float32
too, several times, each with other roundings. At each step the model may differ from float64 by
FACTOR times the most that any of these did up to that step. A model that is wrong differs from the
first steps on, where float32 has hardly lost anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from minidark.backend import Array
from minidark.convert.fold import in_float64
from minidark.errors import MinidarkError
from minidark.layers.base import one_hot
from minidark.network import Network

log = logging.getLogger(__name__)

SYMBOLS = 1000
LEAST = 1e-6  # what float32 loses at the least: another program's tanh rounds otherwise
FACTOR = 10  # sound models were at most 4 times as far from float64 as float32's own runs
RUNS, ROUNDING = 6, 2.0**-21  # in float32; but for the first, inputs are off by such a share
STEPS = 100  # of these runs at once: outputs may be many
NOTABLE = 1e-4  # a difference
Proven = tuple[bytes, list[Array]]  # a file's bytes, and what they make of some calls
Write = Callable[[Network, Sequence[Array]], Proven]


def drawn_symbols(inputs: int) -> Array:
    """Those that are taken where no text is given, the same each time: (SYMBOLS,)."""
    return np.random.default_rng(0).integers(0, inputs, SYMBOLS)


def written(
    net: Network, write: Write, symbols: Array, tolerance: float | None = None
) -> tuple[bytes, float | None]:
    """A model's bytes, and the largest difference between what the network in float64 and what the
    model's own program makes of symbols (T,); None where that program is missing and the file good
    without it. Raises MinidarkError where the difference is larger than `tolerance`, or, if that is
    None, than rounding explains; and as `write` does.

    write(net, calls): the bytes, and the outputs (T, 1, O) for inputs (T, 1, I), from zero state.
    """
    if net.layers[0].gives_ids:
        raise MinidarkError(
            f"{net.layers[0].name} has no counterpart in a model: what its symbols are would be "
            "lost; .safetensors and .npz have its pairs"
        )
    wanted = in_float64(net).twin(1).forward(symbols[:, None])
    lost = _lost(net, symbols, wanted)
    pieces = [part for part in np.split(symbols, [len(symbols) // 3]) if len(part)]
    data, found = write(net, [one_hot(p[:, None], net.inputs, net.backend) for p in pieces])
    if not found:
        return data, None
    differences = _differences(np.concatenate(found), wanted)
    most = np.maximum(lost, LEAST) * FACTOR if tolerance is None else np.full(len(lost), tolerance)
    _check(differences, most)
    difference = float(differences.max())
    if difference > NOTABLE:
        log.info(
            "this network amplifies rounding: in float32 minidark itself differs from float64 by "
            "%.2g over these characters",
            lost[-1],
        )
    return data, difference


def _check(differences: Array, most: Array) -> None:
    """Raise MinidarkError for the first step where a difference is larger than it may be, or NaN.
    Both (T,)."""
    beyond = np.flatnonzero(~(differences <= most))
    if beyond.size:
        step = beyond[0]
        raise MinidarkError(
            f"what was written differs from predict by {differences[step]:.2g} at character "
            f"{step + 1:,} of {len(most):,}; {most[step]:.2g} is the most there (--tolerance sets "
            "another), and no file is left"
        )


def _lost(net: Network, symbols: Array, wanted: Array) -> Array:
    """The most that float32 runs differed from `wanted` (T, 1, O) up to each step: (T,). Each run
    is a stream of one network, which is faster than one after another."""
    rng, twin = np.random.default_rng(0), net.twin(RUNS)
    off = ROUNDING * rng.uniform(-1, 1, (len(symbols), RUNS, 1))
    off[:, 0] = 0
    lost = []
    for at in range(0, len(symbols), STEPS):
        part = slice(at, at + STEPS)
        x = one_hot(np.repeat(symbols[part, None], RUNS, axis=1), net.inputs, net.backend)
        y = twin.forward(x * (1 + off[part]).astype(x.dtype))
        if not np.isfinite(y).all():
            raise MinidarkError(
                f"predict itself gives NaN or infinity over {len(symbols):,} characters, so "
                "nothing that is written can be compared with it; no file is left"
            )
        lost.append(_differences(y, np.broadcast_to(wanted[part], y.shape)))
    most: Array = np.maximum.accumulate(np.concatenate(lost))
    return most


def _differences(found: Array, wanted: Array) -> Array:
    """The largest of each step, (T,), of outputs (T, S, O)."""
    if found.shape != wanted.shape:
        return np.full(len(wanted), np.inf)
    difference = np.abs(found.astype(np.float64) - wanted) / np.maximum(1, np.abs(wanted))
    steps: Array = difference.max(axis=(1, 2))
    return steps
