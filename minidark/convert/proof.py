"""Whether a written model computes what the network does: it is run, by its own program.

The same symbols go through `predict` and through the model, in two calls with the state carried
from one to the other, and the largest absolute difference of the outputs is what counts; of
outputs beyond 1, which are no probabilities, as a share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minidark.backend import Array
from minidark.errors import MinidarkError
from minidark.layers.base import one_hot
from minidark.network import Network

SYMBOLS = 1000
LARGEST = 1e-4  # difference
Proven = tuple[bytes, list[Array]]  # a file's bytes, and what they make of some calls
Write = Callable[[Network, Sequence[Array]], Proven]


def drawn_symbols(inputs: int) -> Array:
    """Those that are taken where no text is given, the same each time: (SYMBOLS,)."""
    return np.random.default_rng(0).integers(0, inputs, SYMBOLS)


def written(net: Network, write: Write, symbols: Array) -> tuple[bytes, float | None]:
    """A model's bytes, and the largest difference between what the network and what the model's own
    program makes of symbols (T,); None where that program is missing and the file good without it.
    Raises MinidarkError where the difference is larger than LARGEST, and as `write` does.

    write(net, calls): the bytes, and the outputs (T, 1, O) for inputs (T, 1, I), from zero state.
    """
    if net.layers[0].gives_ids:
        raise MinidarkError(
            f"{net.layers[0].name} has no counterpart in a model: what its symbols are would be "
            "lost; .safetensors and .npz have its pairs"
        )
    twin = net.twin(1)
    pieces = [part for part in np.split(symbols, [len(symbols) // 3]) if len(part)]
    wanted = [twin.forward(piece[:, None]) for piece in pieces]
    if not all(np.isfinite(y).all() for y in wanted):
        raise MinidarkError(
            f"predict itself gives NaN or infinity over {len(symbols):,} characters, so nothing "
            "that is written can be compared with it; no file is left"
        )
    data, found = write(net, [one_hot(p[:, None], net.inputs, net.backend) for p in pieces])
    if not found:
        return data, None
    differences = [_difference(a, b) for a, b in zip(found, wanted, strict=True)]
    difference = float(np.max(differences))  # NaN, if any is, which Python's max would pass over
    if not difference <= LARGEST:
        raise MinidarkError(
            f"what was written differs from predict by {difference:.2g} over {len(symbols):,} "
            f"characters; {LARGEST:g} is the most, and no file is left"
        )
    return data, difference


def _difference(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    difference = np.abs(found.astype(np.float64) - wanted)
    return float((difference / np.maximum(1, np.abs(wanted))).max())
