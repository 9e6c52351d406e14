"""The activations in RNN_ACTIVATIONS and their slopes, for rows that follow a matrix product."""

from __future__ import annotations

from minidark.backend import RNN_ACTIVATIONS, Array
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.scalar import copy, f, logistic, tanh
from minidark.backend.compiled.threads import share, spread
from minidark.backend.memory import empty


def activate(v: Array, biases: Array, activation: str) -> None:
    """Overwrite v (..., O) with act(v + biases)."""
    rows = v.reshape(-1, len(biases))
    spread(_activate, len(rows), rows.size, rows, biases, RNN_ACTIVATIONS[activation])


@kernel()
def _activate(rows, biases, activation, shares):
    share(_activate_rows, (rows, biases, activation), shares)


@kernel()
def _activate_rows(rows, biases, activation, lo, hi):
    for n in range(lo, hi):
        row = rows[n]
        for j in range(row.size):
            row[j] += biases[j]
        squash(row, activation)


def slope(y: Array, dy: Array, activation: str) -> Array:
    """dy times the activation's slope at the outputs y, both (..., O)."""
    result = empty(y.shape)
    rows = [array.reshape(-1, y.shape[-1]) for array in (y, dy, result)]
    spread(_slope, len(rows[0]), y.size, *rows, RNN_ACTIVATIONS[activation])
    return result


@kernel()
def _slope(y, dy, result, activation, shares):
    share(_slope_rows, (y, dy, result, activation), shares)


@kernel()
def _slope_rows(y, dy, result, activation, lo, hi):
    for n in range(lo, hi):
        copy(result[n], y[n])
        times_slope(result[n], dy[n], activation)


@kernel()
def squash(x, activation):
    """Overwrite x (H,) with the activation of that number in RNN_ACTIVATIONS."""
    if activation == 1:
        for j in range(x.size):
            x[j] = logistic(x[j])
    elif activation == 2:
        for j in range(x.size):
            x[j] = tanh(x[j] * f(0.5))
    elif activation == 3:
        for j in range(x.size):
            x[j] = tanh(x[j])
    elif activation == 4:
        for j in range(x.size):
            x[j] = x[j] if x[j] > f(0) else x[j] * f(0)
    elif activation == 5:
        for j in range(x.size):
            x[j] = x[j] if x[j] > f(0) else x[j] * f(0.1)


@kernel()
def times_slope(y, dy, activation):
    """Overwrite y with dy times the activation's slope at output y."""
    if activation == 0:
        copy(y, dy)
    elif activation == 1:
        for j in range(y.size):
            y[j] = dy[j] * y[j] * (f(1) - y[j])
    elif activation == 2:
        for j in range(y.size):
            y[j] = dy[j] * f(0.5) * (f(1) - y[j] * y[j])
    elif activation == 3:
        for j in range(y.size):
            y[j] = dy[j] * (f(1) - y[j] * y[j])
    elif activation == 4:
        for j in range(y.size):
            y[j] = dy[j] if y[j] > f(0) else dy[j] * f(0)
    elif activation == 5:
        for j in range(y.size):
            y[j] = dy[j] if y[j] > f(0) else dy[j] * f(0.1)
