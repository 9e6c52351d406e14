"""Sampling text, one symbol at a time, with darknet's draws.

Prime the network with the seed; then again and again: softmax at the temperature, drop
probabilities below 1e-4, scale the rest to sum 1, draw. All in float32 and in darknet's order of
operations, with glibc's rand(), so that the same seed of the generator gives the same text.

Source: darknet examples/rnn.c (test_char_rnn), src/utils.c (sample_array).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import TypedDict, Unpack

import numpy as np

from minidark.backend import Array
from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids
from minidark.errors import CfgError, DataError
from minidark.glibc_rand import RAND_MAX, GlibcRand
from minidark.inference.cache import remembering, topmost
from minidark.inference.exact import ExactNetwork
from minidark.network import Network
from minidark.network.frozen import Frozen
from minidark.network.nonfinite import not_finite

LEAST_TEMPERATURE = 1e-20  # but for 0; float32 cannot hold an output divided by much less
BLOCK = 256  # draws prepared at once, and on a GPU made before the host sees the symbols


class Limits(TypedDict, total=False):
    """What is drawn from besides the network's probabilities; see `generate`."""

    top_k: int | None
    top_p: float | None
    cache: int


def generate(
    net: Network,
    seed: bytes | str = b"\n\n",
    length: int = 1000,
    temperature: float = 0.7,
    srand: int | None = None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    cache: int = 0,
) -> bytes:
    """The seed and `length` sampled bytes after it.

    Starts from zero state, one stream, and leaves `net` as it found it. temperature 0 takes the
    likeliest symbol each time. srand: the generator's seed (None: a fresh one); the draws that
    building the network takes are passed over, as in darknet. top_k, top_p: draw only from the k
    likeliest symbols, or from the fewest that hold the share p. cache: with a memory of so many
    symbols beside the network, see `minidark.inference.cache`. Raises DataError, and CfgError for
    a network that does not end in a [softmax].
    """
    pairs = byte_pairs(net)
    if net.outputs > len(pairs.names):
        raise DataError(f"{net.outputs} symbols are more than a byte has; name them by tokens")
    primer = seed.encode() if isinstance(seed, str) else bytes(seed)
    srand = secrets.randbelow(2**32) if srand is None else srand
    symbols = pairs.encode(primer).tolist()
    limits = Limits(top_k=top_k, top_p=top_p, cache=cache)
    sampled = sample(net, symbols, length, temperature, srand, **limits)
    return primer + b"".join(cut((pairs.names[symbol] for symbol in sampled), length))


def can_generate(net: Network) -> bool:
    """Whether `generate` can draw from `net`: it gives probabilities of symbols that are bytes."""
    readable = net.outputs <= min(net.inputs, len(byte_pairs(net).names))
    return readable and net.gives_distribution


def cut(parts: Iterable[bytes], length: int) -> Iterator[bytes]:
    """Parts of a text up to `length` bytes; no further one is asked for."""
    for part in parts if length else ():
        yield part[:length]
        length -= len(part)
        if length <= 0:
            return


def sample(
    net: Network,
    seed: Sequence[int],
    length: int,
    temperature: float,
    srand: int,
    **limits: Unpack[Limits],
) -> Iterator[int]:
    """The sampled symbols one by one, without the seed; see `generate`."""
    sampler = _primed(net, seed, length, temperature, [srand], **limits)
    return sampler.symbols(length)


def sample_many(
    net: Network,
    seed: Sequence[int],
    length: int,
    temperature: float,
    srands: Sequence[int],
    *,
    lengths: Ids | None = None,
    **limits: Unpack[Limits],
) -> list[list[int]]:
    """The sampled symbols of one text for each of `srands`, side by side: many times as fast as
    one after another. Each is what `sample` gives with the same kernels, if these are the fast
    ones; numpy's may round many rows otherwise than one.

    lengths: how many characters each symbol is; no more are drawn than give every text `length`.
    """
    sampler = _primed(net, seed, length, temperature, srands, **limits)
    rows: list[list[int]] = []
    characters = np.zeros(len(srands), np.intp)
    for row in sampler.rows(length):
        rows.append(row)
        characters += 1 if lengths is None else lengths[row]
        if characters.min() >= length:
            break
    return [list(text) for text in zip(*rows, strict=True)] if rows else [[] for _ in srands]


def _primed(
    net: Network,
    seed: Sequence[int],
    length: int,
    temperature: float,
    srands: Sequence[int],
    **limits: Unpack[Limits],
) -> Sampler:
    if not seed:
        raise DataError("the seed is empty; a network needs a symbol to go on from")
    if length < 0:
        raise DataError(f"length {length} is negative")
    sampler = Sampler(net, temperature, srands, **limits)
    sampler.read(seed)
    return sampler


class Sampler:
    """Reads symbols with streams of `net` from zero state, and draws what follows in each.

    The arguments are those of `generate`, but for srands: one for each stream. exact: compute in
    darknet's own order of operations (`minidark.inference.exact`), several times slower and one
    stream only, so that no draw can fall otherwise than darknet's, which draws from the outputs
    of any network; without it, CfgError is raised for a network that does not end in a
    [softmax]. cache: with a memory of so many symbols beside each stream, see
    `minidark.inference.cache`. The parameters are those of the beginning.

    On a GPU the symbols stay there while BLOCK of them are drawn.
    """

    def __init__(
        self,
        net: Network,
        temperature: float,
        srands: Sequence[int],
        *,
        top_k: int | None = None,
        top_p: float | None = None,
        exact: bool = False,
        cache: int = 0,
    ):
        _check(net, temperature, top_k, top_p)
        if not exact:
            _check_distribution(net)
        self.net, self.inputs, self.backend = net, net.inputs, net.backend
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.rands = [GlibcRand(srand) for srand in srands]
        for rand in self.rands:
            rand.skip(initial_draws(net))
        softmax_temperature = temperature or None  # argmax does not care for it
        self.after = (
            _exact(net, softmax_temperature)
            if exact
            else net.frozen(len(srands), softmax_temperature)
        )
        if cache and isinstance(self.after, Frozen):
            self.after = _remembering(net, self.after, len(srands), cache)
        self.unread: list[Array] = []  # ids (S,) given to read(), not yet to the network
        self.starts: list[Array] = []  # (S,) each, for the next draws, the last one first

    def read(self, symbols: Sequence[int]) -> None:
        """Go on from these symbols, in every stream."""
        for symbol in symbols:
            if not 0 <= symbol < self.inputs:
                raise DataError(
                    f"the seed holds byte {symbol}; this network's are 0 to {self.inputs - 1}"
                )
        streams = len(self.rands)
        self.unread += [self.backend.asids(np.full(streams, symbol)) for symbol in symbols]

    def draw(self) -> list[int]:
        """The symbol of each stream that follows what was read."""
        return self._draw_block(1)[0]

    def rows(self, length: int) -> Iterator[list[int]]:
        """Draw, read what was drawn, draw again: the symbols of all streams, `length` times."""
        block = 1 if self.backend.name == "cpu" else BLOCK
        for begin in range(0, length, block):
            yield from self._draw_block(min(block, length - begin), read=True)

    def symbols(self, length: int) -> Iterator[int]:
        """Those of the first stream."""
        return (row[0] for row in self.rows(length))

    def _draw_block(self, length: int, read: bool = False) -> list[list[int]]:
        if not self.unread:
            raise DataError("the seed is empty; a network needs a symbol to go on from")
        drawn = self.backend.asids(np.zeros((length, len(self.rands))))
        for number in range(length):
            ids = drawn[number]
            for symbols in self.unread:
                p = self.after(symbols)
            self._choose(p, ids)
            self.unread = [ids] if read else []
        rows: list[list[int]] = self.backend.asnumpy(drawn).tolist()
        if any(-1 in row for row in rows):
            raise not_finite(self.net)
        return rows

    def _choose(self, p: Array, ids: Array) -> None:
        """Writes ids (S,) from the probabilities p (S, O)."""
        if self.temperature == 0:
            finite = self.backend.xp.isfinite(p).all(axis=-1)
            ids[...] = self.backend.xp.where(finite, p.argmax(axis=-1), -1)
        else:
            likeliest = _likeliest(p, self.top_k, self.top_p, self.backend.xp)
            self.backend.kernels.draw(likeliest, self._next_starts(), ids)

    def _next_starts(self) -> Array:
        """Where each stream's draw starts: rand() / RAND_MAX, in float32."""
        if not self.starts:
            draws = GlibcRand.draw_together(self.rands, BLOCK)
            starts = draws.astype(np.float32) / np.float32(RAND_MAX)
            rows = self.backend.asarray(starts)
            self.starts = [rows[draw] for draw in reversed(range(BLOCK))]
        return self.starts.pop()


def until_full_stop(symbols: Iterator[int], last: int = -1) -> Iterator[int]:
    """The symbols up to, and without, a line break after a full stop; `last` came before them.

    Source: darknet examples/rnn.c (test_tactic_rnn).
    """
    for symbol in symbols:
        if (last, symbol) == (ord("."), ord("\n")):
            return
        yield symbol
        last = symbol


def _exact(net: Network, temperature: float | None) -> Callable[[Array], Array]:
    exact = ExactNetwork(net, temperature)
    return lambda ids: exact.predict(int(ids[0]))[None]


def default_primer(inputs: int) -> bytes:
    """What to go on from where nothing is given: darknet's two line breaks, or the first symbol
    of a network that has no line break among its symbols."""
    return b"\n\n" if inputs > ord("\n") else b"\0"


def _remembering(
    net: Network, frozen: Frozen, streams: int, length: int
) -> Callable[[Array], Array]:
    """Its steps, with a cache for each stream."""
    read, state = remembering(net, streams, length), topmost(frozen.layers).states["state"]
    return lambda symbols: read(symbols, frozen(symbols), state)


def initial_draws(net: Network) -> int:
    """How many draws building the network takes: one for each weight."""
    return sum(p.value.size for p in net.parameters() if p.kind == "weights")


def _likeliest(p: Array, top_k: int | None, top_p: float | None, xp: ModuleType) -> Array:
    """p (S, O) with all but each row's likeliest symbols set to zero."""
    if top_k is None and top_p is None:
        return p
    order = xp.argsort(-p, axis=-1, kind="stable")
    kept = xp.broadcast_to(xp.arange(p.shape[-1]) < (top_k or p.shape[-1]), p.shape)
    if top_p is not None:
        shares = xp.cumsum(xp.take_along_axis(p, order, axis=-1), axis=-1)
        likelier = xp.concatenate([xp.zeros_like(p[:, :1]), shares[:, :-1]], axis=-1)
        kept = kept & ~(likelier >= top_p * shares[:, -1:])  # NaN stays, and is found by the draw
    places = xp.argsort(order, axis=-1, kind="stable")
    return xp.where(xp.take_along_axis(kept, places, axis=-1), p, p.dtype.type(0))


def _check(net: Network, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if net.outputs > net.inputs:
        raise DataError(
            f"{net.outputs} outputs are more than the {net.inputs} inputs that read them"
        )
    if not temperature >= 0:
        raise DataError(f"temperature {temperature} is not 0 or more")
    if 0 < temperature < LEAST_TEMPERATURE:
        raise DataError(
            f"temperature {temperature} is below {LEAST_TEMPERATURE:g}; 0 takes the likeliest"
        )
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k {top_k} is not 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise DataError(f"top-p {top_p} is not above 0 and at most 1")


def _check_distribution(net: Network) -> None:
    if not net.gives_distribution:
        raise CfgError(
            f"layer {net.layers[-1].name} gives no probabilities of symbols to draw from; end the "
            "cfg in [softmax] without groups (`minidark rnn generate` draws from any outputs, as "
            "darknet does)"
        )
