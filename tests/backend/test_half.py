"""Products of bfloat16, against operands that numpy rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minidark import BackendError, Network
from minidark.backend import Array, Backend, get_backend, numpy_kernels, threads
from tests.helpers import network, randomize

compiled: Any = pytest.importorskip(
    "minidark.backend.compiled", reason="numba is not installed; the extra 'fast' has it"
)
half: Any = pytest.importorskip("minidark.backend.compiled.half")
products: Any = pytest.importorskip("minidark.backend.compiled.products")
PANEL: int = compiled.kernel.PANEL

needs_instruction = pytest.mark.skipif(not compiled.has_half(), reason="no fast bfloat16 here")
# Odd and even, less and more than a panel of columns and than a tile of rows. Two are deeper than
# the blocks of a product.
SHAPES = [(1, 1, 1), (3, 5, 7), (13, 64, 128), (25, 65, 63), (200, 130, 70), (13, 1101, 70),
          (7, 71, 1100)]  # fmt: skip


@pytest.fixture(params=[1, 2])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How many threads; two take any work, however small."""
    threads.set_threads(request.param)
    monkeypatch.setattr("minidark.backend.compiled.threads.LEAST", 1)
    yield request.param
    threads._count = None


def rounded(x: Array) -> Array:
    """To the nearest bfloat16, as float64: eight bits from the first one, or from 2 ** -126 on, and
    to even in a tie. Computed with exact float64 arithmetic."""
    wide = np.asarray(x, np.float64)
    finite = np.where(np.isfinite(wide), wide, 0)
    step = np.exp2(np.maximum(np.frexp(finite)[1] - 8, -133.0))
    near = np.rint(finite / step) * step
    near = np.where(np.abs(near) >= 2.0**128, np.copysign(np.inf, near), near)
    return np.where(np.isfinite(wide), near, wide)


def numbers(units: Array) -> tuple[Array, Array]:
    """The first and the second numbers of units."""
    assert units.dtype == np.uint32
    return (units << np.uint32(16)).view("f"), (units & np.uint32(0xFFFF0000)).view("f")


def random(*shape: int, seed: int = 0) -> Array:
    array: Array = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return array


def close(a: Array, b: Array, tolerance: float = 2e-6) -> None:
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


# --- rounding and packing -----------------------------------------------------------------


def every_kind() -> Array:
    """Float32 of all sizes and signs: ties, subnormal and largest numbers, infinity, NaN."""
    high = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (high[:, None] | low).reshape(-1).view(np.float32)


def test_numbers_are_rounded_to_nearest_even(count: int) -> None:
    x = every_kind()
    with np.errstate(invalid="ignore"):  # of signalling NaN
        wanted = rounded(x)
        rows, columns = x.reshape(-1, 6), x.reshape(6, -1)
        first, second = numbers(half.pairs_along(rows))
        np.testing.assert_array_equal(first, wanted.reshape(-1, 6)[:, ::2])
        np.testing.assert_array_equal(second, wanted.reshape(-1, 6)[:, 1::2])
        first, second = numbers(half.pairs_across(columns))
        np.testing.assert_array_equal(first, wanted.reshape(6, -1)[::2])
        np.testing.assert_array_equal(second, wanted.reshape(6, -1)[1::2])
    assert np.signbit(numbers(half.pairs_along(np.array([[-0.0, 0.0]], "f")))[0])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 4), (2, 130), (131, 65)])
def test_the_last_unit_of_an_odd_number_is_filled_with_zero(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    for units, columns in (
        (half.pairs_along(matrix), matrix), (half.pairs_across(matrix).T, matrix.T)
    ):  # fmt: skip
        first, second = numbers(units)
        assert units.shape == (len(columns), -(-columns.shape[1] // 2))
        np.testing.assert_array_equal(first, rounded(columns[:, ::2]))
        np.testing.assert_array_equal(second[:, : columns.shape[1] // 2], rounded(columns[:, 1::2]))
        assert not second[:, columns.shape[1] // 2 :].any()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 128), (131, 65)])
def test_panels_have_the_rounded_numbers(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    wanted = products.panels_of(rounded(matrix).astype("f"))
    odd = np.zeros((len(wanted), 2 * -(-shape[0] // 2), PANEL), "f")
    odd[:, : shape[0]] = wanted
    for packed in (
        products.panels_of(matrix, True),
        products.panels_of_transposed(np.ascontiguousarray(matrix.T), True),
    ):
        first, second = numbers(packed)
        np.testing.assert_array_equal(first, odd[:, ::2])
        np.testing.assert_array_equal(second, odd[:, 1::2])


# --- products -----------------------------------------------------------------------------


@needs_instruction
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, int, int], count: int) -> None:
    n, i, o = shape
    x, weights, dy = random(n, i), random(o, i, seed=1), random(n, o, seed=2)
    wide = [rounded(a) for a in (x, weights, dy)]
    close(compiled.gemm_nt(x, weights, True), wide[0] @ wide[1].T)
    close(compiled.gemm_nn(dy, weights, True), wide[2] @ wide[1])
    gradient = random(o, i, seed=3)
    wanted = gradient + wide[2].T @ wide[0]
    compiled.gemm_tn(dy, x, gradient, True)
    close(gradient, wanted)


@needs_instruction
def test_products_of_some_columns_of_a_matrix() -> None:
    x, weights = random(20, 40), random(30, 9, seed=1)
    part = x[:, 3:33]
    close(compiled.gemm_nn(part, weights, True), rounded(part) @ rounded(weights))
    gradient, rows = np.zeros((30, 9), "f"), random(20, 9, seed=2)
    compiled.gemm_tn(part, rows, gradient, True)
    close(gradient, rounded(part).T @ rounded(rows))
    y = compiled.gemm_nt(x[::2, ::2], weights.T[:, :20], True)
    close(y, rounded(x[::2, ::2]) @ rounded(weights.T[:, :20]).T)


@needs_instruction
def test_products_of_small_integers_are_exact() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.integers(-9, 10, (33, 77)), rng.integers(-9, 10, (70, 77))
    y = compiled.gemm_nt(x.astype("f"), weights.astype("f"), True)
    np.testing.assert_array_equal(y, x @ weights.T)


@needs_instruction
def test_a_product_spreads_nan_and_infinity_and_takes_subnormals_as_zero() -> None:
    x = random(9, 70)
    x[4, 3], x[6, 2] = np.nan, np.inf
    x[7], x[8] = 1e-39, 1e-38 * 2
    y = compiled.gemm_nt(x, np.full((80, 70), 2.0**100, "f"), True)
    assert np.isnan(y[4]).all()
    assert np.isposinf(y[6]).all()
    assert np.isfinite(y[[0, 1, 2, 3, 5]]).all()
    assert not y[7].any()
    np.testing.assert_allclose(y[8], 70 * rounded(x[8, 0]) * 2.0**100, rtol=1e-6)


# --- layers -------------------------------------------------------------------------------


def reference() -> Any:
    """numpy's kernels, with rounded operands of products."""
    return SimpleNamespace(**{
        **vars(numpy_kernels),
        "gemm_nt": lambda a, b: rounded(a) @ rounded(b).T,
        "gemm_nn": lambda a, b: rounded(a) @ rounded(b),
        "gemm_tn": lambda a, b, c: c.__iadd__(rounded(a).T @ rounded(b)),
    })  # fmt: skip


I, T, S = 9, 9, 3  # noqa: E741  the shape alphabet's inputs
LAYERS = [
    "gru output=21", "gru output=20 tanh=1 reset_after=1", "lstm output=21",
    "rnn output=21 hidden=19 activation=tanh", "rnn output=21 activation=tanh elman=1",
    "connected output=21 activation=tanh",
]  # fmt: skip


def trained(layer: str, dtype: str, precision: str, kernels: Any = None) -> tuple[Network, Array]:
    """Two such layers and a tied one after a forward and a backward pass, and the outputs."""
    net = network(
        f"net inputs={I} batch={S} time_steps={T}", "connected output=17 activation=linear",
        layer, layer, "connected output=17",
        f"connected output={I} tied=0 activation=linear", "softmax",
        dtype=dtype, precision=precision,
    )  # fmt: skip
    net.backend.kernels = kernels or net.backend.kernels
    randomize(net.layers)
    rng = np.random.default_rng(0)
    y = net.forward(rng.integers(0, I, (T, S)), train=True).copy()
    net.backward(rng.integers(0, I, (T, S)))
    return net, y


def distances(a: tuple[Network, Array], b: tuple[Network, Array]) -> list[Array]:
    """Of outputs and of each gradient, to the size of the largest element."""
    pairs = [(a[1], b[1])]
    pairs += [(p.grad, q.grad) for p, q in zip(a[0].parameters(), b[0].parameters(), strict=True)]
    return [np.abs(p - q) / np.abs(q).max() for p, q in pairs]


@needs_instruction
@pytest.mark.parametrize("layer", LAYERS)
def test_every_product_of_a_layer_is_rounded_and_no_more(layer: str) -> None:
    """Few numbers are so close to a tie that float32 and float64 round them differently. The median
    does not see what follows from these."""
    ours = trained(layer, "float32", "bf16")
    wide = trained(layer, "float64", "float32", reference())
    exact = trained(layer, "float64", "float32")
    for distance in distances(ours, wide):
        assert np.median(distance) < 2e-5
        assert distance.max() < 2e-2
    assert np.median(np.concatenate([d.ravel() for d in distances(ours, exact)])) > 2e-4


@needs_instruction
def test_attention_rounds_its_products() -> None:
    rng = np.random.default_rng(0)
    t, k, s, heads, width, deep, scale = 13, 70, 3, 2, 5, 7, 0.4
    q, keys, values, dcontext = (
        rng.normal(0, 1, (rows, s, heads * wide)).astype("f")
        for rows, wide in ((t, width), (k, width), (k, deep), (t, deep))
    )
    low, last = np.zeros((t, s), int), np.full((t, s), k - 1)
    context = np.empty((t, s, heads * deep), "f")
    weights = compiled.attend(q, keys, values, low, last, heads, scale, context, True)
    grads = [np.zeros_like(a) for a in (q, keys, values)]
    compiled.attend_backward(weights, q, keys, values, dcontext, scale, *grads, True)

    def by_head(rows: Array) -> Array:
        return rounded(rows).reshape(len(rows), s, heads, -1).transpose(1, 2, 0, 3)

    q, keys, values, dcontext = map(by_head, (q, keys, values, dcontext))
    scores = np.exp(scale * (q @ keys.swapaxes(2, 3)))
    close(weights, scores / scores.sum(axis=-1, keepdims=True), 1e-6)
    dweights = dcontext @ values.swapaxes(2, 3)
    p = weights.astype(np.float64)
    dscores = rounded(scale * p * (dweights - (dweights * p).sum(axis=-1, keepdims=True)))
    p = rounded(p)
    for found, wanted in (
        (context, p @ values),
        (grads[0], dscores @ keys),
        (grads[1], dscores.swapaxes(2, 3) @ q),
        (grads[2], p.swapaxes(2, 3) @ dcontext),
    ):
        np.testing.assert_allclose(
            found, wanted.transpose(2, 0, 1, 3).reshape(found.shape), rtol=0, atol=2e-3
        )
        assert np.median(np.abs(found - wanted.transpose(2, 0, 1, 3).reshape(found.shape))) < 1e-6


@needs_instruction
@pytest.mark.parametrize("layer", [*LAYERS[:5], "gru output=20 batch_normalize=1"])
def test_a_pass_does_not_depend_on_threads(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidark.backend.compiled.threads.LEAST", 1)
    bytes_of = set()
    for number in (1, 2, 3):
        threads.set_threads(number)
        net, y = trained(layer, "float32", "bf16")
        bytes_of.add(b"".join([y.tobytes(), *(p.grad.tobytes() for p in net.parameters())]))
    threads._count = None
    assert len(bytes_of) == 1


@needs_instruction
@pytest.mark.parametrize("layer", [*LAYERS, "attention heads=2 keys=10 memory=20"])
@pytest.mark.parametrize("streams", [1, 30])
def test_steps_round_as_a_pass_does(layer: str, streams: int, count: int) -> None:
    net = network(f"net inputs={I} batch={streams}", "connected output=18", layer, layer,
                  dtype="float32", precision="bf16")  # fmt: skip
    randomize(net.layers)
    ids = np.random.default_rng(0).integers(0, I, (T, streams))
    step = net.frozen(streams)
    y = np.stack([step(row).copy() for row in ids])
    distance = np.abs(y - net.predict(ids))
    if "attention" in layer:  # a step does not round what it remembers
        assert np.median(distance) < 2e-2
    else:
        assert np.median(distance) < 1e-6


# --- refusal ------------------------------------------------------------------------------


def test_a_processor_without_the_instruction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "HALF", False)
    with pytest.raises(BackendError, match=r"^precision bf16 needs AMD.*; use float32$"):
        get_backend(precision="bf16")
    assert get_backend().precision == "float32"


def test_a_system_that_does_not_permit_it_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "HALF", True)
    monkeypatch.setattr(compiled.kernel, "MATRIX", True)
    monkeypatch.setattr(compiled.matrix_unit, "request", lambda: False)
    with pytest.raises(BackendError, match=r"^precision bf16 needs AMX, which the system .*$"):
        get_backend(precision="bf16")


@pytest.mark.skipif(not compiled.kernel.MATRIX, reason="this processor has no matrix unit")
def test_a_small_signal_stack_makes_the_system_refuse() -> None:
    """In another process, because neither can be taken back."""
    code = "\n".join([
        "import ctypes",
        "class Stack(ctypes.Structure):",
        "    _fields_ = [",
        "        ('at', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)",
        "    ]",
        "memory = ctypes.create_string_buffer(8192)",
        "stack = Stack(ctypes.addressof(memory), 0, 8192)",
        "assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0",
        "import minidark",
        "try:",
        "    minidark.backend.get_backend(precision='bf16')",
        "except minidark.BackendError as error:",
        "    print(error)",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("precision bf16 needs AMX, which the system does not permit")


def test_advice_is_not_to_install_what_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match=r"^precision bf16 is for the CPU only; .*$"):
        get_backend("cuda", precision="bf16")
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    with pytest.raises(BackendError, match=r"^the fast .*, or choose --precision float32$"):
        get_backend(precision="bf16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "half"}, r"^precision 'half' is not one of float32, bf16$"),
        ({"dtype": "float64"}, r"^precision bf16 needs dtype float32, not float64$"),
        ({"kernels": "numpy"}, r"^precision bf16 needs the fast kernels; numpy's are float32$"),
        ({"device": "cuda"}, r"^precision bf16 is for the CPU only; choose device 'cpu'$"),
        ({"device": "auto"}, r"^precision bf16 is for the CPU only; choose device 'cpu'$"),
    ],
)
def test_what_has_no_products_of_bfloat16_is_refused(
    arguments: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Backend("cuda", np, numpy_kernels, np.dtype("float32"))
    monkeypatch.setattr("minidark.backend._cuda", lambda dtype: gpu)
    with pytest.raises(BackendError, match=message):
        get_backend(**{"precision": "bf16", **arguments})
