"""Sampling text, one symbol at a time, with darknet's draws.

Prime the network with the seed; then again and again: softmax at the temperature, drop
probabilities below 1e-4, scale the rest to sum 1, draw. All in float32 and in darknet's order of
operations, with glibc's rand(), so that the same seed of the generator gives the same text.

Source: darknet examples/rnn.c (test_char_rnn), src/utils.c (sample_array).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minidark.backend import Array
from minidark.errors import DataError, DivergedError, MinidarkError
from minidark.exact import ExactNetwork
from minidark.glibc_rand import RAND_MAX, GlibcRand
from minidark.layers.softmax import SoftmaxLayer
from minidark.network import Network

LEAST = 1e-4  # smaller probabilities are never drawn


def generate(
    net: Network,
    seed: bytes | str = b"\n\n",
    length: int = 1000,
    temperature: float = 0.7,
    srand: int | None = None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> bytes:
    """The seed and `length` sampled bytes after it.

    Starts from zero state, one stream, and leaves `net` as it found it. temperature 0 takes the
    likeliest symbol each time. srand: the generator's seed (None: a fresh one); the draws that
    building the network takes are passed over, as in darknet. top_k, top_p: draw only from the k
    likeliest symbols, or from the fewest that hold the share p. Raises DataError.
    """
    if net.outputs > 256:
        raise MinidarkError(f"{net.outputs} symbols are more than a byte has; name them by tokens")
    primer = seed.encode() if isinstance(seed, str) else bytes(seed)
    srand = secrets.randbelow(2**32) if srand is None else srand
    sampled = sample(net, primer, length, temperature, srand, top_k=top_k, top_p=top_p)
    return primer + bytes(sampled)


def sample(
    net: Network,
    seed: Sequence[int],
    length: int,
    temperature: float,
    srand: int,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[int]:
    """The sampled symbols one by one, without the seed; see `generate`."""
    if not seed:
        raise DataError("the seed is empty; a network needs a symbol to go on from")
    if length < 0:
        raise DataError(f"length {length} is negative")
    sampler = Sampler(net, temperature, srand, top_k=top_k, top_p=top_p)
    sampler.read(seed)
    return sampler.symbols(length)


class Sampler:
    """Reads symbols with one stream of `net` from zero state, and draws what follows.

    The arguments are those of `generate`. exact: compute in darknet's own order of operations
    (`minidark.exact`), several times slower, so that no draw can fall otherwise than darknet's.
    """

    def __init__(
        self,
        net: Network,
        temperature: float,
        srand: int,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
        exact: bool = False,
    ):
        _check(net, temperature, top_k, top_p)
        self.inputs = net.inputs
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.rand = GlibcRand(srand)
        self.rand.skip(initial_draws(net))
        softmax_temperature = temperature or None  # argmax does not care for it
        self.after = (
            ExactNetwork(net, softmax_temperature).after
            if exact
            else _after(net, softmax_temperature)
        )
        self.unread: list[int] = []  # given to read(), not yet to the network

    def read(self, symbols: Sequence[int]) -> None:
        """Go on from these symbols."""
        for symbol in symbols:
            if symbol >= self.inputs:
                raise DataError(
                    f"the seed holds byte {symbol}; this network's are 0 to {self.inputs - 1}"
                )
        self.unread.extend(symbols)

    def draw(self) -> int:
        """The symbol that follows what was read."""
        if not self.unread:
            raise DataError("the seed is empty; a network needs a symbol to go on from")
        p = self.after(self.unread)
        self.unread = []
        if self.temperature == 0:
            return int(p.argmax())
        return draw(_likeliest(p, self.top_k, self.top_p), self.rand)

    def symbols(self, length: int) -> Iterator[int]:
        """Draw, read what was drawn, draw again."""
        for _ in range(length):
            symbol = self.draw()
            yield symbol
            self.read([symbol])


def until_full_stop(symbols: Iterator[int], last: int = -1) -> Iterator[int]:
    """The symbols up to, and without, a line break after a full stop; `last` came before them.

    Source: darknet examples/rnn.c (test_tactic_rnn).
    """
    for symbol in symbols:
        if (last, symbol) == (ord("."), ord("\n")):
            return
        yield symbol
        last = symbol


def _after(net: Network, temperature: float | None) -> Callable[[Sequence[int]], Array]:
    """What the network predicts after some more symbols."""
    one = net.twin(1)
    for layer in one.layers:
        if isinstance(layer, SoftmaxLayer) and temperature is not None:
            layer.temperature = temperature
    return lambda symbols: one.predict(np.array(symbols))[-1]


def initial_draws(net: Network) -> int:
    """How many draws building the network takes: one for each weight."""
    return sum(p.value.size for p in net.parameters() if p.kind == "weights")


def draw(p: Array, rand: GlibcRand) -> int:
    """A symbol drawn with the probabilities p (O,), as darknet's sample_array does."""
    p = np.where(p.astype(np.float64) < LEAST, np.float32(0), p).astype(np.float32)
    total = np.add.accumulate(p)[-1]  # one after another, as the C loop adds
    if not np.isfinite(total):
        raise DivergedError("the network's output is NaN or infinite; these weights are damaged")
    if not total:  # possible where the last layer is no softmax
        return p.size - 1
    p *= np.float32(1 / np.float64(total))
    start = np.float32(rand.rand()) / np.float32(RAND_MAX)
    left = np.subtract.accumulate(np.concatenate([[start], p], dtype=np.float32))[1:]
    reached = np.flatnonzero(left <= 0)
    return int(reached[0]) if reached.size else p.size - 1


def _likeliest(p: Array, top_k: int | None, top_p: float | None) -> Array:
    """p with all but the likeliest symbols set to zero."""
    if top_k is None and top_p is None:
        return p
    order = np.argsort(-p, kind="stable")
    keep = order.size if top_k is None else top_k
    if top_p is not None:
        keep = min(keep, int(np.searchsorted(np.cumsum(p[order]), top_p * p.sum())) + 1)
    kept = np.zeros_like(p)
    kept[order[:keep]] = p[order[:keep]]
    return kept


def _check(net: Network, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if net.outputs > net.inputs:
        raise DataError(
            f"{net.outputs} outputs are more than the {net.inputs} inputs that read them"
        )
    if not temperature >= 0:
        raise DataError(f"temperature {temperature} is not 0 or more")
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k {top_k} is not 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise DataError(f"top-p {top_p} is not above 0 and at most 1")
