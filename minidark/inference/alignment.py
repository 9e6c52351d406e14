"""Alignments: which symbols of a source a network attends to at each symbol of a target.

A network reads the source, the separator and the target. An `[attention]` with over=source gives
each of these steps a weight for each step of the source. The row of a target symbol is the step
that predicts it: the one that reads the symbol before it, and for the first symbol the separator.
The last row predicts the end mark.

                  source symbols, separator
    target     [                           ]
    symbols,   [   weights, sum 1 in rows  ]
    end mark   [                           ]

Symbols that share a character are shown as one: the weights of source symbols are summed, and
those of target symbols averaged, so each row still has the sum 1. If a source is longer than the
layer's memory, the symbols before have the weight 0.

Source: Bahdanau, Cho and Bengio 2015, arXiv:1409.0473, figure 3, who showed alignments this way.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidark.data.pairs import END, TAB, Line
from minidark.data.text import Ids
from minidark.errors import CfgError
from minidark.inference.predict import Prediction, Predictor
from minidark.layers.attention import AttentionLayer
from minidark.network import Network
from minidark.network.nonfinite import not_finite

BEAM = 4

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """The weights of each attention over the source, for one pair."""

    line: int  # number of the pair's line, from 1
    source: str
    target: str  # the prediction, if `predicted`
    predicted: bool
    cut: bool  # whether the prediction was ended by the length limit
    true_target: str | None  # of the line
    source_symbols: list[str]  # C of them, the last is the separator
    target_symbols: list[str]  # R of them, the last is the end mark
    weights: dict[str, Weights]  # by the layer's name, (R, C)

    def strongest(self, layer: str) -> list[tuple[str, str, float]]:
        """Each target symbol, the source symbol with the largest weight, and this weight."""
        weights = self.weights[layer]
        best = weights.argmax(axis=1)
        return [
            (target, self.source_symbols[at], float(weights[row, at]))
            for row, (target, at) in enumerate(zip(self.target_symbols, best, strict=True))
        ]


class Aligner:
    """Aligns lines with their targets or, if they have none, with the network's predictions.

    beam: the width of the search for predictions. predict: whether lines with a target get a
    prediction too. Leaves `net` unchanged. Raises CfgError if the network has no attention over a
    source or cannot predict, and DataError for a separator that it does not know.
    """

    def __init__(
        self, net: Network, beam: int = BEAM, separator: str = TAB, *, predict: bool = False
    ):
        self.layers = layers_over_source(net)
        if not self.layers:
            raise CfgError(
                "has no [attention] with over=source, so it has no alignment; `look` without "
                "--pairs shows gates and states at each character of a text"
            )
        self.predictor = Predictor(net, beam, separator=separator)
        self.net, self.separator, self.predict = net, separator, predict
        self.one = net.twin(1)

    def align(self, lines: Sequence[Line]) -> Iterator[Alignment]:
        """Raises DivergedError for NaN or infinity."""
        wanted = [line.source for line in lines if self.predict or line.target is None]
        predictions = self.predictor.search(wanted)
        for line in lines:
            predicted = self.predict or line.target is None
            yield self._aligned(line, next(predictions)[0] if predicted else None)

    def _aligned(self, line: Line, prediction: Prediction | None) -> Alignment:
        pairs = self.predictor.byte_pairs
        source = pairs.encode(line.source)
        if prediction:
            target = np.array(prediction.symbols, np.intp)
        else:
            target = pairs.encode(line.target or b"")
        columns, column_begins = joined([pairs.names[symbol] for symbol in source])
        rows, row_begins = joined([pairs.names[symbol] for symbol in target])
        weights = attention_over_source(self.one, source, ord(self.separator), target)
        return Alignment(
            line=line.number,
            source=line.source.decode(),
            target="".join(rows),
            predicted=prediction is not None,
            cut=prediction is not None and prediction.cut,
            true_target=None if line.target is None else line.target.decode(),
            source_symbols=[*columns, self.separator],
            target_symbols=[*rows, chr(END)],
            weights={
                name: _grouped(w, [*row_begins, target.size], [*column_begins, source.size])
                for name, w in weights.items()
            },
        )


def layers_over_source(net: Network) -> dict[int, AttentionLayer]:
    """The attention layers over the source of a pair, by their index."""
    return {
        i: layer
        for i, layer in enumerate(net.layers)
        if isinstance(layer, AttentionLayer) and layer.separator is not None
    }


def attention_over_source(
    one: Network, source: Ids, separator: int, target: Ids
) -> dict[str, Weights]:
    """The weights (R + 1, C + 1) of each attention over the source, by the layer's name, for the
    symbols of a source (C,) and a target (R,). The rows predict the target and the end mark. The
    columns are the source and the separator. `one` has one stream, and is reset before.

    Raises DivergedError for a weight of NaN or infinity.
    """
    one.reset_state()
    _, traced = one.traced(np.concatenate([source, [separator], target])[:, None])
    steps, found = source.size + 1, {}
    for i, layer in layers_over_source(one).items():
        ring = one.backend.asnumpy(traced[i]["attention"])[source.size :, 0]  # (R + 1, memory)
        seen = np.arange(max(0, steps - layer.memory), steps)
        weights = np.zeros((target.size + 1, steps))
        weights[:, seen] = ring[:, seen % layer.memory]
        if not np.isfinite(weights).all():
            raise not_finite(one, f"{layer.name}'s attention")
        found[layer.name] = weights
    return found


def joined(names: Sequence[bytes]) -> tuple[list[str], list[int]]:
    """The texts of symbols with these bytes, and the index of the first symbol of each. Neighbours
    that share a character of UTF-8 have one text. Bytes that are not UTF-8 are escaped."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    texts: list[str] = []
    begins: list[int] = []
    within = False  # a character
    for at, name in enumerate(names, start=1):
        if not within:
            texts.append("")
            begins.append(at - 1)
        texts[-1] += decoder.decode(name, final=at == len(names))
        within = bool(decoder.getstate()[0])
    return texts, begins


def _grouped(weights: Weights, rows: Sequence[int], columns: Sequence[int]) -> Weights:
    """The mean over the rows and the sum over the columns of each group that begins at these
    indices."""
    sizes = np.diff([*rows, len(weights)])
    summed = np.add.reduceat(np.add.reduceat(weights, columns, axis=1), rows, axis=0)
    return summed / sizes[:, None]
