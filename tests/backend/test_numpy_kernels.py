"""The numpy kernels against formulas written out plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark.backend import Array
from minidark.backend import numpy_kernels as kernels

DTYPES = ["float32", "float64"]
OPTIMIZED = [1, 5, kernels.STREAMED, kernels.STREAMED + 1, 2 * kernels.STREAMED + 3]


def random(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    array: Array = np.random.default_rng(seed).normal(0, 1, shape).astype(dtype)
    return array


# --- rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2), (1, 7), (5, 3), (40, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_is_the_product_with_one_hot_rows(shape: tuple[int, int], dtype: str) -> None:
    weights = random(4, 7, dtype=dtype)  # fewer ids than the seven columns, as many, and more
    ids = np.random.default_rng(1).integers(0, 7, shape)
    rows = kernels.gather(weights, ids)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, np.eye(7, dtype=dtype)[ids] @ weights.T)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2), (40, 2)])
def test_gathered_rows_are_not_the_weights_own(shape: tuple[int, int]) -> None:
    weights = random(4, 7)
    kept = weights.copy()
    rows = kernels.gather(weights, np.zeros(shape, np.intp))
    rows += 1
    np.testing.assert_array_equal(weights, kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 2), (40, 2)])
@pytest.mark.parametrize("one_symbol", [False, True])
def test_scatter_add_is_the_product_with_one_hot_rows(
    shape: tuple[int, int], one_symbol: bool
) -> None:
    ids = np.random.default_rng(1).integers(0, 7, shape)
    if one_symbol:
        ids[...] = 5
    dy, start = random(*shape, 4, seed=2), random(4, 7, seed=3)
    gradient = start.copy()
    kernels.scatter_add(gradient, ids, dy)
    wanted = start + dy.reshape(-1, 4).T @ np.eye(7)[ids.reshape(-1)]
    np.testing.assert_allclose(gradient, wanted, rtol=1e-13, atol=1e-13)


def test_scatter_add_writes_into_a_view() -> None:
    packed = np.zeros((6, 7))
    kernels.scatter_add(packed[2:4], np.array([[3, 3]]), np.array([[[1.0, 2], [3, 4]]]))
    wanted = np.zeros((6, 7))
    wanted[2:4, 3] = [4, 6]
    np.testing.assert_array_equal(packed, wanted)


# --- elementwise --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_does_not_overflow(dtype: str) -> None:
    x = np.array([-1e4, -100, -2, 0, 0.5, 100, 1e4], dtype)
    wanted = [0, 0, 1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-0.5)), 1, 1]
    with np.errstate(all="raise"):
        kernels.logistic(x)
    np.testing.assert_allclose(x, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_exp_over_its_sum(temperature: float, dtype: str) -> None:
    x = random(3, 2, 5, dtype=dtype)
    kept = x.copy()
    p = kernels.softmax(x, temperature)
    assert p.dtype == dtype
    exps = np.exp(x.astype(np.float64) / temperature)
    np.testing.assert_allclose(p, exps / exps.sum(axis=-1, keepdims=True), rtol=2e-6)
    np.testing.assert_array_equal(x, kept)


def test_softmax_of_large_differences_is_one_and_zeros() -> None:
    p = kernels.softmax(np.array([[1e4, -1e4, 0], [3e38, 0, 0]], np.float32), 1.0)
    np.testing.assert_array_equal(p, [[1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_ids_and_of_rows(dtype: str) -> None:
    p = kernels.softmax(random(3, 2, 5, dtype=dtype), 1.0)
    kept = p.copy()
    ids = np.array([[0, 4], [2, 2], [1, 3]])
    rows = np.eye(5, dtype=dtype)[ids]
    wanted = -sum(math.log(p[t, s, ids[t, s]]) for t in range(3) for s in range(2))
    for truth in (ids, rows):
        cost, difference = kernels.cross_entropy(p, truth)
        assert cost == pytest.approx(wanted, rel=1e-6)
        assert difference.dtype == dtype
        np.testing.assert_allclose(difference, p - rows, rtol=1e-6)
        np.testing.assert_array_equal(p, kept)
        smoothed, difference = kernels.cross_entropy(p, truth, 0.75, 0.05)
        assert smoothed == cost
        assert difference.dtype == dtype
        np.testing.assert_allclose(difference, p - (0.75 * rows + 0.05), rtol=1e-6, atol=1e-7)
    soft = kernels.softmax(random(3, 2, 5, dtype=dtype, seed=1), 1.0)
    cost, difference = kernels.cross_entropy(p, soft)
    assert cost == pytest.approx(-float((soft * np.log(p)).sum()), rel=1e-5)
    np.testing.assert_allclose(difference, p - soft, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_probability_of_zero_costs_as_much_as_the_smallest_number(dtype: str) -> None:
    p, ids = np.array([[0.0, 1.0]], dtype), np.array([0])
    for truth in (ids, np.eye(2, dtype=dtype)[ids]):
        cost, difference = kernels.cross_entropy(p, truth)
        assert cost == pytest.approx(-math.log(np.finfo(dtype).tiny), rel=1e-6)
        np.testing.assert_array_equal(difference, [[-1, 1]])


# --- batch norm ---------------------------------------------------------------------------


def test_batch_statistics_divide_by_one_row_less() -> None:
    v = random(3, 5, 4)
    kept = v.copy()
    mean, variance = kernels.batch_statistics(v)
    np.testing.assert_allclose(mean, v.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(variance, v.var(axis=1, ddof=1, keepdims=True))
    np.testing.assert_array_equal(v, kept)


def test_normalize_backward_is_the_derivative() -> None:
    v, weights, epsilon = random(6, 4), random(6, 4, seed=1), 1e-2

    def normalized(v: Array) -> Array:
        result: Array = (v - v.mean(axis=0)) / (v.std(axis=0, ddof=1) + epsilon)
        return result

    dv = kernels.normalize_backward(
        weights, normalized(v), v.std(axis=0, ddof=1, keepdims=True), epsilon
    )
    numeric = np.empty_like(v)
    for at in np.ndindex(v.shape):
        step = np.zeros_like(v)
        step[at] = 1e-6
        change = normalized(v + step) - normalized(v - step)
        numeric[at] = (weights * change).sum() / 2e-6
    np.testing.assert_allclose(dv, numeric, rtol=1e-7, atol=1e-9)


def test_normalize_backward_of_a_constant_feature_sees_the_epsilon_only() -> None:
    dnormalized = np.array([[1.0, 1], [2, -1], [6, 0]])
    normalized = np.array([[0.0, 1], [0, 0], [0, -1]])
    deviation = np.array([[0.0, 2]])
    kept = normalized.copy()
    dv = kernels.normalize_backward(dnormalized, normalized, deviation, 0.5)
    np.testing.assert_allclose(dv[:, 0], np.array([-2, -1, 3]) / 0.5)
    # The other: dnormalized has mean 0 and 1 along normalized; 1 / (2 rows of deviation 2).
    np.testing.assert_allclose(dv[:, 1], np.array([1, -1, 0]) / 2.5 - np.array([1, 0, -1]) / 4)
    np.testing.assert_array_equal(normalized, kept)


# --- optimizers ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", OPTIMIZED)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_step_is_darknets(size: int, decay: float) -> None:
    value, grad, velocity = (random(size, seed=seed) for seed in range(3))
    v = velocity - grad - decay * value
    w = value + 0.1 * v
    kernels.sgd_step(value, grad, velocity, 0.1, 0.9, decay)
    np.testing.assert_allclose(value, w, rtol=1e-13)
    np.testing.assert_allclose(velocity, 0.9 * v, rtol=1e-13)
    np.testing.assert_array_equal(grad, np.zeros(size))


@pytest.mark.parametrize("size", OPTIMIZED)
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("t", [1, 7])
def test_adam_step_is_kingma_and_bas(size: int, decay: float, t: int) -> None:
    value, grad, m = (random(size, seed=seed) for seed in range(3))
    v = random(size, seed=3) ** 2
    d = -grad - decay * value
    m_new, v_new = 0.8 * m + 0.2 * d, 0.95 * v + 0.05 * d * d
    mhat, vhat = m_new / (1 - 0.8**t), v_new / (1 - 0.95**t)
    w = value + 0.1 * mhat / (np.sqrt(vhat) + 1e-3)
    kernels.adam_step(value, grad, m, v, rate=0.1, B1=0.8, B2=0.95, eps=1e-3, decay=decay, t=t)
    np.testing.assert_allclose(value, w, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(m, m_new, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(v, v_new, rtol=1e-12)
    np.testing.assert_array_equal(grad, np.zeros(size))


def test_optimizers_work_in_float32() -> None:
    value, grad, m, v = (np.full(3, x, np.float32) for x in (1, 0.5, 0, 0))
    kernels.adam_step(value, grad, m, v, rate=0.1, B1=0.9, B2=0.999, eps=0, decay=0, t=1)
    np.testing.assert_allclose(value, np.full(3, 0.9), rtol=1e-6)  # the first step is the rate
    assert {a.dtype.name for a in (value, m, v)} == {"float32"}


@pytest.mark.parametrize("size", OPTIMIZED)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_sum_of_squares(size: int, dtype: str, tolerance: float) -> None:
    x = random(size, dtype=dtype)
    wanted = math.fsum(float(value) ** 2 for value in x)
    assert kernels.sum_of_squares(x) == pytest.approx(wanted, rel=tolerance)


def test_sum_of_squares_adds_its_parts_in_float64() -> None:
    x = np.zeros(3 * kernels.STREAMED, np.float32)
    x[:: kernels.STREAMED] = [2**12, 1, 1]  # float32 cannot tell 2**24 + 1 from 2**24
    assert kernels.sum_of_squares(x) == 2**24 + 2
