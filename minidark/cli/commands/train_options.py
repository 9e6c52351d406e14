"""The options of `minidark train`, and what follows from them: the network, the data, the run."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from minidark.cli.command import typed
from minidark.cli.commands import resuming
from minidark.cli.commands.doubts import classes_doubt, pairs_doubt, text_doubts
from minidark.cli.options.cfg_options import CfgChoice
from minidark.cli.options.compute import Compute
from minidark.cli.options.numbers import LARGEST_INT
from minidark.cli.options.pair_options import open_pairs
from minidark.cli.options.texts import open_text
from minidark.data.pairs import TAB, Pairs
from minidark.data.text import Symbols
from minidark.errors import CfgError
from minidark.network import Network
from minidark.network.parser import set_max_batches
from minidark.training.checkpoint import Checkpoint, restore_byte_pairs
from minidark.training.feeds import PairsFeed, feed
from minidark.training.parallel.ranks import Ranks
from minidark.training.train import Training
from minidark.training.train import train as train_network
from minidark.weights.run_folder import base_name


@dataclass(slots=True)
class Options:
    """The options of the command line. `look_up` fills in the saved values of a resumed run."""

    cfg: str
    data: tuple[str, ...]
    weights: str | None
    clear: bool
    resume: str | None
    backup: str
    save_every: int
    batches: int | None
    epochs: float | None
    seed: int | None
    valid_fraction: float
    patience: int | None
    clip_norm: float | None
    shards: int | None
    tensorboard: bool
    as_json: bool
    ranks: Ranks
    compute: Compute
    tokenized: bool
    tokens: str | None
    explain: bool
    pairs: bool
    separator: str
    columns: str | None
    fields: str | None
    valid: tuple[str, ...]
    skip_bad: bool
    choice: CfgChoice
    checkpoint: Checkpoint | None = None
    checkpoint_path: Path | None = None

    @property
    def path(self) -> Path:
        """The path of the cfg."""
        return self.choice.path(self.cfg)

    @property
    def has_tokens(self) -> bool:
        """Whether the symbols of the text are not its bytes."""
        return self.tokenized or self.tokens is not None

    @property
    def newest(self) -> Path:
        """The path of the run's checkpoint."""
        return Path(self.backup, f"{base_name(self.path)}.ckpt")

    def look_up(self) -> None:
        """Take the saved values from the checkpoint of --resume; draw a missing seed."""
        self._choose_length()
        if self.resume is not None:
            self.checkpoint_path, self.checkpoint = resuming.find(self.resume, self.newest)
        if checkpoint := self.checkpoint:
            self.weights, self.clear = None, False
            self.seed, self.valid_fraction = checkpoint.seed, checkpoint.valid_fraction
            self.tokenized, self.pairs = checkpoint.tokenized, checkpoint.pairs
            self.separator = checkpoint.separator or TAB
            self.skip_bad = checkpoint.skip_bad
            self.columns, self.fields = checkpoint.columns, checkpoint.fields
            if not self.valid:
                files = [str(file["path"]) for file in checkpoint.valid]
                self.valid = tuple(files[:1] if self.tokenized else files)
            if self.tokenized and self.tokens is None and len(checkpoint.text) > 1:
                self.tokens = str(checkpoint.text[1]["path"])
            if self.batches is None and self.epochs is None:
                self.batches = checkpoint.batches
            self.patience = checkpoint.patience if self.patience is None else self.patience
            self.compute = resuming.computed_as(self.compute, checkpoint)
        drawn = self.ranks.leading(secrets.randbelow(2**31))
        self.seed = drawn if self.seed is None else self.seed

    def _choose_length(self) -> None:
        """Raises UsageError for --batches with --epochs. If one of them comes from the environment,
        the other one counts."""
        if self.batches is None or self.epochs is None:
            return
        if typed("batches") == typed("epochs"):
            raise click.UsageError("use either --batches or --epochs, not both")
        if typed("batches"):
            self.epochs = None
        else:
            self.batches = None

    def network(self) -> Network:
        """The network. Without --epochs, also sets its number of batches. Raises UsageError and
        CfgError if there is no batch to train."""
        choice = self.choice
        if self.epochs is not None:
            choice = choice.with_override("net.max_batches=1")  # until the size of DATA is known
        elif self.batches is not None:
            choice = choice.with_override(f"net.max_batches={self.batches}")
        net = choice.load(self.cfg, self.weights, seed=self.seed, **self.compute.loading)
        net.seen = 0 if self.clear else net.seen
        if self.epochs is None:
            self._end_at(net, net.options.max_batches)
        return net

    def _end_at(self, net: Network, batches: int) -> None:
        self.batches = batches
        _check_batches(net, batches, self.path)
        self.compute.settle(net, multiply_adds(net, batches - net.batches_seen))

    def _end_after_epochs(
        self, net: Network, epochs: float, data: Symbols | Pairs, valid: Symbols | Pairs | None
    ) -> None:
        """Set the number of batches that read the training part of DATA `epochs` times, after those
        before this run."""
        begin = net.batches_seen
        if self.checkpoint:
            begin = self.checkpoint.batch - self.checkpoint.updates
            restore_byte_pairs(net, self.checkpoint)
        passes = feed(data, net, 0, self.valid_fraction, valid=valid).epoch_passes
        batches = begin + math.ceil(Fraction(str(epochs)) * passes / net.options.subdivisions)
        if batches > LARGEST_INT:
            raise click.UsageError(
                f"--epochs {epochs:g} is {batches:,} batches, more than {LARGEST_INT:,}"
            )
        set_max_batches(net, batches)
        self._end_at(net, batches)

    @contextlib.contextmanager
    def opened(self, net: Network) -> Iterator[tuple[Symbols | Pairs, Symbols | Pairs | None]]:
        """The texts, or the pairs, which stay in memory; and those of --valid."""
        self._check_data()
        with contextlib.ExitStack() as stack:
            data = self._open(self.data, net, stack)
            valid = self._open(self.valid, net, stack) if self.valid else None
            if self.epochs is not None:
                self._end_after_epochs(net, self.epochs, data, valid)
            yield data, valid

    def _open(
        self, paths: Sequence[str], net: Network, stack: contextlib.ExitStack
    ) -> Symbols | Pairs:
        if not self.pairs:
            return stack.enter_context(open_text(paths, net, self.tokenized, self.tokens))
        return open_pairs(paths, self.separator, self.skip_bad, self.columns, self.fields)

    def _check_data(self) -> None:
        """Raises UsageError for options that do not go together."""
        of_pairs = ("separator", "skip_bad", "columns", "fields")
        for name in of_pairs if not self.pairs else ():
            if typed(name):
                raise click.UsageError(f"--{name.replace('_', '-')} needs --pairs")
        if typed("tokenized") and typed("tokens"):
            raise click.UsageError("use either --tokenized or --tokens, not both")
        for name in ("tokenized", "tokens") if self.pairs else ():
            if typed(name):
                message = f"--{name} is for texts; the symbols of pairs are bytes"
                raise click.UsageError(message)
        if self.valid and typed("valid_fraction"):
            raise click.UsageError("--valid holds out nothing; omit --valid-fraction")

    def training(
        self, net: Network, data: tuple[Symbols | Pairs, Symbols | Pairs | None], **more: Any
    ) -> Training:
        text, valid = data
        assert self.batches is not None
        assert self.seed is not None
        return train_network(
            net,
            text,
            self.batches,
            seed=self.seed,
            valid_fraction=self.valid_fraction,
            valid=valid,
            patience=self.patience,
            resume=self.checkpoint,
            clip_norm=self.clip_norm,
            **more,
        )

    def doubts(self, training: Training) -> Iterator[str]:
        """Warnings before a new run."""
        if isinstance(training.feed, PairsFeed):
            if doubt := classes_doubt(training.feed.pairs):
                yield doubt
            return
        yield from text_doubts(training.net, [] if self.has_tokens else self.data)
        if not self.has_tokens and (doubt := pairs_doubt(self.path, self.data)):
            yield doubt


def _check_batches(net: Network, batches: int, path: object) -> None:
    if not batches:
        raise CfgError("no max_batches in [net]; add it, or use --batches N", str(path))
    if net.batches_seen >= batches:
        raise click.UsageError(
            f"these weights have already seen {net.batches_seen} of {batches} batches; "
            "use a larger --batches, or --clear to count from zero"
        )


def multiply_adds(net: Network, batches: int) -> float:
    """Multiply-adds of training: one per weight in the forward pass, two in the backward pass."""
    return 3.0 * net.options.rows * net.options.subdivisions * batches * net.work()
