"""The gated recurrent unit.

    z  = logistic(uz x + wz h)          update gate: share of the old state that is kept
    r  = logistic(ur x + wr h)          reset gate: share of it that the candidate sees
    c  = act(uh x + wh (r * h))         candidate; act is tanh with tanh=1, else logistic
    h' = z * h + (1 - z) * c

u reads the input, w reads the state. Each of the six is a sublayer with its own biases and, with
batch_normalize, its own batch norm. h' is both the state and the output. The reset is applied
before the product with wh: Keras `reset_after=False`, ONNX `linear_before_reset=0`.

With reset_after=1 the reset multiplies the output of wh, its biases and norm included:

    c  = act(uh x + r * (wh h))         the inner part of the candidate is wh h, biases included

PyTorch's nn.GRU, cuDNN, Keras's default and ONNX `linear_before_reset=1` do the same. Each step
then needs one matrix product with the state. The arrays have the same shapes, but the two forms
compute different functions.

Source: darknet src/gru_layer.c (make_gru_layer, forward_gru_layer). Its backward_gru_layer is
empty on the CPU; this module implements the derivative. Cho et al. 2014, arXiv:1406.1078.
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
    gates: Array  # (T, S, 3H): z | r | c, after activation
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    inner: Array  # (T, S, H): r * h; with reset_after, wh h
    u: AffinePass
    w: tuple[AffinePass, ...]  # wz and wr, then wh; with reset_after, all three packed together

    @property
    def y(self) -> Array:
        return self.states[1:]


class GruKeywords(CellOptions, total=False):
    """Options of a GRU.

    tanh: use tanh for candidates; the default is logistic. update_bias: initial biases of uz.
    """

    tanh: bool
    update_bias: float
    name: str | None
    backend: Backend | None


class GruLayer(RecurrentLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs); the state is (S, outputs)."""

    type = "gru"
    reset_after: ClassVar = False
    state_packs: ClassVar[tuple[tuple[str, ...], ...]] = (("wz", "wr"), ("wh",))  # by input
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
        self.w = tuple(self._pack(n, outputs, outputs, batch_normalize) for n in self.state_packs)
        self._start(self.u, self.w, **cell)
        self.sublayers["uz"].biases[...] = update_bias
        self.states = {"state": self.backend.zeros(self.streams, outputs)}

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        run = self._run(x, train=False)
        return run.y, {**split(run.gates, "zrc"), "h": run.y}

    def _run(self, x: Array, train: bool) -> GruSaved:
        """Run all steps of x and update the state."""
        steps, streams = x.shape[:2]
        u, *w = (self._begin(a, steps, streams, train) for a in (self.u, *self.w))

        states = self.backend.empty(steps + 1, streams, self.outputs)
        states[0] = self.states["state"]
        inner = self.backend.empty(steps, streams, self.outputs)
        run = GruSaved(x, u.forward(x), states, inner, u, tuple(w))
        (self._forward_whole if self._takes_whole(steps) else self._forward_steps)(run)
        self.states["state"][...] = states[steps]
        return run

    def _forward_whole(self, s: GruSaved) -> None:
        wzr, wh = s.w
        self.backend.kernels.gru_sequence(
            s.gates, self._gate_biases(), s.states, s.inner, wzr.weights, wh.weights, self.tanh
        )

    def _forward_steps(self, s: GruSaved) -> None:
        (wzr, wh), kernels = s.w, self.backend.kernels
        s.gates += self._gate_biases()
        for t in range(len(s.gates)):
            gates, h, reset_state, new = s.gates[t], s.states[t], s.inner[t], s.states[t + 1]
            kernels.gru_gates(gates, wzr.forward(h, t), h, reset_state)
            kernels.gru_state(gates, wh.forward(reset_state, t), h, new, self.tanh)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not self._has_cell_kernels():
            return super().frozen(ids)
        return self._frozen_cell(ids)

    def _frozen_cell(self, ids: bool) -> Callable[[Array], Array]:
        (wzr, wh), state = self.w, self.states["state"]
        step: Callable[[Array], Array] = self.backend.kernels.GruStep(
            self.u.weights,
            self._gate_biases(),
            wzr.weights,
            wh.weights,
            self.tanh,
            state,
            ids,
            self.packs,
        )
        return step

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: GruSaved = self._take_saved()
        if self._takes_whole(len(dy)):
            self._backward_whole(s, dy)
        else:
            self.dstates = {"state": self._backward_steps(s, dy)}
        dgates = s.gates  # now holds the gradients before the activations
        dbiases = self.backend.kernels.column_sums(dgates.reshape(-1, 3 * self.outputs))
        dx = s.u.backward(dgates) if need_dx else None
        s.u.accumulate(s.x, dgates, dbiases)
        self._accumulate_state(s, dbiases)
        return dx

    def _backward_whole(self, s: GruSaved, dy: Array) -> None:
        wzr, wh = s.w
        self.backend.kernels.gru_sequence_backward(
            s.gates, s.states, dy, wzr.weights, wh.weights, self.tanh
        )

    def _backward_steps(self, s: GruSaved, dy: Array) -> Array:
        """Overwrite each step's gates with their gradients before the activations. Return the
        gradient of the state before the first step."""
        (wzr, wh), two, kernels = s.w, 2 * self.outputs, self.backend.kernels
        dh = self.backend.zeros(*s.states.shape[1:])  # gradient of the state after step t
        for t in reversed(range(len(dy))):
            gates, h = s.gates[t], s.states[t]
            kernels.gru_state_backward(gates, h, dy[t], dh, self.tanh)
            dreset_state = wh.backward(gates[:, two:], t)
            kernels.gru_gates_backward(gates, h, dreset_state, dh)
            dh += wzr.backward(gates[:, :two], t)
        return dh

    def _accumulate_state(self, s: GruSaved, dbiases: Array) -> None:
        """Accumulate the gradients of the w sublayers; dbiases (3H,): the gates' bias gradients."""
        (wzr, wh), two = s.w, 2 * self.outputs
        wzr.accumulate(s.states[:-1], s.gates[:, :, :two], dbiases[:two])
        wh.accumulate(s.inner, s.gates[:, :, two:], dbiases[two:])

    def _gate_biases(self) -> Array:
        """The sum of u's and w's biases (3H,): both are added to the same gates."""
        biases = self.u.biases.copy()
        biases[: 2 * self.outputs] += self.w[0].biases
        biases[2 * self.outputs :] += self.w[1].biases
        return biases


class ResetAfterGruLayer(GruLayer):
    """A GRU with reset_after=1. One matrix product with the state serves all gates, and `inner` has
    its own gradient: r times the candidate's."""

    reset_after = True
    state_packs = (("wz", "wr", "wh"),)

    def _forward_whole(self, s: GruSaved) -> None:
        self.backend.kernels.gru_reset_after_sequence(
            s.gates, self._gate_biases(), s.states, s.inner, s.w[0].weights, self.tanh
        )

    def _forward_steps(self, s: GruSaved) -> None:
        (w,), biases, three = s.w, self._gate_biases(), 3 * self.outputs
        s.gates += biases[:three]
        for t in range(len(s.gates)):
            gates, h, inner, new = s.gates[t], s.states[t], s.inner[t], s.states[t + 1]
            self.backend.kernels.gru_reset_after(
                gates, w.forward(h, t), biases[three:], h, inner, new, self.tanh
            )

    def _frozen_cell(self, ids: bool) -> Callable[[Array], Array]:
        (w,), state = self.w, self.states["state"]
        step: Callable[[Array], Array] = self.backend.kernels.GruResetAfterStep(
            self.u.weights, self._gate_biases(), w.weights, self.tanh, state, ids, self.packs
        )
        return step

    def _backward_whole(self, s: GruSaved, dy: Array) -> None:
        self.backend.kernels.gru_reset_after_sequence_backward(
            s.gates, s.states, s.inner, dy, s.w[0].weights, self.tanh
        )

    def _backward_steps(self, s: GruSaved, dy: Array) -> Array:
        """Like GruLayer's; also overwrites `inner` with its gradient."""
        dh = self.backend.zeros(*s.states.shape[1:])
        for t in reversed(range(len(dy))):
            gates, inner = s.gates[t], s.inner[t]
            self.backend.kernels.gru_reset_after_backward(
                gates, s.states[t], inner, dy[t], dh, self.tanh
            )
            dh += s.w[0].backward(self._from_state(gates, inner), t)
        return dh

    def _accumulate_state(self, s: GruSaved, dbiases: Array) -> None:
        dw = self._from_state(s.gates, s.inner)
        dbiases = self.backend.kernels.column_sums(dw.reshape(-1, 3 * self.outputs))
        s.w[0].accumulate(s.states[:-1], dw, dbiases)

    def _from_state(self, dgates: Array, dinner: Array) -> Array:
        """The gradient of the product with the state, (..., 3H): z's and r's parts of dgates, then
        dinner."""
        parts = (dgates[..., : 2 * self.outputs], dinner)
        gradients: Array = self.backend.xp.concatenate(parts, axis=-1)
        return gradients

    def _gate_biases(self) -> Array:
        """(4H,): the gates' biases, then wh's, which are added to `inner`."""
        (w,), two = self.w, 2 * self.outputs
        biases: Array = self.backend.xp.concatenate((self.u.biases, w.biases[two:]))
        biases[:two] += w.biases[:two]
        return biases


def make_gru_layer(
    batch: int,
    inputs: int,
    outputs: int,
    steps: int,
    batch_normalize: bool = False,
    *,
    reset_after: bool = False,
    **options: Unpack[GruKeywords],
) -> GruLayer:
    """A GRU of either form: (T, S, inputs) or ids (T, S) to (T, S, outputs).

    batch: rows, as in darknet. reset_after: apply the reset gate after the product with the state.
    options: see `GruKeywords` for tanh, update_bias, name and backend, `CellOptions` for the rest.
    """
    kind = ResetAfterGruLayer if reset_after else GruLayer
    return kind(batch, inputs, outputs, steps, batch_normalize, **options)
