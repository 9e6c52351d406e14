"""What each cost reports, and what it sends back, in numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark import CfgError
from minidark.backend import Array
from minidark.layers import CostLayer, make_cost_layer, make_logistic_layer, make_softmax_layer

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
