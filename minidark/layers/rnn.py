"""darknet's plain recurrent layer, with three sublayers.

    s' = input(x) + self(s)  (+ s with shortcut=1)
    y  = output(s')

Each sublayer is act(norm(W v) + b) with the layer's activation. AlexeyAB's `logistic=1` makes the
activation of self logistic (2: loggy). `hidden` is the size of s.

With elman=1 there are two sublayers, norm(W v) + b each, one activation of their sum, and no output
sublayer:

    s' = act(input(x) + self(s))
    y  = s'

PyTorch's nn.RNN, Keras's SimpleRNN and ONNX's RNN compute the same.

Source: darknet src/rnn_layer.c (make_rnn_layer, forward_rnn_layer, backward_rnn_layer), which
overruns its one-step state buffer in training on a CPU. pjreddie's version ignores `hidden`. Elman
1990, "Finding structure in time", for elman=1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Unpack

from minidark.backend import RNN_ACTIVATIONS, Array, Backend
from minidark.errors import CfgError
from minidark.layers.activations import activated, before_activation, checked_activation
from minidark.layers.affine import AffinePass, one_order
from minidark.layers.recurrent import CellOptions, RecurrentLayer


@dataclass(slots=True)
class RnnSaved:
    """One pass over T steps."""

    x: Array  # (T, S, I), or ids (T, S)
    from_input: Array  # (T, S, H): act(input(x))
    from_self: Array  # (T, S, H): act(self(s))
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    y: Array  # (T, S, O)
    input_part: AffinePass
    self_part: AffinePass
    output_part: AffinePass


class RnnKeywords(CellOptions, total=False):
    """Options of a plain recurrent layer.

    hidden: width of the state (None: outputs). shortcut: add the old state to the new one.
    self_activation: None means `activation`.
    """

    hidden: int | None
    shortcut: bool
    self_activation: str | None
    name: str | None
    backend: Backend | None


class RnnLayer(RecurrentLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs). The state is (S, hidden)."""

    type = "rnn"
    elman: ClassVar = False
    traced_state = "s"
    created: ClassVar[tuple[str, ...]] = ("input", "self", "output")
    file_orders = one_order("input", "self", "output")

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        steps: int,
        activation: str = "logistic",
        batch_normalize: bool = False,
        *,
        hidden: int | None = None,
        shortcut: bool = False,
        self_activation: str | None = None,
        name: str | None = None,
        backend: Backend | None = None,
        **cell: Unpack[CellOptions],
    ):
        super().__init__(batch, inputs, outputs, steps, name=name, backend=backend)
        self.hidden = hidden or outputs
        self.shortcut = shortcut
        self.activation, self.self_activation = (
            checked_activation(name, self.backend.xp)
            for name in (activation, self_activation or activation)
        )
        if self.elman and (self.hidden != outputs or shortcut or self_activation):
            raise CfgError("elman=1 has no hidden, shortcut or self_activation")
        self.input_part = self._pack(("input",), inputs, self.hidden, batch_normalize)
        self.self_part = self._pack(("self",), self.hidden, self.hidden, batch_normalize)
        if not self.elman:
            self.output_part = self._pack(("output",), self.hidden, outputs, batch_normalize)
        self._start(self.input_part, (self.self_part,), **cell)
        self.states = {"state": self.backend.zeros(self.streams, self.hidden)}

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        run = self._run(x, train=False)
        return run.y, {"input": run.from_input, "self": run.from_self, "s": run.states[1:]}

    def _run(self, x: Array, train: bool) -> RnnSaved:
        """Run all steps of x and carry the state over."""
        steps, streams = x.shape[:2]
        parts = (self.input_part, self.self_part, self.output_part)
        input_, self_, output = (self._begin(part, steps, streams, train) for part in parts)

        act, backend = self.activation, self.backend
        from_input = activated(act, input_.forward(x), self.input_part.biases, backend)
        from_self = self.backend.empty(*from_input.shape)
        states = self.backend.empty(steps + 1, *from_input.shape[1:])
        states[0] = self.states["state"]
        if self._takes_whole(steps):
            self.backend.kernels.rnn_sequence(
                from_input,
                self.self_part.biases,
                from_self,
                states,
                self_.weights,
                self.self_activation.name,
                self.shortcut,
            )
        else:
            for t in range(steps):
                recurrent = self_.forward(states[t], t) + self.self_part.biases
                from_self[t] = self.self_activation.forward(recurrent)
                states[t + 1] = from_input[t] + from_self[t]
                if self.shortcut:
                    states[t + 1] += states[t]
        y = activated(act, output.forward(states[1:]), self.output_part.biases, backend)

        self.states["state"][...] = states[steps]
        return RnnSaved(x, from_input, from_self, states, y, input_, self_, output)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: RnnSaved = self._take_saved()

        dy = before_activation(self.activation, s.y, dy, self.backend)
        dstates = s.output_part.backward(dy)  # from the outputs; later states are added below
        s.output_part.accumulate(s.states[1:], dy, self._bias_gradient(dy))

        dself = s.from_self
        self._backward_states(s.self_part, dself, dstates)
        s.self_part.accumulate(s.states[:-1], dself, self._bias_gradient(dself))

        dinput = before_activation(self.activation, s.from_input, dstates, self.backend)
        dx = s.input_part.backward(dinput) if need_dx else None
        s.input_part.accumulate(s.x, dinput, self._bias_gradient(dinput))
        return dx

    def _backward_states(self, part: AffinePass, dself: Array, dstates: Array) -> None:
        """Add the gradients from later states to dstates (T, S, H), and overwrite self's outputs in
        dself (T, S, H) with their gradients before the activation."""
        if self._takes_whole(len(dself)):
            self.backend.kernels.rnn_sequence_backward(
                dself, dstates, part.weights, self.self_activation.name, self.shortcut
            )
            return
        earlier = self.backend.zeros(*dstates.shape[1:])
        for t in reversed(range(len(dstates))):
            dself[t] = self.self_activation.gradient(dself[t]) * dstates[t]
            earlier = part.backward(dself[t], t)
            if self.shortcut:
                earlier += dstates[t]
            if t:
                dstates[t - 1] += earlier
        self.dstates = {"state": earlier}

    def _bias_gradient(self, dy: Array) -> Array:
        sums: Array = self.backend.kernels.column_sums(dy.reshape(-1, dy.shape[-1]))
        return sums

    def _takes_whole(self, steps: int) -> bool:
        return super()._takes_whole(steps) and self.self_activation.name in RNN_ACTIVATIONS


@dataclass(slots=True)
class ElmanSaved:
    """One pass over T steps."""

    x: Array  # (T, S, I), or ids (T, S)
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    input_part: AffinePass
    self_part: AffinePass

    @property
    def y(self) -> Array:
        return self.states[1:]


class ElmanLayer(RnnLayer):
    """An RNN with elman=1. The state, (S, outputs), is also the output."""

    elman = True
    created = ("input", "self")
    file_orders = one_order("input", "self")

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        y = self._run(x, train=False).y
        return y, {"s": y}

    def _run(self, x: Array, train: bool) -> ElmanSaved:  # type: ignore[override]
        """Run all steps of x and update the state."""
        steps, streams = x.shape[:2]
        input_, self_ = (
            self._begin(part, steps, streams, train) for part in (self.input_part, self.self_part)
        )
        states = self.backend.empty(steps + 1, streams, self.outputs)
        states[0] = self.states["state"]
        self.backend.xp.add(input_.forward(x), self._biases(), out=states[1:])
        if self._takes_whole(steps):
            self.backend.kernels.elman_sequence(states, self_.weights, self.activation.name)
        else:
            for t in range(steps):
                sums = states[t + 1] + self_.forward(states[t], t)
                states[t + 1] = self.activation.forward(sums)
        self.states["state"][...] = states[steps]
        return ElmanSaved(x, states, input_, self_)

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        if not (self._has_cell_kernels() and self.activation.name in RNN_ACTIVATIONS):
            return super().frozen(ids)
        step: Callable[[Array], Array] = self.backend.kernels.ElmanStep(
            self.input_part.weights,
            self._biases(),
            self.self_part.weights,
            self.activation.name,
            self.states["state"],
            ids,
            self.packs,
        )
        return step

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: ElmanSaved = self._take_saved()
        dsums = self.backend.empty(*s.y.shape)
        dsums[...] = s.y
        self._backward_states(s.self_part, dsums, self.backend.xp.ascontiguousarray(dy))
        dbiases = self._bias_gradient(dsums)
        dx = s.input_part.backward(dsums) if need_dx else None
        s.input_part.accumulate(s.x, dsums, dbiases)
        s.self_part.accumulate(s.states[:-1], dsums, dbiases)
        return dx

    def _biases(self) -> Array:
        """The sum of both sublayers' biases (H,): both are added to the same sum."""
        biases: Array = self.input_part.biases + self.self_part.biases
        return biases


def make_rnn_layer(
    batch: int,
    inputs: int,
    outputs: int,
    steps: int,
    activation: str = "logistic",
    batch_normalize: bool = False,
    *,
    elman: bool = False,
    **options: Unpack[RnnKeywords],
) -> RnnLayer:
    """An RNN of either form: (T, S, inputs) or ids (T, S) to (T, S, outputs).

    batch: rows, as in darknet. elman: one activation of the sum, and the state is the output.
    options: see `RnnKeywords`, and `CellOptions` for the rest. Raises CfgError for an option that
    elman lacks.
    """
    kind = ElmanLayer if elman else RnnLayer
    return kind(batch, inputs, outputs, steps, activation, batch_normalize, **options)
