"""Predicts targets of new sources with a network trained on pairs: beam search, many sources at
once.

Each source has K streams of a frozen network. A stream reads the symbols of its source, then the
separator, then its own output, so sources of different lengths run side by side. After each step
the K most likely hypotheses remain, and the streams are reordered to match. A finished hypothesis
stays among the K unchanged. Since a hypothesis only gets less likely as it grows, a search ends
when the best ones are finished. K = 1 is greedy search.

A target's score is the summed log probability of its symbols and end mark, in nats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from minidark.backend import Array
from minidark.data.bytepairs import byte_pairs
from minidark.data.pairs import (
    END,
    TAB,
    beyond,
    check_byte_pairs,
    check_separator,
    not_utf8,
    separator_byte,
)
from minidark.data.text import Ids
from minidark.errors import CfgError, DataError
from minidark.network import Network
from minidark.network.frozen import Frozen
from minidark.network.nonfinite import not_finite

AT_ONCE = 256  # streams


@dataclass(frozen=True, slots=True)
class Prediction:
    target: bytes
    score: float  # nats, at most 0
    cut: bool = False  # ended by the length limit

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
) -> list[str]:
    """The best target that beam search finds for each source.

    max_length: largest number of symbols in a target (None: the network's time_steps). `Predictor`
    describes valid sources and the errors raised.
    """
    predictor = Predictor(net, beam, max_length=max_length, separator=separator)
    return [best.text for best, *_ in predictor.search(sources)]


class Predictor:
    """Searches for the `n_best` targets of each source; leaves `net` unchanged.

    Raises CfgError if the network's outputs are not probabilities of its symbols.
    """

    def __init__(
        self,
        net: Network,
        beam: int = 1,
        n_best: int = 1,
        *,
        max_length: int | None = None,
        separator: str = TAB,
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
        self.at_once = max(1, AT_ONCE // beam)

    def search(self, sources: Iterable[str | bytes], first: int = 1) -> Iterator[list[Prediction]]:
        """Yields the targets of each source, the best first, `at_once` sources side by side. An
        empty source has empty targets.

        Raises DataError for a single string instead of a list, and for a source that contains a
        line feed, the separator or an unknown symbol, or is not UTF-8; the message has its number,
        counted from `first`. Raises DivergedError for an output of NaN or infinity.
        """
        if isinstance(sources, str | bytes):
            raise DataError("sources is a single string; pass a list of strings")
        checked = (self._source(source, n) for n, source in enumerate(sources, start=first))
        while group := list(islice(checked, self.at_once)):
            nonempty = [source for source in group if source.size]
            results = iter(_Search(self, nonempty).run() if nonempty else [])
            for source in group:
                yield next(results) if source.size else [Prediction(b"", 0.0)] * self.n_best

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


class _Search:
    """L sources with K hypotheses each. Arrays are (L, K), sorted by score once there are any."""

    def __init__(self, predictor: Predictor, sources: Sequence[Ids]):
        net, beam, lines = predictor.net, predictor.beam, len(sources)
        self.n_best, self.most = predictor.n_best, predictor.max_length
        self.byte_pairs = predictor.byte_pairs
        self.lengths = np.array([len(source) + 1 for source in sources])
        self.prompts = np.full((lines, self.lengths.max()), END)
        for row, source in zip(self.prompts, sources, strict=True):
            row[: len(source) + 1] = [*source, ord(predictor.separator)]
        self.net, self.backend = net, net.backend
        self.step: Frozen = net.frozen(lines * beam)
        self.scores = np.full((lines, beam), -np.inf)
        self.scores[:, 0] = 0  # all K streams of a source are the same at first
        self.ended, self.cut = (np.zeros((lines, beam), bool) for _ in range(2))
        self.texts = np.full((lines, beam, self.most + 1), END, np.intp)
        self.written = np.zeros(lines, np.intp)
        self.tiny = np.finfo(net.backend.dtype).tiny

    def run(self) -> list[list[Prediction]]:
        lines, beam = self.scores.shape
        symbols = np.repeat(self.prompts[:, :1], beam, axis=1)
        time = 0
        while not (over := self._over()).all():
            p = self.backend.asnumpy(self.step(self.backend.asids(symbols.reshape(-1))))
            writing = np.flatnonzero(~over & (time >= self.lengths - 1))
            if writing.size:
                self._write(writing, p.reshape(lines, beam, -1)[writing])
            time += 1
            last = np.take_along_axis(
                self.texts, np.maximum(self.written - 1, 0)[:, None, None], axis=2
            )[:, :, 0]
            source = self.prompts[:, min(time, self.prompts.shape[1] - 1), None]
            symbols = np.where(time < self.lengths[:, None], source, last)
        return [self._best(line) for line in range(lines)]

    def _over(self) -> npt.NDArray[np.bool_]:
        """Which sources are finished, (L,)."""
        return np.logical_and.reduce(self.ended[:, : self.n_best], axis=1)

    def _write(self, lines: npt.NDArray[np.intp], p: Array) -> None:
        """Add one symbol to these sources (R,), from the probabilities p (R, K, O)."""
        if not np.isfinite(p).all():
            raise not_finite(self.net)
        beam = p.shape[1]
        logs = np.log(np.maximum(p, self.tiny), dtype=np.float64)
        likeliest_is_end = p.argmax(axis=2) == END
        ended, scores = self.ended[lines], self.scores[lines]
        full = self.written[lines] == self.most
        logs[full[:, None] & ~ended, :END] = logs[full[:, None] & ~ended, END + 1 :] = -np.inf
        logs[ended] = -np.inf
        logs[ended, END] = 0  # its score stays
        origin, symbol, scores = _likeliest(scores[:, :, None] + logs, beam)

        ended = np.take_along_axis(ended, origin, axis=1)
        forced = ~ended & full[:, None] & ~np.take_along_axis(likeliest_is_end, origin, axis=1)
        self.cut[lines] = np.take_along_axis(self.cut[lines], origin, axis=1) | forced
        texts = np.take_along_axis(self.texts[lines], origin[:, :, None], axis=1)
        np.put_along_axis(texts, self.written[lines][:, None, None], symbol[:, :, None], axis=2)
        self.texts[lines], self.scores[lines] = texts, scores
        self.ended[lines] = ended | (symbol == END)
        self.written[lines] += 1
        if beam > 1:
            places = np.arange(self.scores.size).reshape(self.scores.shape)
            places[lines] = lines[:, None] * beam + origin
            self.step.reorder(self.backend.asids(places.reshape(-1)))

    def _best(self, line: int) -> list[Prediction]:
        return [
            Prediction(self._decode(text), float(score), bool(cut))
            for text, score, cut in zip(
                self.texts[line], self.scores[line], self.cut[line], strict=True
            )
            if np.isfinite(score)  # there may be fewer targets
        ][: self.n_best]

    def _decode(self, text: Ids) -> bytes:
        end = int(np.argmax(text == END))
        return self.byte_pairs.decode(text[:end])


def _likeliest(
    scores: Array, beam: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """The `beam` highest of each source's (K, O), the highest first: k, o and scores, (R, beam)."""
    flat = scores.reshape(len(scores), -1)
    if beam == 1:
        top = flat.argmax(axis=1)[:, None]
    else:
        top = np.argpartition(-flat, beam - 1, axis=1)[:, :beam]
        order = np.argsort(-np.take_along_axis(flat, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
    origin, symbol = np.divmod(top, scores.shape[2])
    return origin, symbol, np.take_along_axis(flat, top, axis=1)
