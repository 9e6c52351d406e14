"""The recurrent sublayer of darknet's `[rnn]` over a whole sequence, forward and backward.

It supports the activations in RNN_ACTIVATIONS. The input and output sublayers need no time loop.
With elman=1 the backward is the same: the layer's outputs take the place of self's.
"""

from __future__ import annotations

from minidark.backend import RNN_ACTIVATIONS, Array
from minidark.backend.compiled.activations import squash, times_slope
from minidark.backend.compiled.kernel import kernel
from minidark.backend.compiled.products import panels_of, panels_of_transposed
from minidark.backend.compiled.scalar import copy, f
from minidark.backend.compiled.threads import share, spread
from minidark.backend.compiled.tile import add_product


def rnn_sequence(
    from_input: Array,
    biases: Array,
    from_self: Array,
    states: Array,
    w: Array,
    activation: str,
    shortcut: bool,
    half: bool = False,
) -> None:
    """Run forward. from_input is (T, S, H), biases (H,); states[0] of (T + 1, S, H) is the state
    before step 0. Writes the other states, and from_self (T, S, H): act(w state + biases)."""
    spread(_forward, from_self.shape[1], from_self.size, from_input, biases,
           from_self, states, panels_of_transposed(w, half), RNN_ACTIVATIONS[activation],
           shortcut)  # fmt: skip


@kernel()
def _forward(from_input, biases, from_self, states, w, activation, shortcut, shares):
    share(
        _forward_streams, (from_input, biases, from_self, states, w, activation, shortcut), shares
    )


@kernel()
def _forward_streams(from_input, biases, from_self, states, w, activation, shortcut, lo, hi):
    steps, _, hidden = from_self.shape
    for t in range(steps):
        for s in range(lo, hi):
            copy(from_self[t, s], biases)
        add_product(from_self[t], 0, hidden, states[t].ctypes.data, hidden, w, 0, hidden, lo, hi)
        for s in range(lo, hi):
            y, x, old, new = from_self[t, s], from_input[t, s], states[t, s], states[t + 1, s]
            squash(y, activation)
            for j in range(hidden):
                new[j] = x[j] + y[j] + (old[j] if shortcut else f(0))


def elman_sequence(states: Array, w: Array, activation: str, half: bool = False) -> None:
    """Run forward with elman=1. states[0] of (T + 1, S, H) is the state before step 0. The others
    contain the sums of input and biases, and are overwritten with act(sum + w state)."""
    spread(_forward_elman, states.shape[1], states.size, states, panels_of_transposed(w, half),
           RNN_ACTIVATIONS[activation])  # fmt: skip


@kernel()
def _forward_elman(states, w, activation, shares):
    share(_forward_elman_streams, (states, w, activation), shares)


@kernel()
def _forward_elman_streams(states, w, activation, lo, hi):
    steps, hidden = len(states) - 1, states.shape[2]
    for t in range(steps):
        old, new = states[t], states[t + 1]
        add_product(new, 0, hidden, old.ctypes.data, hidden, w, 0, hidden, lo, hi)
        for s in range(lo, hi):
            squash(new[s], activation)


def rnn_sequence_backward(
    from_self: Array, dstates: Array, w: Array, activation: str, shortcut: bool, half: bool = False
) -> None:
    """Run backward. dstates (T, S, H) contains the gradients from the outputs. Adds the gradients
    from later states to it, and overwrites from_self with its gradient before the activation."""
    spread(_backward, from_self.shape[1], from_self.size, from_self, dstates,
           panels_of(w, half), RNN_ACTIVATIONS[activation], shortcut)  # fmt: skip


@kernel()
def _backward(from_self, dstates, w, activation, shortcut, shares):
    share(_backward_streams, (from_self, dstates, w, activation, shortcut), shares)


@kernel()
def _backward_streams(from_self, dstates, w, activation, shortcut, lo, hi):
    steps, _, hidden = from_self.shape
    for t in range(steps - 1, -1, -1):
        for s in range(lo, hi):
            times_slope(from_self[t, s], dstates[t, s], activation)
        if t:
            if shortcut:
                for s in range(lo, hi):
                    earlier, later = dstates[t - 1, s], dstates[t, s]
                    for j in range(hidden):
                        earlier[j] += later[j]
            add_product(
                dstates[t - 1], 0, hidden, from_self[t].ctypes.data, hidden, w, 0, hidden, lo, hi
            )
