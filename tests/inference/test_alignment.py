"""Alignments, against a network that is set by hand, and against loops over its attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from minidark import CfgError, DivergedError, Network
from minidark.data.pairs import Line
from minidark.inference.alignment import (
    Aligner,
    Alignment,
    attention_over_source,
    joined,
    layers_over_source,
)
from minidark.layers.bytepairs import BytePairsLayer
from tests.helpers import network, randomize
from tests.inference.sorter import ATTENTION, sections, set_by_hand


@pytest.fixture(scope="module")
def sorter() -> Network:
    return set_by_hand(network(*sections()))


def aligned(net: Network, *lines: tuple[str, str | None], predict: bool = False) -> list[Alignment]:
    read = [
        Line(number, source.encode(), None if target is None else target.encode())
        for number, (source, target) in enumerate(lines, start=1)
    ]
    return [*Aligner(net, predict=predict).align(read)]


def places(alignment: Alignment, layer: str = "1.attention") -> list[int]:
    """The source symbol with the weight 1 of each target symbol."""
    weights = alignment.weights[layer]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights.max(axis=1), 1, atol=1e-6)
    return weights.argmax(axis=1).tolist()


# --- a network that is set by hand ------------------------------------------------------------


def test_a_row_is_the_step_that_predicts_its_symbol(sorter: Network) -> None:
    cab, dcba = aligned(sorter, ("cab", "ABC"), ("dcba", "ABCD"))
    assert cab.source_symbols == ["c", "a", "b", "\t"]
    assert cab.target_symbols == ["A", "B", "C", "\n"]
    assert places(cab) == [1, 2, 0, 3]
    assert places(dcba) == [3, 2, 1, 0, 4]
    assert cab.strongest("1.attention") == [
        ("A", "a", 1), ("B", "b", 1), ("C", "c", 1), ("\n", "\t", 1),
    ]  # fmt: skip


def test_a_line_without_a_target_has_the_prediction(sorter: Network) -> None:
    first, second, third = aligned(sorter, ("bac", None), ("ba", "BA"), ("ab", None))
    assert (first.target, first.predicted, first.true_target, first.cut) == (
        "ABC", True, None, False,
    )  # fmt: skip
    assert places(first) == [1, 0, 2, 3]
    assert (second.target, second.predicted, second.true_target) == ("BA", False, "BA")
    assert places(second) == [1, 2, 0]  # an a first, then after B a c, then after A a b
    assert (third.line, third.target) == (3, "AB")


def test_predict_replaces_a_target_and_keeps_it_as_the_true_one(sorter: Network) -> None:
    (alignment,) = aligned(sorter, ("ba", "BA"), predict=True)
    assert (alignment.target, alignment.true_target) == ("AB", "BA")
    assert places(alignment) == [1, 0, 2]


def test_a_prediction_that_does_not_end_is_cut_at_time_steps() -> None:
    net = set_by_hand(network(*sections()))
    net.parameters()[-1].value[ord("\n")] = 0
    net.parameters()[-1].value[ord("A"), ord("\t")] = 99  # starts again instead
    (alignment,) = aligned(net, ("ab", None))
    assert (alignment.target, alignment.cut) == ("ABABABABABAB"[: len(alignment.target)], True)
    assert len(alignment.target) == net.options.time_steps


def test_a_prediction_keeps_the_symbols_that_the_network_chose() -> None:
    """It writes A and B one by one, although a text would be encoded with their pair."""
    net = set_by_hand(network(*sections(257, "bytepairs")))
    pairs = net.layers[0]
    assert isinstance(pairs, BytePairsLayer)
    pairs.pairs.value[...] = [[ord("A"), ord("B")]]
    predicted, read = aligned(net, ("ba", None), ("ba", "AB"))
    assert (predicted.target, read.target) == ("AB", "AB")
    assert predicted.target_symbols == ["A", "B", "\n"]
    assert read.target_symbols == ["AB", "\n"]
    assert places(predicted, "2.attention") == [1, 0, 2]


def test_the_network_is_left_as_it_was(sorter: Network) -> None:
    sorter.predict(np.array([[1, 2]]))
    before = [state.copy() for layer in sorter.layers for state in layer.states.values()]
    aligned(sorter, ("ba", None))
    after = [state for layer in sorter.layers for state in layer.states.values()]
    for ours, theirs in zip(before, after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- loops over random weights ----------------------------------------------------------------


def weights_by_loop(
    net: Network, at: int, stream: Sequence[int], source: int, heads: int, memory: int
) -> list[list[float]]:
    """The weights of layer `at`, whose input is layer `at` - 1, an embedding of the symbols. Each
    row is a step from the separator on, which sees the last `memory` steps of the source."""
    arrays = {p.name: p.value for p in net.parameters()}

    def affine(name: str, x: list[float]) -> list[float]:
        w, b = arrays[f"{name}.weights"], arrays[f"{name}.biases"]
        return [b[o] + sum(w[o, i] * x[i] for i in range(len(x))) for o in range(len(b))]

    embedding = f"{at - 1}.connected"
    x = [affine(embedding, [float(symbol == i) for i in range(net.inputs)]) for symbol in stream]
    queries = [affine(f"{at}.attention.query", row) for row in x]
    keys = [affine(f"{at}.attention.key", row) for row in x]
    width = len(keys[0]) // heads
    rows = []
    for t in range(source, len(stream)):
        row = [0.0] * (source + 1)
        for head in range(heads):
            part = range(head * width, (head + 1) * width)
            seen = range(max(0, source + 1 - memory), source + 1)
            scores = {
                j: math.exp(sum(queries[t][i] * keys[j][i] for i in part) / math.sqrt(width))
                for j in seen
            }
            for j in seen:
                row[j] += scores[j] / sum(scores.values()) / heads
        rows.append(row)
    return rows


@pytest.mark.parametrize("memory", [3, 6, 20])
def test_weights_are_those_of_a_loop(memory: int) -> None:
    """Also if the source is longer than the memory, and with two heads."""
    attention = f"attention over=source heads=2 keys=2 memory={memory}"
    net = network(
        "net inputs=12", "connected output=4 activation=linear", attention,
        "connected output=12 activation=linear", "softmax",
    )  # fmt: skip
    randomize(net.layers)
    source, target = np.array([3, 1, 4, 1, 5, 0]), np.array([2, 6, 5, 3])
    found = attention_over_source(net.twin(1), source, 9, target)
    stream = [*source, 9, *target]
    wanted = weights_by_loop(net, 1, stream, 6, 2, memory)
    assert [*found] == ["1.attention"]
    np.testing.assert_allclose(found["1.attention"], wanted, atol=1e-9)


def test_each_layer_over_the_source_has_its_weights() -> None:
    net = network(
        "net inputs=12", "gru output=4 tanh=1", "attention over=source", "attention",
        "attention over=source memory=3", "connected output=12 activation=linear", "softmax",
    )  # fmt: skip
    randomize(net.layers)
    assert [*layers_over_source(net)] == [1, 3]
    found = attention_over_source(net.twin(1), np.array([3, 1, 4, 1]), 9, np.array([2, 6]))
    assert [*found] == ["1.attention", "3.attention"]
    assert not found["3.attention"][:, :2].any()
    assert found["1.attention"].all()
    for weights in found.values():
        np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_symbols_of_one_character_are_summed_and_averaged() -> None:
    net = network(
        "net inputs=256 time_steps=20", "connected output=4 activation=linear",
        "attention over=source", "connected output=256 activation=linear", "softmax",
    )  # fmt: skip
    randomize(net.layers)
    (alignment,) = aligned(net, ("aé€", "é."))
    assert alignment.source_symbols == ["a", "é", "€", "\t"]
    assert alignment.target_symbols == ["é", ".", "\n"]
    single = np.array(weights_by_loop(net, 1, [*"aé€\té.".encode()], source=6, heads=1, memory=256))
    columns = np.stack(
        [single[:, 0], single[:, 1] + single[:, 2], single[:, 3:6].sum(axis=1), single[:, 6]]
    ).T
    wanted = [(columns[0] + columns[1]) / 2, columns[2], columns[3]]
    np.testing.assert_allclose(alignment.weights["1.attention"], wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("names", "texts", "begins"),
    [
        ([], [], []),
        ([b"a", b" b", b"\xc3\xa9"], ["a", " b", "é"], [0, 1, 2]),
        ([b"a\xc3", b"\xa9b", b"c"], ["aéb", "c"], [0, 2]),
        ([b"\xe2", b"\x82", b"\xac", b"\xe2", b"\x82\xac"], ["€", "€"], [0, 3]),
        ([b"a", b"\xff", b"b"], ["a", "\\xff", "b"], [0, 1, 2]),
        ([b"\xe2", b"a"], ["\\xe2a"], [0]),
        ([b"a", b"\xe2\x82"], ["a", "\\xe2\\x82"], [0, 1]),
    ],
)
def test_symbols_that_share_a_character_are_joined(
    names: list[bytes], texts: list[str], begins: list[int]
) -> None:
    assert joined(names) == (texts, begins)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["attention", "gru output=9 tanh=1"])
def test_a_network_without_attention_over_a_source_is_refused(attention: str) -> None:
    net = network(*sections(attention=attention))
    with pytest.raises(CfgError, match=r"^has no \[attention\] with over=source, so it has no al"):
        Aligner(net)


def test_weights_that_are_not_finite_are_refused() -> None:
    net = set_by_hand(network(*sections(attention=ATTENTION)))
    net.parameters()[0].value[...] = np.nan
    with pytest.raises(DivergedError, match=r"^1\.attention's attention is NaN or infinite"):
        aligned(net, ("ab", "AB"))
