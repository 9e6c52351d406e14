"""Probabilities of classes against a pass of its own for each class and source."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minidark import Classifier, DataError, Network
from minidark.data.pairs import END
from minidark.inference import classify
from minidark.inference.predict import AHEAD
from tests.helpers import network, randomize

TAB = ord("\t")
SYMBOLS = 128
STACKS = [
    ["gru output=7 tanh=1"],
    ["lstm output=6"],
    ["gru output=7 tanh=1", "attention over=source output=6 memory=6 keys=4"],
]
CLASSES = ["good", "bad", "so so", "g"]


def make(*layers: str, seed: int = 0, symbols: int = SYMBOLS) -> Network:
    net = network(
        f"net inputs={symbols} batch=2 time_steps=9", *layers,
        f"connected output={symbols} activation=linear", "softmax", dtype="float64", seed=seed,
    )  # fmt: skip
    randomize(net.layers, seed)
    return net


def drawn(count: int, longest: int = 9) -> list[str]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, longest + 1, count)
    return ["".join(rng.choice([*"abcde "], n)) for n in lengths]


def by_hand(net: Network, source: str, name: str) -> float:
    """The log probability of a class, from one pass over source, separator and class."""
    text = name.encode()
    y = net.twin(1).predict(np.array([*source.encode(), TAB, *text]))
    rows = y[len(source) :]
    return sum(math.log(rows[t, symbol]) for t, symbol in enumerate([*text, END]))


@pytest.mark.parametrize("layers", STACKS, ids=["gru", "lstm", "attention"])
@pytest.mark.parametrize("at_once", [1, 7, 256])
def test_probabilities_are_those_of_a_pass_for_each_class(
    layers: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "AT_ONCE", at_once)
    net, sources = make(*layers), drawn(23)
    before = {name: state.copy() for name, state in net.layers[0].states.items()}
    for source, found in zip(sources, Classifier(net, CLASSES).classify(sources), strict=True):
        p = np.exp([by_hand(net, source, name) for name in CLASSES])
        assert found is not None
        assert found.share == pytest.approx(p.sum(), rel=1e-9)
        assert found.probabilities == pytest.approx((p / p.sum()).tolist(), rel=1e-9)
        assert found.best == CLASSES[int(p.argmax())] == found.ranked()[0][0]
        assert [p for _, p in found.ranked()] == sorted(found.probabilities, reverse=True)
    for name, state in net.layers[0].states.items():
        np.testing.assert_array_equal(state, before[name])


def test_the_order_of_sources_and_classes_is_kept() -> None:
    net = make(*STACKS[0])
    sources = ["a", "", *drawn(AHEAD), "b"]
    found = [*Classifier(net, CLASSES).classify(sources)]
    assert len(found) == len(sources)
    assert found[1] is None
    for at in (0, 5, AHEAD + 2):
        other = next(Classifier(net, CLASSES[::-1]).classify([sources[at]]))
        here = found[at]
        assert here
        assert other
        assert other.probabilities == pytest.approx(here.probabilities[::-1], rel=1e-9)


def test_streams_with_large_states_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, attending = make(*STACKS[0]), make(*STACKS[2])
    assert Classifier(plain, CLASSES).at_once == 64
    size = sum(s.nbytes for layer in attending.twin(1).layers for s in layer.states.values())
    monkeypatch.setattr(classify, "STATE_BYTES", 20 * size)
    assert Classifier(attending, CLASSES).at_once == 5
    monkeypatch.setattr(classify, "STATE_BYTES", 1)
    assert Classifier(attending, CLASSES).at_once == 1


def test_a_wrong_source_is_named_after_the_others() -> None:
    found = Classifier(make(*STACKS[0]), CLASSES).classify(["a", "b", "c\td"], first=5)
    assert next(found) is not None
    assert next(found) is not None
    with pytest.raises(DataError, match="line 7 contains the separator"):
        next(found)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a"], "1 classes; expected two or more different ones"),
        (["a", ""], "class 2, '', is empty"),
        (["a", "b", "a"], "class 3, 'a', occurs twice"),
        (["a\tb", "c"], r"class 1, 'a\\tb', contains the separator or a line feed"),
        (["a", "é"], "class 2, 'é', contains byte 195; this network's symbols are 0 to 127"),
        (["a", "\udcff"], "class 2, .* is not UTF-8: byte 255 at 0"),
    ],
)
def test_other_classes_are_refused(classes: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Classifier(make(*STACKS[0]), classes)
