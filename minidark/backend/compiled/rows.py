"""What is done with rows one by one: gather and scatter, softmax and its cost, sums of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from minidark.backend import Array, Scalar, numpy_kernels
from minidark.backend.compiled.scalar import exp, f
from minidark.backend.compiled.threads import begin, spread
from minidark.backend.compiled.tile import COMPILED, PARALLEL
from minidark.backend.memory import empty, zeros

LINE = 16  # floats of a cache line, which two threads had better not share
WHOLE: dict[str, Any] = COMPILED | {"fastmath": True}  # where NaN need not be told from a number


def gather(weights: Array, ids: Array) -> Array:
    if ids.size < weights.shape[1]:
        return numpy_kernels.gather(weights, ids)
    rows = empty((ids.size, len(weights)))
    table = np.ascontiguousarray(weights.T)
    spread(_gather, _gather_rows, len(rows), rows.size, table, ids.reshape(-1), rows)
    return rows.reshape(*ids.shape, len(weights))


@njit(**PARALLEL)
def _gather(table, ids, rows, threads):
    for thread in prange(threads):
        lo, hi = begin(ids.size, thread, threads), begin(ids.size, thread + 1, threads)
        _gather_rows(table, ids, rows, lo, hi)


@njit(**COMPILED)
def _gather_rows(table, ids, rows, lo, hi):
    for n in range(lo, hi):
        rows[n] = table[ids[n]]


def scatter_add(gradient: Array, ids: Array, dy: Array) -> None:
    dy = dy.reshape(ids.size, -1)
    sums = zeros(gradient.shape[::-1])
    spread(_scatter_add, _scatter_columns, len(gradient), dy.size, gradient, sums, ids.reshape(-1),
           dy, grain=LINE)  # fmt: skip


@njit(**PARALLEL)
def _scatter_add(gradient, sums, ids, dy, threads):
    for thread in prange(threads):
        size = len(gradient)
        lo, hi = begin(size, thread, threads, LINE), begin(size, thread + 1, threads, LINE)
        _scatter_columns(gradient, sums, ids, dy, lo, hi)


@njit(**COMPILED)
def _scatter_columns(gradient, sums, ids, dy, lo, hi):
    for n in range(ids.size):
        row, given = sums[ids[n], lo:hi], dy[n, lo:hi]
        for j in range(hi - lo):
            row[j] += given[j]
    for o in range(lo, hi):
        for i in range(gradient.shape[1]):
            gradient[o, i] += sums[i, o]


def column_sums(rows: Array) -> Array:
    sums = np.zeros(rows.shape[1], np.float32)
    spread(_column_sums, _add_columns, sums.size, rows.size, rows, sums, grain=LINE)
    return sums


@njit(**PARALLEL)
def _column_sums(rows, sums, threads):
    for thread in prange(threads):
        lo, hi = (
            begin(sums.size, thread, threads, LINE),
            begin(sums.size, thread + 1, threads, LINE),
        )
        _add_columns(rows, sums, lo, hi)


@njit(**COMPILED)
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
    spread(_softmax, _softmax_rows, len(rows), 4 * rows.size, rows, p, np.float32(1 / temperature))
    return p.reshape(x.shape)


@njit(**PARALLEL)
def _softmax(x, p, factor, threads):
    for thread in prange(threads):
        lo, hi = begin(len(x), thread, threads), begin(len(x), thread + 1, threads)
        _softmax_rows(x, p, factor, lo, hi)


@njit(**COMPILED)
def _softmax_rows(x, p, factor, lo, hi):
    for n in range(lo, hi):
        given, row = x[n], p[n]
        largest, total = _largest(given), f(0)
        for j in range(row.size):
            row[j] = exp((given[j] - largest) * factor)
            total += row[j]
        scale = f(1) / total
        for j in range(row.size):
            row[j] *= scale


@njit(**WHOLE)
def _largest(x):
    largest = x[0]
    for j in range(x.size):
        largest = max(largest, x[j])
    return largest


def cross_entropy(p: Array, truth: Array) -> tuple[Scalar, Array]:
    if truth.dtype.kind == "f" or not p.flags.c_contiguous:
        return numpy_kernels.cross_entropy(p, truth)
    rows, ids = p.reshape(truth.size, -1), truth.reshape(-1)
    difference = empty(rows.shape)
    hits = np.empty(ids.size, np.float32)
    spread(_difference, _difference_rows, len(rows), rows.size, rows, ids, difference, hits)
    logs = np.log(np.maximum(hits, np.finfo(np.float32).tiny))
    return -float(logs.sum(dtype=np.float64)), difference.reshape(p.shape)


@njit(**PARALLEL)
def _difference(p, ids, difference, hits, threads):
    for thread in prange(threads):
        lo, hi = begin(len(p), thread, threads), begin(len(p), thread + 1, threads)
        _difference_rows(p, ids, difference, hits, lo, hi)


@njit(**COMPILED)
def _difference_rows(p, ids, difference, hits, lo, hi):
    for n in range(lo, hi):
        difference[n] = p[n]
        difference[n, ids[n]] -= f(1)
        hits[n] = p[n, ids[n]]
