"""The network: layers in order, their state, how many rows they have seen.

    predict      x -> y, inference, state carried from call to call
    accumulate   forward and backward in training mode; adds to the gradients
    update       one optimizer step, then the gradients are zero
    train_batch  accumulate, count, and update when `subdivisions` passes are in

Source: darknet src/network.c (forward_network, backward_network, update_network,
train_network_datum, get_current_rate).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from minidark import policy, weights
from minidark.backend import Array, Backend, get_backend
from minidark.cfg.options import LayerOptions, NetOptions
from minidark.cfg.sections import Section, format_sections
from minidark.errors import DataError, MinidarkError
from minidark.files import write_atomically
from minidark.layers.base import CostLayer, Layer, Parameter, one_hot
from minidark.optim import Adam, Optimizer, Sgd


class Network:
    """Layers, one after another, over S streams of rows.

    `layer_options` says, layer by layer, what the network does with it: learning-rate scale,
    stopbackward, dontload, dontsave, dontloadscales. `sections` is the cfg it came from.
    `rng` feeds dropout and the random policy.
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
        self.streams = self.layers[0].streams
        self.seen = 0
        self.optimizer = _optimizer(options, self.backend)
        self._parameters = [layer.parameters() for layer in self.layers]
        self._cost_at = _cost_layer(self.layers)
        self._y: Array | None = None  # the cost layer's output, between forward and backward
        self.clip_norm = options.clip_norm
        self.last_rate = 0.0  # the learning rate of the last update
        self._rows = 0  # accumulated since the last update
        self._passes = 0  # likewise, counted by train_batch

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    def parameters(self) -> list[Parameter]:
        """All trained arrays in weight-file order, live."""
        return [p for layer in self._parameters for p in layer]

    # --- forward --------------------------------------------------------------------------

    def predict(self, x: npt.ArrayLike) -> Array:
        """Inference. x: float (T, S, inputs), or (T, inputs) for one stream; or integer ids
        (T, S), or (T,). The result has the same leading axes and `outputs` last.

        Raises DataError for another shape, and for an id that is not below `inputs`.
        """
        array = np.asarray(x)
        if array.ndim != (2 if array.dtype.kind == "f" else 1):
            return self.forward(array)
        if self.streams != 1:
            raise _wrong_shape("x", array, self.streams, self._width(array))
        return self.forward(array[:, None])[:, 0]

    def forward(self, x: npt.ArrayLike, train: bool = False) -> Array:
        """x (T, S, inputs) or ids (T, S) to (T, S, outputs); with `train`, in training mode."""
        return self._forward(self._input(x), train).copy()

    def reset_state(self, stream: int | None = None) -> None:
        """Zero the state of one stream, or of all."""
        if stream is not None and not 0 <= stream < self.streams:
            raise DataError(f"stream {stream} is not one of this network's {self.streams}")
        for layer in self.layers:
            layer.reset_state(stream)

    def _forward(self, x: Array, train: bool) -> Array:
        for layer in self.layers:
            x = layer.forward(x, train=train)
        if train:
            self._y = x
        return x

    # --- backward and update --------------------------------------------------------------

    def backward(self, truth: npt.ArrayLike) -> float:
        """After forward(x, train=True): adds to the gradients, returns the summed cost.

        truth: (T, S, outputs), or integer ids (T, S).
        """
        if self._y is None:
            raise MinidarkError("backward needs a forward with train=True before it")
        y, self._y = self._y, None
        cost, dx = self._cost_layer().cost(y, self._truth(truth, y.shape))
        self._backward(dx, need_dx=False)
        self._rows += y.shape[0] * y.shape[1]
        return cost

    def _backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """From the gradient below the cost layer down to the lowest layer that trains."""
        assert self._cost_at is not None
        stops = [i for i, options in enumerate(self.layer_options) if options.stopbackward]
        bottom = max(stops) + 1 if stops else 0
        for layer in self.layers[self._cost_at :]:
            layer.saved = None  # their gradient is dy already
        gradient: Array | None = dy
        for i in range(self._cost_at - 1, bottom - 1, -1):
            assert gradient is not None
            gradient = self.layers[i].backward(gradient, need_dx=need_dx or i > bottom)
        for layer in self.layers[:bottom]:
            layer.saved = None
        return gradient

    def cost(self, y: Array, truth: npt.ArrayLike) -> float:
        """The summed cost of outputs y (T, S, outputs) against the truth, as given to backward."""
        return self._cost_layer().cost(y, self._truth(truth, y.shape))[0]

    def accumulate(self, x: npt.ArrayLike, truth: npt.ArrayLike) -> float:
        """Forward and backward in training mode; adds to the gradients.

        x (T, S, inputs) or ids (T, S), truth (T, S, outputs) or ids (T, S). Returns the summed
        cost (nats, for a softmax), as darknet's net.cost.
        """
        checked = self._input(x)
        self._truth(truth, (*checked.shape[:2], self.outputs))  # before any state moves
        self._forward(checked, train=True)
        return self.backward(truth)

    def update(self) -> None:
        """One optimizer step with the policy's rate at `seen`; then the gradients are zero."""
        if not self._rows:
            raise MinidarkError("update needs an accumulate before it: there is no gradient")
        rate = self.last_rate = self.learning_rate()
        self._clip()
        self.optimizer.begin_update()
        for parameters, options in zip(self._parameters, self.layer_options, strict=True):
            for p in parameters:
                self.optimizer.step(p, rate * options.learning_rate, self._rows)
                p.grad[...] = 0
        self._rows = self._passes = 0

    def train_batch(self, x: npt.ArrayLike, truth: npt.ArrayLike) -> float:
        """accumulate, count `seen`, update when `subdivisions` of them are in; the summed cost."""
        before = self._rows
        cost = self.accumulate(x, truth)
        self.seen += self._rows - before
        self._passes += 1
        if self._passes == self.options.subdivisions:
            self.update()
        return cost

    def learning_rate(self) -> float:
        """The rate at the current `seen`, before the layers' own scales."""
        return policy.learning_rate(self.batches_seen, self.options, self.rng.random)

    @property
    def batches_seen(self) -> int:
        """Whole batches: seen / (rows * subdivisions)."""
        return self.seen // (self.options.rows * self.options.subdivisions)

    def gradient_norm(self) -> float:
        """The length of the mean gradient: that of all grads together, over the rows."""
        squares = sum(
            self.backend.kernels.sum_of_squares(p.grad.reshape(-1)) for p in self.parameters()
        )
        return float(squares**0.5) / max(1, self._rows)

    def _clip(self) -> None:
        """Shorten the gradient to clip_norm, where it is longer."""
        if self.clip_norm and (norm := self.gradient_norm()) > self.clip_norm:
            for p in self.parameters():
                p.grad *= self.clip_norm / norm

    # --- files and twins ------------------------------------------------------------------

    def save_weights(self, path: Path | str) -> None:
        """Write darknet's format (0.2.0, pjreddie's order), atomically."""
        weights.save_weights(self, path)

    def save_cfg(self, path: Path | str) -> None:
        """Write the cfg this network was made from."""
        if not self.sections:
            raise MinidarkError("this network was not made from a cfg")
        write_atomically(path, [format_sections(self.sections).encode()])

    def twin(self, streams: int = 1) -> Self:
        """A network over the same parameter arrays, with `streams` zero states of its own.

        For inference beside training: what the twin computes leaves no trace in this one.
        """
        other = copy.copy(self)
        other.layers = [layer.twin(streams) for layer in self.layers]
        other.streams = streams
        other._y = None
        return other

    # --- what comes in --------------------------------------------------------------------

    def _width(self, x: Array) -> int | None:
        """What the last axis of an input must be: none, for ids."""
        return self.inputs if x.dtype.kind == "f" else None

    def _input(self, x: npt.ArrayLike) -> Array:
        array = _checked_dtype("x", x)
        width = self._width(array)
        tail = (self.streams,) if width is None else (self.streams, width)
        if array.shape[1:] != tail or array.ndim != 1 + len(tail) or not len(array):
            raise _wrong_shape("x", array, self.streams, width)
        if array.dtype.kind == "f":
            return self.backend.asarray(array)
        _check_ids("x", array, self.inputs)
        ids = self.backend.asids(array)
        return ids if self.layers[0].reads_ids else one_hot(ids, self.inputs, self.backend)

    def _truth(self, truth: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
        """As floats of `shape` (T, S, outputs), or ids (T, S)."""
        array = _checked_dtype("truth", truth)
        wanted = shape if array.dtype.kind == "f" else shape[:2]
        if array.shape != wanted:
            raise DataError(f"truth has shape {array.shape}; expected {wanted}")
        if array.dtype.kind == "f":
            return self.backend.asarray(array)
        _check_ids("truth", array, self.outputs)
        return self.backend.asids(array)

    def _cost_layer(self) -> CostLayer:
        layer = None if self._cost_at is None else self.layers[self._cost_at]
        if not isinstance(layer, CostLayer):
            raise MinidarkError(
                "this network has no cost: end it in [softmax], [logistic] or [cost]"
            )
        return layer


def _optimizer(options: NetOptions, backend: Backend) -> Optimizer:
    if options.adam:
        return Adam(options.B1, options.B2, options.eps, options.decay, backend)
    return Sgd(options.momentum, options.decay, backend)


def _cost_layer(layers: Sequence[Layer]) -> int | None:
    """Which layer's cost is trained: the last one's; but a [cost] behind a softmax or logistic
    that has its own, as in AlexeyAB's cfgs, adds nothing to it."""
    at = len(layers) - 1
    if layers[at].type == "cost" and at and _has_cost(layers[at - 1]):
        at -= 1
    return at if _has_cost(layers[at]) else None


def _has_cost(layer: Layer) -> bool:
    return isinstance(layer, CostLayer) and layer.has_cost


def _checked_dtype(what: str, given: npt.ArrayLike) -> Array:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what} has dtype {array.dtype}; expected floats, or integer ids")
    return array


def _wrong_shape(what: str, array: Array, streams: int, width: int | None) -> DataError:
    wanted = ", ".join(map(str, ["T", streams] if width is None else ["T", streams, width]))
    return DataError(f"{what} has shape {array.shape}; expected ({wanted}) with T >= 1")


def _check_ids(what: str, ids: Array, width: int) -> None:
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= width):
        bad = int(ids[(ids < 0) | (ids >= width)][0])
        raise DataError(f"{what} holds symbol {bad}; this network's are 0 to {width - 1}")
