"""Samples text, one symbol at a time, with darknet's random draws.

The network reads the seed. Then it repeats: softmax at the temperature, drop probabilities below
1e-4, scale the rest to sum 1, draw. All operations are in float32, in darknet's order, with glibc's
rand(), so that the same random seed gives the same text.

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

LEAST_TEMPERATURE = 1e-20  # except 0; smaller values overflow float32
BLOCK = 256  # draws prepared at once; on a GPU, symbols drawn before the host reads them


class Limits(TypedDict, total=False):
    """Options that change the distribution; see `generate`."""

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
    """The seed and `length` sampled bytes.

    Uses one stream from zero state and leaves `net` unchanged. temperature 0 always picks the most
    likely symbol. srand: random seed (None: a new one); as in darknet, the draws that initialize a
    network are skipped first. top_k, top_p: draw only from the k most likely symbols, or from the
    fewest whose probabilities sum to p. cache: use a cache of this many symbols, see
    `minidark.inference.cache`. Raises DataError, and CfgError for a network that does not end in a
    [softmax].
    """
    pairs = byte_pairs(net)
    if net.outputs > len(pairs.names):
        raise DataError(
            f"{net.outputs} symbols do not fit into bytes; name them with a tokens file"
        )
    primer = seed.encode() if isinstance(seed, str) else bytes(seed)
    srand = secrets.randbelow(2**32) if srand is None else srand
    symbols = pairs.encode(primer).tolist()
    limits = Limits(top_k=top_k, top_p=top_p, cache=cache)
    sampled = sample(net, symbols, length, temperature, srand, **limits)
    return primer + b"".join(cut((pairs.names[symbol] for symbol in sampled), length))


def can_generate(net: Network) -> bool:
    """Whether `generate` works: the network outputs probabilities of symbols that are bytes."""
    readable = net.outputs <= min(net.inputs, len(byte_pairs(net).names))
    return readable and net.gives_distribution


def until(parts: Iterable[bytes], stop: bytes) -> Iterator[bytes]:
    """The parts up to the end of the first `stop` in them, which may begin in one part and end in
    another; all of them if there is none. Requests no further part."""
    before = b""  # the bytes in which a `stop` may have begun
    for part in parts:
        text = before + part
        found = text.find(stop)
        if found >= 0:
            yield part[: found + len(stop) - len(before)]
            return
        yield part
        before = text[max(0, len(text) - len(stop) + 1) :]


def cut(parts: Iterable[bytes], length: int) -> Iterator[bytes]:
    """The parts up to `length` bytes in total; requests no further part."""
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
    """Yields the sampled symbols, without the seed; see `generate`."""
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
    """The sampled symbols of one text for each of `srands`, side by side: many times faster than
    one after another. Each equals the result of `sample` with the same fast kernels; numpy's
    kernels may round many rows differently from one.

    lengths: number of characters of each symbol; drawing stops when every text has `length`.
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
        raise DataError("the seed is empty; sampling needs at least one symbol")
    if length < 0:
        raise DataError(f"length {length} is negative")
    sampler = Sampler(net, temperature, srands, **limits)
    sampler.read(seed)
    return sampler


class Sampler:
    """Reads symbols with streams of `net` from zero state, and draws the next symbol of each.

    Arguments are as for `generate`, but srands has a random seed for each stream. exact: compute in
    darknet's order of operations (`minidark.inference.exact`), several times slower and with one
    stream only, so that every draw equals darknet's, from the outputs of any network. Without it,
    raises CfgError for a network that does not end in a [softmax]. cache: use a cache of this many
    symbols for each stream, see `minidark.inference.cache`. Later changes of the parameters have no
    effect.

    On a GPU, symbols stay there while BLOCK of them are drawn.
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
        softmax_temperature = temperature or None  # argmax ignores it
        self.after = (
            _exact(net, softmax_temperature)
            if exact
            else net.frozen(len(srands), softmax_temperature)
        )
        if cache and isinstance(self.after, Frozen):
            self.after = _remembering(net, self.after, len(srands), cache)
        self.unread: list[Array] = []  # ids (S,) from read() that the network has not read
        self.starts: list[Array] = []  # (S,) each, for the next draws, in reverse order

    def read(self, symbols: Sequence[int]) -> None:
        """Read these symbols in every stream."""
        for symbol in symbols:
            if not 0 <= symbol < self.inputs:
                raise DataError(
                    f"the seed contains byte {symbol}; this network's are 0 to {self.inputs - 1}"
                )
        streams = len(self.rands)
        self.unread += [self.backend.asids(np.full(streams, symbol)) for symbol in symbols]

    def draw(self) -> list[int]:
        """Draw the next symbol of each stream."""
        return self._draw_block(1)[0]

    def rows(self, length: int) -> Iterator[list[int]]:
        """Draw and read symbols `length` times; yields the symbols of all streams."""
        block = 1 if self.backend.name == "cpu" else BLOCK
        for begin in range(0, length, block):
            yield from self._draw_block(min(block, length - begin), read=True)

    def symbols(self, length: int) -> Iterator[int]:
        """The symbols of the first stream."""
        return (row[0] for row in self.rows(length))

    def _draw_block(self, length: int, read: bool = False) -> list[list[int]]:
        if not self.unread:
            raise DataError("the seed is empty; sampling needs at least one symbol")
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
        """Write ids (S,), drawn from the probabilities p (S, O)."""
        if self.temperature == 0:
            finite = self.backend.xp.isfinite(p).all(axis=-1)
            ids[...] = self.backend.xp.where(finite, p.argmax(axis=-1), -1)
        else:
            likeliest = _likeliest(p, self.top_k, self.top_p, self.backend.xp)
            self.backend.kernels.draw(likeliest, self._next_starts(), ids)

    def _next_starts(self) -> Array:
        """Uniform random number of each stream's draw: rand() / RAND_MAX, in float32."""
        if not self.starts:
            draws = GlibcRand.draw_together(self.rands, BLOCK)
            starts = draws.astype(np.float32) / np.float32(RAND_MAX)
            rows = self.backend.asarray(starts)
            self.starts = [rows[draw] for draw in reversed(range(BLOCK))]
        return self.starts.pop()


def until_full_stop(symbols: Iterator[int], last: int = -1) -> Iterator[int]:
    """Yields symbols until a line break after a full stop, without it; `last` is the symbol before
    them.

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
    """Default seed: darknet's two line breaks, or the first symbol of a network without a line
    break."""
    return b"\n\n" if inputs > ord("\n") else b"\0"


def _remembering(
    net: Network, frozen: Frozen, streams: int, length: int
) -> Callable[[Array], Array]:
    """The steps of `frozen` with a cache for each stream."""
    read, state = remembering(net, streams, length), topmost(frozen.layers).states["state"]
    return lambda symbols: read(symbols, frozen(symbols), state)


def initial_draws(net: Network) -> int:
    """Number of draws that initialize the network: one for each weight."""
    return sum(p.value.size for p in net.parameters() if p.kind == "weights")


def _likeliest(p: Array, top_k: int | None, top_p: float | None, xp: ModuleType) -> Array:
    """p (S, O) with all but each row's most likely symbols set to zero."""
    if top_k is None and top_p is None:
        return p
    order = xp.argsort(-p, axis=-1, kind="stable")
    mask = xp.broadcast_to(xp.arange(p.shape[-1]) < (top_k or p.shape[-1]), p.shape)
    if top_p is not None:
        shares = xp.cumsum(xp.take_along_axis(p, order, axis=-1), axis=-1)
        likelier = xp.concatenate([xp.zeros_like(p[:, :1]), shares[:, :-1]], axis=-1)
        mask = mask & ~(likelier >= top_p * shares[:, -1:])  # the draw detects NaN
    places = xp.argsort(order, axis=-1, kind="stable")
    return xp.where(xp.take_along_axis(mask, places, axis=-1), p, p.dtype.type(0))


def _check(net: Network, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if net.outputs > net.inputs:
        raise DataError(f"{net.outputs} outputs, but only {net.inputs} inputs to read them")
    if not temperature >= 0:
        raise DataError(f"temperature {temperature} is not 0 or more")
    if 0 < temperature < LEAST_TEMPERATURE:
        raise DataError(
            f"temperature {temperature} is below {LEAST_TEMPERATURE:g}; 0 picks the most likely "
            "symbol"
        )
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k {top_k} is not 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise DataError(f"top-p {top_p} is not above 0 and at most 1")


def _check_distribution(net: Network) -> None:
    if not net.gives_distribution:
        raise CfgError(
            f"layer {net.layers[-1].name} does not output probabilities of symbols; end the cfg in "
            "[softmax] without groups (`minidark rnn generate` draws from any outputs, as darknet "
            "does)"
        )
