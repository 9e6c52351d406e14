"""Operations row by row: gather and scatter, softmax and its cost, column sums."""

from __future__ import annotations

import numpy as np

from minidark.backend import Array, Scalar, numpy_kernels
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.scalar import copy, exp, f
from minidark.backend.compiled.threads import share, spread
from minidark.backend.memory import empty, zeros

LINE = 16  # floats in a cache line; two threads should not write to the same one


def gather(weights: Array, ids: Array) -> Array:
    _check(ids, weights.shape[1])
    if ids.size < weights.shape[1]:
        return np.ascontiguousarray(numpy_kernels.gather(weights, ids))
    rows = empty((ids.size, len(weights)))
    table = empty(weights.shape[::-1])
    spread(_turn, len(table), 4 * table.size, weights, table, grain=LINE)
    spread(_gather, len(rows), rows.size, table, ids.reshape(-1), rows)
    return rows.reshape(*ids.shape, len(weights))


def _check(ids: Array, width: int) -> None:
    """Raise IndexError for invalid ids, with which compiled code would read beyond the array."""
    if ids.size and (ids.min() < 0 or ids.max() >= width):
        raise IndexError(f"an id is not from 0 to {width - 1}")


@kernel()
def _turn(weights, table, shares):
    share(_turn_lines, (weights, table), shares)


@kernel()
def _turn_lines(weights, table, lo, hi):
    """Transpose in squares of cache lines, so that each line is fetched once."""
    for o0 in range(0, len(weights), LINE):
        for i0 in range(lo, hi, LINE):
            for o in range(o0, min(o0 + LINE, len(weights))):
                for i in range(i0, min(i0 + LINE, hi)):
                    table[i, o] = weights[o, i]


@kernel()
def _gather(table, ids, rows, shares):
    share(_gather_rows, (table, ids, rows), shares)


@kernel()
def _gather_rows(table, ids, rows, lo, hi):
    for n in range(lo, hi):
        copy(rows[n], table[ids[n]])


def scatter_add(gradient: Array, ids: Array, dy: Array) -> None:
    _check(ids, gradient.shape[1])
    dy = dy.reshape(ids.size, -1)
    sums = zeros(gradient.shape[::-1])
    spread(_scatter_add, len(gradient), dy.size, gradient, sums, ids.reshape(-1),
           dy, grain=LINE)  # fmt: skip


@kernel()
def _scatter_add(gradient, sums, ids, dy, shares):
    share(_scatter_columns, (gradient, sums, ids, dy), shares)


@kernel()
def _scatter_columns(gradient, sums, ids, dy, lo, hi):
    for n in range(ids.size):
        row, dy_row = sums[ids[n], lo:hi], dy[n, lo:hi]
        for j in range(hi - lo):
            row[j] += dy_row[j]
    inputs = gradient.shape[1]
    for o0 in range(lo, hi, LINE):
        for i0 in range(0, inputs, LINE):
            for o in range(o0, min(o0 + LINE, hi)):
                for i in range(i0, min(i0 + LINE, inputs)):
                    gradient[o, i] += sums[i, o]


def column_sums(rows: Array) -> Array:
    sums = np.zeros(rows.shape[1], np.float32)
    spread(_column_sums, sums.size, rows.size, rows, sums, grain=LINE)
    return sums


@kernel()
def _column_sums(rows, sums, shares):
    share(_add_columns, (rows, sums), shares)


@kernel()
def _add_columns(rows, sums, lo, hi):
    part = sums[lo:hi]
    for n in range(len(rows)):
        row = rows[n, lo:hi]
        for j in range(hi - lo):
            part[j] += row[j]


def softmax(x: Array, temperature: float) -> Array:
    if not x.flags.c_contiguous:
        return numpy_kernels.softmax(x, temperature)
    rows = x.reshape(-1, x.shape[-1])
    p = empty(rows.shape)
    spread(_softmax, len(rows), 4 * rows.size, rows, p, np.float32(1 / temperature))
    return p.reshape(x.shape)


@kernel()
def _softmax(x, p, factor, shares):
    share(_softmax_rows, (x, p, factor), shares)


@kernel()
def _softmax_rows(x, p, factor, lo, hi):
    for n in range(lo, hi):
        x_row, row = x[n], p[n]
        most = largest(x_row)
        for j in range(row.size):
            row[j] = exp((x_row[j] - most) * factor)
        scale = f(1) / total(row)
        for j in range(row.size):
            row[j] *= scale


@kernel()
def total(x):
    """The sum of x, in eight independent parts, so that additions do not wait for one another."""
    a, b, c, d, e, g, h, i = f(0), f(0), f(0), f(0), f(0), f(0), f(0), f(0)
    eights = x.size // 8 * 8
    for j in range(0, eights, 8):
        a += x[j]
        b += x[j + 1]
        c += x[j + 2]
        d += x[j + 3]
        e += x[j + 4]
        g += x[j + 5]
        h += x[j + 6]
        i += x[j + 7]
    for j in range(eights, x.size):
        a += x[j]
    return ((a + b) + (c + d)) + ((e + g) + (h + i))


@kernel(fastmath=True)  # NaN need not be detected here, because it appears in the sum
def largest(x):
    most = x[0]
    for j in range(x.size):
        most = max(most, x[j])
    return most


def cross_entropy(
    p: Array, truth: Array, weight: float = 1.0, rest: float = 0.0
) -> tuple[Scalar, Array]:
    if truth.dtype.kind == "f" or not p.flags.c_contiguous:
        return numpy_kernels.cross_entropy(p, truth, weight, rest)
    _check(truth, p.shape[-1])
    rows, ids = p.reshape(truth.size, -1), truth.reshape(-1)
    difference = empty(rows.shape)
    hits = np.empty(ids.size, np.float32)
    factors = np.float32(weight), np.float32(rest)
    spread(_difference, len(rows), rows.size, rows, ids, difference, hits, *factors)
    logs = np.log(np.maximum(hits, np.finfo(np.float32).tiny))
    return -float(logs.sum(dtype=np.float64)), difference.reshape(p.shape)


@kernel()
def _difference(p, ids, difference, hits, weight, rest, shares):
    share(_difference_rows, (p, ids, difference, hits, weight, rest), shares)


@kernel()
def _difference_rows(p, ids, difference, hits, weight, rest, lo, hi):
    for n in range(lo, hi):
        row, p_row = difference[n], p[n]
        for j in range(row.size):
            row[j] = p_row[j] - rest
        row[ids[n]] -= weight
        hits[n] = p[n, ids[n]]
