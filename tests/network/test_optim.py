"""Both optimizers against scalar loops in float64, over several updates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from minidark.backend import Array, get_backend
from minidark.layers.base import Parameter
from minidark.network.optim import Adam, Optimizer, Sgd
from tests.helpers import network

FLOAT64 = get_backend("cpu", "float64")
KINDS = ("biases", "weights", "scales")
SHAPES = {"biases": (3,), "weights": (3, 4), "scales": (3,)}
UPDATES = [(0.5, 6), (0.25, 6), (0.1, 1), (0.4, 13)]  # rate, rows
MOMENTUM, B1, B2, EPS = 0.7, 0.8, 0.95, 1e-3

Scalar = Callable[[float, list[float], bool, float], float]


def scalar_sgd(w: float, gradients: list[float], decays: bool, decay: float) -> float:
    v = 0.0
    for g, (rate, n) in zip(gradients, UPDATES, strict=True):
        v = v - g - (decay * n * w if decays else 0)
        w = w + rate / n * v
        v = MOMENTUM * v
    return w


def scalar_adam(w: float, gradients: list[float], decays: bool, decay: float) -> float:
    m = v = 0.0
    for t, (g, (rate, n)) in enumerate(zip(gradients, UPDATES, strict=True), start=1):
        d = -g - decay * n * w
        m = B1 * m + (1 - B1) * d
        v = B2 * v + (1 - B2) * d * d
        w = w + rate * (m / (1 - B1**t)) / (math.sqrt(v / (1 - B2**t)) + EPS)
    return w


def parameters() -> list[Parameter]:
    rng = np.random.default_rng(1)
    return [
        Parameter(f"0.gru.uz.{kind}", kind, rng.normal(size=SHAPES[kind]), np.zeros(SHAPES[kind]))
        for kind in KINDS
    ]


def after_updates(optimizer: Optimizer, gradients: dict[str, list[Array]]) -> list[Parameter]:
    moved = parameters()
    for number, (rate, rows) in enumerate(UPDATES):
        optimizer.begin_update()
        for p in moved:
            p.grad[...] = gradients[p.kind][number]
            optimizer.step(p, rate, rows)
            assert not p.grad.any(), "not ready for the next gradient"
    return moved


@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "scalar"),
    [
        pytest.param(lambda d: Sgd(MOMENTUM, d, FLOAT64), scalar_sgd, id="sgd"),
        pytest.param(lambda d: Adam(B1, B2, EPS, d, FLOAT64), scalar_adam, id="adam"),
    ],
)
def test_an_optimizer_moves_each_number_as_the_scalar_loop_does(
    make: Callable[[float], Optimizer], scalar: Scalar, kind: str, decay: float
) -> None:
    rng = np.random.default_rng(2)
    gradients = {k: [rng.normal(size=SHAPES[k]) for _ in UPDATES] for k in KINDS}
    moved = after_updates(make(decay), gradients)[KINDS.index(kind)]
    (before,) = (p.value for p in parameters() if p.kind == kind)
    for at in np.ndindex(SHAPES[kind]):
        series = [float(g[at]) for g in gradients[kind]]
        wanted = scalar(float(before[at]), series, kind == "weights", decay)
        assert moved.value[at] == pytest.approx(wanted, rel=1e-13), at


def one_step(optimizer: Optimizer, kind: str, rows: int, grad: float) -> float:
    """How far 2 moves, with rate .5."""
    p = Parameter("0.gru.uz.x", kind, np.full(1, 2.0), np.full(1, float(grad)))
    optimizer.begin_update()
    optimizer.step(p, 0.5, rows)
    return float(p.value[0]) - 2


def test_sgd_divides_by_the_rows_and_adam_does_not() -> None:
    assert one_step(Sgd(0.9, 0, FLOAT64), "weights", 8, grad=3) == pytest.approx(-0.5 * 3 / 8)
    assert one_step(Adam(0.9, 0.999, 0, 0, FLOAT64), "weights", 8, grad=3) == pytest.approx(-0.5)
    assert one_step(Adam(0.9, 0.999, 3, 0, FLOAT64), "weights", 8, grad=3) == pytest.approx(-0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_sgd_decays_weights_only_and_adam_decays_all(kind: str) -> None:
    by_sgd = one_step(Sgd(0.9, 0.01, FLOAT64), kind, 8, grad=0)
    assert by_sgd == pytest.approx(-0.5 * 0.01 * 2 if kind == "weights" else 0)
    by_adam = one_step(Adam(0.9, 0.999, 0.16, 0.01, FLOAT64), kind, 8, grad=0)
    assert by_adam == pytest.approx(-0.5 * 0.16 / (0.16 + 0.16))  # d = -.01 * 8 * 2


def test_momentum_goes_on_without_a_gradient() -> None:
    p = Parameter("0.gru.uz.weights", "weights", np.zeros(1), np.ones(1))
    optimizer = Sgd(0.5, 0, FLOAT64)
    optimizer.step(p, 1, 1)
    p.grad[...] = 0
    optimizer.step(p, 1, 1)
    optimizer.step(p, 1, 1)
    assert p.value[0] == -1.75


def test_parameters_of_one_optimizer_have_slots_of_their_own() -> None:
    adam = Adam(0.9, 0.999, 1e-7, 0, FLOAT64)
    first, second = (Parameter(f"{i}.x", "biases", np.zeros(2), np.ones(2)) for i in range(2))
    adam.begin_update()
    adam.step(first, 1, 1)
    second.grad[...] = -5
    adam.step(second, 1, 1)
    assert set(adam.slots) == {"0.x.m", "0.x.v", "1.x.m", "1.x.v"}
    assert adam.updates == 1
    np.testing.assert_allclose(adam.slots["0.x.m"], [-0.1, -0.1])
    np.testing.assert_allclose(adam.slots["1.x.m"], [0.5, 0.5])
    np.testing.assert_allclose(second.value, [1, 1], rtol=1e-6)


def test_slots_are_of_the_backends_dtype() -> None:
    sgd = Sgd(0.9, 0, get_backend("cpu", "float32"))
    p = Parameter("0.x", "weights", np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))
    sgd.step(p, 1, 1)
    assert sgd.slots["0.x.velocity"].dtype == np.float32
    assert sgd.slots["0.x.velocity"].shape == (2, 3)


def test_adam_1_is_adam_and_adam_0_is_sgd_with_the_cfgs_figures() -> None:
    adam = network("net inputs=4 adam=1 B1=.5 B2=.6 eps=.7 decay=.8", "softmax").learner.optimizer
    assert isinstance(adam, Adam)
    assert (adam.B1, adam.B2, adam.eps, adam.decay) == (0.5, 0.6, 0.7, 0.8)
    sgd = network("net inputs=4 momentum=.3 decay=.2", "softmax").learner.optimizer
    assert isinstance(sgd, Sgd)
    assert (sgd.momentum, sgd.decay) == (0.3, 0.2)


@pytest.mark.parametrize("average", [0.5, 0.99])
def test_the_mean_follows_the_values(average: float) -> None:
    rng = np.random.default_rng(4)
    gradients = {kind: [rng.normal(size=SHAPES[kind]) for _ in UPDATES] for kind in KINDS}
    optimizer = Adam(B1, B2, EPS, 0.0, FLOAT64, average)
    moved = parameters()
    means: dict[str, Array] = {kind: np.zeros(SHAPES[kind]) for kind in KINDS}
    for number, (rate, rows) in enumerate(UPDATES, start=1):
        optimizer.begin_update()
        for p in moved:
            p.grad[...] = gradients[p.kind][number - 1]
            optimizer.step(p, rate, rows)
            kept = min(average, (number - 1) / (number + 9))
            means[p.kind] = kept * means[p.kind] + (1 - kept) * p.value
    for p in moved:
        value = p.value.copy()
        optimizer.exchange(p)
        np.testing.assert_allclose(p.value, means[p.kind], rtol=1e-12)
        optimizer.exchange(p)
        np.testing.assert_array_equal(p.value, value)


def test_without_a_mean_there_is_no_slot_for_one() -> None:
    assert Adam(B1, B2, EPS, 0.0, FLOAT64).kinds == ("m", "v")
    assert Sgd(MOMENTUM, 0.0, FLOAT64, 0.9).kinds == ("velocity", "average")
