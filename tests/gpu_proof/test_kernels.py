"""The CUDA kernels, run on the CPU, against numpy's in float64; in both orders of threads."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark.backend import Array, get_backend, numpy_kernels
from tests.fakecp import shim
from tests.stand_in import host, needs_compiler, put_in_place

pytestmark = [needs_compiler, pytest.mark.slow]

SIZES = [(1, 2, 1), (2, 8, 32), (3, 37, 101), (1, 9, 300)]  # T, S, H; units beyond one block, too
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}


class Draws:
    """Arguments for a kernel, distinct and of a size that keeps gates half open."""

    def __init__(self, size: tuple[int, int, int], dtype: str):
        self.T, self.S, self.H = size
        self.rng, self.dtype = np.random.default_rng(sum(size)), dtype

    def normal(self, *shape: int) -> Array:
        return self.rng.normal(0, 1, shape).astype(self.dtype)

    def open(self, *shape: int) -> Array:
        return self.rng.uniform(0.02, 0.98, shape).astype(self.dtype)

    def ids(self, width: int, *shape: int) -> Array:
        return self.rng.integers(0, width, shape)

    def probabilities(self, *shape: int) -> Array:
        p: Array = self.open(*shape) ** 4
        return (p / p.sum(axis=-1, keepdims=True)).astype(self.dtype)


Case = tuple[Any, ...]  # arguments, and keywords in a dict behind them


def adam(t: int, decay: float) -> dict[str, Any]:
    return {"rate": 0.01, "B1": 0.9, "B2": 0.99, "eps": 1e-5, "decay": decay, "t": t}


def gru(d: Draws) -> tuple[Array, ...]:
    return d.open(d.S, 3 * d.H), d.normal(d.S, d.H), d.normal(d.S, d.H), d.normal(d.S, d.H)


CASES: dict[str, Callable[[Draws], list[Case]]] = {
    "gemm_nt": lambda d: [(d.normal(d.S, d.H), d.normal(5, d.H))],
    "gemm_nn": lambda d: [(d.normal(d.S, d.H), d.normal(d.H, 5))],
    "gemm_tn": lambda d: [(d.normal(d.S, 5), d.normal(d.S, d.H), d.normal(5, d.H))],
    "gather": lambda d: [(d.normal(d.H, 7), d.ids(7, d.T, d.S)), (d.normal(d.H, 7), d.ids(7, 1))],
    "scatter_add": lambda d: [
        (d.normal(d.H, width), d.ids(width, d.T, d.S), d.normal(d.T, d.S, d.H))
        for width in (1, 7, 300)
    ],
    "logistic": lambda d: [(d.normal(d.S, d.H) * 20,)],
    "gru_gates": lambda d: [
        (d.normal(d.S, 3 * d.H), d.normal(d.S, 2 * d.H), d.normal(d.S, d.H), d.normal(d.S, d.H))
    ],
    "gru_state": lambda d: [(*gru(d), tanh) for tanh in (False, True)],
    "gru_state_backward": lambda d: [(*gru(d), tanh) for tanh in (False, True)],
    "gru_gates_backward": lambda d: [gru(d)],
    "gru_reset_after": lambda d: [
        (
            *(d.normal(d.S, 3 * d.H) for _ in range(2)),
            d.normal(d.H),
            *(d.normal(d.S, d.H) for _ in range(3)),
            tanh,
        )
        for tanh in (False, True)
    ],
    "gru_reset_after_backward": lambda d: [
        (*gru(d), d.normal(d.S, d.H), tanh) for tanh in (False, True)
    ],
    "lstm_state": lambda d: [
        (*(d.normal(d.S, 4 * d.H) for _ in range(2)), *(d.normal(d.S, d.H) for _ in range(4)))
    ],
    "lstm_state_backward": lambda d: [
        (d.open(d.S, 4 * d.H), *(d.normal(d.S, d.H) for _ in range(5)))
    ],
    "batch_statistics": lambda d: [(d.normal(d.T, d.S, d.H),), (d.normal(d.S, d.H) + 3,)],
    "normalize_backward": lambda d: [
        (d.normal(d.T, d.S, d.H), d.normal(d.T, d.S, d.H), deviation, 0.25)
        for deviation in (d.open(d.T, 1, d.H), d.open(d.T, 1, d.H) * 0)
    ],
    "roll": lambda d: [(d.normal(d.H), d.normal(d.T, 1, d.H), 0.99)],
    "softmax": lambda d: [
        (d.normal(d.T, d.S, d.H), 1.0),
        (d.normal(d.S, 2, d.H) * 50, 0.7),
    ],
    "cross_entropy": lambda d: [
        (d.probabilities(d.T, d.S, d.H), d.ids(d.H, d.T, d.S)),
        (d.probabilities(d.T, d.S, d.H), d.probabilities(d.T, d.S, d.H)),
        (d.probabilities(d.T, d.S, d.H), d.ids(d.H, d.T, d.S), 0.9, 0.02),
        (d.probabilities(d.T, d.S, d.H), d.probabilities(d.T, d.S, d.H), 0.9, 0.02),
    ],
    "total": lambda d: [(d.normal(d.S, d.H),)],
    "column_sums": lambda d: [(d.normal(d.S, d.H),)],
    "draw": lambda d: [
        (d.probabilities(d.S, d.H), d.rng.random(d.S, np.float32), np.zeros(d.S, np.int64))
    ],
    "sgd_step": lambda d: [
        (d.normal(d.H), d.normal(d.H), d.normal(d.H), 0.1, 0.9, decay) for decay in (0.0, 0.3)
    ],
    "adam_step": lambda d: [
        (d.normal(d.H), d.normal(d.H), d.normal(d.H), d.open(d.H), adam(t, decay))
        for t, decay in ((1, 0.0), (7, 0.3))
    ],
    "shorten": lambda d: [(d.normal(d.S, d.H), np.array(norm, d.dtype), 2.0) for norm in (1, 5)],
    "sum_of_squares": lambda d: [(d.normal(d.H),)],
}
ROUNDED_ALIKE = {  # neither products of matrices, nor C's functions, nor sums in another order
    "gather", "gru_state_backward", "gru_gates_backward", "gru_reset_after_backward",
    "lstm_state_backward", "roll", "sgd_step", "adam_step", "shorten", "draw",
}  # fmt: skip


@pytest.fixture(params=["forward", "reverse"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakecp.RawModule, "reverse", request.param == "reverse")


def run(kernels: ModuleType, name: str, case: Case, put: Callable[[Array], Any]) -> list[Any]:
    """All arrays that the kernel was given, and what it returned."""
    keywords = case[-1] if isinstance(case[-1], dict) else {}
    arguments = case[:-1] if keywords else case
    given = [put(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    result = getattr(kernels, name)(*given, **keywords)
    results = result if isinstance(result, tuple) else (result,)
    return [host(a) for a in (*given, *results)]


def wide(array: Array) -> Array:
    narrow_ids = array.dtype.kind != "f"
    return array if narrow_ids else array.astype(np.float64)


def device_kernels(monkeypatch: pytest.MonkeyPatch, dtype: str) -> ModuleType:
    put_in_place(monkeypatch, dtype)
    return get_backend("cuda", dtype).kernels


def cases(name: str, size: tuple[int, int, int], dtype: str) -> Iterator[Case]:
    yield from CASES[name](Draws(size, dtype))


def test_every_kernel_has_a_case() -> None:
    functions = {
        name for name, f in vars(numpy_kernels).items() if inspect.isfunction(f) and name[0] != "_"
    }
    assert set(CASES) == functions
    source = (shim.SHIM.parents[2] / "minidark/backend/kernels.cu").read_text()
    reached = {name.split("_of_")[0] for name, _ in shim.KERNEL.findall(source)}
    assert {name for name in reached if "_sequence" not in name} <= set(CASES)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_computes_what_numpys_does(
    name: str, dtype: str, size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = device_kernels(monkeypatch, dtype)
    for case in cases(name, size, dtype):
        with np.errstate(all="ignore"):
            wanted = run(numpy_kernels, name, case, wide)
        found = run(kernels, name, case, fakecp.ndarray)
        for ours, numpys in zip(found, wanted, strict=True):
            if ours is not None:
                np.testing.assert_allclose(
                    ours, numpys, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
                )


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("name", sorted(ROUNDED_ALIKE))
def test_plain_arithmetic_rounds_as_numpys_to_the_bit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = device_kernels(monkeypatch, "float32")
    for case in cases(name, (3, 37, 101), "float32"):
        wanted = run(numpy_kernels, name, case, lambda array: array)
        found = run(kernels, name, case, fakecp.ndarray)
        for ours, numpys in zip(found, wanted, strict=True):
            if ours is not None:
                np.testing.assert_array_equal(ours, numpys)


# --- drawing ------------------------------------------------------------------------------


def sample_array(p: Array, start: np.float32) -> int:
    """darknet's loop, one float at a time; -1 where the sum is no number."""
    kept = [np.float32(0) if float(x) < 1e-4 else np.float32(x) for x in p]
    total = np.float32(0)
    for x in kept:
        total = np.float32(total + x)
    if not np.isfinite(total):
        return -1
    if total == 0:
        return len(kept) - 1
    left = start
    for i, x in enumerate(kept):
        left = np.float32(left - np.float32(x * np.float32(1 / float(total))))
        if left <= 0:
            return i
    return len(kept) - 1


LEAST = np.float32(1e-4)  # just below the limit, which is a double
ROWS: Any = [
    [0.25, 0.25, 0.25, 0.25],
    [0, 0, 0, 0],
    [5e-5, 5e-5, 5e-5, 5e-5],
    [LEAST, np.nextafter(LEAST, np.float32(1)), 0, LEAST],
    [np.nan, 0.5, 0.5, 0],
    [np.inf, 0.5, 0.5, 0],
    [-3, 0.5, -2, 0.5],
    [0, 0, 1, 0],
    [3e38, 3e38, 0, 0],
]
STARTS = [0.0, 1e-9, 0.25, 0.5, 0.75, 0.99999994, 1.0]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_draw_is_darknets_sample_array(
    device: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(monkeypatch, dtype)
    backend = get_backend(device, dtype)
    rng = np.random.default_rng(1)
    rows = [*ROWS, *(rng.dirichlet(np.full(4, 0.3)) for _ in range(50))]
    p = np.array([row for row in rows for _ in STARTS], dtype)
    starts = np.array([start for _ in rows for start in STARTS], np.float32)
    ids = backend.asids(np.zeros(len(p), np.intp))
    backend.kernels.draw(backend.asarray(p), backend.xp.asarray(starts), ids)
    wanted = [sample_array(row, start) for row, start in zip(p, starts, strict=True)]
    np.testing.assert_array_equal(host(ids), wanted)
    assert set(wanted) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_probability_of_zero_and_of_nan(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch)
    backend = get_backend(device)
    p = backend.asarray([[0.0, 1.0], [1.0, 0.0]])
    cost, _ = backend.kernels.cross_entropy(p, backend.asids([0, 0]))
    assert host(cost) == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-6)
    p = backend.asarray([[np.nan, 1.0], [1.0, 0.0]])
    for truth in (backend.asids([0, 0]), backend.asarray([[1, 0], [1, 0]])):
        assert math.isnan(host(backend.kernels.cross_entropy(p, truth)[0]))


# --- that the shim finds what it is there to find -----------------------------------------


def broken(body: str) -> shim.Library:
    return shim.compiled("__global__ void k(real* x, long long n) {" + body + "}", "float")


def call(library: shim.Library, x: Array, reverse: bool = False) -> Array:
    library.run("k", (1,), (64,), [x, np.int64(x.size)], reverse)
    return x


def test_a_write_outside_is_found() -> None:
    with pytest.raises(RuntimeError, match="k writes outside of an array"):
        call(broken("x[threadIdx.x] = 1;"), np.zeros(63, np.float32))


def test_a_read_outside_is_nan() -> None:
    assert np.isnan(call(broken("if (threadIdx.x == 0) x[0] = x[n];"), np.zeros(3, np.float32))[0])


def test_a_barrier_that_a_part_reaches_is_found() -> None:
    with pytest.raises(RuntimeError, match="a barrier was reached by only a part"):
        call(broken("if (threadIdx.x) __syncthreads();"), np.zeros(3, np.float32))


def test_a_missing_barrier_shows_in_one_of_the_orders() -> None:
    body = "x[threadIdx.x] = threadIdx.x; BARRIER x[64 + threadIdx.x] = x[threadIdx.x / 2];"
    without, with_it = (broken(body.replace("BARRIER", b)) for b in ("", "__syncthreads();"))
    right = {}
    for reverse in (False, True):
        for library in (without, with_it):
            found = call(library, np.zeros(128, np.float32), reverse)[64:]
            right[library, reverse] = (found == np.arange(64) // 2).all()
    assert right == {(without, False): True, (without, True): False} | {
        (with_it, False): True,
        (with_it, True): True,
    }


@pytest.mark.parametrize("argument", [3.5, 3, np.float64(3), np.float32(3)])
def test_a_number_of_another_size_is_found(argument: Any) -> None:
    with pytest.raises(TypeError, match="is given for"):
        broken("").run("k", (1,), (1,), [np.zeros(1, np.float32), argument])
