"""`minidark train`."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from minidark.cli.command import typed
from minidark.cli.commands import resuming
from minidark.cli.commands.doubts import pairs_doubt, text_doubts
from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import Number, count
from minidark.cli.options.pair_options import separator_option
from minidark.cli.options.ranks import Finished, ranks_option
from minidark.cli.options.stopping import Stop, stoppable
from minidark.cli.output.display import JsonLines, display
from minidark.cli.output.explained import show
from minidark.cli.output.stderr import tell
from minidark.data.pairs import TAB, Pairs
from minidark.data.text import Symbols, Text
from minidark.data.tokens import TokenText
from minidark.errors import CfgError
from minidark.network import Network
from minidark.training.backups import SAVE_EVERY, Backups, base_name
from minidark.training.checkpoint import FALLING, Checkpoint
from minidark.training.explain import explain
from minidark.training.parallel.ranks import Ranks
from minidark.training.report import StepReport
from minidark.training.run import follow
from minidark.training.train import Training
from minidark.training.train import train as train_network

log = logging.getLogger(__name__)


@click.command()
@click.argument("cfg")
@click.argument("data", nargs=-1, required=True)
@click.option("--weights", metavar="FILE", help="Weights to start a new run from.")
@click.option("--clear", is_flag=True, help="Reset `seen`, the counter in --weights, to zero.")
@click.option("--resume", metavar="auto|FILE",
              help="Resume from a checkpoint; auto picks the newest valid one in --backup. Omitted "
              "options keep their saved values.")  # fmt: skip
@click.option("--backup", default="backup", show_default=True, metavar="DIR",
              help="Folder for weights, checkpoint and log; created if missing.")  # fmt: skip
@click.option("--save-every", type=count(), default=SAVE_EVERY, show_default=True, metavar="N",
              help="Batches between two saves of BASE.backup.")  # fmt: skip
@click.option("--batches", type=count(), metavar="N",
              help="Total number of batches, including those already counted in --weights. "
              "Replaces the cfg's max_batches, so it also sets the length of the learning-rate "
              "schedule.")  # fmt: skip
@click.option("--seed", type=int, metavar="N",
              help="Random seed for initial weights and streams [a new one].")  # fmt: skip
@click.option("--valid-fraction", type=Number(0, 1, max_open=True), default=0.05, metavar="F",
              show_default=True, help="Fraction of the data for validation: the end of a text, or "
              "the same pairs in every run.")  # fmt: skip
@click.option("--patience", type=count(), metavar="N",
              help="Early stopping: end after N validations without a new best.")  # fmt: skip
@click.option("--clip-norm", type=Number(0, min_open=True), metavar="X",
              help="Clip the norm of the mean gradient at X.")  # fmt: skip
@click.option("--shards", type=count(), metavar="G",
              help="Split the streams into G groups, a power of two, and compute a gradient for "
              "each group [one for each rank].")  # fmt: skip
@click.option("--tensorboard", is_flag=True,
              help="Write TensorBoard events to DIR/tensorboard/.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print the lines of log.jsonl as they are written; with --explain, print one "
              "JSON object.")  # fmt: skip
@ranks_option
@compute_options("auto")
@click.option("--tokenized", is_flag=True, help="DATA is integers separated by blanks, not bytes.")
@click.option("--explain", is_flag=True,
              help="Print size, time and learning rates without training.")  # fmt: skip
@click.option("--pairs", is_flag=True, help="DATA is a file of pairs: source, tab and target on "
              "each line. The network learns to predict the targets.")  # fmt: skip
@separator_option("With --pairs: character")
@cfg_options
def train(**options: Any) -> None:
    """Train a network on a text or on pairs.

    \b
    minidark train rnn data.txt
    minidark train gru book1.txt book2.txt --backup runs/books --seed 1
    minidark train rnn more.txt --weights backup/rnn_final.weights --clear
    minidark train rnn data.txt --resume auto
    minidark train rnn data.txt --explain
    minidark train pairs pairs.tsv --pairs

    Several DATA files are read one after another, as one text of bytes. The run writes
    BASE.backup, BASE_best.weights, BASE_final.weights and the checkpoint BASE.ckpt to the backup
    folder. BASE is the cfg's name. Ctrl-C finishes the batch, saves BASE.backup and BASE.ckpt,
    and stops.

    --weights starts a new run from existing weights. --resume continues an interrupted run, with
    the same cfg and text and byte-identical results.

    `mpiexec -n 4 minidark train ...` trains one network on four ranks. Each rank processes its
    shards of the streams.
    """
    asked = Asked(**options)
    if not asked.backup:
        raise click.UsageError("--backup needs the name of a folder")
    asked.look_up()
    net = asked.network()
    if not asked.explain:
        _run(asked, net)
    elif asked.ranks.leads:
        _explain(asked, net)


@dataclass(slots=True)
class Asked:
    """What the command line asks for. After `look_up`, of a run that is resumed, what it was begun
    with."""

    cfg: str
    data: tuple[str, ...]
    weights: str | None
    clear: bool
    resume: str | None
    backup: str
    save_every: int
    batches: int | None
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
    explain: bool
    pairs: bool
    separator: str
    choice: CfgChoice
    since: Checkpoint | None = None
    found_at: Path | None = None

    @property
    def path(self) -> Path:
        """Of the cfg."""
        return self.choice.path(self.cfg)

    @property
    def newest(self) -> Path:
        """Where the run's checkpoint is kept."""
        return Path(self.backup, f"{base_name(self.path)}.ckpt")

    def look_up(self) -> None:
        """Take over what the checkpoint of --resume says, and draw a seed where none is given."""
        if self.resume is not None:
            self.found_at, self.since = resuming.find(self.resume, self.newest)
        if since := self.since:
            self.weights, self.clear = None, False
            self.seed, self.valid_fraction = since.seed, since.valid_fraction
            self.tokenized, self.pairs = since.tokenized, since.pairs
            self.separator = since.separator or TAB
            self.batches = since.batches if self.batches is None else self.batches
            self.patience = since.patience if self.patience is None else self.patience
            self.compute = resuming.computed_as(self.compute, since)
        drawn = self.ranks.leading(secrets.randbelow(2**31))
        self.seed = drawn if self.seed is None else self.seed

    def network(self) -> Network:
        """Raises UsageError and CfgError where there is no batch to train."""
        choice = self.choice
        if self.batches is not None:
            choice = choice.overruled(f"net.max_batches={self.batches}")
        net = choice.load(self.cfg, self.weights, seed=self.seed, **self.compute.loading)
        net.seen = 0 if self.clear else net.seen
        self.batches = net.options.max_batches
        _check_batches(net, self.batches, self.path)
        self.compute.settle(net, multiply_adds(net, self.batches - net.batches_seen))
        return net

    def opened(self, net: Network) -> contextlib.AbstractContextManager[Symbols | Pairs]:
        """The texts; or pairs, which are held in memory."""
        if not self.pairs:
            if typed("separator"):
                raise click.UsageError("--separator goes with --pairs")
            return open_text(self.data, net, self.tokenized)
        if self.tokenized:
            raise click.UsageError("--tokenized is for texts; the symbols of pairs are bytes")
        if len(self.data) > 1:
            raise click.UsageError("pairs are one file")
        return contextlib.nullcontext(Pairs(self.data[0], self.separator))

    def training(self, net: Network, text: Symbols | Pairs, **more: Any) -> Training:
        assert self.batches is not None
        assert self.seed is not None
        return train_network(
            net,
            text,
            self.batches,
            seed=self.seed,
            valid_fraction=self.valid_fraction,
            patience=self.patience,
            resume=self.since,
            clip_norm=self.clip_norm,
            **more,
        )

    def doubts(self, net: Network) -> Iterator[str]:
        """Of a run that begins."""
        if not self.pairs:
            yield from text_doubts(net, [] if self.tokenized else self.data)
        if not (self.pairs or self.tokenized) and (doubt := pairs_doubt(self.path, self.data)):
            yield doubt


def _explain(asked: Asked, net: Network) -> None:
    with asked.opened(net) as text:
        shards = asked.shards or asked.ranks.size
        training = asked.training(net, text, baseline=False, shards=shards)
        if training.over:
            log.info(_over(training))
        else:
            show(explain(training), asked.as_json)


def _run(asked: Asked, net: Network) -> None:
    """Train; on the rank that leads with all that is written and shown."""
    ranks = asked.ranks
    with asked.opened(net) as text, stoppable(ranks.leads) as stop:
        with stop.before_batches():
            training = asked.training(
                net, text, baseline=bool(asked.weights), shards=asked.shards, ranks=ranks
            )
            if not training.over:
                training.rehearse()
        if training.over:
            log.info(_over(training))
            return
        if asked.since:
            log.info("going on from %s, after batch %d", asked.found_at, asked.since.batch)
        report = _lead(asked, training, stop) if ranks.leads else follow(training, (), stop)
    stopped = stop.due and report and not report.last
    if stopped and ranks.leads:
        saved = Path(asked.backup, f"{base_name(asked.path)}.backup")
        tell(f"minidark: stopped; {saved} is saved, --resume auto goes on")
    if stopped:
        raise Finished(128 + stop.due)
    if ranks.leads:
        final = Path(asked.backup, f"{base_name(asked.path)}_final.weights")
        log.info("%s is written", final)


def _lead(asked: Asked, training: Training, stop: Stop) -> StepReport | None:
    """The run with its followers."""
    net = training.net
    before = asked.newest.exists()
    backups = Backups(
        net,
        asked.backup,
        asked.path,
        asked.save_every,
        training=training,
        command=["minidark", *sys.argv[1:]],
        resumed=asked.since,
        overrides=asked.choice.overrides,
        tensorboard=asked.tensorboard,
    )
    with (
        display(training.batches, net.predicts_symbols) as shown,
        backups,
        JsonLines(asked.as_json) as lines,
    ):
        if not asked.since:
            for doubt in asked.doubts(net):
                shown.note(f"minidark: warning: {doubt}")
            if backups.former or before:
                shown.note(f"minidark: warning: {_replacing(asked.newest, backups)}")
        shown.note(_beginning(training))
        return follow(training, [backups, shown, lines], stop)


def _replacing(newest: Path, backups: Backups) -> str:
    """What becomes of a run that was in the folder; `newest` is its checkpoint, if there is one."""
    goes_on = "--resume auto goes on with that run, " if newest.exists() else ""
    renamed = bool(backups.former)
    when = "replaces them" if backups.one_by_one else "first saves"
    weights = f"whose weights are renamed to FILE{backups.aside} when this one {when}, and "
    return (
        f"{newest.parent} holds a run before this one, {weights if renamed else ''}whose "
        f"{'other ' if renamed else ''}files it replaces; {goes_on}another --backup keeps it"
    )


def _over(training: Training) -> str:
    net, batches = training.net, training.batches
    if net.batches_seen < batches:
        return "this run has ended by its --patience; a larger one lets it go on"
    seen = f"this run has seen its {batches} batches"
    if net.options.policy in FALLING:
        return (
            f"{seen}, and its rate has fallen to the end; --weights begins another from its weights"
        )
    return f"{seen}; --batches N lets it go on"


def _check_batches(net: Network, batches: int, path: object) -> None:
    if not batches:
        raise CfgError("no max_batches in [net]; add it, or give --batches N", str(path))
    if net.batches_seen >= batches:
        raise click.UsageError(
            f"these weights have seen {net.batches_seen} of {batches} batches already; "
            "give more --batches, or --clear to count anew"
        )


def multiply_adds(net: Network, batches: int) -> float:
    """Of training: each weight is used in the forward pass and twice in the backward pass."""
    return 3.0 * net.options.rows * net.options.subdivisions * batches * net.work()


def open_text(paths: Sequence[str], net: Network, tokenized: bool) -> Symbols:
    """The texts, as bytes or as tokens."""
    if not tokenized:
        return Text(paths, net.inputs)
    if len(paths) > 1:
        raise click.UsageError("a tokenized text is one file")
    return TokenText(paths[0], net.inputs)


def _beginning(training: Training) -> str:
    net = training.net
    parameters = sum(p.value.size for p in net.parameters())
    steps = f"{net.options.time_steps} steps"
    if net.backend.name != "cpu":
        steps += f" on {net.backend.name}"
    elif net.backend.fast:
        steps += " with the fast kernels"
    return (
        f"{parameters:,} parameters, {net.streams} streams of {steps}; "
        f"{training.feed.amounts()}; --seed {training.seed}"
    )
