"""Trains a network: counts rows, clips gradients, and applies an optimizer with a learning rate.

    train_batch  accumulate, count, and update after `subdivisions` passes
    update       one optimizer step, then the gradients are zero

Source: darknet src/network.c (update_network, train_network_datum, get_current_rate).
"""

from __future__ import annotations

import contextlib
import copy
import math
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self

import numpy.typing as npt

from minidark.backend import Backend, Scalar
from minidark.cfg.options import NetOptions
from minidark.errors import MinidarkError
from minidark.network import policy
from minidark.network.optim import Adam, Optimizer, Sgd

if TYPE_CHECKING:
    from minidark.network.network import Network


class Learner:
    """Trains `net`. `rate` and `norms` are from the last update: the learning rate, and the norms
    of the layers' mean gradients if they were measured.

    The reference to the network is weak: the network owns its learner, and a reference cycle would
    keep the memory of both until the next garbage collection.
    """

    def __init__(self, net: Network):
        self.net: Network = weakref.proxy(net)
        self.optimizer = _optimizer(net.options, net.backend)
        self.clip_norm = net.options.clip_norm
        self.rate = 0.0
        self.norms: dict[str, Scalar] = {}
        self.passes = 0  # since the last update
        self.diverged = False  # whether one of these passes had a cost of NaN or infinity

    def beside(self, net: Network) -> Self:
        """A learner for a network over the same parameters; it shares the optimizer."""
        other = copy.copy(self)
        other.net = weakref.proxy(net)
        return other

    def train_batch(
        self,
        x: npt.ArrayLike,
        truth: npt.ArrayLike,
        measure: bool = False,
        rows: int | None = None,
    ) -> Scalar:
        """`accumulate`, count `seen`, update after `subdivisions` passes. Returns the summed cost.

        x (T, S, inputs) or ids (T, S), truth as for `Network.backward`. measure: as for `update`.

        rows: how many rows to count as seen. None counts the rows with a truth; if passes differ in
        length, as with pairs, `options.rows` for each keeps batches at their size.

        After a cost of NaN or infinity the weights stay unchanged until `drop_gradients`, so that
        the cause can be found. On a GPU the cost is not checked, because that would wait for it.
        """
        net, before = self.net, self.net.accumulated
        cost = net.accumulate(x, truth)
        net.seen += net.accumulated - before if rows is None else rows
        self.passes += 1
        self.diverged |= isinstance(cost, float) and not math.isfinite(cost)
        if self.passes >= net.options.subdivisions and not self.diverged:
            self.update(measure)
        return cost

    def learn(self, rows: int, seen: int, cost: float, measure: bool = False) -> None:
        """Count a batch whose gradients, over `rows` rows, are already in the parameters, and
        update. After a cost of NaN or infinity the weights stay unchanged."""
        self.net.accumulated = rows
        self.net.seen += seen
        if math.isfinite(cost):
            self.update(measure)

    def update(self, measure: bool = False) -> None:
        """One optimizer step with the policy's rate at `seen`; then the gradients are zero.

        measure: store the norm of each layer's mean gradient, before clipping, in `norms` by layer
        name. Layers without trained parameters are omitted.
        """
        net = self.net
        if not net.accumulated:
            raise MinidarkError("call accumulate before update: there is no gradient")
        rate = self.rate = self.learning_rate()
        squares = self._squares() if measure or self.clip_norm else {}
        self.norms = {n: self._length(s) for n, s in squares.items()} if measure else {}
        if self.clip_norm:
            norm = self._length(s for layer in squares.values() for s in layer)
            for p in net.parameters():
                net.backend.kernels.shorten(p.grad, norm, self.clip_norm)
        self.optimizer.begin_update()
        for parameters, options in zip(net.layer_parameters, net.layer_options, strict=True):
            for p in parameters:
                self.optimizer.step(p, rate * options.learning_rate, net.accumulated)
        self.begin_batch()

    def drop_gradients(self) -> None:
        """Zero the gradients accumulated since the last update."""
        for p in self.net.parameters():
            p.grad[...] = 0
        self.begin_batch()

    def begin_batch(self) -> None:
        """Start a batch; the gradients must be zero."""
        self.net.accumulated = self.passes = 0
        self.diverged = False

    def learning_rate(self) -> float:
        """The rate at the current `seen`, before the layers' own scales."""
        return policy.learning_rate(self.net.batches_seen, self.net.options, self.net.rng.random)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the parameters are swapped with their moving averages, if [net] has
        `average`. For every use of a network during training."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep_average(self) -> None:
        """Replace the parameters by their moving averages, at the end of training."""
        with self.averaged():
            averages = [p.value.copy() for p in self.net.parameters()]
        for p, value in zip(self.net.parameters(), averages, strict=True):
            p.value[...] = value

    def _exchange(self) -> None:
        if self.optimizer.average and self.optimizer.updates:
            for p in self.net.parameters():
                self.optimizer.exchange(p)

    def gradient_norm(self) -> float:
        """Norm of the mean gradient of all parameters."""
        return float(self._length(s for layer in self._squares().values() for s in layer))

    def _squares(self) -> dict[str, list[Scalar]]:
        """Sums of squares of the gradients, by layer name."""
        squares = self.net.backend.kernels.sum_of_squares
        return {
            layer.name: [squares(p.grad.reshape(-1)) for p in parameters]
            for layer, parameters in zip(self.net.layers, self.net.layer_parameters, strict=True)
            if parameters
        }

    def _length(self, squares: Iterable[Scalar]) -> Scalar:
        """Norm of a mean gradient, from the squares of its parts."""
        total: Scalar = sum(squares)
        return total**0.5 / max(1, self.net.accumulated)


def _optimizer(options: NetOptions, backend: Backend) -> Optimizer:
    if options.adam:
        adam = (options.B1, options.B2, options.eps, options.decay)
        return Adam(*adam, backend, options.average)
    return Sgd(options.momentum, options.decay, backend, options.average)
