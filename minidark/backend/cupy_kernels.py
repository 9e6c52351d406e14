"""The kernels on a GPU: CUDA C for fused operations (kernels.cu), cupy for the products.

Names, arguments and results match `numpy_kernels`, and `compiled` for cells over whole sequences.
Only scalars differ: a sum is a 0-d array, which may still be computing. Arrays for kernels.cu
must be contiguous, because it takes no strides.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import cupy
import numpy as np

from minidark.backend import RNN_ACTIVATIONS, Array, Scalar
from minidark.backend.numpy_kernels import LEAST

SOURCE = resources.files(__package__).joinpath("kernels.cu")
OPTIONS = ("--fmad=false",)
C_TYPES = {"float32": "float", "float64": "double"}
THREADS = 256  # per block
LANES, COLUMNS, ROWS, STREAMS = 32, 32, 8, 4  # as in kernels.cu
UNITS = {"float32": 1024, "float64": 512}  # maximum units of a cell, and threads of its block
WIDEST = 512  # largest cell that an H200 runs faster as a whole sequence than by steps
DEPTH = 16  # fewest multiply-adds per thread and product, where the product has that many


def options(dtype: str) -> tuple[str, ...]:
    """The compiler options of kernels.cu for this dtype."""
    return (*OPTIONS, f"-Dreal={C_TYPES[dtype]}")


@functools.cache
def _module(dtype: str) -> Any:
    return cupy.RawModule(code=SOURCE.read_text(), options=options(dtype))


@functools.cache
def _kernel(name: str, dtype: Any) -> Any:
    return _module(dtype.name).get_function(name)


@functools.cache
def _processors() -> int:
    """A lower bound on the blocks that the GPU runs at the same time."""
    return int(cupy.cuda.Device().attributes["MultiProcessorCount"])


def _launch(
    name: str, dtype: Any, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any
) -> None:
    _kernel(name, dtype)(grid, block, tuple(_argument(argument, dtype) for argument in arguments))


def _argument(value: Any, dtype: Any) -> Any:
    """Convert a number to its type in kernels.cu: cupy would pass a Python float as a double."""
    if isinstance(value, cupy.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("a kernel reads memory in order; this array has strides")
        return value
    return np.int64(value) if isinstance(value, int) else dtype.type(value)


def _for_each(name: str, threads: int, dtype: Any, *arguments: Any) -> None:
    _launch(name, dtype, (-(-threads // THREADS),), (THREADS,), *arguments)


def _for_each_row(name: str, rows: int, dtype: Any, *arguments: Any) -> None:
    _for_each(name, rows * LANES, dtype, *arguments)


def _for_each_column(name: str, v: Array, *arguments: Any) -> None:
    grid = (-(-v.shape[-1] // COLUMNS), v.size // (v.shape[-2] * v.shape[-1]))
    _launch(name, v.dtype, grid, (COLUMNS, ROWS), *arguments)


def _contiguous(array: Array) -> Array:
    """A read-only argument: the array itself if it is contiguous, else a contiguous copy."""
    return cupy.ascontiguousarray(array)


# --- products -----------------------------------------------------------------------------


def gemm_nt(a: Array, b: Array) -> Array:
    return a @ b.T


def gemm_nn(a: Array, b: Array) -> Array:
    return a @ b


def gemm_tn(a: Array, b: Array, c: Array) -> None:
    c += a.T @ b


# --- rows ---------------------------------------------------------------------------------


def gather(weights: Array, ids: Array) -> Array:
    outputs, inputs = weights.shape
    rows = cupy.empty((*ids.shape, outputs), dtype=weights.dtype)
    _for_each(
        "gather", rows.size, rows.dtype, weights, _contiguous(ids), rows, rows.size, inputs, outputs
    )
    return rows


def scatter_add(gradient: Array, ids: Array, dy: Array) -> None:
    outputs, inputs = gradient.shape
    grid, block = (ids.size, -(-outputs // THREADS)), (THREADS,)
    arguments = (gradient, _contiguous(ids), _contiguous(dy), ids.size, inputs, outputs)
    _launch("scatter_add", dy.dtype, grid, block, *arguments)


def column_sums(rows: Array) -> Array:
    return rows.sum(axis=0)


# --- elementwise --------------------------------------------------------------------------


def logistic(x: Array) -> None:
    _for_each("logistic", x.size, x.dtype, x, x.size)


# --- gru ----------------------------------------------------------------------------------


def gru_gates(gates: Array, recurrent: Array, state: Array, reset_state: Array) -> None:
    _for_each_unit("gru_gates", state, gates, recurrent, state, reset_state)


def gru_state(gates: Array, recurrent: Array, state: Array, new: Array, tanh: bool) -> None:
    _for_each_unit("gru_state", state, gates, recurrent, state, new, tanh=tanh)


def gru_state_backward(gates: Array, state: Array, dy: Array, dh: Array, tanh: bool) -> None:
    _for_each_unit("gru_state_backward", state, gates, state, _contiguous(dy), dh, tanh=tanh)


def gru_gates_backward(gates: Array, state: Array, dreset_state: Array, dh: Array) -> None:
    _for_each_unit("gru_gates_backward", state, gates, state, dreset_state, dh)


def gru_reset_after(
    gates: Array,
    recurrent: Array,
    biases: Array,
    state: Array,
    inner: Array,
    new: Array,
    tanh: bool,
) -> None:
    arrays = (gates, recurrent, biases, state, inner, new)
    _for_each_unit("gru_reset_after", state, *arrays, tanh=tanh)


def gru_reset_after_backward(
    gates: Array, state: Array, inner: Array, dy: Array, dh: Array, tanh: bool
) -> None:
    arrays = (gates, state, inner, _contiguous(dy), dh)
    _for_each_unit("gru_reset_after_backward", state, *arrays, tanh=tanh)


def _for_each_unit(name: str, state: Array, *arrays: Array, **flags: bool) -> None:
    _for_each(
        name,
        state.size,
        state.dtype,
        *arrays,
        state.size,
        state.shape[-1],
        *map(int, flags.values()),
    )


# --- lstm ---------------------------------------------------------------------------------


def lstm_state(
    gates: Array, recurrent: Array, cell: Array, new_cell: Array, squashed: Array, new: Array
) -> None:
    _for_each_unit("lstm_state", cell, gates, recurrent, cell, new_cell, squashed, new)


def lstm_state_backward(
    gates: Array, cell: Array, squashed: Array, dy: Array, dh: Array, dcell: Array
) -> None:
    _for_each_unit("lstm_state_backward", cell, gates, cell, squashed, _contiguous(dy), dh, dcell)


# --- whole sequences ----------------------------------------------------------------------


def gru_sequence(
    gates: Array,
    biases: Array,
    states: Array,
    reset_states: Array,
    wzr: Array,
    wh: Array,
    squash_by_tanh: bool,
) -> None:
    """Like the function of `compiled` with the same name; so are the functions below."""
    arrays = (gates, biases, states, reset_states, _contiguous(wzr.T), _contiguous(wh.T))
    _for_each_stream("gru_sequence", reset_states, *arrays, tanh=squash_by_tanh)


def gru_sequence_backward(
    gates: Array, states: Array, dy: Array, wzr: Array, wh: Array, squash_by_tanh: bool
) -> None:
    arrays = (gates, states, _contiguous(dy), wzr, wh)
    _for_each_stream("gru_sequence_backward", dy, *arrays, tanh=squash_by_tanh)


def gru_reset_after_sequence(
    gates: Array,
    biases: Array,
    states: Array,
    inner: Array,
    w: Array,
    squash_by_tanh: bool,
) -> None:
    arrays = (gates, biases, states, inner, _contiguous(w.T))
    _for_each_stream("gru_reset_after_sequence", inner, *arrays, tanh=squash_by_tanh)


def gru_reset_after_sequence_backward(
    gates: Array, states: Array, inner: Array, dy: Array, w: Array, squash_by_tanh: bool
) -> None:
    arrays = (gates, states, inner, _contiguous(dy), w)
    _for_each_stream("gru_reset_after_sequence_backward", dy, *arrays, tanh=squash_by_tanh)


def lstm_sequence(
    gates: Array, biases: Array, states: Array, cells: Array, squashed: Array, w: Array
) -> None:
    arrays = (gates, biases, states, cells, squashed, _contiguous(w.T))
    _for_each_stream("lstm_sequence", squashed, *arrays)


def lstm_sequence_backward(
    gates: Array, cells: Array, squashed: Array, dy: Array, w: Array
) -> None:
    arrays = (gates, cells, squashed, _contiguous(dy), w)
    _for_each_stream("lstm_sequence_backward", dy, *arrays)


def rnn_sequence(
    from_input: Array,
    biases: Array,
    from_self: Array,
    states: Array,
    w: Array,
    activation: str,
    shortcut: bool,
) -> None:
    arrays = (from_input, biases, from_self, states, _contiguous(w.T))
    flags = {"activation": RNN_ACTIVATIONS[activation], "shortcut": shortcut}
    _for_each_stream("rnn_sequence", from_self, *arrays, **flags)


def elman_sequence(states: Array, w: Array, activation: str) -> None:
    arrays = (states, _contiguous(w.T))
    _for_each_stream("elman_sequence", states[1:], *arrays, activation=RNN_ACTIVATIONS[activation])


def rnn_sequence_backward(
    from_self: Array, dstates: Array, w: Array, activation: str, shortcut: bool
) -> None:
    flags = {"activation": RNN_ACTIVATIONS[activation], "shortcut": shortcut}
    _for_each_stream("rnn_sequence_backward", from_self, from_self, dstates, w, **flags)


def _for_each_stream(name: str, y: Array, *arrays: Array, **flags: int) -> None:
    """Run a kernel over a sequence with outputs shaped like y, (T, S, H). Each block takes as few
    streams as the processors allow, and no thread's part of a product is shallower than DEPTH."""
    dtype, (steps, streams, hidden) = y.dtype, y.shape
    if hidden > UNITS[dtype.name]:
        raise ValueError(f"{name}: {hidden} are more units than threads of a block")
    each = min(STREAMS, -(-streams // _processors()))
    columns = -(-hidden // LANES) * LANES
    threads = min(UNITS[dtype.name], columns * max(1, hidden // DEPTH))
    figures = (steps, streams, hidden, each, *map(int, flags.values()))
    _launch(name, dtype, (-(-streams // each),), (threads,), *arrays, *figures)


# --- batch norm ---------------------------------------------------------------------------


def batch_statistics(v: Array) -> tuple[Array, Array]:
    v = _contiguous(v)
    *steps, rows, features = v.shape
    mean, variance = (cupy.empty((*steps, 1, features), dtype=v.dtype) for _ in range(2))
    _for_each_column("batch_statistics", v, v, mean, variance, rows, features)
    return mean, variance


def normalize_backward(
    dnormalized: Array, normalized: Array, deviation: Array, epsilon: float
) -> Array:
    dnormalized, normalized, deviation = map(_contiguous, (dnormalized, normalized, deviation))
    rows, features = normalized.shape[-2:]
    dv = cupy.empty_like(normalized)
    arguments = (dnormalized, normalized, deviation, dv, rows, features, epsilon)
    _for_each_column("normalize_backward", normalized, *arguments)
    return dv


def roll(rolling: Array, batch: Array, kept: float) -> None:
    steps = batch.size // rolling.size
    batch = _contiguous(batch)
    arguments = (rolling, batch, rolling.size, steps, kept, 1 - kept)
    _for_each("roll", rolling.size, rolling.dtype, *arguments)


# --- softmax ------------------------------------------------------------------------------


def softmax(x: Array, temperature: float) -> Array:
    x, outputs = _contiguous(x), x.shape[-1]
    y = cupy.empty_like(x)
    rows = x.size // outputs
    _for_each_row("softmax", rows, x.dtype, x, y, rows, outputs, temperature)
    return y


def cross_entropy(
    p: Array, truth: Array, weight: float = 1.0, rest: float = 0.0
) -> tuple[Scalar, Array]:
    p, truth, outputs = _contiguous(p), _contiguous(truth), p.shape[-1]
    rows = p.size // outputs
    difference, costs = cupy.empty_like(p), cupy.empty(rows, dtype=p.dtype)
    arrays, factors = (p, truth, costs, difference), (np.finfo(p.dtype).tiny, weight, rest)
    if truth.dtype.kind == "f":
        _for_each_row("cross_entropy_of_rows", rows, p.dtype, *arrays, rows, outputs, *factors)
    else:
        _for_each("cross_entropy_of_ids", p.size, p.dtype, *arrays, p.size, outputs, *factors)
    return costs.sum(), difference


def total(x: Array) -> Scalar:
    return x.sum()


# --- sampling -----------------------------------------------------------------------------


def draw(p: Array, starts: Array, ids: Array) -> None:
    streams, outputs = p.shape
    least = p.dtype.type(LEAST)
    if float(least) < LEAST:  # round up to the next number of p's dtype
        least = np.nextafter(least, p.dtype.type(1))
    _for_each("draw", streams, p.dtype, _contiguous(p), starts, ids, streams, outputs, least)


# --- optimizers ---------------------------------------------------------------------------


def sgd_step(
    value: Array, grad: Array, velocity: Array, rate: float, momentum: float, decay: float
) -> None:
    arrays, figures = (value, grad, velocity), (rate, momentum, decay)
    _for_each("sgd_step", value.size, value.dtype, *arrays, value.size, *map(float, figures))


def adam_step(
    value: Array, grad: Array, m: Array, v: Array, *, rate: float, B1: float, B2: float,
    eps: float, decay: float, t: int,
) -> None:  # fmt: skip
    unbias1, unbias2 = 1 / (1 - B1**t), 1 / (1 - B2**t)
    arrays, figures = (
        (value, grad, m, v),
        (rate * unbias1, B1, 1 - B1, B2, 1 - B2, unbias2, eps, decay),
    )
    _for_each("adam_step", value.size, value.dtype, *arrays, value.size, *map(float, figures))


def sum_of_squares(x: Array) -> Scalar:
    return cupy.dot(x, x)


def shorten(x: Array, norm: Scalar, longest: float) -> None:
    _for_each("shorten", x.size, x.dtype, x, norm, x.size, float(longest))
