"""Checks analytic gradients against numeric ones, for any cfg: the result of `backward` against
differences of `forward`.

The check runs in float64 on a small copy of the network: few streams and steps, random parameters,
a random carried-in state, float rows as input. For each array and for the input it tries some
directions: random ones, which involve every element, and single elements, including the one with
the largest gradient. A direction's numeric derivative is a fourth-order difference.

A kink of a piecewise activation between two points would look like a wrong gradient. So each array
is tried with several step lengths and the best one counts: a wrong gradient fails with all of them.
Dropout uses the same mask each time.

Training truncates the gradient at the carried-in state. Layers still keep it (`Layer.dstates`), so
that this check can compare it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minidark.backend import Array, get_backend
from minidark.cfg.options import BYTES, AttentionOptions
from minidark.cfg.plan import Plan, replan
from minidark.errors import WrongLayerError
from minidark.layers.base import Layer
from minidark.network import Network
from minidark.network.parser import build_network

STEPS, STREAMS = 4, 3  # T, S
WIDEST = 48  # largest number of inputs and of a layer's outputs
TOLERANCE = 1e-6  # relative
STEP_LENGTHS = (3e-5, 3e-6, 3e-4)
POINTS, FOURTH_ORDER = (-2, -1, 1, 2), np.array([1, -8, 8, -1]) / 12
DIRECTIONS, SINGLE = 3, 3
NOISE = 1e2 * float(np.finfo(np.float64).eps)  # relative rounding error of the objective


@dataclass(frozen=True, slots=True)
class Row:
    """An array and the relative error of its gradient over all directions; None if stopbackward
    stops the gradient."""

    name: str
    shape: tuple[int, ...]
    directions: int
    error: float | None

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= TOLERANCE


def check_gradients(plan: Plan, seed: int = 0) -> Iterator[Row]:
    """Yields a row for each parameter in weight-file order and for each carried-in state that has a
    gradient, with float rows as input; a row for the input if it gets a gradient; and the rows of a
    first layer that reads ids once more, with ids.

    Checks a small copy of the plan's network. Raises CfgError for a network without a cost.
    """
    net = _small(plan, seed)
    net.check_has_cost()
    check = _Check(net, np.random.default_rng([seed, 1]))
    rows = check.rng.normal(0, 1, (STEPS, STREAMS, net.inputs))
    yield from check.layers(rows, net.layers)
    yield from check.input(rows)
    if net.layers[0].reads_ids:
        ids = check.rng.integers(0, net.inputs, (STEPS, STREAMS))
        yield from check.layers(ids, net.layers[:1], ", ids")


def amount(plan: Plan) -> int:
    """Number of rows that `check_gradients` yields, or one more if the input gets no gradient."""
    layers = _small(plan, 0).layers
    rows = [len([*layer.parameters()]) + len(_checked_states(layer)) for layer in layers]
    return sum(rows) + 1 + (rows[0] if layers[0].reads_ids else 0)


def _small(plan: Plan, seed: int) -> Network:
    return build_network(shrunk(plan), seed, get_backend("cpu", "float64", "numpy"))


def _checked_states(layer: Layer) -> list[str]:
    return [name for name in layer.states if name not in layer.without_gradient]


class _Check:
    """A network whose passes all start with the same states and dropout masks."""

    def __init__(self, net: Network, rng: np.random.Generator):
        self.net, self.rng = net, rng
        _randomize(net, rng)
        self.truth = _truth(net, rng)
        self.states = [layer.random_states(rng) for layer in net.layers]

    def layers(self, x: Array, layers: Sequence[Layer], suffix: str = "") -> Iterator[Row]:
        self._rewind()
        self.net.learner.drop_gradients()
        self.net.accumulate(x, self.truth)
        for index, layer in enumerate(layers):
            frozen = index < self.net.frozen_layers
            for p in layer.parameters():
                yield self._row(p.name + suffix, x, p.value, None if frozen else p.grad)
            for name in _checked_states(layer):
                value = self.states[index][name]
                unread = np.zeros(value.shape)  # of a layer that no other reads
                gradient = None if frozen else layer.dstates.get(name, unread)
                yield self._row(f"{layer.name}.{name}, carried in{suffix}", x, value, gradient)

    def input(self, x: Array) -> Iterator[Row]:
        self._rewind()
        gradient = self.net.input_gradient(x, self.truth)
        if gradient is not None:
            yield self._row("input", x, x, gradient)

    def _row(self, name: str, x: Array, value: Array, gradient: Array | None) -> Row:
        """`value` is an array that a pass over x depends on; without `gradient` it is frozen."""
        if gradient is None:
            return Row(name, value.shape, 0, None)

        def objective() -> float:
            self._rewind()
            return self.net.objective(x, self.truth)

        directions = [*_directions(value, gradient, self.rng)]
        return Row(
            name, value.shape, len(directions), _error(objective, value, gradient, directions)
        )

    def _rewind(self) -> None:
        for number, layer in enumerate(self.net.layers):
            for name, state in layer.states.items():
                state[...] = self.states[number][name]
            layer.draw_from(np.random.default_rng(number))


# --- a small copy -------------------------------------------------------------------------


def shrunk(plan: Plan) -> Plan:
    """The same layers with few streams and steps. Widths above 48 become the largest smaller width
    that all groups and heads divide, with at least two units in a group. The memory of an attention
    becomes shorter than a pass."""
    groups = math.lcm(
        *(getattr(layer.options, key, 1) for layer in plan.layers for key in ("groups", "heads"))
    )
    width = max(2 * groups if groups > 1 else 1, WIDEST - WIDEST % groups)
    net: dict[str, object] = {"batch": STREAMS, "subdivisions": 1, "time_steps": STEPS}
    pairs = plan.layers[0].options.gives_symbols
    inputs = width + (BYTES if pairs else 0)
    if plan.net.row_inputs > inputs:
        net |= {"inputs": inputs}
    changes: dict[int, dict[str, object]] = {0: net}
    for number, layer in enumerate(plan.layers, start=1):
        changes[number] = {
            key: width if layer.tied is None else None  # the width of a tied layer follows
            for key in ("output", "hidden")
            if (getattr(layer.options, key, None) or 0) > WIDEST
        }
        if isinstance(layer.options, AttentionOptions):
            changes[number] |= _shrunk_attention(layer.options, layer.inputs > WIDEST)
    try:
        return replan(plan.sections, changes)
    except WrongLayerError:  # a [route] of narrower layers no longer fits what it is added to
        return replan(plan.sections, {0: {**net, "inputs": plan.net.row_inputs}})


def _shrunk_attention(options: AttentionOptions, inputs_shrink: bool) -> dict[str, object]:
    """Without `keys`, a head's width follows the inputs, as it must without query or key."""
    keys = {"keys": None} if inputs_shrink or (options.keys or 0) > WIDEST else {}
    return {"memory": min(options.memory, STEPS - 1), **keys}


def _randomize(net: Network, rng: np.random.Generator) -> None:
    """Fill every array with random values, scaled to keep gates half open at any width."""
    draws: dict[str, Callable[[tuple[int, ...]], Array]] = {
        "weights": lambda shape: rng.normal(0, 1.2 / math.sqrt(shape[-1]), shape),
        "biases": lambda shape: rng.normal(0, 0.4, shape),
        "scales": lambda shape: rng.uniform(0.5, 1.5, shape),
        "rolling_mean": lambda shape: rng.normal(0, 0.3, shape),
        "pairs": np.zeros,
        "rolling_variance": lambda shape: rng.uniform(0.5, 2, shape),
    }
    for layer in net.layers:
        for array in layer.arrays():
            array.value[...] = draws[array.kind](array.value.shape)


def _truth(net: Network, rng: np.random.Generator) -> Array:
    """(T, S, O): a distribution for each group of a softmax."""
    groups = max(getattr(options, "groups", 1) for options in net.layer_options[-2:])
    shares = rng.dirichlet(np.ones(net.outputs // groups), (STEPS, STREAMS, groups))
    return shares.reshape(STEPS, STREAMS, net.outputs)


# --- differences --------------------------------------------------------------------------


def _error(
    objective: Callable[[], float], value: Array, gradient: Array, directions: Sequence[Array]
) -> float:
    """The smallest relative error over the step lengths."""
    analytic = np.array([float((gradient * direction).sum()) for direction in directions])
    least = math.inf
    for length in STEP_LENGTHS:
        numeric = np.array([_derivative(objective, value, d, length) for d in directions])
        noise = NOISE * abs(objective()) / length
        wrong = float(np.linalg.norm(numeric - analytic))
        scale = float(np.linalg.norm(analytic)) + noise / TOLERANCE
        least = min(least, wrong / scale) if math.isfinite(wrong) else least
        if least <= TOLERANCE:
            break
    return least


def _directions(value: Array, gradient: Array, rng: np.random.Generator) -> Iterator[Array]:
    """Random directions of length 1, then single elements: the one with the largest gradient, and
    others."""
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(value.shape)
        yield direction / np.linalg.norm(direction)
    largest = int(np.abs(gradient).argmax())
    others = rng.choice(value.size, min(SINGLE - 1, value.size), replace=False).tolist()
    for index in (largest, *others):
        direction = np.zeros(value.shape)
        direction.flat[index] = 1
        yield direction


def _derivative(
    objective: Callable[[], float], value: Array, direction: Array, length: float
) -> float:
    original = value.copy()
    values = []
    for point in POINTS:
        value[...] = original + point * length * direction
        values.append(objective())
    value[...] = original
    return float(np.dot(FOURTH_ORDER, values)) / length
