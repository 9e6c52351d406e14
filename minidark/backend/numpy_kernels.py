"""The kernels in numpy: the readable reference implementation.

Arrays in, arrays out; a kernel overwrites the arguments listed after "Writes". S streams, N rows,
I inputs, O outputs, H hidden units. Gates are packed along the last axis: a GRU's as z | r | c,
an LSTM's as i | f | o | g. Kernels keep no state between calls.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from minidark.backend.threads import blas_watch

if TYPE_CHECKING:
    from minidark.backend import Array, Scalar

LEAST = 1e-4  # smaller probabilities are never drawn
THREADED = 1 << 18  # multiply-adds from which a BLAS uses several threads for a product
STREAMED = 1 << 15  # elements that the optimizers process at once, so that scratch stays in cache


# --- products, by darknet's names: n not transposed, t transposed -------------------------


def gemm_nt(a: Array, b: Array) -> Array:
    """(N, I) times (O, I) transposed: the output of a layer for N rows."""
    return _product(a, b.T)


def gemm_nn(a: Array, b: Array) -> Array:
    """(N, O) times (O, I): the gradient of the input rows from the output's."""
    return _product(a, b)


def gemm_tn(a: Array, b: Array, c: Array) -> None:
    """(N, O) transposed times (N, I): the gradient of the weights. Adds to c (O, I)."""
    c += _product(a.T, b)


def _product(a: Array, b: Array) -> Array:
    """a @ b, timed by the BLAS watch if BLAS may use several threads. The calling thread never
    sleeps, so its processor time shows whether the processors are free."""
    if a.size * b.shape[-1] < THREADED:
        return a @ b
    watch = blas_watch()
    began = watch.begin(time.thread_time)
    result: Array = a @ b
    watch.end(began, time.thread_time, 1)
    return result


# --- rows ---------------------------------------------------------------------------------


def gather(weights: Array, ids: Array) -> Array:
    """One-hot rows times weights.T, without the one-hot rows: (O, I), ids (...) -> (..., O)."""
    if ids.size < weights.shape[1]:
        return np.moveaxis(weights[:, ids], 0, -1)
    return np.ascontiguousarray(weights.T)[ids]


def scatter_add(gradient: Array, ids: Array, dy: Array) -> None:
    """The gradient of `gather`. Writes gradient (O, I): column i gains the rows with id i."""
    ids, dy = ids.reshape(-1), dy.reshape(ids.size, -1)
    order = np.argsort(ids, kind="stable")
    symbols, starts = np.unique(ids[order], return_index=True)
    gradient[:, symbols] += np.add.reduceat(dy[order], starts, axis=0).T


def column_sums(rows: Array) -> Array:
    """The sum of rows (N, O) over N: the gradient of biases added to each row."""
    sums: Array = rows.sum(axis=0)
    return sums


# --- elementwise --------------------------------------------------------------------------


def logistic(x: Array) -> None:
    """1 / (1 + exp(-x)), written as tanh so that nothing overflows. Writes x."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def _squash(x: Array, tanh: bool) -> None:
    if tanh:
        np.tanh(x, out=x)
    else:
        logistic(x)


def _squash_slope(y: Array, tanh: bool) -> Array:
    """The derivative of `_squash`, from its output."""
    return 1 - y * y if tanh else y * (1 - y)


# --- gru ----------------------------------------------------------------------------------


def gru_gates(gates: Array, recurrent: Array, state: Array, reset_state: Array) -> None:
    """z = logistic(uz x + wz h), r = logistic(ur x + wr h), and r * h.

    gates (S, 3H) holds the products with the input, recurrent (S, 2H) the products with the
    state. Writes gates[:, :2H] (z | r) and reset_state (S, H).
    """
    two = recurrent.shape[-1]
    zr = gates[:, :two]
    zr += recurrent
    logistic(zr)
    np.multiply(zr[:, two // 2 :], state, out=reset_state)


def gru_state(gates: Array, recurrent: Array, state: Array, new: Array, tanh: bool) -> None:
    """c = act(uh x + wh (r * h)), h' = z * h + (1 - z) * c.

    recurrent (S, H) is wh (r * h). Writes gates[:, 2H:] (c) and new (S, H), the new state.
    """
    hidden = state.shape[-1]
    z, c = gates[:, :hidden], gates[:, 2 * hidden :]
    c += recurrent
    _squash(c, tanh)
    np.subtract(state, c, out=new)
    new *= z
    new += c


def gru_state_backward(gates: Array, state: Array, dy: Array, dh: Array, tanh: bool) -> None:
    """Back through `gru_state`. dh (S, H) is the new state's gradient from later steps, dy its
    gradient from the output. Writes the z and c parts of gates with their gradients before
    squashing, and dh with the old state's gradient through z * h.
    """
    hidden = state.shape[-1]
    z, c = gates[:, :hidden], gates[:, 2 * hidden :]
    dh += dy
    keep = 1 - z
    dz = state - c  # dz = dh (h - c) z (1 - z)
    dz *= dh
    dz *= keep
    keep *= dh  # dc = dh (1 - z) act'
    dh *= z
    np.multiply(dz, z, out=z)
    np.multiply(keep, _squash_slope(c, tanh), out=c)


def gru_gates_backward(gates: Array, state: Array, dreset_state: Array, dh: Array) -> None:
    """Back through `gru_gates`, after `gru_state_backward`. Writes the r part of gates with its
    gradient before squashing, and adds the gradient through r * h to dh.
    """
    hidden = state.shape[-1]
    r = gates[:, hidden : 2 * hidden]
    through = dreset_state * r
    dh += through
    through *= state  # dr = (dreset h) r (1 - r)
    np.subtract(1, r, out=r)
    r *= through


def gru_reset_after(
    gates: Array, recurrent: Array, biases: Array, state: Array, inner: Array, new: Array,
    tanh: bool,
) -> None:  # fmt: skip
    """A step with the reset after the product. z and r are as in `gru_gates`;
    c = act(uh x + r * (wh h + b)), h' = z * h + (1 - z) * c.

    recurrent (S, 3H) is w h, biases (H,) is b. Writes gates (z | r | c), inner (wh h + b) and new.
    """
    two = 2 * state.shape[-1]
    zr = gates[:, :two]
    zr += recurrent[:, :two]
    logistic(zr)
    np.add(recurrent[:, two:], biases, out=inner)
    gru_state(gates, zr[:, two // 2 :] * inner, state, new, tanh)


def gru_reset_after_backward(
    gates: Array, state: Array, inner: Array, dy: Array, dh: Array, tanh: bool
) -> None:
    """Back through `gru_reset_after`. Writes gates (r included) and dh as `gru_state_backward`
    does, and inner with its gradient."""
    hidden = state.shape[-1]
    gru_state_backward(gates, state, dy, dh, tanh)
    r, dc = gates[:, hidden : 2 * hidden], gates[:, 2 * hidden :]
    dr = dc * inner  # dr = dc inner r (1 - r)
    dr *= r
    np.multiply(dc, r, out=inner)
    np.subtract(1, r, out=r)
    r *= dr


# --- lstm ---------------------------------------------------------------------------------


def lstm_state(
    gates: Array, recurrent: Array, cell: Array, new_cell: Array, squashed: Array, new: Array
) -> None:
    """i, f, o = logistic(...), g = tanh(...), c' = f * c + i * g, h' = o * tanh(c').

    Writes gates (S, 4H: i | f | o | g), new_cell, squashed (tanh(c')) and new, each (S, H).
    """
    hidden = cell.shape[-1]
    gates += recurrent
    logistic(gates[:, : 3 * hidden])
    i, f, o, g = _quarters(gates)
    np.tanh(g, out=g)
    np.multiply(f, cell, out=new_cell)
    new_cell += i * g
    np.tanh(new_cell, out=squashed)
    np.multiply(o, squashed, out=new)


def lstm_state_backward(
    gates: Array, cell: Array, squashed: Array, dy: Array, dh: Array, dcell: Array
) -> None:
    """Back through `lstm_state`. dh (S, H) is the new state's gradient from later steps, dy its
    gradient from the output. Writes gates with their gradients before squashing, and dcell: the
    new cell's gradient becomes the old cell's.
    """
    i, f, o, g = _quarters(gates)
    dnew = dh + dy
    dcell += dnew * o * (1 - squashed * squashed)
    o *= dnew * squashed * (1 - o)
    di = dcell * g * i * (1 - i)
    g *= -g
    g += 1
    g *= dcell * i
    i[...] = di
    through = dcell * f
    f *= dcell * cell * (1 - f)
    dcell[...] = through


def _quarters(packed: Array) -> tuple[Array, Array, Array, Array]:
    hidden = packed.shape[-1] // 4
    a, b, c, d = (packed[:, k * hidden : (k + 1) * hidden] for k in range(4))
    return a, b, c, d


# --- batch norm ---------------------------------------------------------------------------


def batch_statistics(v: Array) -> tuple[Array, Array]:
    """Mean and variance (divided by rows - 1) over the rows, axis -2, which stays with length 1."""
    mean = v.mean(axis=-2, keepdims=True)
    centred = v - mean
    variance = np.square(centred, out=centred).sum(axis=-2, keepdims=True) / (v.shape[-2] - 1)
    return mean, variance


def normalize_backward(
    dnormalized: Array, normalized: Array, deviation: Array, epsilon: float
) -> Array:
    """Back through (v - mean) / (deviation + epsilon) with the batch's mean and deviation. It is
    the exact derivative, including the division by rows - 1 and the epsilon.
    """
    rows = normalized.shape[-2]
    dv: Array = dnormalized - dnormalized.mean(axis=-2, keepdims=True)
    dv /= deviation + epsilon
    along = (dnormalized * normalized).sum(axis=-2, keepdims=True)
    # A feature that is constant over the rows has deviation 0 and normalized 0, so no such term.
    along /= np.where(deviation > 0, (rows - 1) * deviation, 1)
    dv -= normalized * along
    return dv


def roll(rolling: Array, batch: Array, kept: float) -> None:
    """Moving average: rolling = kept rolling + (1 - kept) batch for each step of batch (T, 1, F)
    or (1, F). Writes rolling (F,)."""
    for step in batch.reshape(-1, rolling.size):
        rolling *= kept
        rolling += (1 - kept) * step


# --- softmax ------------------------------------------------------------------------------


def softmax(x: Array, temperature: float) -> Array:
    """exp(x / temperature) over its sum along the last axis."""
    y: Array = x / temperature
    y -= y.max(axis=-1, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def cross_entropy(
    p: Array, truth: Array, weight: float = 1.0, rest: float = 0.0
) -> tuple[Scalar, Array]:
    """Minus the truth's log probability in nats, summed over rows, and p - weight truth - rest.

    p (..., O); truth (...) ids, or (..., O). A probability that underflows to zero counts as the
    smallest positive number, so that one confident mistake does not make the cost infinite.
    """
    tiny = np.finfo(p.dtype).tiny
    difference: Array = p - rest
    if truth.dtype.kind == "f":
        cost = -float(np.sum(truth * np.log(np.maximum(p, tiny)), dtype=np.float64))
        difference -= weight * truth
    else:
        rows = np.arange(truth.size)
        ids = truth.reshape(-1)
        hit = p.reshape(truth.size, -1)[rows, ids]
        cost = -float(np.log(np.maximum(hit, tiny)).sum(dtype=np.float64))
        difference.reshape(truth.size, -1)[rows, ids] -= weight
    return cost, difference


def total(x: Array) -> Scalar:
    """The sum of all numbers, in float64."""
    return float(x.sum(dtype=np.float64))


# --- sampling -----------------------------------------------------------------------------


def draw(p: Array, starts: Array, ids: Array) -> None:
    """Draw one symbol for each row of p (S, O), as darknet's sample_array does.

    starts (S,) in float32: rand() / RAND_MAX of each stream. Writes ids (S,): -1 for a row with
    NaN or infinity, the last symbol for a row where no probability reaches LEAST.
    It adds in float32 and in sequence, like darknet's loop, so that the draws are identical.

    Source: darknet src/utils.c (sample_array), examples/rnn.c (test_char_rnn).
    """
    last = p.shape[1] - 1
    p = np.where(p.astype(np.float64) < LEAST, 0, p).astype(np.float32)
    totals = np.add.accumulate(p, axis=1)[:, -1:]
    finite = np.isfinite(totals)[:, 0]
    p[~finite] = 0
    p *= (1 / np.where(totals > 0, totals, 1).astype(np.float64)).astype(np.float32)
    left = np.subtract.accumulate(np.concatenate([starts[:, None], p], axis=1), axis=1)[:, 1:]
    reached = left <= 0
    drawn = np.where(reached.any(axis=1), reached.argmax(axis=1), last)
    drawn[~p.any(axis=1)] = last
    ids[...] = np.where(finite, drawn, -1)


# --- optimizers ---------------------------------------------------------------------------


def sgd_step(
    value: Array, grad: Array, velocity: Array, rate: float, momentum: float, decay: float
) -> None:
    """v -= g + decay w; w += rate v; v *= momentum. Writes value and velocity, both (n,), and
    resets grad to zero."""
    for part in _parts(value.size):
        v, w = velocity[part], value[part]
        v -= grad[part]
        if decay:
            v -= decay * w
        w += rate * v
        v *= momentum
    grad[:] = 0


def adam_step(
    value: Array, grad: Array, m: Array, v: Array, *, rate: float, B1: float, B2: float,
    eps: float, decay: float, t: int,
) -> None:  # fmt: skip
    """Adam's step number t (from 1) with d = -g - decay w. Writes value, m and v, all (n,), and
    resets grad to zero."""
    unbias1, unbias2 = 1 / (1 - B1**t), 1 / (1 - B2**t)
    for part in _parts(value.size):
        m_, v_, w = m[part], v[part], value[part]
        d = -grad[part]
        if decay:
            d -= decay * w
        m_ *= B1
        m_ += (1 - B1) * d
        v_ *= B2
        np.square(d, out=d)
        d *= 1 - B2
        v_ += d
        np.multiply(v_, unbias2, out=d)
        np.sqrt(d, out=d)
        d += eps
        np.divide(m_, d, out=d)
        d *= rate * unbias1
        w += d
    grad[:] = 0


def shorten(x: Array, norm: Scalar, longest: float) -> None:
    """Gradient clipping: multiply x by longest / norm if norm exceeds longest. Writes x."""
    if norm > longest:
        x *= longest / norm


def sum_of_squares(x: Array) -> Scalar:
    """The sum of the squares of an array (n,), in float64."""
    wide = (x[part].astype(np.float64) for part in _parts(x.size))
    return float(sum(np.dot(part, part) for part in wide))


def _parts(size: int) -> Any:
    return (slice(at, at + STREAMED) for at in range(0, size, STREAMED))
