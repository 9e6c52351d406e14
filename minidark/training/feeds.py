"""Data of a run: a text or pairs, for training and validation.

A `Feed` yields the passes of a run, has a position that checkpoints store, and evaluates the
network on held-out data.

Source: darknet examples/rnn.c (get_rnn_data, reset_rnn_state), for texts.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from minidark.data.bytepairs import BytePairText, byte_pair_dropout, byte_pairs, check_symbols
from minidark.data.identity import Identity
from minidark.data.pairs import Pairs, epoch_order, in_symbols
from minidark.data.text import Ids, Streams, Symbols
from minidark.data.varied import COPIES, VariedText, varied
from minidark.errors import CfgError, DataError, echo, number_of
from minidark.inference.generate import default_primer, generate
from minidark.inference.predict import check_predicts, predict
from minidark.inference.valid import MOST, Pieces, evaluate, evaluate_pairs
from minidark.network import Network

LEAST_VALIDATION = 200  # symbols; a smaller sample is not informative
SAMPLE_LENGTH = 200  # characters of a text
SAMPLE_PAIRS = 5


@dataclass(frozen=True, slots=True)
class Pass:
    x: Ids  # (T, S)
    truth: Ids  # (T, S), -1 for no truth
    symbols: int  # characters of the symbols with a truth, in these streams
    fresh: bool  # starts from zero states


@dataclass(frozen=True, slots=True)
class Validated:
    loss: float  # mean cost of a character
    exact: float | None = None  # share of pairs that are predicted exactly


class Feed(ABC):
    """`size` is an epoch in characters; of pairs, those of targets and end marks. `epoch_passes` is
    an epoch in passes of all streams; of a text, it is a fraction. `validated` is the number that a
    validation averages over, 0 if too few are held out. `kept_out` describes the held-out part."""

    tokenized: bool = False
    separator: str | None = None  # for pairs
    skip_bad: bool = False  # for pairs
    columns: str | None = None  # for pairs in .csv or .tsv: the names of source and target
    fields: str | None = None  # for pairs in .jsonl
    valid_identity: Identity | None = None  # of the data to validate on, if it is not held out
    size: int
    epoch_passes: Fraction
    validated: int
    kept_out: str
    identity: Identity

    @abstractmethod
    def amounts(self) -> str:
        """The amounts of training and validation data, for display."""

    def check(self) -> None:  # noqa: B027  data in memory does not change
        """Raise DataError if the data has changed."""

    def restart(self) -> Sequence[int]:
        """Called before each batch except the first: moves some streams to new positions and
        returns them."""
        return ()

    @abstractmethod
    def next(self) -> Pass:
        """The next pass of its own streams; all streams advance."""

    @abstractmethod
    def validate(self, net: Network, most: int = MOST) -> Validated:
        """Evaluate the network on up to `most` held-out symbols; leaves `net` unchanged."""

    @abstractmethod
    def sample(self, net: Network, srand: int, length: int | None = None) -> str:
        """A sample from the network for display, at most `length` symbols long (None: a default
        length); leaves `net` unchanged."""

    @abstractmethod
    def place(self) -> list[int]:
        """The current position."""

    @abstractmethod
    def move(self, place: Sequence[int]) -> None:
        """Go to a position that `place` returned. Raises ValueError for a position that does not
        exist."""

    def generators(self) -> dict[str, np.random.Generator]:
        """Random generators that the next passes depend on."""
        return {}


class TextFeed(Feed):
    """Streams through all of a text except its last `valid_fraction`, or through all of it if there
    is another text to validate on. From time to time a stream restarts at a random position."""

    def __init__(
        self,
        text: Symbols,
        net: Network,
        seed: int,
        valid_fraction: float,
        own: slice = slice(None),
        valid: Symbols | None = None,
    ):
        _check_symbols(net)
        check_symbols(net, text.tokenized)
        text = symbols_for(net, text, valid_fraction)
        part, self.held_out = text.split(valid_fraction)
        if valid is not None:
            check_symbols(net, valid.tokenized)
            self.valid_identity, valid = valid.identity(), symbols_for(net, valid, 0)
            self.held_out = valid.split(0)[0]
        self.text, self.steps = text, net.options.time_steps
        if part.size < self.steps + 1:
            raise DataError(
                f"{number_of(part.size, 'character')} to train on; a window of "
                f"time_steps={self.steps} needs {self.steps + 1}: use more text or a smaller "
                "time_steps"
            )
        self.size, self.identity, times = part.characters, text.identity(), 1
        if dropout := byte_pair_dropout(net):
            varied_text = VariedText(part, byte_pairs(net), dropout, seed)
            part = varied_text.part(0, varied_text.size)
            times = 1 + COPIES
        self.epoch_passes = Fraction(part.size, times * self.steps * net.streams)
        self.tokenized = text.tokenized
        self.streams = Streams(part, net.streams, np.random.default_rng([seed % 2**64, 1]), own)
        enough = self.held_out.size >= LEAST_VALIDATION
        held_out = self.held_out.text
        self.validated = Pieces.of(self.held_out).characters(held_out) if enough else 0
        self.kept_out = f"{self.held_out.characters} characters"

    def amounts(self) -> str:
        kept_out = self.held_out.characters
        held_out = f"{kept_out:,} to validate on"
        if self.held_out.size > MOST:
            held_out = (
                f"{kept_out:,} held out, {self.validated:,} of them, evenly spread, to validate on"
            )
        return f"{number_of(self.size, 'character')} to train on, {held_out}{_few(self)}"

    def check(self) -> None:
        self.text.check()
        self.held_out.text.check()

    def restart(self) -> Sequence[int]:
        return self.streams.restart()

    def next(self) -> Pass:
        x, truth = self.streams.next(self.steps)
        return Pass(x, truth, self.text.characters_of(truth), fresh=False)

    def validate(self, net: Network, most: int = MOST) -> Validated:
        return Validated(evaluate(net, self.held_out, most=most))

    def sample(self, net: Network, srand: int, length: int | None = None) -> str:
        text = generate(net, default_primer(net.inputs), length or SAMPLE_LENGTH, srand=srand)
        return text.decode(errors="replace").strip()

    def place(self) -> list[int]:
        offsets: list[int] = self.streams.offsets.tolist()
        return offsets

    def move(self, place: Sequence[int]) -> None:
        self.streams.move(place)

    def generators(self) -> dict[str, np.random.Generator]:
        return {"streams": self.streams.rng}


class PairsFeed(Feed):
    """All pairs except the held-out ones, in epochs of passes of S pairs each; with other pairs to
    validate on, all. The order of an epoch depends on the seed and its number."""

    def __init__(
        self,
        pairs: Pairs,
        net: Network,
        seed: int,
        valid_fraction: float,
        own: slice = slice(None),
        valid: Pairs | None = None,
    ):
        check_predicts(net, pairs.separator)
        net.check_has_cost()
        self.numbers, held_out = pairs.split(valid_fraction)
        pairs = in_symbols(net, pairs, self.numbers)
        pairs.check(net.inputs, net.options.time_steps)
        self.pairs, self.streams, self.seed, self.own = pairs, net.streams, seed, own
        self.separator, self.identity = pairs.separator, pairs.identity
        self.skip_bad = pairs.skip_bad
        names = pairs.columns.to_json()
        self.columns, self.fields = names["columns"], names["fields"]
        self.whole, self.longest = pairs, net.options.time_steps
        self.dropout = byte_pair_dropout(net)
        self.size = int(pairs.characters()[self.numbers].sum())
        self.held = pairs  # the pairs to validate on are in it
        if valid is not None:
            self.held, held_out = self._other(valid, net), valid.by_hash()
        self.upto = np.cumsum(self.held.counted()[held_out])  # cumulative symbols of the targets
        self.held_out: Ids = held_out[self.upto <= MOST]
        validated = int(self.held.characters()[self.held_out].sum())
        self.validated = validated if validated >= LEAST_VALIDATION else 0
        self.kept_out = f"{validated} characters of {held_out.size} pairs"
        self.move([0, 0])
        self.epoch_passes = Fraction(len(self.order))  # the same in each epoch

    def _other(self, valid: Pairs, net: Network) -> Pairs:
        """Other pairs to validate on, in the network's symbols."""
        if valid.separator != self.separator:
            raise DataError(
                f"{valid.path}: read with the separator {echo(valid.separator)}, and "
                f"{self.pairs.path} with {echo(self.pairs.separator)}"
            )
        valid.check(net.inputs)
        self.valid_identity = valid.identity
        return valid.encoded(self.pairs.byte_pairs)

    def amounts(self) -> str:
        kept_out = self.upto.size
        held_out = f"{kept_out:,} to validate on"
        if self.held_out.size < kept_out:
            held_out = f"{kept_out:,} held out, {self.held_out.size:,} of them to validate on"
        return f"{number_of(self.numbers.size, 'pair')} to train on, {held_out}{_few(self)}"

    def next(self) -> Pass:
        if self.position == len(self.order):
            self._begin(self.epoch + 1)
        batch = self.pairs.batch(self.order[self.position], self.streams)
        self.position += 1
        truth = batch.truth[:, self.own]
        return Pass(batch.x[:, self.own], truth, self.pairs.characters_of(truth), fresh=True)

    def validate(self, net: Network, most: int = MOST) -> Validated:
        few = max(1, int(np.searchsorted(self.upto, most, side="right")))
        measured = evaluate_pairs(net, self.held, self.held_out[:few])
        return Validated(measured.nats / measured.characters, measured.exact / measured.pairs)

    def sample(self, net: Network, srand: int, length: int | None = None) -> str:
        pairs, numbers = (
            (self.held, self.held_out) if self.validated else (self.pairs, self.numbers)
        )
        sources = [pairs.sources[n] for n in numbers[:SAMPLE_PAIRS]]
        predictions = predict(net, sources, max_length=length, separator=pairs.separator)
        lines = []
        for n, predicted in zip(numbers, predictions, strict=False):
            source, target = pairs.sources[n].decode(), pairs.targets[n].decode()
            expected = "" if predicted == target else f" (not {target})"
            lines.append(f"{source} -> {predicted}{expected}")
        return "\n".join(lines)

    def place(self) -> list[int]:
        return [self.epoch, self.position]

    def move(self, place: Sequence[int]) -> None:
        epoch, position = place
        if epoch < 0:
            raise ValueError("the epoch is negative")
        self._begin(epoch)
        if not 0 <= position <= len(self.order):
            raise ValueError("the position is outside the epoch")
        self.position = position

    def _begin(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0
        if self.dropout:
            self.pairs = varied(self.whole, self.dropout, self.seed, epoch, self.longest)
        self.order: list[npt.NDArray[np.intp]] = epoch_order(
            self.numbers, self.pairs.lengths(), self.streams, self.seed, epoch
        )


def feed(
    data: Symbols | Pairs,
    net: Network,
    seed: int,
    valid_fraction: float,
    own: slice = slice(None),
    valid: Symbols | Pairs | None = None,
) -> Feed:
    """A feed of a text or of pairs, for the streams `own` of the network. With `valid`, which is of
    the same kind, valid_fraction does not matter. Raises DataError for other data and for data that
    is too short or does not fit the network, CfgError for a network that does not predict
    symbols."""
    fraction = valid_fraction if valid is None else 0.0
    if isinstance(data, Pairs):
        if not (valid is None or isinstance(valid, Pairs)):
            raise DataError("valid is not pairs, but the data to train on is")
        return PairsFeed(data, net, seed, fraction, own, valid)
    for text in (data, *([] if valid is None else [valid])):
        if not isinstance(text, Symbols):
            raise _no_text(text)
    return TextFeed(data, net, seed, fraction, own, valid)  # type: ignore[arg-type]


def symbols_for(net: Network, text: Symbols, valid_fraction: float) -> Symbols:
    """The text as symbols of this network. A [bytepairs] layer without pairs learns them from the
    text. Raises DataError."""
    if net.layers[0].gives_ids and not isinstance(text, BytePairText):
        return BytePairText(text, net, valid_fraction)
    return text


def _no_text(value: object) -> DataError:
    if isinstance(value, str | os.PathLike):
        name = echo(os.fspath(value))
        return DataError(f"{name} is a file name, not a text; use minidark.Text({name})")
    return DataError(f"a {type(value).__name__} is not a text; use minidark.Text(PATH)")


def _few(feed: Feed) -> str:
    return "" if feed.validated else ", too few to validate"


def _check_symbols(net: Network) -> None:
    net.check_has_cost()
    if net.outputs != net.inputs:
        raise CfgError(
            f"the last layer has {net.outputs} outputs; to predict the next of {net.inputs} "
            f"symbols (inputs={net.inputs}) it needs {net.inputs}"
        )
