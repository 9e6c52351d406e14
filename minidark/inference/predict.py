"""Predicts targets of new sources with a network trained on pairs: beam search (`search`), many
sources at once.

Sources of similar lengths are searched side by side, up to `AHEAD` of them are read for that. The
targets are in the order of the sources, and do not depend on how many are searched at once.

A target's score is the summed log probability of its symbols and end mark, in nats. Targets are
sorted by rank: the score, divided by a power of the length with a length penalty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from minidark.data.bytepairs import byte_pairs
from minidark.data.pairs import (
    TAB,
    beyond,
    check_byte_pairs,
    check_separator,
    separator_byte,
)
from minidark.data.tables import not_utf8
from minidark.data.text import Ids
from minidark.errors import CfgError, DataError, echo
from minidark.inference.search import Rules, search
from minidark.network import Network

AT_ONCE = 256  # streams
AHEAD = 1024  # sources that are sorted by length together
LENGTH_PENALTY = 1.0  # with a beam wider than 1: the mean log probability of a symbol
MOST_PENALTY = 10  # the powers of lengths must not overflow


@dataclass(frozen=True, slots=True)
class Prediction:
    target: bytes
    score: float  # nats, at most 0
    cut: bool = False  # ended by the length limit
    symbols: tuple[int, ...] = field(default=(), compare=False, repr=False)  # of the target

    @property
    def text(self) -> str:
        """The target as text; invalid UTF-8 is replaced."""
        return self.target.decode(errors="replace")


def predict(
    net: Network,
    sources: Iterable[str | bytes],
    *,
    beam: int = 1,
    max_length: int | None = None,
    separator: str = TAB,
    length_penalty: float | None = None,
) -> list[str]:
    """The best target that beam search finds for each source.

    max_length: largest number of symbols in a target (None: the network's time_steps). `Predictor`
    describes length_penalty, valid sources and the errors raised.
    """
    predictor = Predictor(
        net, beam, max_length=max_length, separator=separator, length_penalty=length_penalty
    )
    return [best.text for best, *_ in predictor.search(sources)]


class Predictor:
    """Searches for the `n_best` targets of each source; leaves `net` unchanged.

    length_penalty: the power of a target's length that divides its score; a larger one prefers
    longer targets (None: LENGTH_PENALTY, and 0 for a beam of 1). Raises DataError for an argument
    out of range, CfgError if the network's outputs are not probabilities of its symbols.
    """

    def __init__(
        self,
        net: Network,
        beam: int = 1,
        n_best: int = 1,
        *,
        max_length: int | None = None,
        separator: str = TAB,
        length_penalty: float | None = None,
    ):
        check_predicts(net, separator)
        self.byte_pairs = byte_pairs(net)
        check_byte_pairs(self.byte_pairs, separator)
        if not 1 <= n_best <= beam:
            raise DataError(f"n_best {n_best} is not from 1 to the beam, {beam}")
        self.net, self.beam, self.n_best, self.separator = net, beam, n_best, separator
        self.max_length = net.options.time_steps if max_length is None else max_length
        if self.max_length < 1:
            raise DataError(f"max_length {max_length} is not 1 or more")
        if length_penalty is None:
            length_penalty = LENGTH_PENALTY if beam > 1 else 0.0
        if not 0 <= length_penalty <= MOST_PENALTY:
            raise DataError(f"length_penalty {length_penalty} is not from 0 to {MOST_PENALTY}")
        self.rules = Rules(beam, n_best, self.max_length, length_penalty)
        self.at_once = max(1, AT_ONCE // beam)

    def search(self, sources: Iterable[str | bytes], first: int = 1) -> Iterator[list[Prediction]]:
        """Yields the targets of each source, the best first. Reads up to `AHEAD` sources before it
        yields the first. An empty source has empty targets.

        Raises DataError for a single string instead of a list, and for a source that contains a
        line feed, the separator or an unknown symbol, or is not UTF-8; the message has its number,
        counted from `first`. Raises DivergedError for an output of NaN or infinity.
        """
        for group in self.groups(sources, first):
            yield from self._search(group)

    def groups(self, sources: Iterable[str | bytes], first: int = 1) -> Iterator[list[Ids]]:
        """Yields up to `AHEAD` sources at a time as symbols. The error of a source is raised after
        the sources before it are yielded; see `search`."""
        if isinstance(sources, str | bytes):
            raise DataError("sources is a single string; pass a list of strings")
        numbered = enumerate(sources, start=first)
        while group := list(islice(numbered, AHEAD)):
            checked: list[Ids] = []
            for number, source in group:
                try:
                    checked.append(self._source(source, number))
                except DataError:
                    yield checked
                    raise
            yield checked

    def _search(self, sources: Sequence[Ids]) -> list[list[Prediction]]:
        """The targets of these sources, which are searched in the order of their lengths."""
        found = [[Prediction(b"", 0.0)] * self.n_best for _ in sources]
        lengths = np.array([source.size for source in sources], np.intp)
        order = [int(n) for n in np.argsort(lengths, kind="stable") if lengths[n]]
        prompts = [np.append(sources[n], ord(self.separator)) for n in order]
        results = search(self.net, prompts, self.rules, self.at_once)
        for n, hypotheses in zip(order, results, strict=True):
            found[n] = [
                Prediction(
                    self.byte_pairs.decode(h.symbols), h.score, h.cut, tuple(h.symbols.tolist())
                )
                for h in hypotheses
            ]
        return found

    def _source(self, source: str | bytes, number: int) -> Ids:
        line = source.encode(errors="surrogateescape") if isinstance(source, str) else source
        message = not_utf8(line) or beyond(line, self.net.inputs)
        if self.separator.encode() in line:
            message = (
                f"contains the separator {self.separator!r}; a source is only the part before it"
            )
        if b"\n" in line:
            message = "contains a line feed, the end mark"
        if message:
            raise DataError(f"line {number} {message}")
        return self.byte_pairs.encode(line)


def check_predicts(net: Network, separator: str) -> None:
    """Raise DataError or CfgError if the network cannot be trained on pairs or predict."""
    separator_byte(separator)
    if not net.predicts_symbols:
        raise CfgError(
            "does not end in a plain [softmax], so it has no probabilities of symbols; end the "
            "cfg in [softmax] without groups"
        )
    if net.outputs != net.inputs:
        raise CfgError(
            f"{net.outputs} outputs and {net.inputs} inputs: a network that reads its own output "
            "needs the same number of both"
        )
    check_separator(separator, net.inputs)
    for layer in net.layers:
        if (watched := getattr(layer, "separator", None)) not in (None, ord(separator)):
            raise CfgError(
                f"{layer.name}: separator={watched} ends a source, but the pairs have "
                f"{echo(separator)}; set separator={ord(separator)} in [attention], or --separator"
            )
