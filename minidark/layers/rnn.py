"""The plain recurrent layer, darknet's: three sublayers.

    s' = input(x) + self(s)  (+ s with shortcut=1)
    y  = output(s')

Each sublayer is act(norm(W v) + b) with the layer's activation; AlexeyAB's `logistic=1` makes
self's logistic (2: loggy), and `hidden` is the size of s.

Source: darknet src/rnn_layer.c (make_rnn_layer, forward_rnn_layer, backward_rnn_layer), which
walks past the end of its one-step state buffer when it trains on a CPU. pjreddie's ignores
`hidden`.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidark.activations import checked_activation
from minidark.backend import Array, Backend
from minidark.glibc_rand import GlibcRand
from minidark.layers.affine import AffinePass, PackedLayer, initialize, one_order


def make_rnn_layer(
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
    init: str = "darknet",
    rand: GlibcRand | None = None,
    name: str | None = None,
    backend: Backend | None = None,
) -> RnnLayer:
    """A plain recurrent layer over `batch` = streams * steps rows.

    hidden: width of the state (None: outputs). self_activation: None is `activation`.
    init: "darknet", or "orthogonal" for self.
    """
    layer = RnnLayer(
        batch,
        inputs,
        outputs,
        steps,
        activation,
        batch_normalize,
        hidden=outputs if hidden is None else hidden,
        shortcut=shortcut,
        self_activation=self_activation or activation,
        name=name,
        backend=backend,
    )
    initialize(layer, rand, init, square=("self",))
    return layer


@dataclass(slots=True)
class RnnSaved:
    """One training pass over T steps."""

    x: Array  # (T, S, I), or ids (T, S)
    from_input: Array  # (T, S, H): act(input(x))
    from_self: Array  # (T, S, H): act(self(s))
    states: Array  # (T + 1, S, H): the state before step 0, then after each step
    y: Array  # (T, S, O)
    input: AffinePass
    self: AffinePass
    output: AffinePass


class RnnLayer(PackedLayer):
    """`forward`: (T, S, inputs) or ids (T, S) to (T, S, outputs); the state is (S, hidden)."""

    type = "rnn"
    created = ("input", "self", "output")
    file_orders = one_order("input", "self", "output")

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        steps: int,
        activation: str,
        batch_normalize: bool,
        *,
        hidden: int,
        shortcut: bool,
        self_activation: str,
        name: str | None,
        backend: Backend | None,
    ):
        super().__init__(batch, inputs, outputs, steps, name=name, backend=backend)
        self.hidden, self.shortcut = hidden, shortcut
        self.activation = checked_activation(activation)
        self.self_activation = checked_activation(self_activation)
        self.input = self._pack(("input",), inputs, hidden, batch_normalize)
        self.self = self._pack(("self",), hidden, hidden, batch_normalize)
        self.output = self._pack(("output",), hidden, outputs, batch_normalize)
        self.states = {"state": self.backend.zeros(self.streams, hidden)}

    def forward(self, x: Array, *, train: bool = False) -> Array:
        steps, streams = x.shape[:2]
        from_affines = (self.input, self.self, self.output)
        input_, self_, output = (a.begin(steps, streams, train) for a in from_affines)

        from_input = self.activation.forward(input_.forward(x) + self.input.biases)
        from_self = self.backend.empty(*from_input.shape)
        states = self.backend.empty(steps + 1, *from_input.shape[1:])
        states[0] = self.states["state"]
        for t in range(steps):
            recurrent = self_.forward(states[t], t) + self.self.biases
            from_self[t] = self.self_activation.forward(recurrent)
            states[t + 1] = from_input[t] + from_self[t]
            if self.shortcut:
                states[t + 1] += states[t]
        y = self.activation.forward(output.forward(states[1:]) + self.output.biases)

        self.states["state"][...] = states[steps]
        if train:
            self.saved = RnnSaved(x, from_input, from_self, states, y, input_, self_, output)
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        s: RnnSaved = self._take_saved()

        dy = dy * self.activation.gradient(s.y)
        dstates = s.output.backward(dy)  # from the outputs; below, from later states too
        s.output.accumulate(s.states[1:], dy, dy.sum(axis=(0, 1)))

        dself = self.self_activation.gradient(s.from_self)
        for t in reversed(range(len(dy))):
            dself[t] *= dstates[t]
            earlier = s.self.backward(dself[t], t)
            if self.shortcut:
                earlier += dstates[t]
            if t:
                dstates[t - 1] += earlier
        s.self.accumulate(s.states[:-1], dself, dself.sum(axis=(0, 1)))

        dinput = dstates * self.activation.gradient(s.from_input)
        dx = s.input.backward(dinput) if need_dx else None
        s.input.accumulate(s.x, dinput, dinput.sum(axis=(0, 1)))
        return dx
