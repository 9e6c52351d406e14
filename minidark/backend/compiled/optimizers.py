"""The optimizers' steps, running means and a gradient's length: one pass over each array."""

from __future__ import annotations

import numpy as np
from numba import prange

from minidark.backend import Array, Scalar, numpy_kernels
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.scalar import f
from minidark.backend.compiled.threads import begin, spread

PART = 1 << 15  # of a sum, which one thread adds up: so that it does not hang on their number


def adam_step(
    value: Array, grad: Array, m: Array, v: Array, *, rate: float, B1: float, B2: float,
    eps: float, decay: float, t: int,
) -> None:  # fmt: skip
    rate1, unbias2 = rate / (1 - B1**t), 1 / (1 - B2**t)
    factors = np.array([rate1, B1, 1 - B1, B2, 1 - B2, unbias2, eps, decay], np.float32)
    spread(_adam, _adam_range, value.size, value.size, value, grad, m, v, factors)


@kernel(parallel=True)
def _adam(value, grad, m, v, factors, threads):
    for thread in prange(threads):
        lo, hi = begin(value.size, thread, threads), begin(value.size, thread + 1, threads)
        _adam_range(value, grad, m, v, factors, lo, hi)


@kernel()
def _adam_range(value, grad, m, v, factors, lo, hi):
    rate, b1, c1, b2, c2, unbias, eps, decay = factors
    for i in range(lo, hi):
        d = -grad[i] - decay * value[i]
        m[i] = b1 * m[i] + c1 * d
        v[i] = b2 * v[i] + c2 * d * d
        value[i] += rate * m[i] / (np.sqrt(v[i] * unbias) + eps)
        grad[i] = f(0)


def sgd_step(
    value: Array, grad: Array, velocity: Array, rate: float, momentum: float, decay: float
) -> None:
    factors = np.array([rate, momentum, decay], np.float32)
    spread(_sgd, _sgd_range, value.size, value.size, value, grad, velocity, factors)


@kernel(parallel=True)
def _sgd(value, grad, velocity, factors, threads):
    for thread in prange(threads):
        lo, hi = begin(value.size, thread, threads), begin(value.size, thread + 1, threads)
        _sgd_range(value, grad, velocity, factors, lo, hi)


@kernel()
def _sgd_range(value, grad, velocity, factors, lo, hi):
    rate, momentum, decay = factors
    for i in range(lo, hi):
        v = velocity[i] - grad[i] - decay * value[i]
        value[i] += rate * v
        velocity[i] = momentum * v
        grad[i] = f(0)


def roll(rolling: Array, batch: Array, kept: float) -> None:
    if batch.size != rolling.size:
        numpy_kernels.roll(rolling, batch, kept)
        return
    spread(_roll, _roll_range, rolling.size, rolling.size, rolling, batch.reshape(-1),
           np.float32(kept), np.float32(1 - kept))  # fmt: skip


@kernel(parallel=True)
def _roll(rolling, given, kept, new, threads):
    for thread in prange(threads):
        lo, hi = begin(given.size, thread, threads), begin(given.size, thread + 1, threads)
        _roll_range(rolling, given, kept, new, lo, hi)


@kernel()
def _roll_range(rolling, given, kept, new, lo, hi):
    for i in range(lo, hi):
        rolling[i] = kept * rolling[i] + new * given[i]


def sum_of_squares(x: Array) -> Scalar:
    """As numpy's, but without a product of its BLAS: its threads would keep a core busy for a while
    that the next kernel waits for."""
    sums = np.zeros(-(-x.size // PART))
    spread(_squares, _squares_range, sums.size, x.size, x, sums)
    return float(sums.sum())


@kernel(parallel=True)
def _squares(x, sums, threads):
    for thread in prange(threads):
        lo, hi = begin(sums.size, thread, threads), begin(sums.size, thread + 1, threads)
        _squares_range(x, sums, lo, hi)


@kernel(fastmath=frozenset({"nsz", "reassoc"}))  # in parts that are always the same
def _squares_range(x, sums, lo, hi):
    for part in range(lo, hi):
        total = 0.0
        for i in range(part * PART, min(x.size, (part + 1) * PART)):
            wide = np.float64(x[i])
            total += wide * wide
        sums[part] = total
