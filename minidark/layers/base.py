"""The interface of all layers.

Sequences are (T, S, F): T time steps, S streams, F features. Time comes first, as in darknet's
memory, so `x[t]` is one step of all streams, and (N, F) with N = T * S rows is a free view.
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
from minidark.errors import CfgError, MinidarkError, number_of

if TYPE_CHECKING:
    from minidark.layers.batchnorm import BatchNorm

PJREDDIE, ALEXEY = "pjreddie", "alexey"  # the two orders of arrays in a weight file
DRAWN = 1 << 16  # number of possible values of a draw of `kept`
NORM_KINDS = frozenset({"scales", "rolling_mean", "rolling_variance"})  # arrays of batch norm


@dataclass(slots=True, eq=False, repr=False)
class Stored:
    """An array of the weight file. kind: the last part of its name, which is biases, weights,
    scales, rolling_mean, rolling_variance or pairs."""

    name: str
    kind: str
    value: Array

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.value.shape))
        return f"<{self.name}: {shape} {self.value.dtype}>"


@dataclass(slots=True, eq=False, repr=False)
class Parameter(Stored):
    """A trained array. grad: d objective / d value, summed over the rows since the last update.
    Both arrays are live and are changed in place."""

    grad: Array


class Place(TypedDict, total=False):
    """Keyword arguments that a network passes to its layers, with defaults: time steps (1), name
    (the layer's type) and backend (the CPU)."""

    steps: int
    name: str | None
    backend: Backend | None


def is_ids(x: Array) -> bool:
    """Whether x contains symbol ids instead of rows of numbers."""
    return bool(x.dtype.kind != "f")


class Layer(ABC):
    """Base of all layers. Each class is also its factory, under darknet's name: make_gru_layer.

    batch: rows, as in darknet's `make_*_layer`, which are streams * steps. `forward` accepts any
    number of steps. The number of streams is fixed, because each stream has a state.
    """

    type: ClassVar[str]
    reads_ids: ClassVar[bool] = False  # accepts integer ids instead of one-hot rows
    gives_ids: ClassVar[bool] = False  # passes ids on unchanged
    watches_symbols: bool = False  # `watch` receives the symbols of each pass
    by_rows: bool = False  # each output row depends only on the input row at the same place
    without_gradient: ClassVar[frozenset[str]] = frozenset()  # states without one in `dstates`
    traced_state: ClassVar[str] = "h"  # name of states["state"] in `traced`
    has_cost: bool = False  # can be the last layer in training
    reads: tuple[int, ...] | None = None  # numbers of the layers that it reads; None: the previous
    shares: int | None = None  # number of the layer whose weights it shares
    norms: tuple[BatchNorm, ...] = ()  # its batch norms

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
        self.states: dict[str, Array] = {}  # carried from call to call, by name: each (S, ...)
        # Gradients of the states before the last pass, if its backward went step by step.
        # Training does not use them: backpropagation is truncated there.
        self.dstates: dict[str, Array] = {}
        self.saved: Any = None  # values of the last training forward that backward needs
        self.rng: np.random.Generator | None = None  # set if the layer draws in training
        # Packed weights that `frozen` of this layer and its twins share; None: each packs its own.
        self.packs: dict[str, Any] | None = None

    def __repr__(self) -> str:
        states = f", carries {', '.join(self.states)}" if self.states else ""
        streams = number_of(self.streams, "stream")
        return f"<{self.name}: {self.inputs} -> {self.outputs}, {streams}{states}>"

    @abstractmethod
    def forward(self, x: Array, *, train: bool = False) -> Array:
        """Compute (T, S, outputs) from (T, S, inputs), or from ids (T, S) if `reads_ids`. x is
        not changed."""

    def watch(self, ids: Array) -> None:  # noqa: B027  for the layers that watch symbols
        """The network's symbols, ids (T, S), in the next pass. Called before it if
        `watches_symbols`."""

    def traced(self, x: Array) -> tuple[Array, dict[str, Array]]:
        """Inference with internals: the output of `forward`, and by name the gates and states after
        each step, (T, S, H) each. The names are empty for a layer without state."""
        return self.forward(x), {}

    @abstractmethod
    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        """Compute the inputs' gradient from the outputs', and add to the parameters' grads.

        Call it once after each training forward. Returns None if `need_dx` is false. It may
        overwrite dy.
        """

    def parameters(self) -> list[Parameter]:
        """The trained arrays in the order of the weight file."""
        return [a for a in self.stored_arrays(PJREDDIE) if isinstance(a, Parameter)]

    def stored_arrays(self, order: str = PJREDDIE) -> list[Stored]:
        """The arrays of the weight file, in the order of a dialect. pjreddie's dialect leaves out
        some (a [batchnorm]'s biases); AlexeyAB's has all."""
        return []

    def arrays(self) -> list[Stored]:
        """All arrays of the layer, trained or not."""
        return self.stored_arrays(ALEXEY)

    def random_states(self, rng: np.random.Generator) -> dict[str, Array]:
        """States that can occur, numpy arrays by name, for checks of gradients."""
        return {name: rng.normal(0, 0.5, state.shape) for name, state in self.states.items()}

    def reset_state(self, stream: int | None = None) -> None:
        """Set the state of one stream, or of all, to zero."""
        for state in self.states.values():
            state[slice(None) if stream is None else stream] = 0

    def take(self, at: slice, other: Layer, streams: Array) -> None:
        """Give the streams `at` the states of these streams, ids (S,), of a layer like this one."""
        for name, state in self.states.items():
            state[at] = other.states[name][streams]

    def reorder(self, streams: Array) -> None:
        """Give stream s the state of stream `streams[s]`: ids (S,) in the backend's memory."""
        for state in self.states.values():
            state[...] = state[streams]

    def twin(self, streams: int) -> Self:
        """A layer that shares the parameter arrays, with `streams` new states of zero."""
        zeros = {n: self.backend.zeros(streams, *s.shape[1:]) for n, s in self.states.items()}
        return self._beside(streams, zeros)

    def shard(self, streams: slice) -> Self:
        """A layer that shares parameters and states, for a slice of the streams."""
        states = {name: state[streams] for name, state in self.states.items()}
        return self._beside(streams.stop - streams.start, states)

    def _beside(self, streams: int, states: dict[str, Array]) -> Self:
        other = copy.copy(self)
        other.streams, other.states = streams, states
        other.saved, other.dstates = None, {}
        return other

    def draw_from(self, rng: np.random.Generator) -> None:
        """Replace the generator of a layer that draws in training."""
        if self.rng:
            self.rng = rng

    def frozen(self, ids: bool) -> Callable[[Array], Array]:
        """A function for step-by-step inference. It is valid while the parameters do not change,
        and so is what `packs` holds.

        It maps (S, inputs), or ids (S,) if `ids`, to (S, outputs). The next step may overwrite the
        result. The state carries over from step to step.
        """
        return lambda x: self.forward(x[None])[0]

    def work(self) -> int:
        """The number of multiply-adds for one row."""
        return sum(p.value.size for p in self.parameters() if p.kind == "weights")

    def _take_saved(self) -> Any:
        if self.saved is None:
            raise MinidarkError(f"{self.name}: backward needs a forward with train=True before it")
        saved, self.saved = self.saved, None
        return saved


class CostLayer(Layer):
    """A layer that can be the last one of a network: it compares its output with the truth."""

    by_rows = True

    @abstractmethod
    def cost(self, y: Array, truth: Array) -> tuple[Scalar, Array]:
        """The cost that darknet reports, summed over rows, and the gradient of `objective` with
        respect to the layer's input. truth: ids (T, S), or (T, S, outputs)."""

    def objective(self, y: Array, truth: Array) -> Scalar:
        """The function that training minimizes. darknet's reported cost can differ by a factor."""
        return self.cost(y, truth)[0]


def cost_layer(layers: Sequence[Layer]) -> CostLayer | None:
    """The layer whose cost is minimized, or None. It is the last layer, or the one before a [cost]
    if that is a softmax or logistic with its own cost, as in AlexeyAB's cfgs."""
    last = layers[-1]
    if last.type == "cost" and len(layers) > 1 and layers[-2].has_cost:
        last = layers[-2]
    return last if isinstance(last, CostLayer) and last.has_cost else None


def required_cost_layer(layers: Sequence[Layer]) -> CostLayer:
    """Raises CfgError without one."""
    if (layer := cost_layer(layers)) is None:
        raise CfgError("this network has no cost; end the cfg in [softmax], [logistic] or [cost]")
    return layer


def kept(
    rng: np.random.Generator, shape: tuple[int, ...], probability: float, backend: Backend
) -> Array:
    """A dropout mask: 0 with `probability` (rounded to a multiple of 1 / DRAWN), else
    1 / (1 - probability). Drawing is slow, so each draw of 64 bits provides four values."""
    size = math.prod(shape)
    drawn = rng.integers(0, 2**64, -(-size // 4), dtype=np.uint64).view(np.uint16)
    limit = min(round(probability * DRAWN), DRAWN - 1)  # never drop everything
    mask = backend.xp.asarray(drawn[:size].reshape(shape) >= limit)
    factors: Array = mask * backend.dtype.type(1 / (1 - probability))
    return factors


def one_hot(ids: Array, width: int, backend: Backend) -> Array:
    """Ids (T, S) as one-hot rows (T, S, width)."""
    return (ids[..., None] == backend.xp.arange(width)).astype(backend.dtype)


def truth_rows(truth: Array, y: Array, backend: Backend) -> Array:
    """The truth, ids or rows, as rows (T, S, O)."""
    return one_hot(truth, y.shape[-1], backend) if is_ids(truth) else truth
