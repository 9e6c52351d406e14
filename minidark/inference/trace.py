"""Values of gates and states at every character of a text.

    z, r, c, h          of a GRU
    i, f, o, g, c, h    of an LSTM: c is the cell, g the candidate
    input, self, s      of an RNN: the outputs of its two sublayers, and their sum, the state
    s                   of an RNN with elman=1: the state, which is also the output

Values are taken after each symbol, in inference: batch norm uses its rolling statistics, dropout is
off. The network starts from zero state and reads a seed of two newlines, then the text. As in
`valid`, the seed and the first symbol are not scored.

Source: Karpathy, Johnson and Li 2015, arXiv:1506.02078, who visualized LSTMs and GRUs this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids
from minidark.errors import DataError, number_of
from minidark.network import Network
from minidark.network.nonfinite import not_finite

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """Values of one layer by the names above, (T, H) each."""

    name: str  # "0.gru"
    type: str
    values: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Trace:
    """A network on T symbols: row t is after reading symbol t."""

    symbols: Ids  # (T,)
    outputs: Floats  # (T, O); after a softmax, probabilities of symbol t + 1
    layers: tuple[LayerTrace, ...]  # layers with a state

    def surprise(self) -> Floats:
        """Bits of each symbol but the first, given those before it: (T - 1,). Outputs must be
        probabilities. Raises DataError for a symbol without a probability."""
        if self.symbols.max() >= self.outputs.shape[1]:
            raise DataError(
                f"the text contains symbol {self.symbols.max()}; this network predicts 0 to "
                f"{self.outputs.shape[1] - 1}"
            )
        p = self.outputs[np.arange(self.symbols.size - 1), self.symbols[1:]]
        return -np.log2(np.maximum(p, np.finfo(p.dtype).tiny), dtype=np.float64)


def trace(net: Network, symbols: npt.ArrayLike, seed: bytes = b"\n\n") -> Trace:
    """Read `seed`, then the symbols (T,), and record every recurrent layer at each symbol.

    Uses one stream from zero state; leaves `net` unchanged. Raises DataError unless there are at
    least two symbols, all known to the network; DivergedError if a layer outputs NaN or infinity.
    """
    ids = np.asarray(symbols)
    if ids.ndim != 1 or ids.size < 2 or ids.dtype.kind not in "iu":
        raise DataError(f"{number_of(ids.size, 'character')}; at least two are needed")
    one = net.twin(1)
    if seed:
        one.predict(byte_pairs(net).encode(seed))
    y, traced = one.traced(ids[:, None])
    layers = tuple(
        LayerTrace(layer.name, layer.type, {k: _of_stream(net, v) for k, v in values.items()})
        for layer, values in zip(net.layers, traced, strict=True)
        if values
    )
    result = Trace(ids.astype(np.intp), _of_stream(net, y), layers)
    _check_finite(result, net)
    return result


def _of_stream(net: Network, values: Array) -> Floats:
    """(T, 1, H) in the backend's memory as (T, H) in numpy's."""
    rows: Floats = net.backend.asnumpy(values)[:, 0]
    return np.ascontiguousarray(rows)


def _check_finite(result: Trace, net: Network) -> None:
    """Raise DivergedError with the name of the first value that is not finite."""
    arrays = {f"{layer.name}'s {k}": v for layer in result.layers for k, v in layer.values.items()}
    since = {}
    for what, values in {**arrays, "the network's output": result.outputs}.items():
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            since[what] = int(wrong.argmax())
    if since:
        first = min(since, key=lambda what: since[what])
        raise not_finite(net, first)
