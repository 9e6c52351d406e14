"""Optimizer steps, moving averages and a gradient's norm, in one pass over each array."""

from __future__ import annotations

import numpy as np

from minidark.backend import Array, Scalar, numpy_kernels
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.scalar import f
from minidark.backend.compiled.threads import share, spread

PART = 1 << 15  # numbers that one thread sums, so that a sum does not depend on the thread count


def adam_step(
    value: Array, grad: Array, m: Array, v: Array, *, rate: float, B1: float, B2: float,
    eps: float, decay: float, t: int,
) -> None:  # fmt: skip
    rate1, unbias2 = rate / (1 - B1**t), 1 / (1 - B2**t)
    factors = np.array([rate1, B1, 1 - B1, B2, 1 - B2, unbias2, eps, decay], np.float32)
    spread(_adam, value.size, value.size, value, grad, m, v, factors)


@kernel()
def _adam(value, grad, m, v, factors, shares):
    share(_adam_range, (value, grad, m, v, factors), shares)


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
    spread(_sgd, value.size, value.size, value, grad, velocity, factors)


@kernel()
def _sgd(value, grad, velocity, factors, shares):
    share(_sgd_range, (value, grad, velocity, factors), shares)


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
    spread(_roll, rolling.size, rolling.size, rolling, batch.reshape(-1),
           np.float32(kept), np.float32(1 - kept))  # fmt: skip


@kernel()
def _roll(rolling, batch, old_share, new_share, shares):
    share(_roll_range, (rolling, batch, old_share, new_share), shares)


@kernel()
def _roll_range(rolling, batch, old_share, new_share, lo, hi):
    for i in range(lo, hi):
        rolling[i] = old_share * rolling[i] + new_share * batch[i]


def sum_of_squares(x: Array) -> Scalar:
    """Like numpy's, but without a BLAS product, whose threads would keep spinning and slow down
    the next kernel."""
    sums = np.zeros(-(-x.size // PART))
    spread(_squares, sums.size, x.size, x, sums)
    return float(sums.sum())


@kernel()
def _squares(x, sums, shares):
    share(_squares_range, (x, sums), shares)


@kernel(fastmath=frozenset({"nsz", "reassoc"}))  # the parts are always the same
def _squares_range(x, sums, lo, hi):
    for part in range(lo, hi):
        total = 0.0
        for i in range(part * PART, min(x.size, (part + 1) * PART)):
            wide = np.float64(x[i])
            total += wide * wide
        sums[part] = total
