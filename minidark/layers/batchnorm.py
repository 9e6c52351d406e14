"""Batch norm over rows, shared by sublayers and the `[batchnorm]` layer.

    y = (v - mean) / divisor(variance) * scales

per feature. `Divisor` defines the divisor. Training uses the mean and the variance (divided by
rows - 1) of the rows of a step and updates rolling = .99 rolling + .01 batch. Inference uses the
rolling statistics.

Source: darknet src/batchnorm_layer.c, src/blas.c (normalize_cpu), src/blas_kernels.cu
(normalize_kernel). darknet's backward is not the derivative of its forward: it uses another epsilon
and n instead of n - 1, and in recurrent layers the last step's statistics for every step. This
backward is the derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.backend import Array, Backend
from minidark.cfg import options
from minidark.errors import CfgError
from minidark.layers.base import Parameter, Stored

ROLLING = 0.99


@dataclass(frozen=True, slots=True)
class Divisor:
    """sqrt(variance + inside) + outside."""

    name: str  # as in `[net] batchnorm`
    inside: float
    outside: float

    def root(self, variance: Array, xp: Any = np) -> Array:
        """The divisor without `outside`. The divisor's derivative is 1 / (2 root)."""
        root: Array = xp.sqrt(variance + self.inside if self.inside else variance)
        return root

    def of(self, variance: Array, xp: Any = np) -> Array:
        return self.root(variance, xp) + self.outside

    def in_c(self, variance: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """As darknet's C rounds it: float within the root, double from there on."""
        inside, outside = np.float32(self.inside), np.float32(self.outside)
        return np.sqrt((variance + inside).astype(np.float64)) + outside

    def __str__(self) -> str:
        return f"sqrt(variance + {self.inside:g})" if self.inside else "sqrt(variance) + 1e-6"


CPU = Divisor(options.CPU, 0.0, 1e-6)  # pjreddie's CPU code
GPU = Divisor(options.GPU, 1e-5, 0.0)  # all GPU code, and AlexeyAB's CPU code
DIVISORS = {divisor.name: divisor for divisor in (CPU, GPU)}


@dataclass(slots=True)
class NormSaved:
    """Values that backward needs, for each step: (T, S, F) and (T, 1, F)."""

    normalized: Array
    root: Array  # `Divisor.root`


class BatchNorm:
    """Scales and rolling statistics of `features` columns, with forward and backward.

    Rows are axis -2. A leading axis is time; each step has its own statistics.
    """

    def __init__(self, name: str, features: int, backend: Backend):
        self.name, self.backend, self.divisor = name, backend, CPU
        self.scales, self.scales_grad = backend.ones(features), backend.zeros(features)
        self.rolling_mean, self.rolling_variance = backend.zeros(features), backend.zeros(features)

    def stored_arrays(self, prefix: str, features: slice) -> list[Stored]:
        """Views of a slice of features as arrays of the (sub)layer `prefix`, in file order."""
        return [
            Parameter(
                f"{prefix}.scales", "scales", self.scales[features], self.scales_grad[features]
            ),
            Stored(f"{prefix}.rolling_mean", "rolling_mean", self.rolling_mean[features]),
            Stored(
                f"{prefix}.rolling_variance", "rolling_variance", self.rolling_variance[features]
            ),
        ]

    def begin(self, steps: int, rows: int) -> NormSaved:
        features = self.scales.size
        return NormSaved(
            self.backend.empty(steps, rows, features), self.backend.empty(steps, 1, features)
        )

    def infer(self, v: Array) -> Array:
        """Normalize v (..., F) by the rolling statistics."""
        factor = self.scales / self.divisor.of(self.rolling_variance, self.backend.xp)
        return (v - self.rolling_mean) * factor

    def forward(self, v: Array, saved: NormSaved, at: int | slice) -> Array:
        """Normalize v, the values of step `at` or of a slice of steps, by its own statistics."""
        check_rows(self.name, v.shape[-2])
        mean, variance = self.backend.kernels.batch_statistics(v)
        root = self.divisor.root(variance, self.backend.xp)
        normalized = (v - mean) / (root + self.divisor.outside)
        saved.normalized[at], saved.root[at] = normalized, root
        self._roll(mean, variance)
        return normalized * self.scales

    def backward(self, dy: Array, saved: NormSaved, at: int | slice) -> Array:
        """Compute dv from dy, and add to the scales' gradient."""
        normalized, root = saved.normalized[at], saved.root[at]
        features = dy.shape[-1]
        self.scales_grad += (dy * normalized).reshape(-1, features).sum(axis=0)
        dv: Array = self.backend.kernels.normalize_backward(
            dy * self.scales, normalized, root, self.divisor.outside
        )
        return dv

    def _roll(self, mean: Array, variance: Array) -> None:
        self.backend.kernels.roll(self.rolling_mean, mean, ROLLING)
        self.backend.kernels.roll(self.rolling_variance, variance, ROLLING)


def check_rows(name: str, rows: int) -> None:
    """Raise CfgError for fewer than two rows, whose variance is undefined."""
    if rows < 2:
        raise CfgError(
            f"layer {name}: batch_normalize cannot train on one row at a time, its variance needs "
            "two; give [net] a batch of two or more streams"
        )
