"""The probability of each of some given classes, for networks trained on pairs of a source and its
class.

A class is a target of several symbols. Its log probability after a source is the sum of those of
its symbols and of the end mark, each given the ones before. A softmax over the given classes makes
them probabilities that sum to 1. So nothing is searched, and other targets do not matter.

Sources of one length are read together, and the classes of a source side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minidark.backend import Array
from minidark.data.pairs import END, TAB, beyond
from minidark.data.tables import not_utf8
from minidark.data.text import Ids
from minidark.errors import DataError, echo
from minidark.inference.predict import AT_ONCE, Predictor
from minidark.inference.search import Reader
from minidark.network import Network
from minidark.network.nonfinite import not_finite

STATE_BYTES = 1 << 25  # of the streams that are read side by side


@dataclass(frozen=True, slots=True)
class ClassProbabilities:
    """probabilities: of each class, in the order given; their sum is 1. share: the probability of
    all classes together among all targets."""

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    share: float

    @property
    def best(self) -> str:
        """The likeliest class, the first one of several."""
        return self.ranked()[0][0]

    def ranked(self) -> list[tuple[str, float]]:
        """The classes with their probabilities, the likeliest first."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])


class ReadsSources(Protocol):
    """`search.Reader`, or another one like it."""

    def read(self, begin: int, end: int, beam: int) -> tuple[Network, Array]: ...


class Classifier:
    """Classifies sources among `classes`; leaves `net` unchanged.

    Raises DataError for fewer than two classes, for equal ones, and for a class that is empty or
    contains the separator, a line feed or unknown symbols; CfgError if the network's outputs are
    not probabilities of its symbols.
    """

    def __init__(self, net: Network, classes: Sequence[str], *, separator: str = TAB):
        self.predictor = Predictor(net, separator=separator)
        self.net, self.separator, self.classes = net, separator, tuple(classes)
        check_classes(self.classes, separator, net.inputs)
        symbols = [self.predictor.byte_pairs.encode(name.encode()) for name in self.classes]
        # Symbols (T, K): those of each class, and end marks.
        self.at_once = max(1, _streams(net) // len(symbols))  # sources side by side
        self.symbols = np.full((max(s.size for s in symbols) + 1, len(symbols)), END)
        for k, of_class in enumerate(symbols):
            self.symbols[: of_class.size, k] = of_class
        self.lengths = np.array([s.size + 1 for s in symbols])  # with the end mark

    def classify(
        self, sources: Iterable[str | bytes], first: int = 1
    ) -> Iterator[ClassProbabilities | None]:
        """Yields the probabilities for each source, None for an empty one. Raises the errors of
        `Predictor.search`."""
        for group in self.predictor.groups(sources, first):
            scores = self._scores([source for source in group if source.size])
            scored = iter(scores)
            yield from (self._normalized(next(scored)) if s.size else None for s in group)

    def _normalized(self, scores: Array) -> ClassProbabilities:
        """From the log probabilities (K,) of a source's classes."""
        top = scores.max()
        p = np.exp(scores - top)
        total = p.sum()
        return ClassProbabilities(
            self.classes, tuple((p / total).tolist()), float(np.exp(top) * total)
        )

    def _scores(self, sources: Sequence[Ids]) -> Array:
        """Log probabilities (L, K) of the classes after each source."""
        order = np.argsort([source.size for source in sources], kind="stable")
        prompts = [np.append(sources[n], ord(self.separator)) for n in order]
        reader, at_once = Reader(self.net, prompts), self.at_once
        scores = np.empty((len(sources), len(self.classes)))
        for begin in range(0, len(prompts), at_once):
            lines = order[begin : begin + at_once]
            scores[lines] = self.scores(reader, begin, begin + len(lines))
        return scores

    def scores(self, reader: ReadsSources, begin: int, end: int) -> Array:
        """Log probabilities (L, K) of the classes after these sources of a reader."""
        count, backend = len(self.classes), self.net.backend
        wide, p = reader.read(begin, end, count)
        step, tiny = wide.stepping(), np.finfo(backend.dtype).tiny
        p = np.repeat(p, count, axis=0)  # (L K, O), as the streams are
        scores = np.zeros((end - begin, count))
        for t, symbols in enumerate(self.symbols):
            ids = np.tile(symbols, end - begin)
            likely = p[np.arange(ids.size), ids].reshape(scores.shape)
            if not np.isfinite(likely).all():
                raise not_finite(self.net)
            logs = np.log(np.maximum(likely, tiny), dtype=np.float64)
            scores += np.where(t < self.lengths, logs, 0)
            if t + 1 < len(self.symbols):
                p = backend.asnumpy(step(backend.asids(ids)))
        return scores


def _streams(net: Network) -> int:
    """Streams side by side: AT_ONCE, or fewer if their states, which an [attention] makes large,
    have more than STATE_BYTES."""
    states = [state for layer in net.twin(1).layers for state in layer.states.values()]
    return min(AT_ONCE, STATE_BYTES // max(1, sum(state.nbytes for state in states)))


def check_classes(classes: Sequence[str], separator: str, inputs: int) -> None:
    """Raise DataError if these are not at least two different targets."""
    if len(classes) < 2:
        raise DataError(f"{len(classes)} classes; expected two or more different ones")
    for n, name in enumerate(classes):
        line = name.encode(errors="surrogateescape")
        message = not_utf8(line) or beyond(line, inputs)
        if not name:
            message = "is empty"
        elif name in classes[:n]:
            message = "occurs twice"
        elif separator in name or "\n" in name:
            message = "contains the separator or a line feed"
        if message:
            raise DataError(f"class {n + 1}, {echo(name)}, {message}")
