"""One inference step of a layer whose parameters do not change, as in sampling.

The weights are packed once, each gate separately. Steps of the same parameters can share them:
`packs` holds what a layer's step has packed, by name.

With few streams, reading the weights limits the speed: the threads divide the hidden units, each
computes its units' gates, and they wait for one another where they need the whole state. With many
streams, the products limit the speed, and the threads divide the streams. A stream's results do not
depend on the number of streams.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from minidark.backend import RNN_ACTIVATIONS, Array
from minidark.backend.compiled.activations import squash
from minidark.backend.compiled.kernel import PANEL, kernel
from minidark.backend.compiled.packs import Input, Packs, once, panels_by_gate
from minidark.backend.compiled.scalar import copy, logistic, tanh
from minidark.backend.compiled.threads import LEAST, share, spread
from minidark.backend.compiled.tile import ROWS, add_product, panels
from minidark.backend.compiled.trial import Trial
from minidark.backend.threads import thread_count

# Multiply-adds per elementary operation in time, when weights come from distant caches.
READ = 4
# Weights of a single stream for which the processor decides whether several threads pay.
DOUBTFUL = range(2 * LEAST * READ, 2 << 20)
MANY = 4 * ROWS  # streams from which the threads divide the streams, not the units


def _share(by_units: Any, by_streams: Any, units: int, macs: int, v: Array, *args: Any) -> None:
    """Run `by_streams` on v (S, K H) if it has many streams, else `by_units`. units: number of
    panels; macs: multiply-adds per stream."""
    if len(v) >= MANY:
        spread(by_streams, len(v), len(v) * macs // READ, v, *args)
    elif len(v) > 1 or macs not in DOUBTFUL:
        spread(by_units, units, len(v) * macs // READ, v, *args)
    else:
        trial = _trials.setdefault((macs, thread_count()), Trial())
        several, began = trial.choice(), time.perf_counter()
        spread(by_units, units, macs // READ if several else 0, v, *args)
        trial.add(several, time.perf_counter() - began)


_trials: dict[tuple[int, int], Trial] = {}  # by multiply-adds, and threads to choose from


@kernel()
def _begin(v, ids, table, x, packs, gates, hidden, s_lo, s_hi, lo, hi):
    """Writes the input's part of panels lo to hi of each gate, for streams s_lo to s_hi."""
    start, width = lo * PANEL, min(hidden, hi * PANEL) - lo * PANEL
    for s in range(s_lo, s_hi):
        for gate in range(gates):
            at = gate * hidden + start
            copy(v[s, at : at + width], table[ids[s], at : at + width])
    if packs.shape[1] > 0:
        _add(v, x, packs, len(packs), hidden, s_lo, s_hi, lo, hi)


@kernel()
def _add(v, x, packs, gates, hidden, s_lo, s_hi, lo, hi):
    """Adds x times panels lo to hi of each of the first `gates` packs."""
    depth, start = x.shape[1], lo * PANEL
    width = min(hidden, hi * PANEL) - start
    for gate in range(gates):
        at, part = gate * hidden + start, packs[gate, lo:hi]
        add_product(v, at, width, x.ctypes.data, depth, part, 0, depth, s_lo, s_hi)


# --- gru ----------------------------------------------------------------------------------


class GruStep:
    """ids (S,) or rows (S, I) to the new state (S, H); updates `state` in place and returns it."""

    def __init__(
        self,
        u: Array,
        biases: Array,
        wzr: Array,
        wh: Array,
        squash_by_tanh: bool,
        state: Array,
        ids: bool,
        packs: Packs | None = None,
        half: bool = False,
    ):
        self.input: Input = once(packs, "u", lambda: Input(u, biases, 3, ids, half))
        self.w: Array = once(packs, "w", lambda: panels_by_gate([*np.split(wzr, 2), wh], half))
        self.squash_by_tanh, self.state = squash_by_tanh, state
        self.reset = np.empty_like(state)
        self.gates = np.empty((len(state), 3 * state.shape[1]), np.float32)

    def __call__(self, x: Array) -> Array:
        parts = self.input.parts(x)
        _share(_gru_by_units, _gru_by_streams, self.w.shape[1],
               self.w.size + parts[3].size, self.gates, *parts, self.w, self.state, self.reset,
               self.squash_by_tanh)  # fmt: skip
        return self.state


@kernel()
def _gru_by_units(gates, ids, table, x, u, w, state, reset, by_tanh, shares):
    streams = len(state)
    share(_gru_gates, (gates, ids, table, x, u, w, state, reset, 0, streams), shares)
    share(_gru_state, (gates, w, state, reset, by_tanh, 0, streams), shares)


@kernel()
def _gru_by_streams(gates, ids, table, x, u, w, state, reset, by_tanh, shares):
    share(_gru_streams, (gates, ids, table, x, u, w, state, reset, by_tanh), shares)


@kernel()
def _gru_streams(gates, ids, table, x, u, w, state, reset, by_tanh, lo, hi):
    panels = w.shape[1]
    _gru_gates(gates, ids, table, x, u, w, state, reset, lo, hi, 0, panels)
    _gru_state(gates, w, state, reset, by_tanh, lo, hi, 0, panels)


@kernel()
def _gru_gates(gates, ids, table, x, u, w, state, reset, s_lo, s_hi, lo, hi):
    hidden = state.shape[1]
    _begin(gates, ids, table, x, u, 3, hidden, s_lo, s_hi, lo, hi)
    _add(gates, state, w, 2, hidden, s_lo, s_hi, lo, hi)
    start, end = lo * PANEL, min(hidden, hi * PANEL)
    for s in range(s_lo, s_hi):
        z, r = gates[s, start:end], gates[s, hidden + start : hidden + end]
        h, out = state[s, start:end], reset[s, start:end]
        for j in range(end - start):
            z[j] = logistic(z[j])
            out[j] = logistic(r[j]) * h[j]


@kernel()
def _gru_state(gates, w, state, reset, by_tanh, s_lo, s_hi, lo, hi):
    hidden = state.shape[1]
    start, width = lo * PANEL, min(hidden, hi * PANEL) - lo * PANEL
    at = 2 * hidden + start
    r = reset.ctypes.data
    add_product(gates, at, width, r, hidden, w[2, lo:hi], 0, hidden, s_lo, s_hi)
    for s in range(s_lo, s_hi):
        z, c = gates[s, start : start + width], gates[s, at : at + width]
        h = state[s, start : start + width]
        for j in range(width):
            new = tanh(c[j]) if by_tanh else logistic(c[j])
            h[j] = new + z[j] * (h[j] - new)


class GruResetAfterStep:
    """Like `GruStep`, with the reset after the product. biases (4H,) are the gates' biases, then
    wh's; w (3H, H) is wz | wr | wh. The fourth gate in `gates` is wh h."""

    def __init__(
        self,
        u: Array,
        biases: Array,
        w: Array,
        squash_by_tanh: bool,
        state: Array,
        ids: bool,
        packs: Packs | None = None,
        half: bool = False,
    ):
        self.input: Input = once(packs, "u", lambda: Input(u, biases, 3, ids, half))
        self.w: Array = once(packs, "w", lambda: panels_by_gate(np.split(w, 3), half))
        self.squash_by_tanh, self.state = squash_by_tanh, state
        self.gates = np.empty((len(state), len(biases)), np.float32)

    def __call__(self, x: Array) -> Array:
        parts = self.input.parts(x)
        _share(_after_by_units, _after_by_streams, self.w.shape[1],
               self.w.size + parts[3].size, self.gates, *parts, self.w, self.state,
               self.squash_by_tanh)  # fmt: skip
        return self.state


@kernel()
def _after_by_units(gates, ids, table, x, u, w, state, by_tanh, shares):
    streams = len(state)
    share(_after_gates, (gates, ids, table, x, u, w, state, by_tanh, 0, streams), shares)
    share(_after_state, (gates, state, 0, streams), shares)


@kernel()
def _after_by_streams(gates, ids, table, x, u, w, state, by_tanh, shares):
    share(_after_streams, (gates, ids, table, x, u, w, state, by_tanh), shares)


@kernel()
def _after_streams(gates, ids, table, x, u, w, state, by_tanh, lo, hi):
    panels = w.shape[1]
    _after_gates(gates, ids, table, x, u, w, state, by_tanh, lo, hi, 0, panels)
    _after_state(gates, state, lo, hi, 0, panels)


@kernel()
def _after_gates(gates, ids, table, x, u, w, state, by_tanh, s_lo, s_hi, lo, hi):
    hidden = state.shape[1]
    start, width = lo * PANEL, min(hidden, hi * PANEL) - lo * PANEL
    _begin(gates, ids, table, x, u, 4, hidden, s_lo, s_hi, lo, hi)
    _add(gates, state, w, 2, hidden, s_lo, s_hi, lo, hi)
    at, h = 3 * hidden + start, state.ctypes.data
    add_product(gates, at, width, h, hidden, w[2, lo:hi], 0, hidden, s_lo, s_hi)
    for s in range(s_lo, s_hi):
        for j in range(start, start + width):
            gates[s, j] = logistic(gates[s, j])
            r = logistic(gates[s, hidden + j])
            c = gates[s, 2 * hidden + j] + r * gates[s, 3 * hidden + j]
            gates[s, 2 * hidden + j] = tanh(c) if by_tanh else logistic(c)


@kernel()
def _after_state(gates, state, s_lo, s_hi, lo, hi):
    hidden = state.shape[1]
    for s in range(s_lo, s_hi):
        for j in range(lo * PANEL, min(hidden, hi * PANEL)):
            c = gates[s, 2 * hidden + j]
            state[s, j] = c + gates[s, j] * (state[s, j] - c)


# --- lstm ---------------------------------------------------------------------------------


class LstmStep:
    """ids (S,) or rows (S, I) to the new state (S, H); updates `state` in place and returns it."""

    def __init__(
        self,
        u: Array,
        biases: Array,
        w: Array,
        state: Array,
        cell: Array,
        ids: bool,
        packs: Packs | None = None,
        half: bool = False,
    ):
        self.input: Input = once(packs, "u", lambda: Input(u, biases, 4, ids, half))
        self.w: Array = once(packs, "w", lambda: panels_by_gate(np.split(w, 4), half))
        self.state, self.cell = state, cell
        self.gates = np.empty((len(state), 4 * state.shape[1]), np.float32)

    def __call__(self, x: Array) -> Array:
        parts = self.input.parts(x)
        _share(_lstm_by_units, _lstm_by_streams, self.w.shape[1],
               self.w.size + parts[3].size, self.gates, *parts, self.w, self.state,
               self.cell)  # fmt: skip
        return self.state


@kernel()
def _lstm_by_units(gates, ids, table, x, u, w, state, cell, shares):
    streams = len(state)
    share(_lstm_gates, (gates, ids, table, x, u, w, state, 0, streams), shares)
    share(_lstm_state, (gates, state, cell, 0, streams), shares)


@kernel()
def _lstm_by_streams(gates, ids, table, x, u, w, state, cell, shares):
    share(_lstm_streams, (gates, ids, table, x, u, w, state, cell), shares)


@kernel()
def _lstm_streams(gates, ids, table, x, u, w, state, cell, lo, hi):
    panels = w.shape[1]
    _lstm_gates(gates, ids, table, x, u, w, state, lo, hi, 0, panels)
    _lstm_state(gates, state, cell, lo, hi, 0, panels)


@kernel()
def _lstm_gates(gates, ids, table, x, u, w, state, s_lo, s_hi, lo, hi):
    _begin(gates, ids, table, x, u, 4, state.shape[1], s_lo, s_hi, lo, hi)
    _add(gates, state, w, 4, state.shape[1], s_lo, s_hi, lo, hi)


@kernel()
def _lstm_state(gates, state, cell, s_lo, s_hi, lo, hi):
    hidden = state.shape[1]
    for s in range(s_lo, s_hi):
        for j in range(lo * PANEL, min(hidden, hi * PANEL)):
            i, o = logistic(gates[s, j]), logistic(gates[s, 2 * hidden + j])
            keep, new = logistic(gates[s, hidden + j]), tanh(gates[s, 3 * hidden + j])
            cell[s, j] = keep * cell[s, j] + i * new
            state[s, j] = o * tanh(cell[s, j])


# --- rnn with elman=1 ---------------------------------------------------------------------


class ElmanStep:
    """ids (S,) or rows (S, I) to the new state (S, H); updates `state` in place and returns it.
    biases (H,): the sum of both sublayers'. activation: one of RNN_ACTIVATIONS."""

    def __init__(
        self,
        u: Array,
        biases: Array,
        w: Array,
        activation: str,
        state: Array,
        ids: bool,
        packs: Packs | None = None,
        half: bool = False,
    ):
        self.input: Input = once(packs, "u", lambda: Input(u, biases, 1, ids, half))
        self.w: Array = once(packs, "w", lambda: panels_by_gate(np.split(w, 1), half))
        self.activation, self.state = RNN_ACTIVATIONS[activation], state
        self.sums = np.empty_like(state)

    def __call__(self, x: Array) -> Array:
        parts = self.input.parts(x)
        _share(_elman_by_units, _elman_by_streams, self.w.shape[1],
               self.w.size + parts[3].size, self.sums, *parts, self.w, self.state,
               self.activation)  # fmt: skip
        return self.state


@kernel()
def _elman_by_units(sums, ids, table, x, u, w, state, activation, shares):
    streams = len(state)
    share(_elman_sums, (sums, ids, table, x, u, w, state, 0, streams), shares)
    share(_elman_state, (sums, state, activation, 0, streams), shares)


@kernel()
def _elman_by_streams(sums, ids, table, x, u, w, state, activation, shares):
    share(_elman_streams, (sums, ids, table, x, u, w, state, activation), shares)


@kernel()
def _elman_streams(sums, ids, table, x, u, w, state, activation, lo, hi):
    panels = w.shape[1]
    _elman_sums(sums, ids, table, x, u, w, state, lo, hi, 0, panels)
    _elman_state(sums, state, activation, lo, hi, 0, panels)


@kernel()
def _elman_sums(sums, ids, table, x, u, w, state, s_lo, s_hi, lo, hi):
    _begin(sums, ids, table, x, u, 1, state.shape[1], s_lo, s_hi, lo, hi)
    _add(sums, state, w, 1, state.shape[1], s_lo, s_hi, lo, hi)


@kernel()
def _elman_state(sums, state, activation, s_lo, s_hi, lo, hi):
    start, end = lo * PANEL, min(state.shape[1], hi * PANEL)
    for s in range(s_lo, s_hi):
        squash(sums[s, start:end], activation)
        copy(state[s, start:end], sums[s, start:end])


# --- connected ----------------------------------------------------------------------------


class AffineStep:
    """ids (S,) or rows (S, I) to W x + b (S, O); the next call overwrites the result."""

    def __init__(
        self,
        weights: Array,
        biases: Array,
        streams: int,
        ids: bool,
        packs: Packs | None = None,
        half: bool = False,
    ):
        self.input: Input = once(
            packs, "u", lambda: Input(np.ascontiguousarray(weights), biases, 1, ids, half)
        )
        self.v = np.empty((streams, len(weights)), np.float32)

    def __call__(self, x: Array) -> Array:
        parts = self.input.parts(x)
        _share(_affine_by_units, _affine_by_streams, panels(self.v.shape[1]), parts[3].size,
               self.v, *parts)  # fmt: skip
        return self.v


@kernel()
def _affine_by_units(v, ids, table, x, packs, shares):
    share(_begin, (v, ids, table, x, packs, 1, v.shape[1], 0, len(v)), shares)


@kernel()
def _affine_by_streams(v, ids, table, x, packs, shares):
    share(_affine_streams, (v, ids, table, x, packs), shares)


@kernel()
def _affine_streams(v, ids, table, x, packs, lo, hi):
    panels = (v.shape[1] + PANEL - 1) // PANEL
    _begin(v, ids, table, x, packs, 1, v.shape[1], lo, hi, 0, panels)
