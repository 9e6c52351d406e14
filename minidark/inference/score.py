"""How well a network turns sources into targets, over pairs that it did not learn from.

A prediction is compared with its target as a whole, and by characters: edits are the fewest
insertions, deletions and replacements of code points that make one of the other, and the character
error rate is the edits of all pairs over the characters of all targets (it can be more than 1).
Where the targets are a few classes, the confusion table says which is taken for which.

Levenshtein 1966; Wagner and Fischer 1974, "The String-to-String Correction Problem".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from minidark.data.pairs import Pairs
from minidark.inference.predict import check_predicts, predict
from minidark.inference.valid import evaluate_pairs
from minidark.network import Network

FEW = 20  # distinct targets, which are classes then


@dataclass(frozen=True, slots=True)
class ScoredPair:
    line: int  # from 1 on
    source: str
    target: str
    predicted: str
    edits: int

    @property
    def rate(self) -> float:
        """Edits over the characters of the target."""
        return self.edits / len(self.target)


@dataclass(frozen=True, slots=True)
class Score:
    pairs: list[ScoredPair] = field(repr=False)
    nats: float  # mean over the symbols of targets and end marks, each from the true ones before it

    @property
    def exact(self) -> float:
        """The share of pairs that are predicted to the last character; of classes, the accuracy."""
        return sum(not pair.edits for pair in self.pairs) / len(self.pairs)

    @property
    def character_error_rate(self) -> float:
        edits = sum(pair.edits for pair in self.pairs)
        return edits / sum(len(pair.target) for pair in self.pairs)

    @property
    def classes(self) -> list[str]:
        """The distinct targets, where they are few and come again; else none."""
        distinct = {pair.target for pair in self.pairs}
        few = len(distinct) <= FEW and 2 * len(distinct) <= len(self.pairs)
        return sorted(distinct) if few else []

    def confusion(self) -> dict[str, dict[str, int]]:
        """How often each class was predicted as which; what is none of them is among them, too."""
        counts = Counter((pair.target, pair.predicted) for pair in self.pairs)
        return {
            true: {p: n for (t, p), n in sorted(counts.items()) if t == true}
            for true in self.classes
        }

    def worst(self, count: int) -> list[ScoredPair]:
        """The pairs with the highest rates, those of equal rate in their order; none that are
        exact."""
        wrong = [pair for pair in self.pairs if pair.edits]
        return sorted(wrong, key=lambda pair: -pair.rate)[:count]


def score(net: Network, pairs: Pairs, *, beam: int = 1, max_length: int | None = None) -> Score:
    """Predict every source and compare; `net` is left as it was.

    max_length: symbols of the longest target that is written (None: time_steps, or the longest
    target where that is longer). Raises DataError for pairs with symbols that the network does not
    have, CfgError for one that predicts none.
    """
    check_predicts(net, pairs.separator)
    pairs.check(net.inputs)
    longest = max(net.options.time_steps, *map(len, pairs.targets))
    predicted = predict(
        net,
        pairs.sources,
        beam=beam,
        max_length=longest if max_length is None else max_length,
        separator=pairs.separator,
    )
    scored = [
        ScoredPair(line, source.decode(), target.decode(), found, edits(target.decode(), found))
        for line, (source, target, found) in enumerate(
            zip(pairs.sources, pairs.targets, predicted, strict=True), start=1
        )
    ]
    measured = evaluate_pairs(net, pairs, np.arange(len(pairs)))
    return Score(scored, measured.nats / measured.symbols)


def edits(a: str, b: str) -> int:
    """The fewest insertions, deletions and replacements of characters that make b of a."""
    if a == b:
        return 0
    row = list(range(len(b) + 1))  # of what is read of a, to each beginning of b
    for i, c in enumerate(a, start=1):
        above, row[0] = row[0], i
        for j, d in enumerate(b, start=1):
            above, row[j] = row[j], min(above + (c != d), row[j] + 1, row[j - 1] + 1)
    return row[-1]
