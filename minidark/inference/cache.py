"""A memory beside the network: what followed when its state was like this before.

Each state of the topmost recurrent layer is kept with the symbol that came next, up to `length` of
them. Those that point where the present one does give the symbols that followed them a probability,
p_cache ~ sum of exp(16 (cos - 1)), which counts a fifth: p = .8 p_network + .2 p_cache. So a name
that stands nowhere in what the network learned from is expected once it has been read.

It is for reading and sampling; nothing of it is trained. With 2,000 symbols it takes some 0.1 ms
for each.

Source: Grave, Joulin and Usunier 2016, arXiv:1612.04426. Theirs takes the dot product of states;
here it is their cosine, which needs no constant of the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.errors import BackendError, CfgError, DataError
from minidark.layers.base import Layer
from minidark.network import Network

SHARPNESS = 16.0  # of the weight that a state has by how near it is
SHARE = 0.2  # of the cache in what is expected


class Cache:
    """What one stream has read, up to `length` symbols. Raises DataError for a length of less than
    one, BackendError on a GPU."""

    def __init__(self, net: Network, length: int):
        if length < 1:
            raise DataError(f"a cache of {length} symbols remembers nothing")
        if net.backend.name != "cpu":
            raise BackendError("a cache is kept on the CPU; leave --cache or --device away")
        self.length, self.outputs = length, net.outputs
        width = topmost(net.layers).states["state"].shape[1]
        self.keys = np.empty((length, width), net.backend.dtype)  # states, of length 1 each
        self.symbols: npt.NDArray[np.intp] = np.empty(length, np.intp)  # what followed each
        self.count = 0  # that have been put in; the oldest makes room
        self._last: Array | None = None  # the state after which nothing is known yet

    def read(self, symbol: int, p: Array, state: Array) -> Array:
        """After one more symbol: the network's p (O,) for the next, with what the cache expects;
        state (H,) is the topmost layer's."""
        if self._last is not None:
            at = self.count % self.length
            self.keys[at], self.symbols[at] = self._last, symbol
            self.count += 1
        self._last = state / max(float(np.linalg.norm(state)), 1e-12)
        known = min(self.count, self.length)
        if not known:
            return p
        weights = np.exp(SHARPNESS * (self.keys[:known] @ self._last - 1))
        sums = np.bincount(self.symbols[:known], weights, self.outputs)
        mixed: Array = (1 - SHARE) * p + (SHARE / sums.sum() * sums).astype(p.dtype)
        return mixed


def remembering(net: Network, streams: int, length: int) -> Callable[[Array, Array, Array], Array]:
    """A cache for each stream: given symbols (S,), the network's p (S, O) and the topmost layer's
    states (S, H), it gives what `Cache.read` makes of each."""
    caches = [Cache(net, length) for _ in range(streams)]

    def read(symbols: Array, p: Array, states: Array) -> Array:
        rows = zip(caches, symbols.tolist(), p, states, strict=True)
        return np.stack([cache.read(symbol, row, h) for cache, symbol, row, h in rows])

    return read


def topmost(layers: Sequence[Layer]) -> Layer:
    """The last layer with a state. Raises CfgError where there is none."""
    recurrent = [layer for layer in layers if layer.states]
    if not recurrent:
        raise CfgError("has no [gru], [lstm] or [rnn]: there is no state to remember by")
    return recurrent[-1]
