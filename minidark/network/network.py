"""The network: layers in order, their states, and the number of rows seen.

    predict      x -> y, inference; the state carries over from call to call
    accumulate   forward and backward in training mode; adds to the gradients

Its `learner` updates the weights.

Source: darknet src/network.c (forward_network, backward_network).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from minidark.backend import Array, Backend, Scalar, get_backend
from minidark.cfg.forms import format_cfg
from minidark.cfg.options import LayerOptions, NetOptions
from minidark.cfg.sections import Pair, Section
from minidark.errors import DataError, MinidarkError, echo, nearest, number_of
from minidark.files.disk import write_atomically
from minidark.layers.base import (
    Layer,
    Parameter,
    Stored,
    cost_layer,
    is_ids,
    required_cost_layer,
)
from minidark.layers.batchnorm import CPU, DIVISORS
from minidark.layers.softmax import SoftmaxLayer
from minidark.network import arguments
from minidark.network.arguments import Truth, checked_input, checked_pass
from minidark.network.frozen import Frozen, show_symbols
from minidark.network.graph import INPUT, Graph, ignore_done
from minidark.network.html_table import network_table
from minidark.network.learner import Learner
from minidark.weights import darknet


class Network:
    """A sequence of layers over S streams of rows.

    On a GPU, results, costs and `parameters()` are in its memory: `float()` and `backend.asnumpy`
    wait for it. Arguments may be in either memory.

    `layer_options` has the options of each layer: learning-rate scale, stopbackward, dontload,
    dontsave, dontloadscales. `sections` is its cfg. `rng` feeds dropout and the random policy.
    `learner` updates the weights.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        options: NetOptions,
        layer_options: Sequence[LayerOptions] | None = None,
        *,
        sections: Sequence[Section] = (),
        rng: np.random.Generator | None = None,
        backend: Backend | None = None,
    ):
        self.layers = list(layers)
        self.options = options
        self.layer_options = list(layer_options or [LayerOptions()] * len(self.layers))
        self.sections = list(sections)
        self.rng = rng or np.random.default_rng(0)
        self.backend = backend or get_backend()
        self.graph = Graph(self.layers, self.backend)
        self.streams = self.layers[0].streams
        self.seen = 0
        self.layer_parameters = [layer.parameters() for layer in self.layers]
        self._y: Array | None = None  # the output, between forward and backward
        self.chooses_batchnorm = options.batchnorm is None  # the cfg leaves the choice open
        if options.batchnorm:
            self._divide(options.batchnorm)
        self.accumulated = 0  # rows accumulated since the last update
        self.learner = Learner(self)

    @property
    def inputs(self) -> int:
        """Width of an input row (T, S, inputs), and the number of symbols for ids."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Width of an output row (T, S, outputs)."""
        return self.layers[-1].outputs

    def __repr__(self) -> str:
        layers = ", ".join(f"{layer.type} {layer.outputs}" for layer in self.layers)
        return (
            f"<Network: {self.inputs} -> {layers}; {self._size():,} parameters, "
            f"{number_of(self.streams, 'stream')}, {self.seen:,} rows seen>"
        )

    def _repr_html_(self) -> str:
        return network_table(self.layers, self._size(), self.seen)

    def _size(self) -> int:
        return sum(p.value.size for p in self.parameters())

    @overload
    def __getitem__(self, key: int) -> Layer: ...
    @overload
    def __getitem__(self, key: str) -> Layer | Stored: ...
    def __getitem__(self, key: int | str) -> Layer | Stored:
        """A layer, `net[0]` or `net["0.gru"]`, or a live array, `net["0.gru.uz.weights"]`. Raises
        DataError for an unknown name, IndexError for a number out of range."""
        if isinstance(key, int):
            return self.layers[key]
        named: dict[str, Layer | Stored] = {layer.name: layer for layer in self.layers}
        named |= {a.name: a for layer in self.layers for a in layer.arrays()}
        if key not in named:
            layers = ", ".join(layer.name for layer in self.layers)
            near = nearest(key, named) or f"; its layers are {layers}"
            raise DataError(f"no layer or array of this network is named {echo(key)}{near}")
        return named[key]

    def check_has_cost(self) -> None:
        """Raise CfgError if the network has no cost layer."""
        required_cost_layer(self.layers)

    @property
    def predicts_symbols(self) -> bool:
        """Whether the cost is the nats of one symbol among `outputs`, as with a plain softmax."""
        layer = cost_layer(self.layers)
        return isinstance(layer, SoftmaxLayer) and layer.groups == 1

    @property
    def gives_distribution(self) -> bool:
        """Whether each output row is one distribution over `outputs`, as with a softmax without
        groups. A [cost] or [dropout] after it does not matter in inference."""
        heads = [layer for layer in self.layers if layer.type not in ("cost", "dropout")]
        return any(isinstance(head, SoftmaxLayer) and head.groups == 1 for head in heads[-1:])

    @property
    def batchnorm(self) -> str:
        """The batch norm formula, chosen by `[net] batchnorm` or by loaded weights."""
        return self.options.batchnorm or CPU.name

    def settle_batchnorm(self, name: str) -> bool:
        """Use the batch norm formula of loaded weights if the cfg does not choose one, and write it
        into this network's cfg. Returns whether anything changed."""
        normalizes = any(layer.norms for layer in self.layers)
        if not (self.chooses_batchnorm and normalizes) or name == self.batchnorm:
            return False
        self._divide(name)
        self.options = dataclasses.replace(self.options, batchnorm=name)
        if self.sections:
            first = self.sections[0]
            pairs = {**first.pairs, "batchnorm": Pair("batchnorm", name, first.line)}
            self.sections[0] = dataclasses.replace(first, pairs=pairs)
        return True

    def _divide(self, name: str) -> None:
        for layer in self.layers:
            for norm in layer.norms:
                norm.divisor = DIVISORS[name]

    def parameters(self) -> list[Parameter]:
        """All trained arrays in weight-file order, live."""
        return [p for layer in self.layer_parameters for p in layer]

    # --- forward --------------------------------------------------------------------------

    def work(self) -> int:
        """Multiply-adds of inference per row; training needs three times as many."""
        return sum(layer.work() for layer in self.layers)

    def predict(self, x: npt.ArrayLike) -> Array:
        """Inference. x: float (T, S, inputs), or (T, inputs) for one stream; or integer ids (T, S),
        or (T,). The result has the same leading axes, and `outputs` last.

        Raises DataError for another shape, and for an id of `inputs` or above.
        """
        array = arguments.as_array(x, self.backend)
        if array.ndim != (1 if is_ids(array) else 2):
            return self.forward(array)
        if self.streams != 1:
            raise arguments.wrong_shape("x", array, arguments.tail(array, self.layers[0]))
        return self.forward(array[:, None])[:, 0]

    def forward(self, x: npt.ArrayLike, train: bool = False) -> Array:
        """x (T, S, inputs) or ids (T, S) to (T, S, outputs); with `train`, in training mode."""
        y = self._forward(checked_input(x, self.layers[0]), train)
        if train:
            self._y = y
        return y.copy()

    def traced(self, x: npt.ArrayLike) -> tuple[Array, list[dict[str, Array]]]:
        """Inference like `forward`, and the gates and states of each layer after each step, by
        name: (T, S, H) each, empty for layers without."""
        given, traces = checked_input(x, self.layers[0]), []
        show_symbols(self.layers, given)

        def step(i: int, x: Array) -> Array:
            y, values = self.layers[i].traced(x)
            traces.append(values)
            return y

        return self.graph.forward(given, step), traces

    def frozen(self, streams: int = 1, temperature: float | None = None) -> Frozen:
        """Step-by-step inference with constant parameters and `streams` states of its own, which
        start at zero. temperature: replaces the softmax layers' own."""
        twin = self.twin(streams)
        for layer in twin.layers:
            if isinstance(layer, SoftmaxLayer) and temperature is not None:
                layer.temperature = temperature
        return twin.stepping()

    def stepping(self) -> Frozen:
        """Step-by-step inference with constant parameters, which continues from this network's
        states and changes them."""
        return Frozen(self.layers, self.graph, self.backend)

    def reset_state(self, stream: int | None = None) -> None:
        """Set the state of one stream, or of all, to zero."""
        if stream is not None and not 0 <= stream < self.streams:
            raise DataError(f"stream {stream} is not one of this network's {self.streams}")
        for layer in self.layers:
            layer.reset_state(stream)

    def _forward(self, x: Array, train: bool, truth: Truth | None = None) -> Array:
        """With a truth, the layers from `graph.head` compute only the rows that have one."""
        if train:
            self._y = None  # of an earlier pass, whose saved values this one replaces
        show_symbols(self.layers, x)

        def step(i: int, x: Array) -> Array:
            if truth and i == self.graph.head:
                x = truth.counted(x)
            return self.layers[i].forward(x, train=train)

        return self.graph.forward(x, step)

    # --- backward --------------------------------------------------------------

    def backward(self, truth: npt.ArrayLike) -> Scalar:
        """After forward(x, train=True): adds to the gradients, returns the summed cost.

        truth: (T, S, outputs), or integer ids (T, S), where -1 means no truth: the row has no cost
        and is not counted. On a GPU, ids that are already in its memory must not contain -1.
        """
        if self._y is None:
            raise MinidarkError("call forward with train=True before backward")
        checked = Truth.of(truth, self._y.shape, self.backend)
        y, self._y = self._y, None
        top = self.layers.index(required_cost_layer(self.layers))
        return self._descend(checked.counted(y), checked, top)[0]

    def _descend(
        self,
        y: Array,
        truth: Truth,
        head: int,
        need_dx: bool = False,
        done: Callable[[int], None] = ignore_done,
    ) -> tuple[Scalar, Array | None]:
        """Backward from the cost layer to the lowest layer that trains. Returns the cost and, with
        `need_dx`, the gradient of the input, None behind a stopbackward.

        y: the outputs of the rows with a truth. head: the lowest layer that computed only these
        rows. done: called with each layer's number.
        """
        cost, gradient = required_cost_layer(self.layers).cost(y, truth.array)
        self.accumulated += truth.rows
        top, bottom = self.layers.index(required_cost_layer(self.layers)), self.frozen_layers
        for layer in self.layers[top:]:
            layer.saved = None
        del y  # frees it and the arrays saved by cost layers, which are as large as all outputs

        def step(i: int, dy: Array | None, need_dx: bool) -> Array | None:
            layer = self.layers[i]
            dx = None if dy is None else layer.backward(dy, need_dx=need_dx)
            layer.saved = None  # also of a layer that nothing reads
            done(i)
            return truth.spread(dx, self.backend) if i == head and dx is not None else dx

        if head == top:
            gradient = truth.spread(gradient, self.backend)
        lowest = INPUT if need_dx and not bottom else bottom
        dx = self.graph.backward(gradient, top, lowest, step)
        for layer in self.layers[:bottom]:
            layer.saved = None
        return cost, dx

    @property
    def frozen_layers(self) -> int:
        """Number of layers, from the input, that get no gradient: up to the highest stopbackward or
        layer that outputs ids."""
        both = enumerate(zip(self.layers, self.layer_options, strict=True))
        stops = [i for i, (layer, said) in both if said.stopbackward or layer.gives_ids]
        return max(stops) + 1 if stops else 0

    def cost(self, y: Array, truth: npt.ArrayLike) -> Scalar:
        """The summed cost of outputs y (T, S, outputs); truth as for `backward`."""
        checked = Truth.of(truth, y.shape, self.backend)
        return required_cost_layer(self.layers).cost(
            checked.counted(self.backend.asarray(y)), checked.array
        )[0]

    def measured(self, x: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[Scalar, Array]:
        """Inference: the summed cost, and the outputs, which are not a copy: (T, S, outputs), or
        (R, 1, outputs) of the R rows with a truth if some have none."""
        rows, checked = checked_pass(self.layers, x, truth)
        y = self._forward(rows, False, checked)
        return required_cost_layer(self.layers).cost(y, checked.array)[0], y

    def accumulate(
        self, x: npt.ArrayLike, truth: npt.ArrayLike, *, done: Callable[[int], None] = ignore_done
    ) -> Scalar:
        """Forward and backward in training mode; adds to the gradients.

        x (T, S, inputs) or ids (T, S), truth as for `backward`. Returns the summed cost (nats, for
        a softmax), like darknet's net.cost. done: called with each layer's number when its
        gradients are complete, from the output down.
        """
        rows, checked = checked_pass(self.layers, x, truth)
        head = self.graph.head
        return self._descend(self._forward(rows, True, checked), checked, head, done=done)[0]

    def objective(self, x: npt.ArrayLike, truth: npt.ArrayLike) -> float:
        """What training descends, of one training pass over x: accumulate without its gradients.
        darknet's cost can differ from it by a factor."""
        rows, checked = checked_pass(self.layers, x, truth)
        y = self._forward(rows, True, checked)
        return float(required_cost_layer(self.layers).objective(y, checked.array))

    def input_gradient(self, x: npt.ArrayLike, truth: npt.ArrayLike) -> Array | None:
        """`accumulate`, and returns the gradient of x (T, S, inputs); None if a stopbackward blocks
        it."""
        rows, checked = checked_pass(self.layers, x, truth)
        y = self._forward(rows, True, checked)
        return self._descend(y, checked, self.graph.head, need_dx=True)[1]

    def train_batch(
        self, x: npt.ArrayLike, truth: npt.ArrayLike, measure: bool = False, rows: int | None = None
    ) -> Scalar:
        """`Learner.train_batch`: accumulate, and update after `subdivisions` passes."""
        return self.learner.train_batch(x, truth, measure, rows)

    def update(self, measure: bool = False) -> None:
        """`Learner.update`: one optimizer step, then the gradients are zero."""
        self.learner.update(measure)

    def learning_rate(self) -> float:
        """The rate at the current `seen`, before the layers' own scales."""
        return self.learner.learning_rate()

    @property
    def batches_seen(self) -> int:
        """Complete batches seen: seen / (rows * subdivisions)."""
        return self.seen // (self.options.rows * self.options.subdivisions)

    # --- files and copies -----------------------------------------------------------------

    def save_weights(self, path: Path | str) -> None:
        """Write atomically: .safetensors, .npz, or darknet's (0.2.0, pjreddie's order)."""
        darknet.save_weights(self, path)

    def save_cfg(self, path: Path | str) -> None:
        """Write this network's cfg, as YAML if the path has that suffix."""
        if not self.sections:
            raise MinidarkError("this network was not made from a cfg")
        write_atomically(path, [format_cfg(self.sections, path).encode()])

    def twin(self, streams: int = 1) -> Self:
        """A network over the same parameter arrays, with `streams` zero states of its own.

        Used for inference during training: it does not change this network.
        """
        if streams < 1:
            raise DataError(f"a network needs at least one stream, not {streams}")
        return self._over([layer.twin(streams) for layer in self.layers], streams)

    def shard(self, streams: slice) -> Self:
        """A network for some of this one's streams, sharing their states, the parameters and the
        gradients; it counts rows in its own `accumulated`."""
        layers = [layer.shard(streams) for layer in self.layers]
        other = self._over(layers, streams.stop - streams.start)
        other.accumulated = 0
        return other

    def _over(self, layers: list[Layer], streams: int) -> Self:
        other = copy.copy(self)
        other.layers, other.streams, other._y = layers, streams, None
        return other

    def __copy__(self) -> Self:
        """A network over the same layers, with its own `seen` and learner."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), learner=self.learner.beside(other))
        return other
