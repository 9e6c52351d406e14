"""What kernels over whole sequences compute: step by step, with numpy's kernels and products.

The functions have the names and arguments of those kernels; CASES draws arguments for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidark.backend import RNN_ACTIVATIONS, Array, numpy_kernels
from minidark.layers.activations import checked_activation
from tests.gpu_proof.test_kernels import Draws

SIZES = [(1, 1, 1), (3, 7, 8), (2, 9, 100), (2, 3, 300), (2, 5, 512)]  # T, S, H


def gru_sequence(
    gates: Array, biases: Array, states: Array, reset_states: Array, wzr: Array, wh: Array,
    tanh: bool,
) -> None:  # fmt: skip
    gates += biases
    for t, (gate, h, reset) in enumerate(zip(gates, states[:-1], reset_states, strict=True)):
        numpy_kernels.gru_gates(gate, h @ wzr.T, h, reset)
        numpy_kernels.gru_state(gate, reset @ wh.T, h, states[t + 1], tanh)


def gru_sequence_backward(
    gates: Array, states: Array, dy: Array, wzr: Array, wh: Array, tanh: bool
) -> None:
    dh = np.zeros_like(states[0])
    hidden = dh.shape[-1]
    for gate, h, d in zip(gates[::-1], states[:-1][::-1], dy[::-1], strict=True):
        numpy_kernels.gru_state_backward(gate, h, d, dh, tanh)
        numpy_kernels.gru_gates_backward(gate, h, gate[:, 2 * hidden :] @ wh, dh)
        dh += gate[:, : 2 * hidden] @ wzr


def gru_reset_after_sequence(
    gates: Array, biases: Array, states: Array, inner: Array, w: Array, tanh: bool
) -> None:
    hidden = inner.shape[-1]
    gates += biases[: 3 * hidden]
    for t, gate in enumerate(gates):
        h, new = states[t], states[t + 1]
        numpy_kernels.gru_reset_after(gate, h @ w.T, biases[3 * hidden :], h, inner[t], new, tanh)


def gru_reset_after_sequence_backward(
    gates: Array, states: Array, inner: Array, dy: Array, w: Array, tanh: bool
) -> None:
    dh, two = np.zeros_like(states[0]), 2 * dy.shape[-1]
    for t in reversed(range(len(dy))):
        numpy_kernels.gru_reset_after_backward(gates[t], states[t], inner[t], dy[t], dh, tanh)
        dh += gates[t, :, :two] @ w[:two] + inner[t] @ w[two:]


def lstm_sequence(
    gates: Array, biases: Array, states: Array, cells: Array, squashed: Array, w: Array
) -> None:
    gates += biases
    for t, gate in enumerate(gates):
        numpy_kernels.lstm_state(
            gate, states[t] @ w.T, cells[t], cells[t + 1], squashed[t], states[t + 1]
        )


def lstm_sequence_backward(
    gates: Array, cells: Array, squashed: Array, dy: Array, w: Array
) -> None:
    dh, dcell = np.zeros_like(dy[0]), np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        numpy_kernels.lstm_state_backward(gates[t], cells[t], squashed[t], dy[t], dh, dcell)
        dh = gates[t] @ w


def rnn_sequence(
    from_input: Array, biases: Array, from_self: Array, states: Array, w: Array, activation: str,
    shortcut: bool,
) -> None:  # fmt: skip
    squash = checked_activation(activation).forward
    for t, given in enumerate(from_input):
        from_self[t] = squash(states[t] @ w.T + biases)
        states[t + 1] = given + from_self[t] + (states[t] if shortcut else 0)


def elman_sequence(states: Array, w: Array, activation: str) -> None:
    squash = checked_activation(activation).forward
    for t in range(len(states) - 1):
        states[t + 1] = squash(states[t + 1] + states[t] @ w.T)


def rnn_sequence_backward(
    from_self: Array, dstates: Array, w: Array, activation: str, shortcut: bool
) -> None:
    slope = checked_activation(activation).gradient
    for t in reversed(range(len(dstates))):
        from_self[t] = slope(from_self[t]) * dstates[t]
        if t:
            dstates[t - 1] += from_self[t] @ w + (dstates[t] if shortcut else 0)


# --- arguments for them -------------------------------------------------------------------


def weights(d: Draws, gates: int) -> Array:
    """Of so many gates, that read the state."""
    drawn: Array = d.normal(gates * d.H, d.H) / d.H**0.5
    return drawn.astype(d.dtype)


def gates(d: Draws, count: int) -> tuple[Array, Array]:
    """What comes from the input, and the biases."""
    return d.normal(d.T, d.S, count * d.H), d.normal(count * d.H)


def rows(d: Draws, steps: int) -> Array:
    return d.normal(steps, d.S, d.H)


CASES: dict[str, Callable[[Draws], list[tuple[Any, ...]]]] = {
    "gru_sequence": lambda d: [
        (*gates(d, 3), rows(d, d.T + 1), rows(d, d.T), weights(d, 2), weights(d, 1), tanh)
        for tanh in (False, True)
    ],
    "gru_sequence_backward": lambda d: [
        (d.open(d.T, d.S, 3 * d.H), rows(d, d.T + 1), rows(d, d.T), weights(d, 2), weights(d, 1),
         tanh)
        for tanh in (False, True)
    ],
    "gru_reset_after_sequence": lambda d: [
        (gates(d, 3)[0], d.normal(4 * d.H), rows(d, d.T + 1), rows(d, d.T), weights(d, 3), tanh)
        for tanh in (False, True)
    ],
    "gru_reset_after_sequence_backward": lambda d: [
        (d.open(d.T, d.S, 3 * d.H), rows(d, d.T + 1), rows(d, d.T), rows(d, d.T), weights(d, 3),
         tanh)
        for tanh in (False, True)
    ],
    "lstm_sequence": lambda d: [
        (*gates(d, 4), rows(d, d.T + 1), rows(d, d.T + 1), rows(d, d.T), weights(d, 4))
    ],
    "lstm_sequence_backward": lambda d: [
        (d.open(d.T, d.S, 4 * d.H), rows(d, d.T + 1), d.open(d.T, d.S, d.H), rows(d, d.T),
         weights(d, 4))
    ],
    "rnn_sequence": lambda d: [
        (rows(d, d.T), d.normal(d.H), rows(d, d.T), rows(d, d.T + 1), weights(d, 1), name,
         shortcut)
        for name in RNN_ACTIVATIONS
        for shortcut in (False, True)
    ],
    "elman_sequence": lambda d: [
        (rows(d, d.T + 1), weights(d, 1), name) for name in RNN_ACTIVATIONS
    ],
    "rnn_sequence_backward": lambda d: [
        (rows(d, d.T), rows(d, d.T), weights(d, 1), name, shortcut)
        for name in RNN_ACTIVATIONS
        for shortcut in (False, True)
    ],
}  # fmt: skip
