"""SGD with darknet's momentum and decay, and Adam. The optimizer owns its slots.

`grad` is the true gradient summed over the n rows since the last update.

    Sgd:   v -= grad + decay n w (weights only);  w += rate / n v;  v *= momentum
    Adam:  d = -grad - decay n w (every array);   m, v its moments;
           w += rate mhat / (sqrt(vhat) + eps), not divided by n

With `average`, each parameter also has a moving average of its values, which predicts better than
the last value while the rate is high: mean = a mean + (1 - a) w. a rises to `average`, so that the
first values have no extra weight.

Source: darknet src/connected_layer.c (update_connected_layer), src/blas_kernels.cu
(adam_update_gpu). darknet's CPU silently runs SGD for adam=1. Kingma and Ba 2014, arXiv:1412.6980.
Polyak and Juditsky 1992, for the average.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from minidark.backend import Array, Backend
from minidark.layers.base import Parameter

MEAN = "average"  # slot of the moving average
RISE = 9  # after n updates, a is at most (n - 1) / (n + RISE)


class Optimizer(Protocol):
    kinds: tuple[str, ...]  # slots of each parameter, for checkpoints
    updates: int
    average: float

    def slot(self, parameter: Parameter, kind: str) -> Array:
        """The parameter's slot of a kind: live, flat, initially zero."""

    def begin_update(self) -> None:
        """Count an update; called once before the parameters' steps."""

    def step(self, parameter: Parameter, rate: float, rows: int) -> None:
        """Update one parameter and set its gradient to zero."""

    def exchange(self, parameter: Parameter) -> None:
        """Swap the parameter with its moving average, if there is one."""


class Slots:
    """Arrays beside each parameter, initially zero."""

    own: ClassVar[tuple[str, ...]]  # slots without `average`

    def __init__(self, backend: Backend, average: float):
        self.backend, self.average = backend, average
        self.kinds = (*self.own, MEAN) if average else self.own
        self.slots: dict[str, Array] = {}  # "0.gru.uz.weights.m" -> array
        self.updates = 0

    def begin_update(self) -> None:
        self.updates += 1

    def slot(self, parameter: Parameter, kind: str) -> Array:
        name = f"{parameter.name}.{kind}"
        if name not in self.slots:
            self.slots[name] = self.backend.zeros(*parameter.value.shape)
        return _flat(self.slots[name])

    def follow(self, parameter: Parameter) -> None:
        """Update the parameter's moving average."""
        if self.average:
            weight = min(self.average, (self.updates - 1) / (self.updates + RISE))
            mean, value = self.slot(parameter, MEAN), _flat(parameter.value)
            self.backend.kernels.roll(mean, value[None], weight)

    def exchange(self, parameter: Parameter) -> None:
        """Swap the parameter with its moving average."""
        mean, value = self.slot(parameter, MEAN), _flat(parameter.value)
        copy = value.copy()
        value[...], mean[...] = mean, copy


class Sgd(Slots):
    """darknet's momentum and decay; one slot, the velocity."""

    own: ClassVar[tuple[str, ...]] = ("velocity",)

    def __init__(self, momentum: float, decay: float, backend: Backend, average: float = 0.0):
        super().__init__(backend, average)
        self.momentum, self.decay = momentum, decay

    def step(self, parameter: Parameter, rate: float, rows: int) -> None:
        """Update one parameter of any shape by its gradient, summed over `rows`, and zero the
        gradient."""
        value, grad = _flat(parameter.value), _flat(parameter.grad)
        decay = self.decay * rows if parameter.kind == "weights" else 0.0
        velocity = self.slot(parameter, "velocity")
        self.backend.kernels.sgd_step(value, grad, velocity, rate / rows, self.momentum, decay)
        self.follow(parameter)


class Adam(Slots):
    """Two slots, the moments m and v."""

    own: ClassVar[tuple[str, ...]] = ("m", "v")

    def __init__(
        self,
        B1: float,
        B2: float,
        eps: float,
        decay: float,
        backend: Backend,
        average: float = 0.0,
    ):
        super().__init__(backend, average)
        self.B1, self.B2, self.eps, self.decay = B1, B2, eps, decay

    def step(self, parameter: Parameter, rate: float, rows: int) -> None:
        """Update one parameter of any shape by its gradient, summed over `rows`, and zero the
        gradient."""
        value, grad = _flat(parameter.value), _flat(parameter.grad)
        self.backend.kernels.adam_step(
            value,
            grad,
            self.slot(parameter, "m"),
            self.slot(parameter, "v"),
            rate=rate,
            B1=self.B1,
            B2=self.B2,
            eps=self.eps,
            decay=self.decay * rows,
            t=self.updates,
        )
        self.follow(parameter)


def _flat(array: Array) -> Array:
    """A view (n,). The assertion excludes copies, which would lose the update."""
    assert array.flags.c_contiguous
    return array.reshape(-1)
