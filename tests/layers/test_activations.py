"""The fourteen activations against darknet's formulas, one number at a time."""

from __future__ import annotations

import numpy as np
import pytest

from minidark import CfgError
from minidark.layers.activations import ACTIVATIONS, checked_activation
from tests.layers import scalar_reference

KINKS = [-4.0, -1.0, 0.0, 1.0, 4.0]
SPREAD = np.concatenate([np.linspace(-9.97, 9.97, 400), np.linspace(-1.01, 1.01, 101)])


def test_there_are_darknets_fourteen() -> None:
    assert set(ACTIVATIONS) == set(scalar_reference.ACTIVATIONS)
    assert len(ACTIVATIONS) == 14
    assert all(name == activation.name for name, activation in ACTIVATIONS.items())


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-6)])
def test_values_are_darknets(name: str, dtype: str, tolerance: float) -> None:
    x = np.concatenate([SPREAD, KINKS, np.arange(-7.0, 8)]).astype(dtype)
    kept = x.copy()
    y = ACTIVATIONS[name].forward(x)
    assert y.dtype == dtype
    wanted = [scalar_reference.ACTIVATIONS[name](v) for v in x.tolist()]
    np.testing.assert_allclose(y, wanted, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_from_the_output_are_the_slopes(name: str) -> None:
    kinks = np.arange(-10, 11) if name == "stair" else np.array(KINKS)
    x = SPREAD[np.abs(SPREAD[:, None] - kinks).min(axis=1) > 1e-3]
    y = ACTIVATIONS[name].forward(x)
    gradient = ACTIVATIONS[name].gradient(y)
    step = 1e-5
    f = ACTIVATIONS[name].forward
    np.testing.assert_allclose(
        gradient, (f(x + step) - f(x - step)) / (2 * step), rtol=1e-6, atol=1e-9
    )
    assert gradient.any()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_are_new_arrays_of_the_same_dtype(name: str, dtype: str) -> None:
    y = ACTIVATIONS[name].forward(SPREAD.astype(dtype))
    kept = y.copy()
    gradient = ACTIVATIONS[name].gradient(y)
    assert gradient.dtype == dtype
    gradient += 1
    np.testing.assert_array_equal(y, kept)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_inputs_do_not_overflow(name: str, dtype: str) -> None:
    x = np.array([-1e4, 1e4], dtype)
    y = ACTIVATIONS[name].forward(x)
    assert np.isfinite(y).all()
    assert np.isfinite(ACTIVATIONS[name].gradient(y)).all()
    if name == "logistic":
        assert y.tolist() == [0, 1]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CfgError) as error:
        checked_activation("sigmoid")
    assert str(error.value) == (
        "activation='sigmoid' is not one of logistic, loggy, relu, elu, selu, relie, ramp, "
        "linear, tanh, plse, leaky, stair, hardtan, lhtan"
    )
