"""An attention over a whole pass, forward and backward, and one step of it.

It computes the same as `layers/attention.py` does with products of all streams. Each thread takes
some streams and heads. The operands of one head are packed into panels, which the products read
from the cache. Masked scores are not read, and their weights are zero.
"""

from __future__ import annotations

import numpy as np

from minidark.backend import Array
from minidark.backend.compiled.half import UNIT, across_rows
from minidark.backend.compiled.kernel import PANEL, kernel
from minidark.backend.compiled.products import MULTIPLIES
from minidark.backend.compiled.rows import largest, total
from minidark.backend.compiled.scalar import copy, exp, f
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import add_strided
from minidark.backend.memory import empty

LINE = 16  # floats in a cache line


def attend(
    queries: Array, keys: Array, values: Array, low: Array, last: Array, heads: int, scale: float,
    context: Array, half: bool = False,
) -> Array:  # fmt: skip
    """The weights (S, heads, T, K) of queries (T, S, heads D) over keys (K, S, heads D). Step t of
    stream s sees keys low[t, s] to last[t, s], both (T, S). Writes context (T, S, heads E), the
    means of values (K, S, heads E)."""
    steps, streams, wide = queries.shape
    weights = empty((streams, heads, steps, len(keys)))
    work = steps * len(keys) * streams * (wide + values.shape[2]) // MULTIPLIES
    whole = (np.ascontiguousarray(a) for a in (queries, keys, values))
    bounds = (np.ascontiguousarray(a, np.int64) for a in (low, last))
    spread(_attend, streams * heads, work, *whole, *bounds, heads, np.float32(scale), context,
           weights, half)  # fmt: skip
    return weights


@kernel()
def _attend(queries, keys, values, low, last, heads, scale, context, weights, half, shares):
    arguments = (queries, keys, values, low, last, heads, scale, context, weights, half)
    share(_attend_heads, arguments, shares)


@kernel()
def _attend_heads(queries, keys, values, low, last, heads, scale, context, weights, half, lo, hi):
    steps, rows = len(queries), len(keys)
    width, deep = queries.shape[2] // heads, values.shape[2] // heads
    key_panels = _panels(rows, width)
    value_panels = _panels(deep, rows)
    for n in range(lo, hi):
        s, head = n // heads, n % heads
        w = weights[s, head]
        for t in range(steps):
            _zero(w[t])
        _pack_turned(keys, s, head * width, width, key_panels)
        q, q_row = _place(queries, s, head, width)
        _add(w.ctypes.data, rows, rows, q, q_row, key_panels, width, steps, half)
        for t in range(steps):
            _softmax(w[t], low[t, s], last[t, s] + 1, scale)
        for t in range(steps):
            _zero(context[t, s, head * deep : (head + 1) * deep])
        _pack(values, s, head * deep, deep, value_panels)
        c, c_row = _place(context, s, head, deep)
        _add(c, c_row, deep, w.ctypes.data, rows, value_panels, rows, steps, half)


@kernel()
def _panels(columns, depth):
    return np.zeros(((columns + PANEL - 1) // PANEL, depth, PANEL), np.float32)


@kernel()
def _pack(array, s, begin, width, packed):
    """Pack columns of one stream's rows (K, N) into panels (panels, K, PANEL). In array
    (K, S, ...), they begin at `begin`. Lines keep what was in them behind the last column."""
    for p in range(len(packed)):
        at, size = begin + p * PANEL, min(PANEL, width - p * PANEL)
        for k in range(len(array)):
            copy(packed[p, k, :size], array[k, s, at : at + size])


@kernel()
def _pack_turned(array, s, begin, width, packed):
    """Like `_pack`, of the transposed matrix: rows become columns."""
    for p in range(len(packed)):
        panel, first = packed[p], p * PANEL
        rows = min(PANEL, len(array) - first)
        for k_begin in range(0, width, LINE):  # in blocks, so that lines stay in the cache
            k_end = min(k_begin + LINE, width)
            for n in range(rows):
                row = array[first + n, s]
                for k in range(k_begin, k_end):
                    panel[k, n] = row[begin + k]


@kernel(inline="always")
def _place(array, s, head, width):
    """Its address and row stride in floats; the array (T, S, heads width) is contiguous."""
    return array.ctypes.data + 4 * (s * array.shape[2] + head * width), array[0].size


@kernel()
def _add(c, c_row, columns, a, a_row, panels, depth, rows, half):
    """c (rows, columns) += a (rows, depth) times the panels. c and a are addresses. half: round the
    panels in place, and a."""
    if half:
        for p in range(len(panels)):
            across_rows(panels[p], panels[p].view(UNIT), 0, (depth + 1) // 2)
    b = panels.ctypes.data
    add_strided(c, c_row, columns, a, a_row, b, depth * PANEL, depth, rows, half)


@kernel()
def _zero(row):
    for j in range(row.size):
        row[j] = 0


@kernel()
def _softmax(row, begin, end, scale):
    """The softmax of scale times row[begin:end]; the rest becomes zero."""
    _zero(row[:begin])
    _zero(row[end:])
    part = row[begin:end]
    most = largest(part)
    for j in range(part.size):
        part[j] = exp((part[j] - most) * scale)
    factor = f(1) / total(part)
    for j in range(part.size):
        part[j] *= factor


def attend_backward(
    weights: Array, queries: Array, keys: Array, values: Array, dcontext: Array, scale: float,
    dqueries: Array, dkeys: Array, dvalues: Array, half: bool = False,
) -> None:  # fmt: skip
    """Back through `attend`. Adds to dqueries, dkeys and dvalues, which are contiguous."""
    streams, heads, steps, rows = weights.shape
    work = 2 * steps * rows * streams * (queries.shape[2] + values.shape[2]) // MULTIPLIES
    whole = (np.ascontiguousarray(a) for a in (queries, keys, values, dcontext))
    spread(_backward, streams * heads, work, weights, *whole, np.float32(scale), dqueries, dkeys,
           dvalues, half)  # fmt: skip


@kernel()
def _backward(
    weights, queries, keys, values, dcontext, scale, dqueries, dkeys, dvalues, half, shares
):
    arguments = (weights, queries, keys, values, dcontext, scale, dqueries, dkeys, dvalues, half)
    share(_backward_heads, arguments, shares)


@kernel()
def _backward_heads(
    weights, queries, keys, values, dcontext, scale, dqueries, dkeys, dvalues, half, lo, hi
):
    heads, steps, rows = weights.shape[1], len(queries), len(keys)
    width, deep = queries.shape[2] // heads, values.shape[2] // heads
    dscores = np.empty((steps, rows), np.float32)
    turned = np.empty((rows, steps), np.float32)
    value_panels, key_panels = _panels(rows, deep), _panels(width, rows)
    query_panels, dcontext_panels = _panels(width, steps), _panels(deep, steps)
    for n in range(lo, hi):
        s, head = n // heads, n % heads
        w = weights[s, head]
        for t in range(steps):
            _zero(dscores[t])
        _pack_turned(values, s, head * deep, deep, value_panels)
        a, a_row = _place(dcontext, s, head, deep)
        _add(dscores.ctypes.data, rows, rows, a, a_row, value_panels, deep, steps, half)
        for t in range(steps):
            _softmax_backward(dscores[t], w[t], scale)
        _pack(keys, s, head * width, width, key_panels)
        c, c_row = _place(dqueries, s, head, width)
        _add(c, c_row, width, dscores.ctypes.data, rows, key_panels, rows, steps, half)
        _turn(dscores, turned)
        _pack(queries, s, head * width, width, query_panels)
        c, c_row = _place(dkeys, s, head, width)
        _add(c, c_row, width, turned.ctypes.data, steps, query_panels, steps, rows, half)
        _turn(w, turned)
        _pack(dcontext, s, head * deep, deep, dcontext_panels)
        c, c_row = _place(dvalues, s, head, deep)
        _add(c, c_row, deep, turned.ctypes.data, steps, dcontext_panels, steps, rows, half)


@kernel()
def _softmax_backward(dscores, weights, scale):
    """Writes dscores, the gradient of the weights, with that of the scores before the scale."""
    for j in range(weights.size):
        dscores[j] *= weights[j]
    along = total(dscores)
    for j in range(weights.size):
        dscores[j] = (dscores[j] - along * weights[j]) * scale


@kernel()
def _turn(matrix, turned):
    for t in range(len(matrix)):
        for j in range(matrix.shape[1]):
            turned[j, t] = matrix[t, j]


# --- one step -----------------------------------------------------------------------------


def attend_step(
    queries: Array, keys: Array, values: Array, used: Array, heads: int, scale: float
) -> Array:
    """The context (S, heads E) of queries (S, heads D) over keys (S, C, heads D) and values
    (S, C, heads E), of which stream s sees the first used[s]. A stream's context does not depend on
    the others."""
    context = empty((len(queries), values.shape[2]))
    work = int(used.sum()) * (queries.shape[1] + values.shape[2])
    spread(_step, len(queries), work // 4, np.ascontiguousarray(queries), keys, values,
           np.ascontiguousarray(used, np.int64), heads, np.float32(scale), context)  # fmt: skip
    return context


@kernel()
def _step(queries, keys, values, used, heads, scale, context, shares):
    share(_step_streams, (queries, keys, values, used, heads, scale, context), shares)


@kernel()
def _step_streams(queries, keys, values, used, heads, scale, context, lo, hi):
    width, deep = queries.shape[1] // heads, values.shape[2] // heads
    scores = np.empty(keys.shape[1], np.float32)
    for s in range(lo, hi):
        _zero(context[s])
        for head in range(heads):
            query = queries[s, head * width : (head + 1) * width]
            for j in range(used[s]):
                scores[j] = _dot(query, keys[s, j, head * width : (head + 1) * width])
            _softmax(scores, 0, used[s], scale)
            mean = context[s, head * deep : (head + 1) * deep]
            for j in range(used[s]):
                weight, value = scores[j], values[s, j, head * deep : (head + 1) * deep]
                for i in range(deep):
                    mean[i] += weight * value[i]


@kernel()
def _dot(x, y):
    """In eight independent parts, as `rows.total`."""
    a, b, c, d, e, g, h, i = f(0), f(0), f(0), f(0), f(0), f(0), f(0), f(0)
    eights = x.size // 8 * 8
    for j in range(0, eights, 8):
        a += x[j] * y[j]
        b += x[j + 1] * y[j + 1]
        c += x[j + 2] * y[j + 2]
        d += x[j + 3] * y[j + 3]
        e += x[j + 4] * y[j + 4]
        g += x[j + 5] * y[j + 5]
        h += x[j + 6] * y[j + 6]
        i += x[j + 7] * y[j + 7]
    for j in range(eights, x.size):
        a += x[j] * y[j]
    return ((a + b) + (c + d)) + ((e + g) + (h + i))
