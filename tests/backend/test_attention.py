"""The compiled kernels of [attention] against numpy's layer in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidark import Network
from minidark.backend import Array, threads
from tests.helpers import network, randomize
from tests.layers.test_attention import CASES, END, host, passes, same

compiled: Any = pytest.importorskip("minidark.backend.compiled")

I, T, S = 6, 13, 4  # noqa: E741  the shape alphabet's inputs
WIDE = [  # heads wider and narrower than a panel, and sums of more than eight parts
    "attention heads=2 keys=40 memory=30 output=19",
    f"attention over=source separator={END} keys=17 memory=30",
]


def built(case: str, dtype: str, steps: int = T) -> tuple[Network, Array, Array]:
    """The same network in each dtype, x and symbols."""
    net = network(f"net inputs={I} batch={S}", case, dtype=dtype)
    randomize(net.layers)
    rng = np.random.default_rng(3)
    symbols = rng.integers(0, END, (steps, S))
    symbols[[6, 9, 0, steps - 1], [0, 0, 1, 3]] = END
    return net, rng.normal(0, 1, (steps, S, I)).astype(dtype), symbols


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=3e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("steps", [T, 70])
@pytest.mark.parametrize("case", [*CASES, *WIDE])
def test_a_pass_is_that_of_numpys_layer_in_float64(case: str, steps: int) -> None:
    results = []
    for dtype in ("float32", "float64"):
        net, x, symbols = built(case, dtype, steps)
        layer = net.layers[0]
        assert net.backend.fast == (dtype == "float32")
        passes(layer, x[:3], symbols[:3], [0, 3])  # a memory to begin from
        layer.watch(symbols[3:])
        y = layer.forward(x[3:], train=True)
        dx = layer.backward(np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype))
        results.append([y, dx, *(p.grad for p in layer.parameters())])
    for fast, wanted in zip(*results, strict=True):
        close(fast, wanted)


@pytest.mark.parametrize("case", [*CASES, *WIDE])
def test_steps_are_those_of_numpys_layer_in_float64(case: str) -> None:
    fast, x, symbols = built(case, "float32")
    wide, x_wide, _ = built(case, "float64")
    step = fast.layers[0].frozen(False)
    found = []
    for t in range(T):
        fast.layers[0].watch(symbols[t : t + 1])
        found.append(host(fast.layers[0], step(x[t])))
    close(found, passes(wide.layers[0], x_wide, symbols, [0, T]))


def test_the_step_of_a_stream_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    queries, keys, values = (
        rng.normal(0, 1, shape).astype("f") for shape in ((5, 34), (5, 40, 34), (5, 40, 22))
    )
    used = np.array([1, 40, 17, 8, 23])
    together = compiled.attend_step(queries, keys, values, used, 2, 0.3)
    for s in range(5):
        one = slice(s, s + 1)
        short = slice(0, int(used[s]))
        alone = compiled.attend_step(
            queries[one], keys[one, short], values[one, short], used[one], 2, 0.3
        )
        np.testing.assert_array_equal(alone, together[one])


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    results = []
    for count in (1, 2):
        threads.set_threads(count)
        net = network("net inputs=64 batch=20", "attention heads=2", dtype="float32")
        x = np.random.default_rng(0).normal(0, 1, (40, 20, 64)).astype("f")
        y = net.layers[0].forward(x, train=True)
        dx = net.layers[0].backward(x.copy())
        step = net.twin(20).layers[0].frozen(False)
        outputs = np.array([step(row).copy() for row in x])
        results.append([y, dx, outputs, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_is_not_hidden() -> None:
    net, x, _ = built("attention", "float32")
    x[4, 1, 2] = np.nan
    y = net.layers[0].forward(x)
    assert np.isnan(y[4:, 1]).all()
    same(np.isfinite(y[:, [0, 2, 3]]), np.ones((T, 3, I), bool))
