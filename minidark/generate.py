"""Sampling text, one symbol at a time, with darknet's draws.

Prime the network with the seed; then again and again: softmax at the temperature, drop
probabilities below 1e-4, scale the rest to sum 1, draw. All in float32 and in darknet's order of
operations, with glibc's rand(), so that the same seed of the generator gives the same text.

Source: darknet examples/rnn.c (test_char_rnn), src/utils.c (sample_array).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np

from minidark.backend import Array
from minidark.errors import DataError, MinidarkError
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
    primer = seed.encode() if isinstance(seed, str) else bytes(seed)
    srand = secrets.randbelow(2**32) if srand is None else srand
    sampled = sample(net, primer, length, temperature, srand, top_k=top_k, top_p=top_p)
    return primer + bytes(sampled)


def sample(
    net: Network,
    seed: bytes,
    length: int,
    temperature: float,
    srand: int,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[int]:
    """The sampled symbols one by one, without the seed; see `generate`."""
    _check(net, seed, length, temperature, top_k, top_p)
    one = _at_temperature(net.twin(1), temperature)
    rand = GlibcRand(srand)
    rand.skip(initial_draws(net))
    return _symbols(one, seed, length, temperature, rand, top_k, top_p)


def initial_draws(net: Network) -> int:
    """How many draws building the network takes: one for each weight."""
    return sum(p.value.size for p in net.parameters() if p.kind == "weights")


def _symbols(
    one: Network,
    seed: bytes,
    length: int,
    temperature: float,
    rand: GlibcRand,
    top_k: int | None,
    top_p: float | None,
) -> Iterator[int]:
    if len(seed) > 1:
        one.predict(np.frombuffer(seed[:-1], dtype=np.uint8))
    symbol = seed[-1]
    for _ in range(length):
        p = one.predict(np.array([symbol]))[0]
        symbol = int(p.argmax()) if temperature == 0 else draw(_likeliest(p, top_k, top_p), rand)
        yield symbol


def draw(p: Array, rand: GlibcRand) -> int:
    """A symbol drawn with the probabilities p (O,), as darknet's sample_array does."""
    p = np.where(p.astype(np.float64) < LEAST, np.float32(0), p).astype(np.float32)
    total = np.add.accumulate(p)[-1]  # one after another, as the C loop adds
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


def _at_temperature(one: Network, temperature: float) -> Network:
    """It overrides the cfg's; argmax does not care for it."""
    for layer in one.layers:
        if isinstance(layer, SoftmaxLayer) and temperature > 0:
            layer.temperature = temperature
    return one


def _check(
    net: Network,
    seed: bytes,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> None:
    if not seed:
        raise DataError("the seed is empty; a network needs a symbol to go on from")
    if max(seed) >= net.inputs:
        raise DataError(
            f"the seed holds byte {max(seed)}; this network's are 0 to {net.inputs - 1}"
        )
    if net.outputs > 256:
        raise MinidarkError(f"{net.outputs} symbols are more than a byte has; name them by tokens")
    if net.outputs > net.inputs:
        raise DataError(
            f"{net.outputs} outputs are more than the {net.inputs} inputs that read them"
        )
    if length < 0:
        raise DataError(f"length {length} is negative")
    if not temperature >= 0:
        raise DataError(f"temperature {temperature} is not 0 or more")
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k {top_k} is not 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise DataError(f"top-p {top_p} is not above 0 and at most 1")
