"""Long short-term memory (LSTM).

    i  = logistic(ui x + wi h)          input gate
    f  = logistic(uf x + wf h)          forget gate
    o  = logistic(uo x + wo h)          output gate
    g  = tanh(ug x + wg h)              candidate
    c' = f * c + i * g                  cell
    h' = o * tanh(c')                   state, and the output

u reads the input, w reads the state. Each of the eight is a sublayer with biases and, with
batch_normalize, its own norm.

Source: darknet src/lstm_layer.c (make_lstm_layer, forward_lstm_layer); pjreddie's version does not
set the layer's backward on the CPU. Hochreiter and Schmidhuber 1997.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Unpack

from minidark.backend import Array, Backend
from minidark.layers.affine import AffinePass
from minidark.layers.base import ALEXEY, PJREDDIE
from minidark.layers.recurrent import CellOptions, RecurrentLayer, split


@dataclass(slots=True)
class LstmSaved:
    """One pass over T steps."""

    x: Array  # (T, S, I), or ids (T, S)
    gates: Array  # (T, S, 4H): i | f | o | g, after their activations
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    cells: Array  # (T + 1, S, H), likewise
    squashed: Array  # (T, S, H): tanh of the new cell
    u: AffinePass
    w: AffinePass

    @property
    def y(self) -> Array:
        return self.states[1:]


class LstmLayer(RecurrentLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs). State and cell are
    (S, outputs).

    forget_bias: initial biases of uf.
    """

    type = "lstm"
    created = ("uf", "ui", "ug", "uo", "wf", "wi", "wg", "wo")
    file_orders: ClassVar = {
        PJREDDIE: ("wi", "wf", "wo", "wg", "ui", "uf", "uo", "ug"),
        ALEXEY: ("wf", "wi", "wg", "wo", "uf", "ui", "ug", "uo"),
    }

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        steps: int,
        batch_normalize: bool = False,
        *,
        forget_bias: float = 0.0,
        name: str | None = None,
        backend: Backend | None = None,
        **cell: Unpack[CellOptions],
    ):
        super().__init__(batch, inputs, outputs, steps, name=name, backend=backend)
        self.u = self._pack(("ui", "uf", "uo", "ug"), inputs, outputs, batch_normalize)
        self.w = self._pack(("wi", "wf", "wo", "wg"), outputs, outputs, batch_normalize)
        self._start(self.u, (self.w,), **cell)
        self.sublayers["uf"].biases[...] = forget_bias
        self.states = {
            "state": self.backend.zeros(self.streams, outputs),
            "cell": self.backend.zeros(self.streams, outputs),
        }

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        run = self._run(x, train=False)
        return run.y, {**split(run.gates, "ifog"), "c": run.cells[1:], "h": run.y}

    def _run(self, x: Array, train: bool) -> LstmSaved:
        """Run all steps of x and carry the state over."""
        steps, streams = x.shape[:2]
        hidden, kernels = self.outputs, self.backend.kernels
        u, w = (self._begin(a, steps, streams, train) for a in (self.u, self.w))

        gates, biases = u.forward(x), self.u.biases + self.w.biases
        states = self.backend.empty(steps + 1, streams, hidden)
        cells = self.backend.empty(steps + 1, streams, hidden)
        states[0], cells[0] = self.states["state"], self.states["cell"]
        squashed = self.backend.empty(steps, streams, hidden)
        if self._takes_whole(steps):
            kernels.lstm_sequence(gates, biases, states, cells, squashed, w.weights)
        else:
            gates += biases
            for t in range(steps):
                kernels.lstm_state(
                    gates[t],
                    w.forward(states[t], t),
                    cells[t],
                    cells[t + 1],
                    squashed[t],
                    states[t + 1],
                )

        self.states["state"][...], self.states["cell"][...] = states[steps], cells[steps]
        return LstmSaved(x, gates, states, cells, squashed, u, w)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not self._has_cell_kernels():
            return super().frozen(ids)
        return self.backend.kernels.LstmStep(
            self.u.weights,
            self.u.biases + self.w.biases,
            self.w.weights,
            self.states["state"],
            self.states["cell"],
            ids,
            self.packs,
        )

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: LstmSaved = self._take_saved()
        kernels = self.backend.kernels

        if self._takes_whole(len(dy)):
            kernels.lstm_sequence_backward(s.gates, s.cells, s.squashed, dy, s.w.weights)
        else:
            dh, dcell = self._backward_steps(s, dy)
            self.dstates = {"state": dh, "cell": dcell}
        dgates = s.gates  # now contains the gradients before the activations
        dbiases = kernels.column_sums(dgates.reshape(-1, 4 * self.outputs))
        dx = s.u.backward(dgates) if need_dx else None
        s.u.accumulate(s.x, dgates, dbiases)
        s.w.accumulate(s.states[:-1], dgates, dbiases)
        return dx

    def _backward_steps(self, s: LstmSaved, dy: Array) -> tuple[Array, Array]:
        """Overwrite the gates with their gradients before the activations. Returns the gradients
        of the state and the cell before the first step."""
        dh = self.backend.zeros(*s.states.shape[1:])  # gradient of the state after step t
        dcell = self.backend.zeros(*s.states.shape[1:])
        for t in reversed(range(len(dy))):
            self.backend.kernels.lstm_state_backward(
                s.gates[t], s.cells[t], s.squashed[t], dy[t], dh, dcell
            )
            dh = s.w.backward(s.gates[t], t)
        return dh, dcell


make_lstm_layer = LstmLayer
