"""What every layer is: numbers in, numbers out, and the arrays it owns.

Sequences are (T, S, F): T time steps, S streams, F features, time first, as in darknet's memory,
so that `x[t]` is one step of all streams and (N, F) with N = T * S rows is a free view.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import numpy as np

from minidark.backend import Array, Backend, Scalar, get_backend
from minidark.errors import CfgError, MinidarkError

if TYPE_CHECKING:
    from minidark.layers.batchnorm import BatchNorm

PJREDDIE, ALEXEY = "pjreddie", "alexey"  # the two orders of arrays in a weight file
DRAWN = 1 << 16  # a draw of `kept` is one of so many
NORM_KINDS = frozenset({"scales", "rolling_mean", "rolling_variance"})  # of stored arrays


@dataclass(slots=True, eq=False, repr=False)
class Stored:
    """An array that stands in the weight file. `kind` is the last part of its name: biases,
    weights, scales, rolling_mean or rolling_variance."""

    name: str
    kind: str
    value: Array

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.value.shape))
        return f"<{self.name}: {shape} {self.value.dtype}>"


@dataclass(slots=True, eq=False, repr=False)
class Parameter(Stored):
    """A stored array that is trained. `grad` is d objective / d value, summed over the rows
    since the last update; both arrays are live and written in place."""

    grad: Array


class Place(TypedDict, total=False):
    """What a layer gets from the network around it: time steps (1), its name (its type), and the
    backend (the CPU)."""

    steps: int
    name: str | None
    backend: Backend | None


def is_ids(x: Array) -> bool:
    """Whether x holds symbols, and not rows of numbers."""
    return bool(x.dtype.kind != "f")


class Layer(ABC):
    """Base of all layers. A class is its own factory, under darknet's name: make_gru_layer.

    `batch` is rows, as in darknet's `make_*_layer`: streams * steps. `forward` accepts any
    number of steps; the streams are fixed, because each has its state.
    """

    type: ClassVar[str]
    reads_ids: ClassVar[bool] = False  # can take integer ids in place of one-hot rows
    gives_ids: ClassVar[bool] = False  # and gives them on as they are
    traced_state: ClassVar[str] = "h"  # what `traced` calls states["state"], where there is one
    has_cost: bool = False  # can end a network that trains
    norms: tuple[BatchNorm, ...] = ()  # that it computes with

    def __init__(
        self,
        batch: int,
        inputs: int,
        outputs: int,
        steps: int = 1,
        *,
        name: str | None = None,
        backend: Backend | None = None,
    ):
        if min(batch, inputs, outputs, steps) < 1:
            raise CfgError(
                f"a layer of {batch} rows, {inputs} inputs, {outputs} outputs, {steps} steps: "
                "each must be 1 or more"
            )
        if batch < steps or batch % steps:
            raise CfgError(f"batch={batch} rows are not whole streams of {steps} time steps")
        self.name = name or self.type
        self.inputs, self.outputs = inputs, outputs
        self.streams = batch // steps
        self.backend = backend or get_backend()
        self.states: dict[str, Array] = {}  # carried from call to call, by name: each (S, H)
        self.dstates: dict[
            str, Array
        ] = {}  # gradients of the states that the last pass began with,
        # where its backward went step by step; training goes no further back
        self.saved: Any = None  # what backward needs of the last training forward
        self.rng: np.random.Generator | None = None  # of a layer that draws while it trains

    def __repr__(self) -> str:
        states = f", carries {', '.join(self.states)}" if self.states else ""
        return f"<{self.name}: {self.inputs} -> {self.outputs}, {self.streams} streams{states}>"

    @abstractmethod
    def forward(self, x: Array, *, train: bool = False) -> Array:
        """(T, S, inputs), or ids (T, S) where `reads_ids`, to (T, S, outputs). Never writes x."""

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        """Inference that shows its workings: what `forward` gives, and by name what gates and
        state are after each step, (T, S, H) each. A layer without state has none to show."""
        return self.forward(x), {}

    @abstractmethod
    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        """The gradient of the outputs to that of the inputs; adds to the parameters' grads.

        Once after each training forward. None where `need_dx` is false. May write dy.
        """

    def parameters(self) -> list[Parameter]:
        """The trained arrays in weight-file order."""
        return [a for a in self.stored_arrays(PJREDDIE) if isinstance(a, Parameter)]

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        """The arrays in the weight file, in the order of that dialect. pjreddie's has no place for
        some (a [batchnorm]'s biases), AlexeyAB's has for all."""
        return []

    def arrays(self) -> list[Stored]:
        """Every array that the layer holds, trained or not."""
        return self.stored_arrays(ALEXEY)

    def reset_state(self, stream: int | None = None) -> None:
        """Zero the state of one stream, or of all."""
        for state in self.states.values():
            state[slice(None) if stream is None else stream] = 0

    def twin(self, streams: int) -> Self:
        """The same layer over the same parameter arrays, with `streams` zero states of its own."""
        zeros = {n: self.backend.zeros(streams, s.shape[1]) for n, s in self.states.items()}
        return self._beside(streams, zeros)

    def shard(self, streams: slice) -> Self:
        """The same layer, states included, for these of its streams alone."""
        states = {name: state[streams] for name, state in self.states.items()}
        return self._beside(streams.stop - streams.start, states)

    def _beside(self, streams: int, states: dict[str, Array]) -> Self:
        other = copy.copy(self)
        other.streams, other.states = streams, states
        other.saved, other.dstates = None, {}
        return other

    def draw_from(self, rng: np.random.Generator) -> None:
        """Let a layer that draws while it trains draw from this generator."""
        if self.rng:
            self.rng = rng

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        """Inference step by step while the parameters stay as they are: (S, inputs), or with `ids`
        ids (S,), to (S, outputs), which the next step may write over. The state goes on from step
        to step."""
        return lambda x: self.forward(x[None])[0]

    def work(self) -> int:
        """Multiply-adds for one row."""
        return sum(p.value.size for p in self.parameters() if p.kind == "weights")

    def _take_saved(self) -> Any:
        if self.saved is None:
            raise MinidarkError(f"{self.name}: backward needs a forward with train=True before it")
        saved, self.saved = self.saved, None
        return saved


class CostLayer(Layer):
    """A layer that can end a network: it compares its output with the truth."""

    @abstractmethod
    def cost(self, y: Array, truth: Array) -> tuple[Scalar, Array]:
        """The cost that darknet reports, summed over rows, and the gradient of `objective` with
        respect to this layer's input. truth is ids (T, S) or (T, S, outputs)."""

    def objective(self, y: Array, truth: Array) -> Scalar:
        """The function that is descended. darknet's reported cost can differ by a factor."""
        return self.cost(y, truth)[0]


def cost_layer(layers: Sequence[Layer]) -> CostLayer | None:
    """The layer whose cost is trained: the last one; but a [cost] behind a softmax or logistic
    that has its own, as in AlexeyAB's cfgs, adds nothing to it."""
    last = layers[-1]
    if last.type == "cost" and len(layers) > 1 and layers[-2].has_cost:
        last = layers[-2]
    return last if isinstance(last, CostLayer) and last.has_cost else None


def kept(
    rng: np.random.Generator, shape: tuple[int, ...], probability: float, backend: Backend
) -> Array:
    """Factors that leave numbers out: 0 with `probability`, to one part in DRAWN, else
    1 / (1 - probability). Drawing is what takes the time, so that each draw of 64 bits is four."""
    size = math.prod(shape)
    drawn = rng.integers(0, 2**64, -(-size // 4), dtype=np.uint64).view(np.uint16)
    limit = min(round(probability * DRAWN), DRAWN - 1)  # something always stays
    stays = backend.xp.asarray(drawn[:size].reshape(shape) >= limit)
    factors: Array = stays * backend.dtype.type(1 / (1 - probability))
    return factors


def one_hot(ids: Array, width: int, backend: Backend) -> Array:
    """Ids (T, S) as rows (T, S, width), for what cannot read ids."""
    return (ids[..., None] == backend.xp.arange(width)).astype(backend.dtype)


def truth_rows(truth: Array, y: Array, backend: Backend) -> Array:
    """The truth as rows (T, S, O), whichever way it was given."""
    return one_hot(truth, y.shape[-1], backend) if is_ids(truth) else truth
