"""The gated recurrent unit.

    z  = logistic(uz x + wz h)          update gate: how much of the old state stays
    r  = logistic(ur x + wr h)          reset gate: how much of it the candidate sees
    c  = act(uh x + wh (r * h))         candidate; act is tanh with tanh=1, else logistic
    h' = z * h + (1 - z) * c

u: from the input to a gate, w: from the state; each of the six is a sublayer with biases and,
with batch_normalize, a norm of its own. The reset comes before the product with wh: Keras
`reset_after=False`, ONNX `linear_before_reset=0`. h' is both the state and the output.

Source: darknet src/gru_layer.c (make_gru_layer, forward_gru_layer). Its backward_gru_layer is an
empty function on the CPU; the one here is the derivative. Cho et al. 2014, arXiv:1406.1078.
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
class GruSaved:
    """One pass over T steps."""

    x: Array  # (T, S, I), or ids (T, S)
    gates: Array  # (T, S, 3H): z | r | c, after their activations
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    reset_states: Array  # (T, S, H): r * h
    u: AffinePass
    wzr: AffinePass
    wh: AffinePass

    @property
    def y(self) -> Array:
        return self.states[1:]


class GruLayer(RecurrentLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs); the state is (S, outputs).

    update_bias: where uz's biases start.
    """

    type = "gru"
    created = ("uz", "wz", "ur", "wr", "uh", "wh")
    file_orders: ClassVar = {
        PJREDDIE: ("wz", "wr", "wh", "uz", "ur", "uh"),
        ALEXEY: ("uz", "ur", "uh", "wz", "wr", "wh"),
    }

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        steps: int,
        batch_normalize: bool = False,
        *,
        tanh: bool = False,
        update_bias: float = 0.0,
        name: str | None = None,
        backend: Backend | None = None,
        **cell: Unpack[CellOptions],
    ):
        super().__init__(batch, inputs, outputs, steps, name=name, backend=backend)
        self.tanh = tanh
        self.u = self._pack(("uz", "ur", "uh"), inputs, outputs, batch_normalize)
        self.wzr = self._pack(("wz", "wr"), outputs, outputs, batch_normalize)
        self.wh = self._pack(("wh",), outputs, outputs, batch_normalize)
        self._start(self.u, (self.wzr, self.wh), **cell)
        self.sublayers["uz"].biases[...] = update_bias
        self.states = {"state": self.backend.zeros(self.streams, outputs)}

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        run = self._run(x, train=False)
        return run.y, {**split(run.gates, "zrc"), "h": run.y}

    def _run(self, x: Array, train: bool) -> GruSaved:
        """All steps of x; the state goes on."""
        steps, streams = x.shape[:2]
        hidden, kernels = self.outputs, self.backend.kernels
        u, wzr, wh = (self._begin(a, steps, streams, train) for a in (self.u, self.wzr, self.wh))

        gates, biases = u.forward(x), self._gate_biases()
        states = self.backend.empty(steps + 1, streams, hidden)
        states[0] = self.states["state"]
        reset_states = self.backend.empty(steps, streams, hidden)
        if self._takes_whole(steps):
            kernels.gru_sequence(
                gates, biases, states, reset_states, wzr.weights, wh.weights, self.tanh
            )
        else:
            gates += biases
            for t in range(steps):
                h, new = states[t], states[t + 1]
                kernels.gru_gates(gates[t], wzr.forward(h, t), h, reset_states[t])
                kernels.gru_state(gates[t], wh.forward(reset_states[t], t), h, new, self.tanh)

        self.states["state"][...] = states[steps]
        return GruSaved(x, gates, states, reset_states, u, wzr, wh)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not self._has_cell_kernels():
            return super().frozen(ids)
        return self.backend.kernels.GruStep(
            self.u.weights,
            self._gate_biases(),
            self.wzr.weights,
            self.wh.weights,
            self.tanh,
            self.states["state"],
            ids,
        )

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: GruSaved = self._take_saved()
        hidden, kernels = self.outputs, self.backend.kernels

        if self._takes_whole(len(dy)):
            kernels.gru_sequence_backward(
                s.gates, s.states, dy, s.wzr.weights, s.wh.weights, self.tanh
            )
        else:
            self.dstates = {"state": self._backward_steps(s, dy)}
        dgates = s.gates  # by now the gradients of what went into their activations
        dzr, dc = dgates[:, :, : 2 * hidden], dgates[:, :, 2 * hidden :]
        dbiases = kernels.column_sums(dgates.reshape(-1, 3 * hidden))
        dx = s.u.backward(dgates) if need_dx else None
        s.u.accumulate(s.x, dgates, dbiases)
        s.wzr.accumulate(s.states[:-1], dzr, dbiases[: 2 * hidden])
        s.wh.accumulate(s.reset_states, dc, dbiases[2 * hidden :])
        return dx

    def _backward_steps(self, s: GruSaved, dy: Array) -> Array:
        """In place of a step's gates leaves the gradients of what went into their activations; that
        of the state before the first step is returned."""
        hidden, kernels = self.outputs, self.backend.kernels
        dh = self.backend.zeros(*s.states.shape[1:])  # of the state after step t
        for t in reversed(range(len(dy))):
            gates, h = s.gates[t], s.states[t]
            kernels.gru_state_backward(gates, h, dy[t], dh, self.tanh)
            dreset_state = s.wh.backward(gates[:, 2 * hidden :], t)
            kernels.gru_gates_backward(gates, h, dreset_state, dh)
            dh += s.wzr.backward(gates[:, : 2 * hidden], t)
        return dh

    def _gate_biases(self) -> Array:
        """Those of u and w together: they meet in the same sum."""
        biases = self.u.biases.copy()
        biases[: 2 * self.outputs] += self.wzr.biases
        biases[2 * self.outputs :] += self.wh.biases
        return biases


make_gru_layer = GruLayer
