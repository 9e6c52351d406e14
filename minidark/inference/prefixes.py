"""How the probabilities of classes change while a network reads a source.

After each symbol of the source, the probabilities are those that the classes would have if the
separator came next. The change of a symbol is the difference to the symbol before; before the
first one, all classes count as equally likely.

The network reads the source once. Its states after each symbol become streams that read the
separator and the classes side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.data.text import Ids
from minidark.inference.alignment import joined
from minidark.inference.classify import Classifier
from minidark.inference.search import packing_once, take_states
from minidark.network import Network

STRONGEST = 5  # symbols that are listed
CONTEXT = 12  # symbols that are shown before them


@dataclass(frozen=True, slots=True)
class Prefixes:
    """probabilities: (R, K) of K classes after each of R symbols."""

    symbols: list[str]
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]

    @property
    def predicted(self) -> int:
        """The index of the likeliest class after the whole source."""
        return int(self.probabilities[-1].argmax())

    @property
    def changes(self) -> npt.NDArray[np.float64]:
        """What each symbol adds to the probability of the predicted class, (R,)."""
        course = self.probabilities[:, self.predicted]
        changes: npt.NDArray[np.float64] = np.diff(course, prepend=1 / len(self.classes))
        return changes

    def ranked(self) -> list[tuple[str, float]]:
        """The classes with their probabilities after the whole source, the likeliest first."""
        last = zip(self.classes, self.probabilities[-1].tolist(), strict=True)
        return sorted(last, key=lambda pair: -pair[1])

    def strongest(self) -> list[tuple[str, str, float]]:
        """The STRONGEST symbols of the largest changes, the largest first: the text before the
        symbol, up to CONTEXT symbols, the symbol and its change."""
        changes = self.changes
        order = np.argsort(-np.abs(changes), kind="stable")[:STRONGEST].tolist()
        before = ("".join(self.symbols[max(0, n - CONTEXT) : n]) for n in order)
        return [
            (text, self.symbols[n], float(changes[n]))
            for text, n in zip(before, order, strict=True)
        ]


def class_prefixes(classifier: Classifier, source: bytes) -> Prefixes:
    """The probabilities of the classes after each symbol of a source that is not empty. Symbols
    that share a character count as one. Raises DivergedError for an output of NaN or infinity."""
    pairs = classifier.predictor.byte_pairs
    ids = pairs.encode(source)
    reader = _PrefixReader(classifier.net, ids, ord(classifier.separator))
    at_once = classifier.at_once
    scores = np.concatenate(
        [
            classifier.scores(reader, begin, min(begin + at_once, ids.size))
            for begin in range(0, ids.size, at_once)
        ]
    )
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    symbols, begins = joined([pairs.names[symbol] for symbol in ids])
    ends = np.array([*begins[1:], ids.size]) - 1
    return Prefixes(symbols, classifier.classes, (p / p.sum(axis=1, keepdims=True))[ends])


class _PrefixReader:
    """Like `search.Reader`, for the prefixes of one source (R,)."""

    def __init__(self, net: Network, source: Ids, separator: int):
        self.net, self.source, self.separator = packing_once(net), source, separator
        self.step = self.net.stepping()

    def read(self, begin: int, end: int, beam: int) -> tuple[Network, Array]:
        """A network with `beam` streams for each of the prefixes of begin + 1 to `end` symbols,
        which have read it and the separator, and the probabilities p (L, O) of the next symbol.
        Calls come in the order of the prefixes."""
        backend, count = self.net.backend, (end - begin) * beam
        net, origin = self.net.twin(count), backend.asids(np.zeros(beam, np.intp))
        for n, symbol in enumerate(self.source[begin:end]):
            self.step(backend.asids(np.array([symbol])))
            take_states(net, slice(n * beam, (n + 1) * beam), self.step.layers, origin)
        y = net.forward(np.full((1, count), self.separator))
        return net, backend.asnumpy(y[0])[::beam]
