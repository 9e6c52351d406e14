"""Where weights and biases start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidark import CfgError
from minidark.backend import Array
from minidark.glibc_rand import GlibcRand
from minidark.layers import make_gru_layer
from tests.helpers import network

SQUARE = {"gru": ["wz", "wr", "wh"], "lstm": ["wi", "wf", "wo", "wg"], "rnn": ["self"],
          "rnn elman=1": ["self"]}  # fmt: skip
CREATED = {
    "gru": ["uz", "wz", "ur", "wr", "uh", "wh"],
    "lstm": ["uf", "ui", "ug", "uo", "wf", "wi", "wg", "wo"],
    "rnn": ["input", "self", "output"],
    "rnn elman=1": ["input", "self"],
}


def start(section: str, seed: int = 3) -> dict[str, Array]:
    """The arrays of a new layer of six inputs, by their names within it."""
    (layer,) = network("net inputs=6", section, dtype="float32", seed=seed).layers
    return {a.name.removeprefix(f"{layer.name}."): a.value.copy() for a in layer.arrays()}


@pytest.mark.parametrize(("type_", "created"), CREATED.items())
def test_weights_are_drawn_sublayer_by_sublayer_in_the_order_of_creation(
    type_: str, created: list[str]
) -> None:
    arrays, rand = start(f"{type_} output=5 batch_normalize=1"), GlibcRand(3)
    for name in created:
        outputs, inputs = arrays[f"{name}.weights"].shape
        draws = np.array([rand.rand() for _ in range(outputs * inputs)])
        wanted = np.sqrt(2 / inputs) * (draws / (2**31 - 1) * 2 - 1)
        weights = arrays[f"{name}.weights"].reshape(-1)
        np.testing.assert_allclose(weights, wanted, rtol=2e-6, atol=1e-7)
        assert not arrays[f"{name}.biases"].any()
        assert (arrays[f"{name}.scales"] == 1).all()
        assert not arrays[f"{name}.rolling_mean"].any()
        assert not arrays[f"{name}.rolling_variance"].any()


@pytest.mark.parametrize(("type_", "square"), SQUARE.items())
def test_orthogonal_changes_the_square_matrices_only_and_takes_the_same_draws(
    type_: str, square: list[str]
) -> None:
    plain, orthogonal = start(f"{type_} output=5"), start(f"{type_} output=5 init=orthogonal")
    for name, array in orthogonal.items():
        if name.removesuffix(".weights") in square:
            product = array.astype(np.float64) @ array.T
            np.testing.assert_allclose(product, np.eye(5), rtol=0, atol=1e-6)
            # Of the drawn matrix: its first column, at unit length and up to sign.
            first = plain[name][:, 0] / np.linalg.norm(plain[name][:, 0])
            np.testing.assert_allclose(array[:, 0], first, rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(array, plain[name])


@pytest.mark.parametrize("init", ["darknet", "orthogonal"])
def test_layers_above_an_orthogonal_one_start_alike(init: str) -> None:
    net = network("net inputs=6", f"gru output=5 init={init}", "connected output=7", seed=3)
    rand = GlibcRand(3)
    rand.skip(3 * 5 * 6 + 3 * 5 * 5)
    wanted = rand.uniform(7 * 5) * np.float32(np.sqrt(2 / 5))
    np.testing.assert_allclose(net.parameters()[-1].value.reshape(-1), wanted, rtol=1e-6)


def test_an_unknown_init_is_refused() -> None:
    with pytest.raises(CfgError) as error:
        make_gru_layer(1, 2, 3, 1, init="ones")
    assert str(error.value) == "init='ones' is not one of darknet, orthogonal"


@pytest.mark.parametrize(
    ("section", "larger"),
    [
        ("gru output=5 init=orthogonal", {"uz", "ur", "uh"}),
        ("lstm output=5", {"ui", "uf", "uo", "ug"}),
        ("rnn output=5 hidden=4", {"input"}),
        ("connected output=5", {""}),
    ],
)
def test_what_reads_the_input_starts_so_many_times_as_large(section: str, larger: set[str]) -> None:
    plain = start(section)
    for name, array in start(f"{section} input_scale=8").items():
        factor = 8 if name in {f"{part}.weights".lstrip(".") for part in larger} else 1
        np.testing.assert_array_equal(array, factor * plain[name], err_msg=name)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("gru output=5 update_bias=.5", "uz.biases", 0.5),
        ("gru output=5 update_bias=-1", "uz.biases", -1.0),
        ("lstm output=5 forget_bias=1", "uf.biases", 1.0),
    ],
)
def test_a_gates_bias_starts_where_the_cfg_says_and_nothing_else_moves(
    section: str, name: str, value: float
) -> None:
    arrays: dict[str, Any] = start(section)
    plain = start(section.rsplit(" ", 1)[0])
    assert (arrays.pop(name) == value).all()
    del plain[name]
    for other, array in plain.items():
        np.testing.assert_array_equal(arrays[other], array)
