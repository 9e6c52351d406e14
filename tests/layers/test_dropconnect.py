"""Weights that are left out for a training pass, against a network that has the others alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import Text, load_network, train
from minidark.cfg.plan import plan_cfg
from minidark.layers.recurrent import RecurrentLayer
from minidark.network import Network
from minidark.training.gradcheck import check_gradients
from tests.conftest import WriteText
from tests.helpers import cfg, gradients, network, randomize

pytestmark = pytest.mark.usefixtures("each_backend")

I, S, T, P = 5, 3, 9, 0.4  # noqa: E741  the shape alphabet's inputs
RECURRENT = {  # and the names of the weights that read the state
    "gru output=4 tanh=1": ("wz", "wr", "wh"),
    "gru output=4 tanh=1 reset_after=1": ("wz", "wr", "wh"),
    "lstm output=4": ("wi", "wf", "wo", "wg"),
    "rnn output=4 hidden=6 activation=tanh": ("self",),
    "rnn output=6 activation=tanh elman=1": ("self",),
}
END = (f"connected output={I} activation=linear", "softmax")


def make(layer: str, probability: float, dtype: str = "float64") -> Network:
    net = f"net inputs={I} batch={S} time_steps={T}"
    made = network(net, f"{layer} dropconnect={probability}", *END, dtype=dtype)
    randomize(made.layers)
    return made


def drawn(layer: str) -> list[np.ndarray]:
    """Factors as the layer's generator gives them, matrix after matrix."""
    names = RECURRENT[layer]
    packs = [names[:2], names[2:]] if layer == "gru output=4 tanh=1" else [names]
    rng = np.random.default_rng(0)  # the network's seed
    shapes = {"gru": (4, 4), "lstm": (4, 4), "rnn": (6, 6)}[layer.split()[0]]
    factors = []
    for pack in packs:
        shape = len(pack) * shapes[0], shapes[1]
        quarters = rng.integers(0, 2**64, -(-np.prod(shape) // 4), dtype=np.uint64)
        kept = quarters.view(np.uint16)[: np.prod(shape)].reshape(shape) >= P * 2**16
        factors += [*np.split(kept / (1 - P), len(pack))]
    return factors


@pytest.mark.parametrize("layer", RECURRENT)
def test_a_pass_is_that_of_the_weights_that_are_left(layer: str) -> None:
    net, other = make(layer, P), make(layer, 0)
    x = np.random.default_rng(1).normal(size=(T, S, I))
    truth = np.random.default_rng(2).integers(0, I, (T, S))
    arrays = {p.name: p.value for p in other.parameters()}
    for name, factors in zip(RECURRENT[layer], drawn(layer), strict=True):
        arrays[f"0.{layer.split()[0]}.{name}.weights"][...] *= factors
    assert float(net.accumulate(x, truth)) == pytest.approx(float(other.accumulate(x, truth)))
    wanted = gradients(other)
    for name, factors in zip(RECURRENT[layer], drawn(layer), strict=True):
        wanted[f"0.{layer.split()[0]}.{name}.weights"] *= factors
    for name, gradient in gradients(net).items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", RECURRENT)
def test_inference_has_all_weights(layer: str) -> None:
    x = np.random.default_rng(1).normal(size=(T, S, I))
    np.testing.assert_array_equal(make(layer, P).predict(x), make(layer, 0).predict(x))


@pytest.mark.parametrize("layer", RECURRENT)
def test_gradients_hold_where_weights_are_left_out(layer: str) -> None:
    text = cfg(f"net inputs={I} batch=2", f"{layer} dropconnect={P}", *END)
    rows = [*check_gradients(plan_cfg(text.encode(), None))]
    assert rows
    assert all(row.passed for row in rows)


def test_without_it_nothing_is_drawn() -> None:
    layer = make("gru output=4 tanh=1", 0).layers[0]
    assert layer.rng is None


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
def test_a_run_goes_on_to_the_same_bytes(
    kernels: str, write_text: WriteText, tmp_path: Path
) -> None:
    if kernels == "fast":
        pytest.importorskip("numba")
    path = tmp_path / "a.cfg"
    net = "net inputs=128 batch=4 time_steps=9 learning_rate=.1"
    path.write_text(
        cfg(net, "gru output=6 tanh=1 dropconnect=.3", "connected output=128", "softmax")
    )

    def made() -> Network:
        return load_network(path, seed=2, kernels=kernels)

    whole, part, rest = made(), made(), made()
    with Text([write_text(b"the quick brown fox " * 30)], 128) as text:
        for _ in train(whole, text, 6, seed=1):
            pass
        run = train(part, text, 6, seed=1)
        for _ in range(3):
            next(run)
        for _ in train(rest, text, 6, resume=run.checkpoint()):
            pass
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    assert isinstance(whole.layers[0], RecurrentLayer)
