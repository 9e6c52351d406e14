"""Sublayers that read the same input, packed into one matrix.

A GRU's uz, ur and uh all read x. Their weights are stacked in one array (3H, I), so one matrix
product serves all three; each name is a view into it. Files, errors and `net.parameters()` use
the names, the arithmetic uses the packed array.

`Affine` holds the arrays. `AffinePass` uses them over T steps: all steps at once (`at=ALL`, where
the input does not depend on the state) or one step after another.

Source: darknet src/connected_layer.c; gru_layer.c and its siblings run each sublayer separately.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from minidark.backend import Array, Backend
from minidark.layers.base import (
    ALEXEY,
    NORM_KINDS,
    PJREDDIE,
    Layer,
    Parameter,
    Stored,
    is_ids,
)
from minidark.layers.batchnorm import BatchNorm, NormSaved

ALL = slice(None)
FEW_STEPS = 8  # with fewer steps, copying the weights to another order costs more than it saves


@dataclass(frozen=True, slots=True)
class Sublayer:
    """One named y = norm(W x) + b: views into the packed arrays, in file order."""

    arrays: tuple[Stored, ...]
    batch_norm: BatchNorm | None = None  # shared by all sublayers of the pack

    @property
    def biases(self) -> Array:
        return self.arrays[0].value

    @property
    def weights(self) -> Array:
        return self.arrays[1].value

    @property
    def norm(self) -> tuple[Array, ...]:
        """Scales, rolling mean and rolling variance of its batch norm; empty without one."""
        return tuple(array.value for array in self.arrays if array.kind in NORM_KINDS)


class Affine:
    """K sublayers with `outputs` units each, which read one input of `inputs`: norm(W x).

    The biases are stored but not added here. Layers sum the biases of each gate's sublayers and
    add the sum once for all steps, before the time loop.
    """

    def __init__(
        self,
        prefix: str,
        names: tuple[str, ...],
        inputs: int,
        outputs: int,
        batch_normalize: bool,
        backend: Backend,
    ):
        features = len(names) * outputs
        self.backend = backend
        self.inputs, self.features = inputs, features
        self.biases, self.biases_grad = backend.zeros(features), backend.zeros(features)
        self.weights = backend.zeros(features, inputs)
        self.weights_grad = backend.zeros(features, inputs)
        self.norm = BatchNorm(prefix, features, backend) if batch_normalize else None
        self.sublayers = {
            name: self._sublayer(f"{prefix}.{name}" if name else prefix, slice(at, at + outputs))
            for name, at in zip(names, range(0, features, outputs), strict=True)
        }

    def _sublayer(self, prefix: str, rows: slice) -> Sublayer:
        def trained(kind: str, value: Array, grad: Array) -> Stored:
            return Parameter(f"{prefix}.{kind}", kind, value[rows], grad[rows])

        biases = trained("biases", self.biases, self.biases_grad)
        weights = trained("weights", self.weights, self.weights_grad)
        norm = self.norm.stored_arrays(prefix, rows) if self.norm else []
        return Sublayer((biases, weights, *norm), self.norm)

    def begin(self, steps: int, rows: int, train: bool, factors: Array | None = None) -> AffinePass:
        """Start a pass over `steps` steps of `rows` rows; `factors` multiply the weights in it."""
        return AffinePass(self, steps, rows, train, factors)


class AffinePass:
    """One forward pass and, in training, one backward pass through an Affine."""

    def __init__(
        self, affine: Affine, steps: int, rows: int, train: bool, factors: Array | None = None
    ):
        self.affine, self.steps, self.factors = affine, steps, factors
        self.weights = affine.weights if factors is None else affine.weights * factors
        self.weights_t: Array | None = None
        self.norm_saved: NormSaved | None = None
        if train and affine.norm:
            self.norm_saved = affine.norm.begin(steps, rows)
        self.dv: Array | None = None  # the gradient before the norm, per step

    def forward(self, x: Array, at: int | slice = ALL) -> Array:
        """norm(W x) without biases. x: step `at` (S, I), all steps (T, S, I), or ids of either."""
        affine = self.affine
        if is_ids(x):
            v: Array = affine.backend.kernels.gather(self.weights, x)
        else:
            v = self._product(x) if at == ALL else self._step_product(x)
        if affine.norm is None:
            return v
        if self.norm_saved is None:
            return affine.norm.infer(v)
        return affine.norm.forward(v, self.norm_saved, at)

    def backward(self, dy: Array, at: int | slice = ALL) -> Array:
        """dx from dy, for step `at` or all steps."""
        dv = self._back_through_norm(dy, at)
        dx = self.affine.backend.kernels.gemm_nn(dv.reshape(-1, self.affine.features), self.weights)
        return dx.reshape(*dv.shape[:-1], self.affine.inputs)

    def accumulate(self, x: Array, dy: Array, dbiases: Array) -> None:
        """Accumulate the gradients of all steps in one product. x (T, S, I) or ids (T, S): the
        input of forward; dy (T, S, K O): the input of backward; dbiases: its sum over the rows."""
        affine = self.affine
        dv = self._back_through_norm(dy, ALL) if self.dv is None else self.dv
        affine.biases_grad += dbiases
        if self.factors is None:
            self._add_gradient(x, dv, affine.weights_grad)
            return
        gradient = affine.backend.zeros(*affine.weights.shape)
        self._add_gradient(x, dv, gradient)
        gradient *= self.factors
        affine.weights_grad += gradient

    def _add_gradient(self, x: Array, dv: Array, gradient: Array) -> None:
        """Add to `gradient`, the gradient of this pass's weights, factors included."""
        affine, kernels = self.affine, self.affine.backend.kernels
        if is_ids(x):
            kernels.scatter_add(gradient, x, dv)
        else:
            rows = dv.reshape(-1, affine.features), x.reshape(-1, affine.inputs)
            kernels.gemm_tn(*rows, gradient)

    def _product(self, x: Array) -> Array:
        """W x of all rows in one matrix product; matmul would run one per step."""
        affine = self.affine
        v: Array = affine.backend.kernels.gemm_nt(x.reshape(-1, affine.inputs), self.weights)
        return v.reshape(*x.shape[:-1], affine.features)

    def _step_product(self, x: Array) -> Array:
        """W x of one step's rows. A transposed copy of the weights makes each step's product a
        quarter faster."""
        affine = self.affine
        if self.steps < FEW_STEPS:
            return affine.backend.kernels.gemm_nt(x, self.weights)
        if self.weights_t is None:
            self.weights_t = affine.backend.xp.ascontiguousarray(self.weights.T)
        return affine.backend.kernels.gemm_nn(x, self.weights_t)

    def _back_through_norm(self, dy: Array, at: int | slice) -> Array:
        """The gradient of W x; without a norm, dy itself. Call it once per step, because it adds
        to the scales' gradient."""
        norm, saved = self.affine.norm, self.norm_saved
        if norm is None or saved is None:
            return dy
        if self.dv is None:
            self.dv = self.affine.backend.empty(*saved.normalized.shape)
        self.dv[at] = norm.backward(dy, saved, at)
        return self.dv[at]


class PackedLayer(Layer):
    """A layer made of sublayers. A subclass lists their names in darknet's order of creation and in
    both dialects' file orders, and packs the sublayers that share an input into one `Affine`. A
    layer may lack some of them."""

    reads_ids = True
    created: ClassVar[tuple[str, ...]]
    file_orders: ClassVar[dict[str, tuple[str, ...]]]

    sublayers: dict[str, Sublayer] = {}  # noqa: RUF012  `_pack` makes a new one
    reading: Collection[str] = ()  # the sublayers that read the layer's input
    affines: tuple[Affine, ...] = ()
    normalized = False

    def _pack(self, names: tuple[str, ...], inputs: int, outputs: int, norm: bool) -> Affine:
        affine = Affine(self.name, names, inputs, outputs, norm, self.backend)
        self.affines += (affine,)
        self.normalized = norm
        self.norms += (affine.norm,) if affine.norm else ()
        self.sublayers = self.sublayers | affine.sublayers
        return affine

    def _has_cell_kernels(self) -> bool:
        """Whether the backend has a kernel for a whole sampling step of this layer."""
        return self.backend.fast and not self.normalized

    def reading_weights(self) -> set[str]:
        """The names of the weights (O, I) whose columns belong to the layer's input."""
        arrays = [a for name in self.reading for a in self.sublayers[name].arrays]
        return {array.name for array in arrays if array.kind == "weights"}

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        names = [name for name in self.file_orders[order] if name in self.sublayers]
        return [a for name in names for a in self.sublayers[name].arrays]


def one_order(*names: str) -> dict[str, tuple[str, ...]]:
    """The file orders of a layer that both dialects store in the same order."""
    return {PJREDDIE: names, ALEXEY: names}
