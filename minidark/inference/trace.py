"""What gates and states do at every character of a text.

    z, r, c, h          of a GRU
    i, f, o, g, c, h    of an LSTM: c is the cell, g the candidate
    input, self, s      of an RNN: what its two sublayers give, and the state that is their sum

after each symbol, in inference: batch norm by its rolling statistics, no dropout. The network
starts from zero state, reads a seed of two newlines, then the text; as in `valid`, the seed is not
scored, nor is the first symbol.

Source: Karpathy, Johnson and Li 2015, arXiv:1506.02078, who looked at LSTMs and GRUs in this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids
from minidark.errors import DataError
from minidark.network import Network
from minidark.network.nonfinite import not_finite

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What one layer does: `values` by the names above, (T, H) each."""

    name: str  # "0.gru"
    type: str
    values: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Trace:
    """A network on T symbols: row t is after it read symbol t."""

    symbols: Ids  # (T,)
    outputs: Floats  # (T, O): of a network that ends in a softmax, what symbol t + 1 may be
    layers: tuple[LayerTrace, ...]  # those with a state

    def surprise(self) -> Floats:
        """The bits of each symbol but the first, given those before it: (T - 1,). For outputs that
        are probabilities; raises DataError for a symbol that is none of them."""
        if self.symbols.max() >= self.outputs.shape[1]:
            raise DataError(
                f"the text holds symbol {self.symbols.max()}; this network predicts 0 to "
                f"{self.outputs.shape[1] - 1}"
            )
        p = self.outputs[np.arange(self.symbols.size - 1), self.symbols[1:]]
        return -np.log2(np.maximum(p, np.finfo(p.dtype).tiny), dtype=np.float64)


def trace(net: Network, symbols: npt.ArrayLike, seed: bytes = b"\n\n") -> Trace:
    """Read `seed`, then the symbols (T,), and keep what every recurrent layer does at each.

    One stream from zero state; `net` is left as it was. Raises DataError for what are not two or
    more of the network's symbols, DivergedError where a layer gives NaN or infinity.
    """
    ids = np.asarray(symbols)
    if ids.ndim != 1 or ids.size < 2 or ids.dtype.kind not in "iu":
        raise DataError(f"{ids.size} characters: two or more are needed, to predict one")
    one = net.twin(1)
    if seed:
        one.predict(byte_pairs(net).encode(seed))
    y, shown = one.traced(ids[:, None])
    layers = tuple(
        LayerTrace(layer.name, layer.type, {k: _of_stream(net, v) for k, v in values.items()})
        for layer, values in zip(net.layers, shown, strict=True)
        if values
    )
    result = Trace(ids.astype(np.intp), _of_stream(net, y), layers)
    _check_finite(result, net)
    return result


def _of_stream(net: Network, values: Array) -> Floats:
    """(T, 1, H), wherever it is, as (T, H)."""
    rows: Floats = net.backend.asnumpy(values)[:, 0]
    return np.ascontiguousarray(rows)


def _check_finite(result: Trace, net: Network) -> None:
    """Raise DivergedError that names what went bad first."""
    shown = {f"{layer.name}'s {k}": v for layer in result.layers for k, v in layer.values.items()}
    since = {}
    for what, values in {**shown, "the network's output": result.outputs}.items():
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            since[what] = int(wrong.argmax())
    if since:
        first = min(since, key=lambda what: since[what])
        raise not_finite(net, first)
