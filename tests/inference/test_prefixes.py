"""Probabilities after each symbol against a classification of each prefix of its own."""

from __future__ import annotations

import numpy as np
import pytest

from minidark import Classifier
from minidark.inference import classify
from minidark.inference.prefixes import Prefixes, class_prefixes
from tests.inference.test_classify import CLASSES, STACKS, make


@pytest.mark.parametrize("layers", STACKS, ids=["gru", "lstm", "attention"])
@pytest.mark.parametrize("at_once", [1, 12, 256])
def test_each_prefix_is_classified(
    layers: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "AT_ONCE", at_once)
    classifier, source = Classifier(make(*layers), CLASSES), "a bad cad, a baad dab"
    found = class_prefixes(classifier, source.encode())
    assert found.symbols == [*source]
    wanted = classifier.classify([source[:n] for n in range(1, len(source) + 1)])
    for row, alone in zip(found.probabilities, wanted, strict=True):
        assert alone is not None
        assert row.tolist() == pytest.approx(alone.probabilities, rel=1e-9)


def test_symbols_that_share_a_character_count_as_one() -> None:
    net = make("gru output=7 tanh=1", symbols=256)
    classifier = Classifier(net, CLASSES)
    found = class_prefixes(classifier, "aé한".encode())
    assert found.symbols == ["a", "é", "한"]
    for row, alone in zip(
        found.probabilities, classifier.classify(["a", "aé", "aé한"]), strict=True
    ):
        assert alone is not None
        assert row.tolist() == pytest.approx(alone.probabilities, rel=1e-9)


def test_changes_are_those_of_the_predicted_class() -> None:
    p = np.array([[0.4, 0.6], [0.5, 0.5], [0.9, 0.1], [0.85, 0.15], [0.6, 0.4], [0.62, 0.38]])
    found = Prefixes([*"abcdef"], ("yes", "no"), p)
    assert found.predicted == 0
    assert found.changes == pytest.approx([-0.1, 0.1, 0.4, -0.05, -0.25, 0.02])
    strongest = found.strongest()
    texts = [(before, symbol) for before, symbol, _ in strongest]
    assert texts == [("ab", "c"), ("abcd", "e"), ("", "a"), ("a", "b"), ("abc", "d")]
    assert [change for *_, change in strongest][:2] == pytest.approx([0.4, -0.25])
    assert found.ranked() == [("yes", 0.62), ("no", 0.38)]
