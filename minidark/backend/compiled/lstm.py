"""LSTM over a whole sequence, forward and backward; see `gru.py`."""

from __future__ import annotations

from minidark.backend import Array
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.products import panels_of, panels_of_transposed
from minidark.backend.compiled.scalar import f, logistic, tanh
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import add_product
from minidark.backend.memory import zeros


def lstm_sequence(
    gates: Array,
    biases: Array,
    states: Array,
    cells: Array,
    squashed: Array,
    w: Array,
    half: bool = False,
) -> None:
    """Run the LSTM forward. biases: (4H,).

    gates (T, S, 4H) contains the input's products, without biases; states[0] and cells[0] of
    (T + 1, S, H) the state and cell before step 0. Writes gates (i | f | o | g), the other states
    and cells, and squashed (T, S, H), the tanh of the cells.
    """
    spread(_forward, gates.shape[1], gates.size, gates, biases, states, cells,
           squashed, panels_of_transposed(w, half))  # fmt: skip


@kernel()
def _forward(gates, biases, states, cells, squashed, w, shares):
    share(_forward_streams, (gates, biases, states, cells, squashed, w), shares)


@kernel()
def _forward_streams(gates, biases, states, cells, squashed, w, lo, hi):
    steps, _, hidden = squashed.shape
    for t in range(steps):
        g = gates[t]
        add_product(g, 0, 4 * hidden, states[t].ctypes.data, hidden, w, 0, hidden, lo, hi)
        for s in range(lo, hi):
            _step(g[s], biases, cells[t, s], cells[t + 1, s], squashed[t, s], states[t + 1, s])


@kernel()
def _step(gates, biases, cell, new_cell, squashed, new):
    hidden = cell.size
    three = 3 * hidden
    for j in range(three):
        gates[j] = logistic(gates[j] + biases[j])
    i, f_, o, g = (
        gates[:hidden],
        gates[hidden : 2 * hidden],
        gates[2 * hidden : three],
        gates[three:],
    )
    bg = biases[three:]
    for j in range(hidden):
        g[j] = tanh(g[j] + bg[j])
        new_cell[j] = f_[j] * cell[j] + i[j] * g[j]
    for j in range(hidden):
        squashed[j] = tanh(new_cell[j])
        new[j] = o[j] * squashed[j]


def lstm_sequence_backward(
    gates: Array, cells: Array, squashed: Array, dy: Array, w: Array, half: bool = False
) -> None:
    """Run the LSTM backward. gates, cells and squashed are those of `lstm_sequence`; dy is
    (T, S, H). Overwrites gates with their gradients before the activations."""
    dh, dcell = zeros(dy.shape[1:]), zeros(dy.shape[1:])
    spread(_backward, gates.shape[1], gates.size, gates, cells, squashed, dy,
           dh, dcell, panels_of(w, half))  # fmt: skip


@kernel()
def _backward(gates, cells, squashed, dy, dh, dcell, w, shares):
    share(_backward_streams, (gates, cells, squashed, dy, dh, dcell, w), shares)


@kernel()
def _backward_streams(gates, cells, squashed, dy, dh, dcell, w, lo, hi):
    steps, _, hidden = dy.shape
    for t in range(steps - 1, -1, -1):
        g = gates[t]
        for s in range(lo, hi):
            _step_backward(g[s], cells[t, s], squashed[t, s], dy[t, s], dh[s], dcell[s])
            dh[s] = 0
        add_product(dh, 0, hidden, g.ctypes.data, 4 * hidden, w, 0, 4 * hidden, lo, hi)


@kernel()
def _step_backward(gates, cell, squashed, dy, dh, dcell):
    hidden = cell.size
    three = 3 * hidden
    i, f_, o, g = (
        gates[:hidden],
        gates[hidden : 2 * hidden],
        gates[2 * hidden : three],
        gates[three:],
    )
    for j in range(hidden):
        dnew, in_, forget = dh[j] + dy[j], i[j], f_[j]
        dc = dcell[j] + dnew * o[j] * (f(1) - squashed[j] * squashed[j])
        o[j] *= dnew * squashed[j] * (f(1) - o[j])
        i[j] = dc * g[j] * in_ * (f(1) - in_)
        g[j] = dc * in_ * (f(1) - g[j] * g[j])
        f_[j] = dc * cell[j] * forget * (f(1) - forget)
        dcell[j] = dc * forget
