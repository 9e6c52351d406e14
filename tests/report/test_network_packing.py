"""Packed networks, against an unpacking that knows only the docstring, and against `predict`."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from minidark import CfgError, Network
from minidark.layers.affine import Affine, PackedLayer
from minidark.report.network_packing import check_packable, packed, rounded
from tests.helpers import network, randomize

KINDS = {8: "<i1", 16: "<i2", 32: "<f4"}


def made(*sections: str, seed: int = 1) -> Network:
    net = network(*sections, dtype="float32")
    randomize(net.layers, seed)
    return net


def affine_of(net: Network, number: int, pack: int = 0) -> Affine:
    layer = net.layers[number]
    assert isinstance(layer, PackedLayer)
    return layer.affines[pack]


def numbers(text: str, kind: str) -> npt.NDArray[Any]:
    """By a loop over the bytes of each number."""
    data, size = zlib.decompress(base64.b64decode(text)), np.dtype(kind).itemsize
    count = len(data) // size
    joined = b"".join(data[k * count + i : k * count + i + 1] for i in range(count)
                      for k in range(size))  # fmt: skip
    return np.frombuffer(joined, kind)


def weights(affine: dict[str, Any]) -> npt.NDArray[np.float64]:
    """The weights (rows, columns) that a page has."""
    stored = numbers(affine["weights"], KINDS[affine["bits"]]).astype(np.float64)
    rows = stored.reshape(affine["rows"], affine["columns"])
    return rows if affine["scales"] is None else rows * numbers(affine["scales"], "<f4")[:, None]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_weight_is_at_most_half_a_level_off(bits: int) -> None:
    net = made("net inputs=30", "gru output=6 tanh=1", "connected output=30", "softmax")
    gru, connected, softmax = packed(rounded(net, bits), bits)
    assert (softmax["type"], softmax["affines"]) == ("softmax", [])
    arrays = {p.name: p.value for p in net.parameters()}
    names = [("uz", "ur", "uh"), ("wz", "wr"), ("wh",)]
    wanted = [np.concatenate([arrays[f"0.gru.{n}.weights"] for n in group]) for group in names]
    wanted.append(arrays["1.connected.weights"])
    for affine, exact in zip([*gru["affines"], *connected["affines"]], wanted, strict=True):
        level = np.abs(exact).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        errors = np.abs(weights(affine) - exact)
        assert (errors <= level * 0.50001).all()
        assert errors.max() > level.min() / 4  # it is rounded to these levels, and no finer


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_page_has_the_weights_of_the_rounded_network(bits: int) -> None:
    net = made("net inputs=30", "lstm output=7", "connected output=30", "softmax")
    copy = rounded(net, bits)
    lstm, connected, _ = packed(copy, bits)
    for affine, own in (
        (lstm["affines"][0], affine_of(copy, 0)),
        (lstm["affines"][1], affine_of(copy, 0, 1)),
        (connected["affines"][0], affine_of(copy, 1)),
    ):
        np.testing.assert_array_equal(weights(affine).astype(np.float32), own.weights)
        np.testing.assert_array_equal(numbers(affine["biases"], "<f4"), own.biases)


def test_32_bits_are_the_weights_themselves_and_the_network_stays_as_it_was() -> None:
    net = made("net inputs=30", "rnn output=5 hidden=4", "connected output=30", "softmax")
    before = {p.name: p.value.copy() for p in net.parameters()}
    for bits in (8, 32):
        copy = rounded(net, bits)
    for parameter in net.parameters():
        np.testing.assert_array_equal(parameter.value, before[parameter.name])
    for parameter in copy.parameters():
        np.testing.assert_array_equal(parameter.value, before[parameter.name])


def test_a_row_of_zeros_stays_zero() -> None:
    net = made("net inputs=30", "connected output=30", "softmax")
    affine_of(net, 0).weights[3] = 0
    copy = rounded(net, 8)
    assert not affine_of(copy, 0).weights[3].any()
    assert np.isfinite(weights(packed(copy, 8)[0]["affines"][0])).all()


def test_batch_norm_is_folded() -> None:
    net = made("net inputs=30", "gru output=6 tanh=1 batch_normalize=1", "batchnorm", "dropout",
               "connected output=30 batch_normalize=1", "softmax", "cost")  # fmt: skip
    copy = rounded(net, 32)
    ids = np.arange(20)[:, None]
    np.testing.assert_allclose(copy.predict(ids), net.predict(ids), atol=2e-6)
    gru, norm, connected, softmax = packed(copy, 32)
    assert [one["type"] for one in (gru, norm, connected, softmax)] == [
        "gru", "batchnorm", "connected", "softmax",
    ]  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    y = x * numbers(norm["factor"], "<f4") + numbers(norm["shift"], "<f4")
    np.testing.assert_allclose(net.layers[1].forward(x[:, None])[:, 0], y, atol=1e-5)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (["connected output=8", "gru output=8", "attention", "connected output=30", "softmax"],
         r"a page cannot run \[attention\] yet; it can run \[activation\], .* and \[softmax\]"),
        (["gru output=8", "gru output=8", "route layers=0,1", "connected output=30", "softmax"],
         r"a page cannot run \[route\] yet"),
        (["gru output=8", "gru output=8", "shortcut from=-2", "connected output=30", "softmax"],
         r"a page cannot run \[shortcut\] yet"),
        (["connected output=8 activation=linear", "gru output=8", "connected tied=0", "softmax"],
         r"a page cannot run tied= of 2\.connected yet"),
    ],
)  # fmt: skip
def test_layers_that_a_page_cannot_run_are_refused(sections: list[str], message: str) -> None:
    with pytest.raises(CfgError, match=message):
        check_packable(network("net inputs=30", *sections, dtype="float32"))
