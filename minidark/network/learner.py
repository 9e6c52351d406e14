"""What moves a network: its gradients counted, clipped and handed to an optimizer, at a rate.

    train_batch  accumulate, count, and update when `subdivisions` passes are in
    update       one optimizer step, then the gradients are zero

Source: darknet src/network.c (update_network, train_network_datum, get_current_rate).
"""

from __future__ import annotations

import contextlib
import copy
import math
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
    """Trains `net`. `rate` and `norms` are those of the last update: the learning rate, and the
    lengths of the layers' mean gradients where they were measured."""

    def __init__(self, net: Network):
        self.net = net
        self.optimizer = _optimizer(net.options, net.backend)
        self.clip_norm = net.options.clip_norm
        self.rate = 0.0
        self.norms: dict[str, Scalar] = {}
        self.passes = 0  # since the last update
        self.diverged = False  # whether the cost of one of them was NaN or infinite

    def beside(self, net: Network) -> Self:
        """The same for a network over the same parameters: its updates are this one's."""
        other = copy.copy(self)
        other.net = net
        return other

    def train_batch(
        self,
        x: npt.ArrayLike,
        truth: npt.ArrayLike,
        measure: bool = False,
        rows: int | None = None,
    ) -> Scalar:
        """`accumulate`, count `seen`, update when `subdivisions` of them are in; the summed cost.

        x (T, S, inputs) or ids (T, S), truth as for `Network.backward`. measure: as for `update`.

        rows: what to count as seen. None counts the rows that have a truth; where passes differ in
        length, as pairs do, `options.rows` for each keeps the batches whole.

        After a cost of NaN or infinity the weights stay, so that one can see where it came from,
        until `drop_gradients`; but on a GPU, where to look at the cost would be to wait for it.
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
        """A batch whose gradients, over so many rows, were put into the parameters: count what was
        seen and update. After a cost of NaN or infinity the weights stay."""
        self.net.accumulated = rows
        self.net.seen += seen
        if math.isfinite(cost):
            self.update(measure)

    def update(self, measure: bool = False) -> None:
        """One optimizer step with the policy's rate at `seen`; then the gradients are zero.

        measure: keep the length of each layer's mean gradient, as it was before clipping, in
        `norms` by the layer's name; those that train nothing are not in it.
        """
        net = self.net
        if not net.accumulated:
            raise MinidarkError("update needs an accumulate before it: there is no gradient")
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
        """Forget what was accumulated since the last update."""
        for p in self.net.parameters():
            p.grad[...] = 0
        self.begin_batch()

    def begin_batch(self) -> None:
        """No pass is in; the gradients are zero."""
        self.net.accumulated = self.passes = 0
        self.diverged = False

    def learning_rate(self) -> float:
        """The rate at the current `seen`, before the layers' own scales."""
        return policy.learning_rate(self.net.batches_seen, self.net.options, self.net.rng.random)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the parameters are the means of their values, where [net] has an `average`;
        they come back at its end. For whatever uses a network while it is trained."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep_average(self) -> None:
        """Let the parameters be what they are in `averaged`, for good: they are trained."""
        with self.averaged():
            kept = [p.value.copy() for p in self.net.parameters()]
        for p, value in zip(self.net.parameters(), kept, strict=True):
            p.value[...] = value

    def _exchange(self) -> None:
        if self.optimizer.average and self.optimizer.updates:
            for p in self.net.parameters():
                self.optimizer.exchange(p)

    def gradient_norm(self) -> float:
        """The length of the mean gradient: that of all grads together, over the rows."""
        return float(self._length(s for layer in self._squares().values() for s in layer))

    def _squares(self) -> dict[str, list[Scalar]]:
        """The sum of squares of each gradient, by the layer's name."""
        squares = self.net.backend.kernels.sum_of_squares
        return {
            layer.name: [squares(p.grad.reshape(-1)) for p in parameters]
            for layer, parameters in zip(self.net.layers, self.net.layer_parameters, strict=True)
            if parameters
        }

    def _length(self, squares: Iterable[Scalar]) -> Scalar:
        """Of a mean gradient, from the squares of its parts."""
        total: Scalar = sum(squares)
        return total**0.5 / max(1, self.net.accumulated)


def _optimizer(options: NetOptions, backend: Backend) -> Optimizer:
    if options.adam:
        adam = (options.B1, options.B2, options.eps, options.decay)
        return Adam(*adam, backend, options.average)
    return Sgd(options.momentum, options.decay, backend, options.average)
