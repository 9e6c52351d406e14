"""The numbers that the real programs gave, at the tolerances stated with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network, generate, load_network
from minidark.backend import Array
from tests.golden_cases import GOLDEN, TEXT_CASES, arrays, names, record
from tests.helpers import input_gradient, loaded

FORWARD_CASES = [n for n in names("*", "net.weights") if n not in TEXT_CASES]
SEEN = {
    "header_v01_int32_seen": 777,
    "header_v10_int64_seen": 2**33 + 5,
    "header_transposed": 777,
    "alexey_gru_header_v01": 4321,
}


def load(name: str, weights: str = "net.weights", dtype: str = "float32") -> Network:
    folder = GOLDEN / name
    return loaded(folder / "net.cfg", folder / weights, dtype=dtype)


def assert_output(y: Array, wanted: Array) -> None:
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", FORWARD_CASES)
def test_outputs_are_darknets(name: str) -> None:
    golden = arrays(name)
    assert_output(load(name).predict(golden["x"]), golden["y"])


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", FORWARD_CASES)
def test_outputs_are_darknets_row_by_row(name: str) -> None:
    golden, net = arrays(name), load(name)
    rows = [net.predict(row[None])[0] for row in golden["x"]]
    assert_output(np.stack(rows), golden["y"])


@pytest.mark.parametrize(("name", "seen"), SEEN.items())
def test_seen_is_read_at_the_headers_width(name: str, seen: int) -> None:
    assert load(name).seen == seen


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", names("train_*", "golden.npz"))
def test_training_goes_where_darknets_goes(name: str) -> None:
    golden, net = arrays(name), load(name, "start.weights")
    batches = zip(
        *(golden[key] for key in ("x", "truth", "cost", "rate_after", "seen")), strict=True
    )
    for x, truth, cost, rate, seen in batches:
        assert net.train_batch(x[None], truth[None]) == pytest.approx(float(cost), rel=1e-5)
        assert net.learning_rate() == pytest.approx(float(rate), rel=1e-6)
        assert net.seen == seen
    end = load(name, "end.weights")
    assert net.seen == end.seen
    for ours, darknets in zip(net.parameters(), end.parameters(), strict=True):
        np.testing.assert_allclose(ours.value, darknets.value, rtol=0, atol=2e-5, err_msg=ours.name)


def assert_close_in_float64(ours: Array, wanted: Array) -> None:
    """Where autograd gave NaN, which is where a batch norm met the zero state (the root of a
    variance of zero), ours must be a number; layers/test_gradients.py says which."""
    assert ours.dtype == np.float64
    assert np.isfinite(ours).all()
    recorded = ~np.isnan(wanted)
    np.testing.assert_allclose(ours[recorded], wanted[recorded], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", names("grad_*", "golden.npz"))
def test_gradients_are_autograds(name: str) -> None:
    golden = arrays(name)
    net, layerwise = (load(name, "start.weights", "float64") for _ in range(2))
    for batch in "01":
        x, truth = golden[f"x{batch}"], golden[f"truth{batch}"]
        y = net.forward(x, train=True)
        assert_close_in_float64(y, golden[f"output{batch}"])
        assert net.backward(truth) == pytest.approx(float(golden[f"cost{batch}"]), rel=1e-9)
        gradient = np.concatenate([p.grad.reshape(-1) for p in net.parameters()])
        assert_close_in_float64(-gradient, golden[f"updates{batch}"])
        for p in net.parameters():
            p.grad[...] = 0
        dx = input_gradient(layerwise, x.astype(np.float64), truth.astype(np.float64))
        assert_close_in_float64(-dx, golden[f"input_delta{batch}"])
    rolling = [
        array.value
        for layer in net.layers
        for array in layer.stored_arrays()
        if array.kind.startswith("rolling")
    ]
    assert_close_in_float64(np.concatenate([np.empty(0), *rolling]), golden["rolling"])


def test_initial_weights_are_darknets_byte_for_byte(tmp_path: Path) -> None:
    load_network(GOLDEN / "init" / "net.cfg", seed=42).save_weights(tmp_path / "ours.weights")
    ours, darknets = tmp_path / "ours.weights", GOLDEN / "init" / "seed42.weights"
    assert ours.read_bytes() == darknets.read_bytes()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        pytest.param(name, call, id=f"{name}-{call['srand']}")
        for name in TEXT_CASES
        for call in record(name)["generate"]
    ],
)
def test_generated_text_is_darknets_byte_for_byte(name: str, call: dict[str, Any]) -> None:
    text = generate(load(name), call["seed"], call["len"], call["temp"], call["srand"])
    assert text + b"\n" == bytes.fromhex(call["stdout_hex"])
