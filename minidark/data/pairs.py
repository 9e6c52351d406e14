"""Pairs: lines of source and target; a network learns to turn one into the other.

    source SEPARATOR target

in UTF-8, one pair a line. A network reads the source and the separator, then predicts the target
and the end mark, a line feed. So a source or target contains neither the separator nor a line feed,
and is not empty. A line may end in CR LF; a byte order mark at the beginning is skipped. Pairs can
also be two columns of a table (`tables`).

Symbols are bytes, or byte pairs if the network has a [bytepairs] (`Pairs.encoded`). The separator
and the end mark are always single bytes.

A `Batch` is some pairs side by side, one per stream, from zero states: ids x (T, S), and the truth
for each, which is -1 (none) before the separator and after the end of a shorter pair.

Sutskever, Vinyals and Le 2014, arXiv:1409.3215, with one network for both halves.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minidark.cfg.options import BYTES
from minidark.data.bytepairs import BytePairs, learn_from_lines
from minidark.data.identity import Identity
from minidark.data.tables import MARK, Columns, Names, Pair, hint, not_utf8, read_table
from minidark.data.text import Ids
from minidark.errors import DataError, echo
from minidark.files.disk import named, open_regular
from minidark.network import Network

TAB = "\t"
END = ord("\n")
POOL = 32  # passes sorted by length together: similar lengths, in changing combinations
EITHER = (
    "pairs are one file of lines, or a file of sources and a file of targets without separators"
)
FIRST_LINES, FIRST_BYTES = 100, 1 << 16  # checked for pairs


@dataclass(frozen=True, slots=True)
class Batch:
    x: Ids  # (T, S)
    truth: Ids  # (T, S), -1 for no truth
    pairs: int  # number of streams in use, from the first; the others have no truth

    @property
    def symbols(self) -> int:
        """Symbols with a truth: targets and end marks."""
        return int((self.truth >= 0).sum())


@dataclass(frozen=True, slots=True)
class Line:
    """A source and, if the line has one, its target."""

    number: int  # in its file, from 1
    source: bytes
    target: bytes | None


def looks_like_pairs(path: Path | str) -> bool:
    """Whether each of the first lines of a file (at most 100) has one tab. Raises DataError."""
    with open_regular(path, named(path, DataError)) as file:
        *lines, rest = file.read(FIRST_BYTES).split(b"\n")
    lines = (lines if lines or not rest else [rest])[:FIRST_LINES]
    return bool(lines) and all(line.count(b"\t") == 1 for line in lines)


class Pairs:
    """The pairs of one file, or of a file of sources and a file of targets with equally many lines,
    in memory. Raises DataError for the first malformed line; with `skip_bad`, skips such lines.

    columns: the names of the source and the target in a .csv or .tsv file with a header. fields:
    the same for a .jsonl file. `sources` and `targets` are bytes, and `line_numbers` where they
    are. Lengths count symbols: bytes, until `encoded`.
    """

    def __init__(
        self,
        path: Path | str | Sequence[Path | str],
        separator: str = TAB,
        *,
        columns: Names | None = None,
        fields: Names | None = None,
        skip_bad: bool = False,
    ):
        paths = [path] if isinstance(path, Path | str) else [*path]
        if not 1 <= len(paths) <= 2:
            raise DataError(f"{len(paths)} files; {EITHER}")
        self.path = ", ".join(map(str, paths)) if len(paths) == 2 else paths[0]
        self.paths, self.separator, self.skip_bad = paths, separator, skip_bad
        self.columns = Columns(columns, fields)
        self.byte_pairs = BytePairs(())
        self._symbols: tuple[list[Ids], list[Ids]] | None = None  # of sources, of targets
        self.blanked = 0  # pairs of a table with line breaks or tabs, which are now blanks
        mark = separator_byte(separator)
        self.sources: list[bytes] = []
        self.targets: list[bytes] = []
        self.line_numbers: list[int] = []
        self.skipped: list[str] = []  # the message of each line
        for number, pair in self._rows(mark):
            if isinstance(pair, DataError):
                if not skip_bad:
                    raise pair
                self.skipped.append(str(pair))
                continue
            self.sources.append(pair[0])
            self.targets.append(pair[1])
            self.line_numbers.append(number)
        if not self.sources:
            raise DataError(f"{self.path}: no line is a pair; the first: {self.skipped[0]}")

    def _rows(self, mark: bytes) -> Iterator[tuple[int, Pair | DataError]]:
        """The number and the pair of each line, or of each row of a table. Sets `identity`."""
        names = [self.columns.of(path) for path in self.paths]
        if named := names[0]:
            if len(self.paths) == 2:
                raise DataError(f"{self.path}: a table of pairs is one file with both columns")
            table = read_table(self.paths[0], named)
            self.identity, self.blanked = table.identity, table.blanked
            rows: Iterable[tuple[int, Sequence[bytes] | DataError]] = table.rows
        else:
            files = [_lines(path) for path in self.paths]
            self.identity = Identity(tuple(f for identity, _ in files for f in identity.files))
            self._check_counts([len(lines) for _, lines in files], mark)
            rows = enumerate(zip(*(lines for _, lines in files), strict=True), start=1)
        for number, parts in rows:
            try:
                if isinstance(parts, DataError):
                    raise parts
                yield number, self._pair(parts, mark, number)
            except DataError as error:
                yield number, error

    def __len__(self) -> int:
        return len(self.sources)

    def _check_counts(self, counts: Sequence[int], mark: bytes) -> None:
        if not counts[0] and len(counts) == 1:
            raise DataError(
                f"{self.path}: empty; pairs are lines of a source, {separator_name(mark)}, a target"
            )
        if min(counts) != max(counts):
            (a, b), (m, n) = self.paths, counts
            raise DataError(
                f"{a} has {m:,} lines, and {b} has {n:,}; sources and targets in two files need "
                "equally many lines"
            )
        if not counts[0]:
            raise DataError(f"{self.path}: empty; {EITHER}")

    def _pair(self, parts: Sequence[bytes], mark: bytes, number: int) -> Pair:
        """The pair in a line of one file, in a line of each of two files, or in two cells."""
        source, target = parts if len(parts) == 2 else self._split(parts[0], mark, number)
        paths = (self.paths * 2)[:2]
        for part, name, path in zip((source, target), ("source", "target"), paths, strict=True):
            if not part:
                raise DataError(f"{path}: line {number} has an empty {name}")
            if mark in part:
                message = f"line {number} contains the separator, {separator_name(mark)}"
                advice = EITHER if len(self.paths) == 2 else "choose another --separator"
                raise DataError(f"{path}: {message}; {advice}")
        for part, path in zip(parts, paths, strict=False):
            if wrong := not_utf8(part):
                raise DataError(f"{path}: line {number} {wrong}")
        return source, target

    def _split(self, line: bytes, mark: bytes, number: int) -> Sequence[bytes]:
        parts = line.split(mark)
        if len(parts) != 2:
            found = f"has {len(parts) - 1} separators" if len(parts) > 2 else "has no separator"
            pair = f"a pair is a source, {separator_name(mark)}, a target"
            raise self.wrong(number, f"{found}; {pair}{hint(self.paths[0])}")
        return parts

    def wrong(self, number: int, message: str) -> DataError:
        return DataError(f"{self.path}: line {number} {message}")

    def encoded(self, byte_pairs: BytePairs) -> Pairs:
        """These pairs in the symbols of `byte_pairs`. Raises DataError if one of the symbols
        contains the separator or a line feed, as those of a text can."""
        if byte_pairs.pairs == self.byte_pairs.pairs:
            return self
        check_byte_pairs(byte_pairs, self.separator)
        other, kind = copy.copy(self), np.min_scalar_type(len(byte_pairs.names) - 1)
        other.byte_pairs = byte_pairs
        other._symbols = tuple(  # type: ignore[assignment]
            [byte_pairs.encode(line).astype(kind) for line in lines]
            for lines in (self.sources, self.targets)
        )
        return other

    def with_sources(self, symbols: list[Ids]) -> Pairs:
        """These pairs, encoded, with other symbols for the same sources."""
        other = copy.copy(self)
        other._symbols = symbols, [self._symbols_of(n)[1] for n in range(len(self))]
        return other

    def _symbols_of(self, number: int) -> tuple[Ids, Ids]:
        """The symbols of a source and its target."""
        if self._symbols:
            return self._symbols[0][number], self._symbols[1][number]
        pair = self.sources[number], self.targets[number]
        source, target = (np.frombuffer(part, np.uint8) for part in pair)
        return source, target  # type: ignore[return-value]

    def _lengths(self, side: int) -> npt.NDArray[np.intp]:
        """Symbols of each source (side 0) or target (1)."""
        sides = self._symbols or (self.sources, self.targets)
        return np.array([len(part) for part in sides[side]], np.intp)

    def lengths(self) -> npt.NDArray[np.intp]:
        """Input symbols of each pair: source, separator and target."""
        lengths: npt.NDArray[np.intp] = self._lengths(0) + 1 + self._lengths(1)
        return lengths

    def counted(self) -> npt.NDArray[np.intp]:
        """Symbols of each pair with a truth: the target and the end mark."""
        counted: npt.NDArray[np.intp] = self._lengths(1) + 1
        return counted

    def characters(self) -> npt.NDArray[np.intp]:
        """Bytes of each target and its end mark."""
        return np.array([len(target) + 1 for target in self.targets], np.intp)

    def characters_of(self, truth: Ids) -> int:
        """Bytes of all symbols in a truth, without -1."""
        return int(self.byte_pairs.lengths[truth[truth >= 0]].sum())

    def check(self, inputs: int, longest: int | None = None) -> None:
        """Raise DataError for the first pair with a byte of `inputs` or above, or for the longest
        pair if it has more than `longest` symbols (time_steps)."""
        check_separator(self.separator, inputs)
        lengths = self.lengths()
        too_long = 0 if longest is None else int((lengths > longest).sum())
        if too_long:
            at = int(np.argmax(lengths))
            others = f", and {too_long - 1:,} more are too long" if too_long > 1 else ""
            raise self.wrong(
                self.line_numbers[at],
                f"has {lengths[at]} symbols, which is the longest pair{others} for "
                f"time_steps={longest}; --set net.time_steps={lengths[at]} fits all",
            )
        if inputs < BYTES:
            pairs = zip(self.sources, self.targets, strict=True)
            for number, pair in zip(self.line_numbers, pairs, strict=True):
                if message := beyond(b"".join(pair), inputs):
                    raise self.wrong(number, message)

    def batch(self, numbers: Sequence[int] | npt.NDArray[np.intp], streams: int) -> Batch:
        """The pairs with these indices, at most `streams` of them, side by side."""
        lines = [self._symbols_of(int(n)) for n in numbers]
        steps = max(len(source) + 1 + len(target) for source, target in lines)
        x = np.full((steps, streams), END)
        truth = np.full((steps, streams), -1)
        for stream, (source, target) in enumerate(lines):
            begin, end = len(source), len(source) + 1 + len(target)
            x[:begin, stream], x[begin, stream] = source, ord(self.separator)
            x[begin + 1 : end, stream] = truth[begin : end - 1, stream] = target
            truth[end - 1, stream] = END
        return Batch(x, truth, len(lines))

    def by_hash(self) -> Ids:
        """Numbers of all pairs, in the order of hashes of their sources."""
        hashes = np.array([_hash(source) for source in self.sources])
        return np.argsort(hashes, kind="stable")

    def split(self, valid_fraction: float) -> tuple[Ids, Ids]:
        """Numbers of the training pairs and of the held-out pairs.

        Files of pairs are often sorted, so the end is not representative. Instead, the sources with
        the lowest hashes are held out: the same ones in every run, independent of their order, and
        no source is on both sides.
        """
        if not 0 <= valid_fraction < 1:
            raise DataError(f"valid_fraction {valid_fraction} is not at least 0 and below 1")
        hashes = np.array([_hash(source) for source in self.sources])
        order = np.argsort(hashes, kind="stable")
        count = int(len(order) * valid_fraction)
        kept_out = hashes < hashes[order[min(count, len(order) - 1)]]
        return np.flatnonzero(~kept_out), order[: int(kept_out.sum())]


def _lines(path: Path | str) -> tuple[Identity, list[bytes]]:
    """The lines of a file without their ends."""
    with open_regular(path, named(path, DataError)) as file:
        identity = Identity.of(path, file)
        data = file.read()
    lines = data.removeprefix(MARK).split(b"\n")
    if not lines[-1]:  # after a final line feed
        lines.pop()
    return identity, [line.removesuffix(b"\r") for line in lines]


def read_sources(lines: Iterable[bytes], name: str, separator: str, inputs: int) -> list[Line]:
    """The lines of a file, each a source, or a source, the separator and a target. name: the
    file's, for messages. inputs: the network's symbols. Raises DataError for the first malformed
    line, and if there are no lines."""
    mark, read = separator_byte(separator), []
    for number, line in enumerate(lines, start=1):
        text = (line.removeprefix(MARK) if number == 1 else line).removesuffix(b"\n")
        text = text.removesuffix(b"\r")
        source, *targets = text.split(mark)
        if message := _unreadable(source, targets, mark) or not_utf8(text) or beyond(text, inputs):
            raise DataError(f"{name}: line {number} {message}")
        read.append(Line(number, source, targets[0] if targets else None))
    if not read:
        raise DataError(
            f"{name}: empty; expected lines of a source, or of a source, {separator_name(mark)} "
            "and a target"
        )
    return read


def _unreadable(source: bytes, targets: Sequence[bytes], mark: bytes) -> str | None:
    """A message if a line is neither a source nor a pair."""
    if len(targets) > 1:
        pair = f"a pair is a source, {separator_name(mark)}, a target"
        return f"has {len(targets)} separators; {pair}"
    if not source:
        return "has an empty source"
    if targets == [b""]:
        return "has an empty target; a line without a separator has the network's prediction"
    return None


def _hash(source: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(source, digest_size=7).digest())


def separator_byte(separator: str) -> bytes:
    """Raises DataError for a separator that is not one byte, or that ends a line."""
    if len(separator) != 1 or not separator.isascii() or separator in "\r\n":
        raise DataError(
            f"separator {echo(separator)} is not one ASCII character other than a line end"
        )
    return separator.encode()


def check_separator(separator: str, inputs: int) -> None:
    """Raise DataError if the network lacks the separator's symbol or the end mark."""
    if max(ord(separator), END) >= inputs:
        raise DataError(
            f"a line feed and the separator {echo(separator)} are not among this network's "
            f"symbols, 0 to {inputs - 1}; bytes need inputs=256"
        )


def check_byte_pairs(byte_pairs: BytePairs, separator: str) -> None:
    """Raise DataError if a symbol contains the separator or the end mark besides other bytes."""
    marks = {ord(separator), END}
    for symbol, name in enumerate(byte_pairs.names[BYTES:], start=BYTES):
        if marks & {*name}:
            raise DataError(
                f"symbol {symbol} of [bytepairs] is {echo(name.decode(errors='replace'))}, which "
                "contains the separator or a line feed; pairs need symbols that were learned from "
                "pairs with this separator"
            )


def beyond(line: bytes, inputs: int) -> str | None:
    """A message if the line contains bytes that are not symbols of the network."""
    if inputs < BYTES and (most := max(line, default=0)) >= inputs:
        return f"contains byte {most}; this network's symbols are 0 to {inputs - 1}"
    return None


def in_symbols(net: Network, pairs: Pairs, numbers: Ids) -> Pairs:
    """The pairs as symbols of this network. If it has a [bytepairs] that is empty, it learns from
    the sources and targets of the pairs with these numbers. Raises DataError."""
    learned = ((pairs.sources[n], pairs.targets[n]) for n in numbers)
    return pairs.encoded(learn_from_lines(learned, net))


def separator_name(mark: bytes) -> str:
    return "a tab" if mark == TAB.encode() else echo(mark.decode())


def epoch_order(
    numbers: Ids, lengths: npt.NDArray[np.intp], streams: int, seed: int, epoch: int
) -> list[Ids]:
    """The passes of an epoch: each of `numbers` once, `streams` at a time, the rest in the last.
    The pairs of a pass have similar lengths. The order depends only on seed and epoch."""
    rng = np.random.default_rng([seed % 2**64, epoch, 2])
    shuffled = rng.permutation(numbers)
    pools = [shuffled[at : at + POOL * streams] for at in range(0, len(shuffled), POOL * streams)]
    passes = []
    for pool in pools:
        by_length = pool[np.argsort(lengths[pool], kind="stable")]
        passes += [by_length[at : at + streams] for at in range(0, len(pool), streams)]
    return [passes[n] for n in rng.permutation(len(passes))]
