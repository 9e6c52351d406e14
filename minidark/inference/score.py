"""Scores a network's predictions on pairs that it was not trained on.

A prediction is compared with its target exactly and by characters. Edits are the fewest insertions,
deletions and replacements of code points that turn one into the other. The character error rate is
the edits of all pairs divided by the characters of all targets; it can exceed 1. If the targets are
classes, `classification` measures how well they are predicted.

Levenshtein 1966; Wagner and Fischer 1974, "The String-to-String Correction Problem".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minidark.data.bytepairs import byte_pairs
from minidark.data.pairs import Pairs
from minidark.inference.classification import Classification
from minidark.inference.metrics import Metrics, metrics
from minidark.inference.predict import Predictor, check_predicts
from minidark.inference.valid import evaluate_pairs
from minidark.network import Network

LONGEST = 1 << 20  # symbols of a pair, or time_steps if that is more; reading it takes a minute


@dataclass(frozen=True, slots=True)
class ScoredPair:
    line: int  # counted from 1
    source: str
    target: str
    predicted: str
    edits: int

    @property
    def rate(self) -> float:
        """Edits divided by the characters of the target."""
        return self.edits / len(self.target)


@dataclass(frozen=True, slots=True)
class Score:
    pairs: list[ScoredPair] = field(repr=False)
    nats: float  # mean over targets and end marks, each symbol given the true ones before
    nats_per_character: float  # the same, divided by their bytes

    @property
    def exact(self) -> float:
        """Share of pairs predicted exactly; for classes, the accuracy."""
        return sum(not pair.edits for pair in self.pairs) / len(self.pairs)

    @property
    def character_error_rate(self) -> float:
        edits = sum(pair.edits for pair in self.pairs)
        return edits / sum(len(pair.target) for pair in self.pairs)

    def metrics(self, lowercase: bool = False) -> Metrics:
        """BLEU and chrF. Raises BackendError without sacrebleu."""
        predicted = [pair.predicted for pair in self.pairs]
        return metrics(predicted, [pair.target for pair in self.pairs], lowercase)

    @property
    def classification(self) -> Classification:
        return Classification(
            [pair.target for pair in self.pairs], [pair.predicted for pair in self.pairs]
        )

    @property
    def classes(self) -> list[str]:
        """The distinct targets if they are few and repeat; otherwise none."""
        return self.classification.classes

    def confusion(self) -> dict[str, dict[str, int]]:
        """Counts by true class and prediction; predictions outside the classes are included."""
        return self.classification.confusion()

    def worst(self, count: int) -> list[ScoredPair]:
        """The pairs with the highest error rates, ties in their original order, without
        exact ones."""
        wrong = [pair for pair in self.pairs if pair.edits]
        return sorted(wrong, key=lambda pair: -pair.rate)[:count]


def score(
    net: Network,
    pairs: Pairs,
    *,
    beam: int = 1,
    max_length: int | None = None,
    length_penalty: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Score:
    """Predict every source and compare; leaves `net` unchanged.

    max_length: largest number of symbols in a prediction (None: time_steps, or the longest target
    if that is longer). length_penalty: see `Predictor`. progress: called with the steps done and
    their total, two for each pair. Raises DataError for pairs with unknown symbols or of more than
    LONGEST symbols, CfgError for a network that predicts no symbols.
    """
    check_predicts(net, pairs.separator)
    pairs.check(net.inputs)
    pairs = _encoded(pairs, net)
    longest = max(net.options.time_steps, int(pairs.counted().max()) - 1)
    predictor = Predictor(
        net,
        beam,
        max_length=longest if max_length is None else max_length,
        separator=pairs.separator,
        length_penalty=length_penalty,
    )
    scored, count = [], len(pairs)
    for n, (best, *_) in enumerate(predictor.search(pairs.sources)):
        source, target = pairs.sources[n].decode(), pairs.targets[n].decode()
        wrong = edits(target, best.text)
        scored.append(ScoredPair(pairs.line_numbers[n], source, target, best.text, wrong))
        progress(n + 1, 2 * count)
    measured = evaluate_pairs(
        net, pairs, np.arange(count), done=lambda n: progress(count + n, 2 * count)
    )
    return Score(scored, measured.nats / measured.symbols, measured.nats / measured.characters)


def _encoded(pairs: Pairs, net: Network) -> Pairs:
    """The pairs in the network's symbols. Raises DataError for a pair that would take minutes."""
    symbols = byte_pairs(net)
    longest = max(LONGEST, net.options.time_steps)
    fewest = pairs.lengths() // int(symbols.lengths.max())  # symbols, known before encoding
    if int(fewest.max()) <= longest:
        pairs = pairs.encoded(symbols)
        fewest = pairs.lengths()
    at = int(fewest.argmax())
    if fewest[at] > longest:
        least = "" if pairs.byte_pairs.pairs == symbols.pairs else "at least "
        raise pairs.wrong(
            pairs.line_numbers[at],
            f"has {least}{fewest[at]:,} symbols; a pair can have {longest:,}; shorten or remove it",
        )
    return pairs


def edits(a: str, b: str) -> int:
    """The fewest insertions, deletions and replacements of characters that turn a into b."""
    if a == b:
        return 0
    row = list(range(len(b) + 1))  # edits from the part of a read so far to each prefix of b
    for i, c in enumerate(a, start=1):
        above, row[0] = row[0], i
        for j, d in enumerate(b, start=1):
            above, row[j] = row[j], min(above + (c != d), row[j] + 1, row[j - 1] + 1)
    return row[-1]
