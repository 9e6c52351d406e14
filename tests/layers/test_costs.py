"""What each cost reports, and what it sends back, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark import CfgError
from minidark.backend import Array
from minidark.layers import CostLayer, make_cost_layer, make_logistic_layer, make_softmax_layer
from tests.helpers import gradients, network

Y = np.array([[[0.5, -2.0, 3.0, 1.0]]])
TRUTH = np.array([[[0.0, 1.0, 1.0, 1.0]]])  # differences .5, -3, 2, 0


@pytest.mark.parametrize(
    ("cost_type", "reported", "gradient"),
    [
        ("sse", 0.25 + 9 + 4, [0.5, -3, 2, 0]),
        ("smooth", 0.25 + 5 + 3, [0.5, -1, 1, 0]),
        ("L1", 0.5 + 3 + 2, [1, -1, 1, 0]),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_scale_multiplies_the_gradient_and_not_the_reported_cost(
    cost_type: str, reported: float, gradient: list[float], scale: float
) -> None:
    layer = make_cost_layer(1, 4, cost_type, scale)
    y = Y.copy()
    cost, dx = layer.cost(y, TRUTH)
    assert cost == pytest.approx(reported)
    np.testing.assert_allclose(dx, [[np.multiply(gradient, scale)]])
    np.testing.assert_array_equal(y, Y)
    descended = 1 if cost_type == "L1" else 0.5
    assert layer.objective(Y, TRUTH) == pytest.approx(scale * descended * reported)


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(CfgError) as error:
        make_cost_layer(1, 4, "l2")
    assert str(error.value) == "type='l2' is not one of sse, smooth, L1"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_softmax_passes_back_the_difference_at_any_temperature(temperature: float) -> None:
    layer = make_softmax_layer(1, 4, temperature=temperature)
    p, truth = np.array([[[0.1, 0.2, 0.3, 0.4]]]), np.array([[2]])
    cost, dx = layer.cost(p, truth)
    assert cost == pytest.approx(-math.log(0.3))
    np.testing.assert_allclose(dx, [[[0.1, 0.2, -0.7, 0.4]]])
    assert layer.objective(p, truth) == pytest.approx(-temperature * math.log(0.3))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_smoothing_softens_what_is_descended_and_not_what_is_reported(temperature: float) -> None:
    layer = make_softmax_layer(1, 4, temperature=temperature, smoothing=0.2)
    p, truth = np.array([[[0.1, 0.2, 0.3, 0.4]]]), np.array([[2]])
    cost, dx = layer.cost(p, truth)
    assert cost == pytest.approx(-math.log(0.3))
    np.testing.assert_allclose(dx, [[[0.05, 0.15, -0.55, 0.35]]])
    soft = (0.05, 0.05, 0.85, 0.05)
    descended = -sum(q * math.log(x) for q, x in zip(soft, p[0, 0], strict=True))
    assert layer.objective(p, truth) == pytest.approx(temperature * descended)
    rows = np.array([[[0.0, 0.5, 0.5, 0.0]]])
    groups = make_softmax_layer(1, 4, 2, smoothing=0.2)
    halves = np.array([[[0.0, 1.0, 0.5, 0.5]]])
    np.testing.assert_allclose(layer.cost(p, rows)[1], p - (0.8 * rows + 0.05))
    np.testing.assert_allclose(groups.cost(p, halves)[1], p - (0.8 * halves + 0.1))


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_learns_from_the_soft_truth_and_reports_the_cost_of_the_true_one(
    dtype: str,
) -> None:
    """Rows without a truth count neither here nor there."""
    ids = np.random.default_rng(1).integers(0, 5, (9, 3))
    truth = np.where(np.arange(9)[:, None] < 2, -1, ids)
    layers = ("net inputs=5 batch=3 time_steps=9", "connected output=5 activation=linear")
    plain, smoothed = (
        network(*layers, softmax, dtype=dtype) for softmax in ("softmax", "softmax smoothing=.3")
    )
    costs = [float(net.accumulate(ids, truth)) for net in (plain, smoothed)]
    assert costs[0] == costs[1]
    p = plain.predict(ids)[2:].reshape(-1, 5).astype(float)
    soft = 0.7 * np.eye(5)[ids[2:].reshape(-1)] + 0.06
    np.testing.assert_allclose(gradients(smoothed)["0.connected.biases"], (p - soft).sum(0),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    assert float(smoothed.cost(smoothed.predict(ids), truth)) == pytest.approx(costs[0], rel=1e-5)


def test_logistic_costs_every_output() -> None:
    layer = make_logistic_layer(1, 3)
    p, truth = np.array([[[0.1, 0.5, 0.8]]]), np.array([[[0.0, 0.25, 1.0]]])
    cost, dx = layer.cost(p, truth)
    assert cost == pytest.approx(-math.log(0.9) - math.log(0.5) - math.log(0.8))
    np.testing.assert_allclose(dx, [[[0.1, 0.25, -0.2]]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("layer", "p"),
    [
        (make_softmax_layer(1, 2), [0.0, 1.0]),
        (make_logistic_layer(1, 2), [0.0, 0.0]),
        (make_logistic_layer(1, 2), [1.0, 1.0]),
    ],
)
def test_a_certain_mistake_costs_much_but_not_infinitely_much(
    layer: CostLayer, p: list[float], dtype: type
) -> None:
    y: Array = np.array([[p]], dtype)
    cost, dx = layer.cost(y, np.array([[0]]))
    assert 80 < cost < 800
    np.testing.assert_allclose(dx, y - np.array([[[1, 0]]]))


@pytest.mark.parametrize(
    "layer", [make_cost_layer(1, 4), make_logistic_layer(1, 4), make_softmax_layer(1, 4)]
)
def test_ids_cost_what_one_hot_rows_cost(layer: CostLayer) -> None:
    y = layer.forward(np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32))
    ids: Array = np.array([[0, 3], [1, 1], [2, 0]])
    cost, dx = layer.cost(y, ids)
    cost_of_rows, dx_of_rows = layer.cost(y, np.eye(4, dtype=np.float32)[ids])
    assert cost == pytest.approx(cost_of_rows, rel=1e-6)
    np.testing.assert_allclose(dx, dx_of_rows, rtol=1e-6)
