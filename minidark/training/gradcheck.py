"""Analytic gradients against numeric ones, for any cfg: what `backward` says against differences
of what `forward` does.

In float64, on a small copy of the network: few streams and steps, random parameters, a random state
carried in, float rows as input. Of each array, and of the input, some directions are taken: random
ones, which every number of the array has a part in, and single numbers, among them the one with the
largest gradient. A direction's numeric derivative is a difference of fourth order.

A kink of a piecewise activation between two of its points would look like a wrong gradient, so each
array is tried with several step lengths, and the best counts: a gradient that is wrong is wrong
with all of them. Dropout draws the same mask each time.

Training cuts the gradient off at the state that is carried in; layers keep it all the same
(`Layer.dstates`), so that it can be compared here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minidark.backend import Array, get_backend
from minidark.cfg.options import BYTES
from minidark.cfg.plan import Plan, replan
from minidark.layers.base import Layer
from minidark.network import Network
from minidark.network.parser import build_network

STEPS, STREAMS = 4, 3  # T, S
WIDEST = 48  # of a layer's outputs and of the inputs
TOLERANCE = 1e-6  # relative
STEP_LENGTHS = (3e-5, 3e-6, 3e-4)
POINTS, FOURTH_ORDER = (-2, -1, 1, 2), np.array([1, -8, 8, -1]) / 12
DIRECTIONS, SINGLE = 3, 3
NOISE = 1e2 * float(np.finfo(np.float64).eps)  # of the objective, relative, by rounding


@dataclass(frozen=True, slots=True)
class Row:
    """An array, and how far its gradient is from the numeric one: relative to it, over all its
    directions; None where stopbackward leaves it none."""

    name: str
    shape: tuple[int, ...]
    directions: int
    error: float | None

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= TOLERANCE


def check_gradients(plan: Plan, seed: int = 0) -> Iterator[Row]:
    """A row for each parameter in weight-file order, with float rows as input, and for each state
    that is carried in; one for the input, if it gets a gradient; and the rows of a first layer that
    reads ids once more, with ids.

    The plan's network is made anew, small. Raises CfgError for one without a cost.
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
    """How many rows `check_gradients` gives, one less where the input gets no gradient."""
    layers = _small(plan, 0).layers
    rows = [len([*layer.parameters()]) + len(layer.states) for layer in layers]
    return sum(rows) + 1 + (rows[0] if layers[0].reads_ids else 0)


def _small(plan: Plan, seed: int) -> Network:
    return build_network(shrunk(plan), seed, get_backend("cpu", "float64", "numpy"))


class _Check:
    """A network whose every pass begins with the same states and masks."""

    def __init__(self, net: Network, rng: np.random.Generator):
        self.net, self.rng = net, rng
        _randomize(net, rng)
        self.truth = _truth(net, rng)
        self.states = [
            {name: rng.normal(0, 0.5, state.shape) for name, state in layer.states.items()}
            for layer in net.layers
        ]

    def layers(self, x: Array, layers: Sequence[Layer], suffix: str = "") -> Iterator[Row]:
        self._rewind()
        self.net.learner.drop_gradients()
        self.net.accumulate(x, self.truth)
        for index, layer in enumerate(layers):
            frozen = index < self.net.frozen_layers
            for p in layer.parameters():
                yield self._row(p.name + suffix, x, p.value, None if frozen else p.grad)
            for name, value in self.states[index].items():
                gradient = None if frozen else layer.dstates[name]
                yield self._row(f"{layer.name}.{name}, carried in{suffix}", x, value, gradient)

    def input(self, x: Array) -> Iterator[Row]:
        self._rewind()
        gradient = self.net.input_gradient(x, self.truth)
        if gradient is not None:
            yield self._row("input", x, x, gradient)

    def _row(self, name: str, x: Array, value: Array, gradient: Array | None) -> Row:
        """`value` is one of the arrays that a pass over x hangs on; without `gradient`, it is
        frozen."""
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
    """The same layers over few streams and steps; a width above 48 is the most below it that its
    readers' groups divide, two of a group at the least."""
    groups = math.lcm(*(getattr(layer.options, "groups", 1) for layer in plan.layers))
    width = max(2 * groups if groups > 1 else 1, WIDEST - WIDEST % groups)
    net = {"batch": STREAMS, "subdivisions": 1, "time_steps": STEPS}
    pairs = plan.layers[0].options.gives_symbols
    inputs = width + (BYTES if pairs else 0)
    if plan.net.row_inputs > inputs:
        net |= {"inputs": inputs}
    changes = {0: net}
    for number, layer in enumerate(plan.layers, start=1):
        changes[number] = {
            key: width
            for key in ("output", "hidden")
            if (getattr(layer.options, key, None) or 0) > WIDEST
        }
    return replan(plan.sections, changes)


def _randomize(net: Network, rng: np.random.Generator) -> None:
    """Distinct numbers for every array, of a size that keeps gates half open at any width."""
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
    """The least over the step lengths."""
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
    """Random ones of length 1, then single numbers: that of the largest gradient, and others."""
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
    kept = value.copy()
    found = []
    for point in POINTS:
        value[...] = kept + point * length * direction
        found.append(objective())
    value[...] = kept
    return float(np.dot(FOURTH_ORDER, found)) / length
