"""The compiled kernels against numpy's in float64, and that they are what runs."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidark
from minidark import BackendError, Network
from minidark.backend import RNN_ACTIVATIONS, Array, get_backend, numpy_kernels, threads
from minidark.layers.activations import (
    COMPILED,
    activated,
    before_activation,
    checked_activation,
)
from tests.helpers import network, one_hot, randomize

numba: Any = pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
compiled: Any = pytest.importorskip("minidark.backend.compiled")
kernel: Any = pytest.importorskip("minidark.backend.compiled.kernel")
gru: Any = pytest.importorskip("minidark.backend.compiled.gru")
drawing: Any = pytest.importorskip("minidark.backend.compiled.drawing")
products: Any = pytest.importorskip("minidark.backend.compiled.products")

PANEL, WIDTH = kernel.PANEL, kernel.WIDTH

PUBLIC = [
    name
    for name, function in vars(numpy_kernels).items()
    if inspect.isfunction(function) and not name.startswith("_")
]
# Less and more than a panel of columns (8, 16 or 64), whole panels, a row less than a tile, many
# rows. The last two are deeper than a block of a product.
SHAPES = [(1, 1, 1), (3, 5, 7), (13, 64, 128), (25, 65, 63), (200, 130, 70), (97, 256, 64),
          (13, 1100, 70), (13, 70, 1100)]  # fmt: skip


def random(*shape: int, seed: int = 0) -> Array:
    array: Array = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return array


def close(a: Array, b: Array, tolerance: float = 2e-6) -> None:
    """Within float32's rounding of sums: relative to the largest element."""
    assert a.dtype == np.float32
    largest = max(1.0, float(np.abs(b).max()))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads.set_threads(2)
    yield
    threads._count = None


# --- the table ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
def test_every_kernel_of_numpys_has_its_namesake_with_the_same_signature(name: str) -> None:
    """Besides `half`, which the backend supplies."""
    ours, reference = (inspect.signature(getattr(m, name)) for m in (compiled, numpy_kernels))
    assert [p for p in ours.parameters if p != "half"] == list(reference.parameters)


def test_a_backend_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"^kernels 'quick' are not one of auto, numpy, fast$"):
        get_backend(kernels="quick")
    with pytest.raises(BackendError, match=r"^the fast kernels are float32; for float64"):
        get_backend(dtype="float64", kernels="fast")


def test_auto_is_fast_for_float32_and_numpys_for_float64() -> None:
    assert get_backend().kernels is compiled
    assert get_backend(dtype="float64").kernels is numpy_kernels
    assert get_backend(kernels="numpy").kernels is numpy_kernels


# --- products -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, int, int]) -> None:
    n, i, o = shape
    x, weights, dy = random(n, i), random(o, i, seed=1), random(n, o, seed=2)
    wide = [a.astype(np.float64) for a in (x, weights, dy)]
    close(compiled.gemm_nt(x, weights), wide[0] @ wide[1].T)
    close(compiled.gemm_nn(dy, weights), wide[2] @ wide[1])
    gradient = random(o, i, seed=3)
    wanted = gradient + wide[2].T @ wide[0]
    compiled.gemm_tn(dy, x, gradient)
    close(gradient, wanted)


@pytest.mark.parametrize("columns", [1, PANEL - 1, PANEL, 2 * PANEL + WIDTH + 1])
@pytest.mark.parametrize("depth", [1, WIDTH, 3 * WIDTH + 2])
@pytest.mark.parametrize("layout", ["rows", "part of rows", "columns"])
def test_weights_are_packed_in_panels_of_their_transpose(
    columns: int, depth: int, layout: str
) -> None:
    """Whole blocks are transposed in registers; what is left, and other layouts, one by one."""
    weights = {
        "rows": random(columns, depth),
        "part of rows": random(columns, depth + 3)[:, 2 : depth + 2],
        "columns": random(depth, columns).T,
    }[layout]
    packed = products.panels_of_transposed(weights)
    wanted = np.zeros((depth, len(packed) * PANEL), np.float32)
    wanted[:, :columns] = weights.T
    assert (np.concatenate([*packed], axis=1) == wanted).all()


@pytest.mark.parametrize("begin", [0, 3])
def test_products_of_some_columns_of_a_matrix(begin: int) -> None:
    x, weights = random(20, 40), random(30, 9, seed=1)
    part = x[:, begin : begin + 30]
    close(compiled.gemm_nn(part, weights), part.astype(np.float64) @ weights)
    gradient = np.zeros((30, 9), np.float32)
    compiled.gemm_tn(part, random(20, 9, seed=2), gradient)
    close(gradient, part.astype(np.float64).T @ random(20, 9, seed=2))
    close(compiled.gemm_nt(x[::2, ::2], random(5, 20)), x[::2, ::2].astype("d") @ random(5, 20).T)


def test_products_of_rows_that_do_not_lie_on_whole_floats() -> None:
    packed_rows = np.zeros((9, 1), [("row", "<f4", (64,)), ("byte", "u1")])
    packed_rows["row"][...] = random(9, 1, 64)
    x, weights = packed_rows["row"][:, 0], random(5, 64, seed=1)
    close(compiled.gemm_nt(x, weights), x.astype(np.float64) @ weights.T)


@pytest.mark.parametrize("bad", [-1, 7, 10**9])
def test_ids_that_are_none_are_an_error_and_read_nothing(bad: int) -> None:
    ids = np.array([[0, bad]] * 9)
    with pytest.raises(IndexError, match="not from 0 to 6"):
        compiled.gather(random(4, 7), ids)
    with pytest.raises(IndexError, match="not from 0 to 6"):
        compiled.scatter_add(random(4, 7), ids, random(9, 2, 4))
    with pytest.raises(IndexError, match="not from 0 to 6"):
        compiled.cross_entropy(random(9, 2, 7), ids)


def test_a_product_spreads_nan_and_infinity() -> None:
    x = random(9, 70)
    x[4, 3], x[6, 2] = np.nan, np.inf
    y = compiled.gemm_nt(x, np.ones((80, 70), np.float32))
    assert np.isnan(y[4]).all()
    assert np.isposinf(y[6]).all()
    assert np.isfinite(y[[0, 1, 2, 3, 5, 7, 8]]).all()


LINUX_ON_X86, LINUX_ON_ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


AMX = "+avx512f,+avx512bf16,+amx-tile,+amx-bf16"


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ((LINUX_ON_X86, "x86-64-v2", "-avx"), (4, 2, False, False, False)),
        ((LINUX_ON_X86, "sandybridge", ""), (8, 2, False, False, False)),
        ((LINUX_ON_X86, "haswell", ""), (8, 2, True, False, False)),
        ((LINUX_ON_X86, "haswell", "-fma"), (8, 2, False, False, False)),
        ((LINUX_ON_X86, "skylake-avx512", ""), (16, 4, True, False, False)),
        ((LINUX_ON_X86, "skylake-avx512", "-avx512f"), (8, 2, True, False, False)),
        ((LINUX_ON_X86, "x86-64-v2", "+avx512f,+avx512vl"), (16, 4, True, False, False)),
        ((LINUX_ON_X86, "znver4", "+avx512f,+avx512bf16"), (16, 4, True, True, False)),
        ((LINUX_ON_X86, "znver4", "-avx512f,-avx512bf16"), (8, 2, True, False, False)),
        ((LINUX_ON_X86, "sapphirerapids", AMX), (16, 4, True, True, True)),
        ((LINUX_ON_X86, "sapphirerapids", "+avx512bf16"), (16, 4, True, False, False)),
        ((LINUX_ON_X86, "sapphirerapids", f"{AMX},-avx512f"), (8, 2, True, False, False)),
        ((LINUX_ON_ARM, "generic", ""), (4, 4, True, False, False)),
    ],
)
def test_the_form_of_the_tile_is_its_targets(
    target: tuple[str, str, str], form: tuple[int, int, bool, bool, bool]
) -> None:
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    assert kernel.form(*target) == form


@pytest.mark.parametrize("cpu", sorted(kernel.SLOW_HALF))
def test_intels_processors_without_a_matrix_unit_have_no_fast_bfloat16(cpu: str) -> None:
    features = "+avx512f,+avx512bf16"
    assert kernel.form(LINUX_ON_X86, cpu, features)[3:] == (False, False)
    assert kernel.form(LINUX_ON_X86, "znver5", features)[3:] == (True, False)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="not x86-64")
def test_a_tile_for_another_target_is_right_and_asks_nothing_of_the_c_library(
    tmp_path: Path,
) -> None:
    """The host may have wider vectors, which code for this target must not use."""
    code = "\n".join([
        "import numpy as np",
        "from minidark.backend.compiled.kernel import PANEL",
        "from minidark.backend.compiled.tile import _product",
        "_product.provide()",
        "compiled = _product.callback",
        "rng = np.random.default_rng(0)",
        "b = rng.normal(0, 1, (99, PANEL)).astype('f')",
        "for rows in range(1, 7):",
        "    a, c = (rng.normal(0, 1, (rows, n)).astype('f') for n in (99, PANEL))",
        "    wanted = c + a.astype('d') @ b",
        "    args = c.ctypes.data, PANEL, PANEL, a.ctypes.data, 99, b.ctypes.data, 99 * PANEL, 99",
        "    compiled.ctypes(*args, rows, 0)",
        "    np.testing.assert_allclose(c, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())",
        "assembly = compiled._library.get_asm_str()",
        "print(PANEL, *(word in assembly for word in ('xmm', 'ymm', 'zmm', 'fmaf')))",
    ])  # fmt: skip
    target = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "-avx"}
    environment = {**os.environ, **target, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=100)
    assert result.stdout == b"8 True False False False\n"


# --- rows and optimizers ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (40, 50)])
def test_gather_and_scatter(shape: tuple[int, int]) -> None:
    ids = np.random.default_rng(1).integers(0, 7, shape)
    weights, dy = random(37, 7), random(*shape, 37, seed=2)
    np.testing.assert_array_equal(compiled.gather(weights, ids), weights.T[ids])
    gradient = random(37, 7, seed=3)
    wanted = gradient + dy.reshape(-1, 37).astype(np.float64).T @ one_hot(ids.reshape(-1), 7)
    compiled.scatter_add(gradient, ids, dy)
    close(gradient, wanted)


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (900, 130)])
def test_column_sums(shape: tuple[int, int]) -> None:
    rows = random(*shape)
    close(compiled.column_sums(rows), rows.astype(np.float64).sum(axis=0), 1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 2, 5), (30, 20, 2, 70)])
def test_softmax(shape: tuple[int, ...], temperature: float) -> None:
    x = 10 * random(*shape)
    p = compiled.softmax(x, temperature)
    wanted = numpy_kernels.softmax(x.astype(np.float64), temperature)
    exponent = np.abs(x - x.max(axis=-1, keepdims=True)).max() / temperature  # itself rounded
    np.testing.assert_allclose(p, wanted, rtol=1e-6 + 1.2e-7 * exponent, atol=1e-35)


def test_softmax_of_large_differences_and_of_nan() -> None:
    rows = np.array([[1e4, -1e4, 0], [3e38, 0, -3e38], [0, np.nan, 0], [np.inf, 0, 0]], np.float32)
    p = compiled.softmax(rows, 1.0)
    np.testing.assert_allclose(p[:2], [[1, 0, 0], [1, 0, 0]], atol=1e-37)
    assert np.isnan(p[2:]).any(axis=1).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (40, 50)])
def test_cross_entropy(shape: tuple[int, int]) -> None:
    p = compiled.softmax(random(*shape, 65), 1.0)
    p[0, 0, 0] = 0
    ids = np.random.default_rng(1).integers(0, 65, shape)
    ids[0, 0] = 0  # a certain mistake
    for truth in (ids, one_hot(ids, 65).astype(np.float32)):
        for factors in ((), (0.9, 0.1 / 65)):
            cost, difference = compiled.cross_entropy(p, truth, *factors)
            wanted, wanted_difference = numpy_kernels.cross_entropy(p, truth, *factors)
            assert cost == pytest.approx(wanted, rel=1e-6)
            np.testing.assert_array_equal(difference, wanted_difference)


@pytest.mark.parametrize("size", [1, 17, 70000])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_optimizers(size: int, decay: float) -> None:
    steps: dict[str, Callable[[Any, list[Array]], None]] = {
        "sgd": lambda k, a: k.sgd_step(a[0], a[1], a[2], 0.1, 0.9, decay),
        "adam": lambda k, a: k.adam_step(*a, rate=0.1, B1=0.8, B2=0.95, eps=1e-3, decay=decay, t=3),
    }
    for step in steps.values():
        arrays = [random(size, seed=seed) for seed in range(3)] + [random(size, seed=3) ** 2]
        wide = [a.astype(np.float64) for a in arrays]
        step(compiled, arrays)
        step(numpy_kernels, wide)
        for ours, theirs in zip(arrays, wide, strict=True):
            close(ours, theirs)
        assert not arrays[1].any()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("size", [1, 17, 2**15, 200_001])
def test_sum_of_squares(size: int) -> None:
    x = random(size)
    wanted = math.fsum(float(value) ** 2 for value in x)
    found = set()
    for count in (1, 2):
        threads.set_threads(count)
        found.add(compiled.sum_of_squares(x))
    assert len(found) == 1
    assert found.pop() == pytest.approx(wanted, rel=1e-12)
    for wrong in (np.nan, np.inf):
        x[-1] = wrong
        assert not math.isfinite(compiled.sum_of_squares(x))


# --- cells over whole sequences -----------------------------------------------------------

CELLS = [
    "gru output=5",
    "gru output=70 tanh=1",
    "gru output=5 reset_after=1",
    "gru output=70 tanh=1 reset_after=1",
    "lstm output=5",
    "lstm output=70",
    *(f"rnn output=5 activation={name}" for name in RNN_ACTIVATIONS),
    "rnn output=5 hidden=70 activation=tanh shortcut=1",
    "rnn output=5 activation=elu logistic=1",
    *(f"rnn output=5 activation={name} elman=1" for name in RNN_ACTIVATIONS),
    "rnn output=70 activation=tanh elman=1",
    "rnn output=5 activation=selu elman=1",
]


def pair(*sections: str) -> tuple[Network, Network]:
    """The same network compiled, and by numpy in float64."""
    fast, wide = (network(*sections, dtype=dtype) for dtype in ("float32", "float64"))
    randomize(fast.layers)
    # With larger weights a wide net, or one whose state only grows, is chaotic: any rounding
    # becomes a large error within twenty steps, and nothing can be compared.
    size = 0.1 if any("shortcut=1" in section for section in sections) else 1
    for ours, theirs in zip(fast.parameters(), wide.parameters(), strict=True):
        ours.value *= size * min(1, (2 / ours.value.shape[-1]) ** 0.5)
        theirs.value[...] = ours.value
    return fast, wide


LAST_PLACE = 2.0**-23  # of float32, relative


def outcomes(net: Network, nudge: float = 0) -> dict[str, Array]:
    """All that the only layer computes in two passes of 20 steps, by name.

    The second pass starts from the state that the first left. Inputs and weights first move by
    `nudge` times themselves, up or down.
    """
    (layer,) = net.layers
    rng = np.random.default_rng(0)

    def moved(array: Array) -> Array:
        factor: Array = 1 + nudge * rng.choice([-1, 1], array.shape)
        return (array * factor).astype(layer.backend.dtype)

    found: dict[str, Array] = {}
    if nudge:
        for p in layer.parameters():
            p.value[...] = moved(p.value)
    for seed in range(2):
        x, dy = (moved(random(20, net.streams, n, seed=seed)) for n in (6, layer.outputs))
        y, dx = layer.forward(x, train=True), layer.backward(dy)
        assert dx is not None
        results = {"y": y, "dx": dx}
        results |= {p.name: p.grad.copy() for p in layer.parameters()}
        results |= {name: state.copy() for name, state in layer.states.items()}
        results |= {f"traced {k}": v for k, v in layer.twin(net.streams).traced(x)[1].items()}
        found |= {f"{name} of pass {seed}": value for name, value in results.items()}
    return found


def assert_near(ours: dict[str, Array], wide: dict[str, Array], tolerance: float) -> None:
    """Relative to each array's largest element."""
    assert ours.keys() == wide.keys()
    for name, array in ours.items():
        allowed = tolerance * float(np.abs(wide[name]).max())
        np.testing.assert_allclose(array, wide[name], rtol=0, atol=allowed, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("streams", [1, 13])
def test_a_sequence_equals_its_steps(cell: str, streams: int) -> None:
    fast, wide = pair(f"net inputs=6 batch={streams}", cell)
    assert [net.layers[0].backend.fast for net in (fast, wide)] == [True, False]
    assert_near(outcomes(fast), outcomes(wide), 25 * LAST_PLACE)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("streams", [1, 13])
def test_no_cell_is_chaotic_which_would_make_any_tolerance_a_matter_of_luck(
    cell: str, streams: int
) -> None:
    exact, moved = (pair(f"net inputs=6 batch={streams}", cell)[1] for _ in range(2))
    assert_near(outcomes(moved, nudge=LAST_PLACE), outcomes(exact), 40 * LAST_PLACE)


NET = "net inputs=9 batch=6 time_steps=10 adam=1 learning_rate=.01 decay=0"


@pytest.mark.parametrize(
    "cell",
    [
        "gru output=8 tanh=1",
        "gru output=8 tanh=1 reset_after=1",
        "lstm output=8",
        "rnn output=8 activation=tanh",
        "rnn output=8 activation=tanh elman=1",
    ],
)
@pytest.mark.parametrize("untrue", [0, 3])  # steps without a truth at the beginning
def test_training_follows_numpys_in_float64(cell: str, untrue: int) -> None:
    fast, wide = pair(NET, cell, cell, "connected output=9 activation=linear", "softmax")
    ids = (np.arange(11)[:, None] + np.arange(6)) % 9
    truth = ids[1:].copy()
    truth[:untrue] = -1
    for _ in range(40):
        ours, theirs = (net.train_batch(ids[:-1], truth) for net in (fast, wide))
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours < 0.8 * 6 * (10 - untrue) * np.log(9), "it did not learn"


@pytest.mark.parametrize(
    ("section", "kernel"),
    [
        ("gru output=8", "gru_sequence"),
        ("gru output=8 reset_after=1", "gru_reset_after_sequence"),
        ("lstm output=8", "lstm_sequence"),
        ("rnn output=8 activation=tanh", "rnn_sequence"),
        ("rnn output=8 activation=tanh elman=1", "elman_sequence"),
    ],
)
def test_the_fast_path_is_what_ran(
    section: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def spy(name: str, real: Callable[..., Any]) -> None:
        def noted(*args: Any) -> Any:
            ran.append(name)
            return real(*args)

        monkeypatch.setattr(compiled, name, noted)

    back = f"{kernel}_backward".replace("elman", "rnn")  # elman=1 has no backward of its own
    names = [kernel, back, "gemm_nt", "gemm_nn", "gemm_tn", "softmax", "gather",
             "scatter_add", "cross_entropy", "column_sums", "activate"]  # fmt: skip
    names += ["slope"] if kernel == "rnn_sequence" else []  # of its input and output sublayers
    for name in names:
        spy(name, getattr(compiled, name))
    last = ["connected output=9 activation=linear", "softmax"]
    net = network(NET, section, section, *last, dtype="float32")
    ids = np.random.default_rng(0).integers(0, 9, (11, 6))
    net.train_batch(ids[:-1], ids[1:])
    assert sorted(set(ran)) == sorted(names)
    assert ran.count(kernel) == ran.count(back) == 2

    ran.clear()  # a norm's statistics are each step's own
    net = network(NET, f"{section} batch_normalize=1", *last, dtype="float32")
    net.train_batch(ids[:-1], ids[1:])
    assert kernel not in ran


@pytest.mark.parametrize("activation", sorted(COMPILED))
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (1, 300, 70)])
def test_activations_and_their_slopes(
    activation: str, shape: tuple[int, ...], two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.backend.compiled.threads.LEAST", 1)
    v, dy, biases = 3 * random(*shape), random(*shape, seed=1), random(shape[-1], seed=2)
    known = checked_activation(activation)
    wanted = known.forward(v.astype("d") + biases)
    y = activated(known, v, biases, get_backend("cpu"))
    assert y is v
    close(y, wanted)
    back, given = before_activation(known, y, dy, get_backend("cpu")), (y.copy(), dy.copy())
    close(back, known.gradient(y.astype("d")) * dy)
    np.testing.assert_array_equal((y, dy), given)


@pytest.mark.parametrize("activation", sorted(COMPILED))
def test_a_slope_keeps_nan_and_infinity(activation: str) -> None:
    """They reveal a diverged run."""
    y = np.array([[-0.5, 0, 0.5]], np.float32)
    for bad in (np.nan, np.inf):
        dy = np.full_like(y, bad)
        back = before_activation(checked_activation(activation), y, dy, get_backend("cpu"))
        assert not np.isfinite(back).any()


def test_rows_that_are_not_contiguous_are_activated_too() -> None:
    v = random(4, 6, 5).transpose(1, 0, 2)  # rows of it would be a copy
    wanted = np.tanh(v.astype("d") + 1)
    close(activated(checked_activation("tanh"), v, np.ones(5, "f"), get_backend("cpu")), wanted)


# --- threads ------------------------------------------------------------------------------


def trained(count: int) -> bytes:
    """The weights after three batches of a network large enough for several threads."""
    threads.set_threads(count)
    net = network(
        "net inputs=64 batch=20 time_steps=32 adam=1 learning_rate=.01",
        "gru output=70 tanh=1", "gru output=70 tanh=1 reset_after=1", "lstm output=64",
        "rnn output=64 activation=tanh", "rnn output=64 activation=tanh elman=1",
        "connected output=64 activation=linear", "softmax", dtype="float32",
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(0, 64, (33, 20))
    for _ in range(3):
        net.train_batch(ids[:-1], ids[1:])
    return b"".join(p.value.tobytes() for p in net.parameters())


def test_the_same_bytes_with_any_number_of_threads_and_run_after_run(two_threads: None) -> None:
    two = trained(2)
    assert trained(2) == two
    assert trained(1) == two
    assert trained(3) == two


@pytest.mark.slow
def test_python_threads_do_not_meet_and_a_forked_process_works(two_threads: None) -> None:
    alone = trained(2)
    with ThreadPoolExecutor(3) as pool:
        assert {*pool.map(trained, [2, 2, 2])} == {alone}
    code = "\n".join([
        "import os",
        "from tests.backend.test_compiled import trained",
        "wanted = trained(2)",
        "child = os.fork()",
        "if not child:",
        "    os._exit(trained(2) != wanted)",
        "assert os.waitpid(child, 0)[1] == 0",
    ])  # fmt: skip
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)


@pytest.mark.slow
def test_numbas_own_threads_which_cannot_be_shared_are_not(two_threads: None) -> None:
    """Where there is no OpenMP, numba ends a process in which two threads start its threads."""
    code = "\n".join([
        "from concurrent.futures import ThreadPoolExecutor",
        "import numba",
        "from tests.backend.test_compiled import trained",
        "with ThreadPoolExecutor(3) as pool:",
        "    found = {*pool.map(trained, [2] * 6)}",
        "assert numba.threading_layer() == 'workqueue'",
        "assert found == {trained(1)}",
    ])  # fmt: skip
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=100)


# --- what is kept -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kernel_is_compiled_anew_where_a_source_that_it_calls_changed(tmp_path: Path) -> None:
    package = tmp_path / "minidark"
    shutil.copytree(Path(minidark.__file__).parent, package)
    code = "\n".join([
        "import numpy as np",
        "from minidark.backend.compiled import gru, kernel",
        "kept = kernel.is_kept(gru._gates)",
        "gates, zeros = np.zeros(3, np.float32), np.zeros(3, np.float32)",
        "gru._gates(gates, zeros, zeros[:1], zeros[1:2], 1)",
        "print(kept, gates[0])",
    ])  # fmt: skip

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-P", "-c", code]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        return result.stdout.strip()

    assert [run(), run()] == ["False 0.5", "True 0.5"]
    scalar = package / "backend" / "compiled" / "scalar.py"
    changed = scalar.read_text().replace("* f(0.5) + f(0.5)", "* f(0.5) + f(0.75)")
    assert changed != scalar.read_text()
    scalar.write_text(changed)
    assert run() == "False 0.75"


def test_the_least_probability_is_numpys() -> None:
    assert drawing.LEAST == numpy_kernels.LEAST


@pytest.mark.slow
@pytest.mark.skipif(not compiled.permits_half(), reason="the system does not permit AMX")
def test_kernels_are_kept_by_the_layers_that_need_them(tmp_path: Path) -> None:
    code = "\n".join([
        "import numpy as np",
        "from minidark.backend import compiled",
        "from minidark.backend.compiled import kernel, lstm",
        "def show(*also):",
        "    print(*(compiled.are_kept(['softmax', name]) for name in compiled.PROBES), *also)",
        "zeros = np.zeros((9, 1, 4), np.float32)",
        "show()",
        "compiled.permits_half()",
        "for half in True, False:",
        "    compiled.lstm_sequence(",
        "        np.zeros((8, 1, 16), np.float32), np.zeros(16, np.float32), zeros, zeros.copy(),",
        "        zeros[1:].copy(), np.zeros((16, 4), np.float32), half,",
        "    )",
        "    show(kernel.is_kept(lstm._step))",
        "kernel.TARGET = (*kernel.TARGET[:2], '+another')",
        "show()",
    ])  # fmt: skip
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    none = "False False False False False"  # gru, lstm, rnn, connected, attention
    # The products of bfloat16 are not those of float32; what has no product is the same.
    both = "False True False True False True"
    assert told.stdout.splitlines() == [none, f"{none} True", both, none]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, "using numpy's"),
        pytest.param(
            {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"},
            "cannot be kept",
            marks=pytest.mark.skipif(
                not hasattr(numba.config, "CACHE_LOCATOR_CLASSES"),
                reason="this numba takes no such variable",
            ),
        ),
    ],
)
def test_a_numba_that_cannot_work_as_it_should_is_a_warning(
    environment: dict[str, str], said: str
) -> None:
    code = "\n".join([
        "import logging",
        "logging.basicConfig()",
        "from minidark.backend import get_backend",
        "print(get_backend().dtype)",
    ])  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert result.stdout == "float32\n"
    assert result.stderr.count("WARNING") == 1
    assert said in result.stderr


def test_several_threads_are_what_ran(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    real = gru._forward

    def noted(*args: Any) -> None:
        used.append(args[-1][2])
        real(*args)

    monkeypatch.setattr(gru, "_forward", noted)
    trained(2)
    assert used == [2, 2, 2]


@pytest.mark.slow
def test_openmp_is_told_to_sleep_soon_and_the_environment_is_as_before() -> None:
    code = "\n".join([
        "import os",
        "before = dict(os.environ)",
        "from minidark.backend.compiled import threads",
        "assert dict(os.environ) == before",
        "os.environ['GOMP_SPINCOUNT'] = '7'",
        "threads._load_openmp()",
        "assert os.environ['GOMP_SPINCOUNT'] == '7'",
    ])  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_fewer_threads_than_one_are_an_error() -> None:
    with pytest.raises(BackendError, match=r"^threads=0 are too few to compute with$"):
        threads.set_threads(0)
