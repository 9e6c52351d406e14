"""Networks made from networks: folded, averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import Network, WeightsError
from minidark.backend import Array
from minidark.convert.fold import average, denormalize
from minidark.layers.base import ALEXEY
from minidark.weights.darknet import save_weights
from tests.helpers import network, randomize, states

SYMBOLS = 9
END = (f"connected output={SYMBOLS} activation=linear", "softmax")
NETWORKS: dict[str, tuple[str, ...]] = {
    "gru": ("gru output=5 batch_normalize=1", *END),
    "gru tanh": ("gru output=5 tanh=1 batch_normalize=1", "gru output=4", *END),
    "lstm": ("lstm output=5 batch_normalize=1", "lstm output=3 batch_normalize=1", *END),
    "rnn": ("rnn output=5 activation=leaky batch_normalize=1", *END),
    "rnn hidden": ("rnn output=5 hidden=7 shortcut=1 logistic=1 batch_normalize=1", *END),
    "elman": ("rnn output=5 activation=tanh elman=1 batch_normalize=1", *END),
    "connected": ("lstm output=5", "connected output=6 batch_normalize=1 activation=elu", *END),
    "last": ("gru output=5", f"connected output={SYMBOLS} batch_normalize=1", "softmax"),
    "all": (
        "gru output=5 batch_normalize=1", "dropout", "rnn output=4 batch_normalize=1",
        "lstm output=6 batch_normalize=1", "activation activation=tanh", *END,
    ),
    "batchnorm": ("gru output=5 batch_normalize=1", "batchnorm", *END),
    "none": ("gru output=5", "lstm output=4", *END),
}  # fmt: skip


def made(*layers: str, seed: int = 0, dtype: str = "float64") -> Network:
    net = network(f"net inputs={SYMBOLS} batch=2", *layers, dtype=dtype)
    randomize(net.layers, seed)
    return net


def stored(net: Network) -> dict[str, Array]:
    """A copy of every array, by name."""
    return {a.name: a.value.copy() for layer in net.layers for a in layer.arrays()}


# --- batch norm folded away ---------------------------------------------------------------


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_a_folded_network_predicts_the_same(layers: tuple[str, ...], seed: int) -> None:
    net = made(*layers, seed=seed)
    symbols = np.random.default_rng(seed).integers(0, SYMBOLS, (12, 2))
    np.testing.assert_allclose(
        denormalize(net).predict(symbols), net.predict(symbols), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_no_norm_is_left_but_that_of_a_batchnorm_layer(layers: tuple[str, ...]) -> None:
    folded = denormalize(made(*layers))
    kept = [name for name in stored(folded) if name.endswith(("scales", "mean", "variance"))]
    assert all(".batchnorm." in name for name in kept)
    assert [s.type for s in folded.sections[1:]] == [layer.split()[0] for layer in layers]


def test_without_a_norm_nothing_changes() -> None:
    net = made(*NETWORKS["none"])
    for name, array in stored(denormalize(net)).items():
        np.testing.assert_array_equal(array, stored(net)[name], err_msg=name)


def test_the_network_that_is_folded_stays_as_it_is() -> None:
    net, untouched = made(*NETWORKS["all"]), made(*NETWORKS["all"])
    for each in (net, untouched):
        each.predict(np.array([[1, 2]]))
    folded = denormalize(net)
    for p in folded.parameters():
        p.value[...] = 0
    for name, array in stored(net).items():
        np.testing.assert_array_equal(array, stored(untouched)[name], err_msg=name)
    for a, b in zip(states(net), states(untouched), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [s.pairs.get("batch_normalize") for s in net.sections] == (
        [s.pairs.get("batch_normalize") for s in untouched.sections]
    )


def test_seen_the_streams_and_the_dtype_are_kept() -> None:
    net = made(*NETWORKS["gru"], dtype="float32")
    net.seen = 77
    folded = denormalize(net)
    assert (folded.seen, folded.streams) == (77, 2)
    assert {a.dtype for a in stored(folded).values()} == {np.dtype(np.float32)}


def test_a_feature_that_never_varied_is_folded_with_the_norms_epsilon() -> None:
    net = made("connected output=3 batch_normalize=1 activation=linear")
    for array in net.layers[0].stored_arrays():
        if array.kind == "rolling_variance":
            array.value[...] = 0
    folded = stored(denormalize(net))
    factor = stored(net)["0.connected.scales"] / 1e-6
    np.testing.assert_allclose(
        folded["0.connected.weights"], stored(net)["0.connected.weights"] * factor[:, None]
    )


# --- several averaged ---------------------------------------------------------------------


def saved(folder: Path, *seeds: int) -> list[Path]:
    """Files of random weights of the network "all", with seen 10, 20, ..."""
    paths = []
    for seed in seeds:
        net = made(*NETWORKS["all"], seed=seed, dtype="float32")
        net.seen = 10 * (seed + 1)
        paths.append(folder / f"{seed}.weights")
        net.save_weights(paths[-1])
    return paths


@pytest.mark.parametrize("seeds", [(0, 1), (2, 0, 1), (0, 1, 2, 3, 4)])
def test_the_average_is_the_mean_of_every_array(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    net = made(*NETWORKS["all"], seed=99, dtype="float32")
    average(net, saved(tmp_path, *seeds))
    each = [stored(made(*NETWORKS["all"], seed=seed, dtype="float32")) for seed in seeds]
    found = stored(net)
    kinds = {name.rsplit(".", 1)[1] for name in found}
    assert kinds == {"biases", "weights", "scales", "rolling_mean", "rolling_variance"}
    for name, array in found.items():
        mean = np.mean([arrays[name].astype(np.float64) for arrays in each], axis=0)
        np.testing.assert_array_equal(array, mean.astype(np.float32), err_msg=name)
    assert net.seen == 10 * (max(seeds) + 1)


def test_the_average_of_one_is_itself(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 3)
    net = made(*NETWORKS["all"], dtype="float32")
    average(net, [path])
    net.save_weights(tmp_path / "mean.weights")
    assert (tmp_path / "mean.weights").read_bytes() == path.read_bytes()


def test_the_average_of_equals_is_that_one(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 3)
    net = made(*NETWORKS["all"], dtype="float32")
    average(net, [path] * 7)
    net.save_weights(tmp_path / "mean.weights")
    assert (tmp_path / "mean.weights").read_bytes() == path.read_bytes()


def test_files_of_both_dialects_meet_in_one_average(tmp_path: Path) -> None:
    first, second = saved(tmp_path, 0, 1)
    theirs = tmp_path / "theirs.weights"
    save_weights(made(*NETWORKS["all"], seed=1, dtype="float32"), theirs, ALEXEY)
    one, other = (made(*NETWORKS["all"], dtype="float32") for _ in range(2))
    average(one, [first, second])
    average(other, [first, theirs])
    for name, array in stored(one).items():
        np.testing.assert_array_equal(array, stored(other)[name], err_msg=name)
    average(other, [first, theirs], weights_order="pjreddie")
    assert any((array != stored(other)[name]).any() for name, array in stored(one).items())


def test_nothing_cannot_be_averaged() -> None:
    with pytest.raises(WeightsError) as error:
        average(made(*NETWORKS["gru"]), [])
    assert str(error.value) == "no weight files to average"


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    good, bad = saved(tmp_path, 0, 1)
    bad.write_bytes(bad.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=f"{bad.name}: .* 4 bytes short"):
        average(made(*NETWORKS["all"], dtype="float32"), [good, bad])
