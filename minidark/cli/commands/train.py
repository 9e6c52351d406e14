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
from minidark.cli.options.pair_options import open_pairs, separator_option, skip_option
from minidark.cli.options.ranks import Finished, ranks_option
from minidark.cli.options.stopping import Stop, stoppable
from minidark.cli.options.texts import open_text
from minidark.cli.output.display import JsonLines, display, sample_note
from minidark.cli.output.explained import show
from minidark.cli.output.next_steps import next_commands
from minidark.cli.output.stderr import tell
from minidark.data.pairs import TAB, Pairs
from minidark.data.text import Symbols
from minidark.errors import CfgError
from minidark.network import Network
from minidark.training.backups import SAVE_EVERY, Backups
from minidark.training.checkpoint import FALLING, Checkpoint
from minidark.training.explain import explain
from minidark.training.parallel.ranks import Ranks
from minidark.training.report import StepReport
from minidark.training.run import follow
from minidark.training.train import Training
from minidark.training.train import train as train_network
from minidark.weights.run_folder import BACKUP, FINAL, base_name

log = logging.getLogger(__name__)


@click.command()
@click.argument("cfg")
@click.argument("data", nargs=-1, required=True)
@click.option("--weights", metavar="FILE", help="Weights to start a new run from.")
@click.option(
    "--clear", is_flag=True, help="Count `seen` from zero, not from the count in --weights."
)
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
@click.option("--valid", multiple=True, metavar="FILE",
              help="Validate on FILE, and hold out nothing of DATA. Repeat it for the targets of "
              "pairs in two files, or for several texts.")  # fmt: skip
@click.option("--patience", type=count(), metavar="N",
              help="Early stopping: end after N validations without a new best.")  # fmt: skip
@click.option("--clip-norm", type=Number(0, min_open=True), metavar="X",
              help="Clip the norm of the mean gradient at X.")  # fmt: skip
@click.option("--shards", type=count(), metavar="G",
              help="Split the streams into G groups, a power of two, and compute a gradient for "
              "each group [one for each process].")  # fmt: skip
@click.option("--tensorboard", is_flag=True,
              help="Write TensorBoard events to DIR/tensorboard/.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print the lines of log.jsonl as they are written; with --explain, print one "
              "JSON object.")  # fmt: skip
@ranks_option
@compute_options("auto")
@click.option("--tokenized", is_flag=True, help="DATA is integers separated by blanks, not bytes.")
@click.option("--tokens", metavar="FILE", help="Names of the symbols, as for generate: DATA is "
              "read in these words or characters.")  # fmt: skip
@click.option("--explain", is_flag=True,
              help="Print size, time and learning rates without training.")  # fmt: skip
@click.option("--pairs", is_flag=True, help="DATA is a file of pairs: source, tab and target on "
              "each line, or a file of sources and a file of targets. The network learns to "
              "predict the targets.")  # fmt: skip
@separator_option("With --pairs: character")
@skip_option("With --pairs: skip")
@cfg_options
def train(**values: Any) -> None:
    """Train a network on a text or on pairs.

    \b
    minidark train rnn data.txt
    minidark train gru book1.txt book2.txt --backup runs/books --seed 1
    minidark train rnn more.txt --weights backup/rnn_final.weights --clear
    minidark train rnn data.txt --resume auto
    minidark train rnn data.txt --explain
    minidark train pairs pairs.tsv --pairs
    minidark train pairs a.de a.en --pairs --valid b.de --valid b.en

    Several DATA files are read one after another, as one text of bytes. The run writes
    BASE.backup, BASE_best.weights, BASE_final.weights and the checkpoint BASE.ckpt to the backup
    folder. BASE is the cfg's name. Ctrl-C finishes the batch, saves BASE.backup and BASE.ckpt,
    and stops.

    --weights starts a new run from existing weights. --resume continues an interrupted run, with
    the same cfg and text and byte-identical results.

    `mpiexec -n 4 minidark train ...` trains one network on four ranks. Each rank processes its
    shards of the streams.
    """
    options = Options(**values)
    if not options.backup:
        raise click.UsageError("--backup needs a folder name")
    options.look_up()
    net = options.network()
    if not options.explain:
        _run(options, net)
    elif options.ranks.leads:
        _explain(options, net)


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
        if self.resume is not None:
            self.checkpoint_path, self.checkpoint = resuming.find(self.resume, self.newest)
        if checkpoint := self.checkpoint:
            self.weights, self.clear = None, False
            self.seed, self.valid_fraction = checkpoint.seed, checkpoint.valid_fraction
            self.tokenized, self.pairs = checkpoint.tokenized, checkpoint.pairs
            self.separator = checkpoint.separator or TAB
            self.skip_bad = checkpoint.skip_bad
            if not self.valid:
                files = [str(file["path"]) for file in checkpoint.valid]
                self.valid = tuple(files[:1] if self.tokenized else files)
            if self.tokenized and self.tokens is None and len(checkpoint.text) > 1:
                self.tokens = str(checkpoint.text[1]["path"])
            self.batches = checkpoint.batches if self.batches is None else self.batches
            self.patience = checkpoint.patience if self.patience is None else self.patience
            self.compute = resuming.computed_as(self.compute, checkpoint)
        drawn = self.ranks.leading(secrets.randbelow(2**31))
        self.seed = drawn if self.seed is None else self.seed

    def network(self) -> Network:
        """Raises UsageError and CfgError if there is no batch to train."""
        choice = self.choice
        if self.batches is not None:
            choice = choice.with_override(f"net.max_batches={self.batches}")
        net = choice.load(self.cfg, self.weights, seed=self.seed, **self.compute.loading)
        net.seen = 0 if self.clear else net.seen
        self.batches = net.options.max_batches
        _check_batches(net, self.batches, self.path)
        self.compute.settle(net, multiply_adds(net, self.batches - net.batches_seen))
        return net

    @contextlib.contextmanager
    def opened(self, net: Network) -> Iterator[tuple[Symbols | Pairs, Symbols | Pairs | None]]:
        """The texts, or the pairs, which stay in memory; and those of --valid."""
        self._check_data()
        with contextlib.ExitStack() as stack:
            yield (
                self._open(self.data, net, stack),
                self._open(self.valid, net, stack) if self.valid else None,
            )

    def _open(
        self, paths: Sequence[str], net: Network, stack: contextlib.ExitStack
    ) -> Symbols | Pairs:
        if not self.pairs:
            return stack.enter_context(open_text(paths, net, self.tokenized, self.tokens))
        return open_pairs(paths, self.separator, self.skip_bad)

    def _check_data(self) -> None:
        """Raises UsageError for options that do not go together."""
        for name in ("separator", "skip_bad") if not self.pairs else ():
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

    def doubts(self, net: Network) -> Iterator[str]:
        """Warnings before a new run."""
        if not self.pairs:
            yield from text_doubts(net, [] if self.has_tokens else self.data)
        if not (self.pairs or self.has_tokens) and (doubt := pairs_doubt(self.path, self.data)):
            yield doubt


def _explain(options: Options, net: Network) -> None:
    with options.opened(net) as data:
        shards = options.shards or options.ranks.size
        training = options.training(net, data, baseline=False, shards=shards)
        if training.over:
            log.info(_over(training))
        else:
            show(explain(training), options.as_json)


def _run(options: Options, net: Network) -> None:
    """Train. Only the leading rank writes files and shows output."""
    ranks = options.ranks
    with options.opened(net) as data, stoppable(ranks.leads) as stop:
        with stop.before_batches():
            training = options.training(
                net, data, baseline=bool(options.weights), shards=options.shards, ranks=ranks
            )
            if not training.over:
                training.rehearse()
        if training.over:
            log.info(_over(training))
            return
        if options.checkpoint:
            log.info(
                "resuming from %s, after batch %d",
                options.checkpoint_path,
                options.checkpoint.batch,
            )
        report = _lead(options, training, stop) if ranks.leads else follow(training, (), stop)
    stopped = stop.due and report and not report.last
    if stopped and ranks.leads:
        saved = Path(options.backup, f"{base_name(options.path)}{BACKUP}")
        tell(f"minidark: stopped; {saved} is saved, --resume auto continues")
    if stopped:
        raise Finished(128 + stop.due)
    if ranks.leads:
        _tell_end(options, net, report)


def _tell_end(options: Options, net: Network, report: StepReport | None) -> None:
    """After the last batch: show its sample, the final weights, and what to do with them."""
    base = base_name(options.path)
    shown = log.isEnabledFor(logging.INFO) and not options.as_json
    if shown and report and report.sample is not None:
        tell(sample_note(report))
    log.info("wrote %s", Path(options.backup, f"{base}{FINAL}"))
    if not options.as_json:
        commands = next_commands(
            net, options.backup, base, options.data, pairs=options.pairs, valid=options.valid,
            tokens=options.tokens, tokenized=options.tokenized,
        )  # fmt: skip
        log.info("next, you can type\n%s", "\n".join(f"    {command}" for command in commands))


def _lead(options: Options, training: Training, stop: Stop) -> StepReport | None:
    """Train with the followers that write and show the run."""
    net = training.net
    before = options.newest.exists()
    backups = Backups(
        net,
        options.backup,
        options.path,
        options.save_every,
        training=training,
        command=["minidark", *sys.argv[1:]],
        resumed=options.checkpoint,
        overrides=options.choice.overrides,
        tensorboard=options.tensorboard,
    )
    with (
        display(training.batches, net.predicts_symbols) as shown,
        backups,
        JsonLines(options.as_json) as lines,
    ):
        if not options.checkpoint:
            for doubt in options.doubts(net):
                shown.note(f"minidark: warning: {doubt}")
            if backups.former or before:
                shown.note(f"minidark: warning: {_replacing(options.newest, backups)}")
        shown.note(_beginning(training))
        return follow(training, [backups, shown, lines], stop)


def _replacing(newest: Path, backups: Backups) -> str:
    """A warning that the folder already contains a run; `newest` is the path of its checkpoint."""
    resume = "--resume auto continues that run, " if newest.exists() else ""
    files = "its files will be overwritten"
    if backups.former:
        when = "when they are replaced" if backups.one_by_one else "at the first save"
        files = (
            f"its weights will be renamed to FILE{backups.aside} {when}, and its other files "
            "will be overwritten"
        )
    return f"{newest.parent} already contains a run; {files}; {resume}another --backup keeps it"


def _over(training: Training) -> str:
    net, batches = training.net, training.batches
    if net.batches_seen < batches:
        return "this run is finished by early stopping; a larger --patience continues it"
    if net.options.policy in FALLING:
        return (
            f"this run is finished: its learning-rate schedule ended at batch {batches}; to train "
            "further, start a new run with --weights FILE --clear"
        )
    return f"this run is finished after {batches} batches; --batches N continues it"


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
