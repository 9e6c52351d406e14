"""The gated recurrent unit over a whole sequence, forward and backward.

It computes the same as `layers/gru.py` does step by step. Each thread takes some streams through
all steps, so no thread waits for another within a sequence, and a step's rows are still in the
cache when its gates are squashed.
"""

from __future__ import annotations

from minidark.backend import Array
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.products import panels_of, panels_of_transposed
from minidark.backend.compiled.scalar import copy, f, logistic, tanh
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import add_product
from minidark.backend.memory import empty, zeros


def gru_sequence(
    gates: Array,
    biases: Array,
    states: Array,
    reset_states: Array,
    wzr: Array,
    wh: Array,
    squash_by_tanh: bool,
    half: bool = False,
) -> None:
    """gates (T, S, 3H) holds u x without biases (3H,), states[0] of (T + 1, S, H) the initial
    state. Writes gates (z | r | c), the other states and reset_states (T, S, H).
    """
    spread(_forward, gates.shape[1], gates.size, gates, biases, states,
           reset_states, panels_of_transposed(wzr, half), panels_of_transposed(wh, half),
           squash_by_tanh)  # fmt: skip


@kernel()
def _forward(gates, biases, states, reset_states, wzr, wh, squash_by_tanh, shares):
    share(_forward_streams, (gates, biases, states, reset_states, wzr, wh, squash_by_tanh), shares)


@kernel()
def _forward_streams(gates, biases, states, reset_states, wzr, wh, squash_by_tanh, lo, hi):
    steps, _, hidden = reset_states.shape
    two = 2 * hidden
    for t in range(steps):
        g, h, reset, new = gates[t], states[t], reset_states[t], states[t + 1]
        add_product(g, 0, two, h.ctypes.data, hidden, wzr, 0, hidden, lo, hi)
        for s in range(lo, hi):
            _gates(g[s], biases, h[s], reset[s], hidden)
        add_product(g, two, hidden, reset.ctypes.data, hidden, wh, 0, hidden, lo, hi)
        for s in range(lo, hi):
            _state(g[s], biases, h[s], new[s], hidden, squash_by_tanh)


@kernel()
def _gates(gates, biases, h, reset, hidden):
    z, r = gates[:hidden], gates[hidden : 2 * hidden]
    bz, br = biases[:hidden], biases[hidden : 2 * hidden]
    for j in range(hidden):
        z[j] = logistic(z[j] + bz[j])
    for j in range(hidden):
        r[j] = logistic(r[j] + br[j])
        reset[j] = r[j] * h[j]


@kernel()
def _state(gates, biases, h, new, hidden, squash_by_tanh):
    z, c, bc = gates[:hidden], gates[2 * hidden :], biases[2 * hidden :]
    if squash_by_tanh:
        for j in range(hidden):
            c[j] = tanh(c[j] + bc[j])
    else:
        for j in range(hidden):
            c[j] = logistic(c[j] + bc[j])
    for j in range(hidden):
        new[j] = c[j] + z[j] * (h[j] - c[j])


def gru_sequence_backward(
    gates: Array,
    states: Array,
    dy: Array,
    wzr: Array,
    wh: Array,
    squash_by_tanh: bool,
    half: bool = False,
) -> None:
    """gates and states are the results of `gru_sequence`; dy (T, S, H). Writes gates with their
    gradients before squashing."""
    dh, dreset = zeros(dy.shape[1:]), empty(dy.shape[1:])
    spread(_backward, gates.shape[1], gates.size, gates, states, dy, dh,
           dreset, panels_of(wzr, half), panels_of(wh, half), squash_by_tanh)  # fmt: skip


@kernel()
def _backward(gates, states, dy, dh, dreset, wzr, wh, squash_by_tanh, shares):
    share(_backward_streams, (gates, states, dy, dh, dreset, wzr, wh, squash_by_tanh), shares)


@kernel()
def _backward_streams(gates, states, dy, dh, dreset, wzr, wh, squash_by_tanh, lo, hi):
    steps, _, hidden = dy.shape
    two = 2 * hidden
    for t in range(steps - 1, -1, -1):
        g, h, d = gates[t], states[t], dy[t]
        for s in range(lo, hi):
            _state_backward(g[s], h[s], d[s], dh[s], hidden, squash_by_tanh)
            dreset[s] = 0
        add_product(dreset, 0, hidden, g.ctypes.data + 4 * two, 3 * hidden, wh, 0, hidden, lo, hi)
        for s in range(lo, hi):
            _gates_backward(g[s], h[s], dreset[s], dh[s], hidden)
        add_product(dh, 0, hidden, g.ctypes.data, 3 * hidden, wzr, 0, two, lo, hi)


@kernel()
def _state_backward(gates, h, dy, dh, hidden, squash_by_tanh):
    z, c = gates[:hidden], gates[2 * hidden :]
    for j in range(hidden):
        dnew, keep = dh[j] + dy[j], f(1) - z[j]
        slope = f(1) - c[j] * c[j] if squash_by_tanh else c[j] * (f(1) - c[j])
        dh[j] = dnew * z[j]
        z[j] *= keep * dnew * (h[j] - c[j])
        c[j] = dnew * keep * slope


@kernel()
def _gates_backward(gates, h, dreset, dh, hidden):
    r = gates[hidden : 2 * hidden]
    for j in range(hidden):
        through = dreset[j] * r[j]
        dh[j] += through
        r[j] = through * h[j] * (f(1) - r[j])


# --- reset_after=1 ------------------------------------------------------------------------


def gru_reset_after_sequence(
    gates: Array,
    biases: Array,
    states: Array,
    inner: Array,
    w: Array,
    squash_by_tanh: bool,
    half: bool = False,
) -> None:
    """Like `gru_sequence`, with the reset after the product. biases (4H,) are the gates' biases,
    then wh's; w (3H, H) is wz | wr | wh. Writes inner (T, S, H), wh h + b, instead of
    reset_states."""
    two = 2 * states.shape[-1]
    spread(_forward_after, gates.shape[1], gates.size, gates, biases, states, inner,
           panels_of_transposed(w[:two], half), panels_of_transposed(w[two:], half),
           squash_by_tanh)  # fmt: skip


@kernel()
def _forward_after(gates, biases, states, inner, wzr, wh, squash_by_tanh, shares):
    share(_forward_streams_after, (gates, biases, states, inner, wzr, wh, squash_by_tanh), shares)


@kernel()
def _forward_streams_after(gates, biases, states, inner, wzr, wh, squash_by_tanh, lo, hi):
    steps, _, hidden = inner.shape
    two, own = 2 * hidden, biases[3 * hidden :]
    for t in range(steps):
        g, h, q, new = gates[t], states[t], inner[t], states[t + 1]
        for s in range(lo, hi):
            copy(q[s], own)
        add_product(g, 0, two, h.ctypes.data, hidden, wzr, 0, hidden, lo, hi)
        add_product(q, 0, hidden, h.ctypes.data, hidden, wh, 0, hidden, lo, hi)
        for s in range(lo, hi):
            _candidate_after(g[s], biases, q[s], hidden)
            _state(g[s], biases, h[s], new[s], hidden, squash_by_tanh)


@kernel()
def _candidate_after(gates, biases, inner, hidden):
    """Writes z, r, and c before its biases and squashing."""
    for j in range(2 * hidden):
        gates[j] = logistic(gates[j] + biases[j])
    r, c = gates[hidden : 2 * hidden], gates[2 * hidden :]
    for j in range(hidden):
        c[j] += r[j] * inner[j]


def gru_reset_after_sequence_backward(
    gates: Array,
    states: Array,
    inner: Array,
    dy: Array,
    w: Array,
    squash_by_tanh: bool,
    half: bool = False,
) -> None:
    """gates, states and inner are the results of `gru_reset_after_sequence`; dy (T, S, H). Writes
    gates with their gradients before squashing, and inner with its gradient."""
    two, dh = 2 * dy.shape[-1], zeros(dy.shape[1:])
    spread(_backward_after, gates.shape[1], gates.size, gates, states, inner, dy, dh,
           panels_of(w[:two], half), panels_of(w[two:], half), squash_by_tanh)  # fmt: skip


@kernel()
def _backward_after(gates, states, inner, dy, dh, wzr, wh, squash_by_tanh, shares):
    share(_backward_streams_after, (gates, states, inner, dy, dh, wzr, wh, squash_by_tanh), shares)


@kernel()
def _backward_streams_after(gates, states, inner, dy, dh, wzr, wh, squash_by_tanh, lo, hi):
    steps, _, hidden = dy.shape
    two = 2 * hidden
    for t in range(steps - 1, -1, -1):
        g, h, q, d = gates[t], states[t], inner[t], dy[t]
        for s in range(lo, hi):
            _state_backward(g[s], h[s], d[s], dh[s], hidden, squash_by_tanh)
            _reset_backward_after(g[s], q[s], hidden)
        add_product(dh, 0, hidden, g.ctypes.data, 3 * hidden, wzr, 0, two, lo, hi)
        add_product(dh, 0, hidden, q.ctypes.data, hidden, wh, 0, hidden, lo, hi)


@kernel()
def _reset_backward_after(gates, inner, hidden):
    r, dc = gates[hidden : 2 * hidden], gates[2 * hidden :]
    for j in range(hidden):
        dr = dc[j] * inner[j] * r[j]
        inner[j] = dc[j] * r[j]
        r[j] = (f(1) - r[j]) * dr
