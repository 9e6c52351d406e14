"""`minidark train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from minidark.backend import BF16
from minidark.cfg.described import title
from minidark.cli.command import command_words
from minidark.cli.commands.train_options import Options
from minidark.cli.options.cfg_options import cfg_options
from minidark.cli.options.compute import compute_options
from minidark.cli.options.numbers import Number, count
from minidark.cli.options.pair_options import separator_option, skip_option, table_options
from minidark.cli.options.ranks import Finished, ranks_option
from minidark.cli.options.stopping import Stop, stoppable
from minidark.cli.output.display import JsonLines, display, sample_note
from minidark.cli.output.explained import show
from minidark.cli.output.next_steps import next_commands
from minidark.cli.output.stderr import tell
from minidark.errors import number_of
from minidark.files.shipped import bare_name
from minidark.network import Network
from minidark.training.backups import SAVE_EVERY, Backups
from minidark.training.checkpoint import FALLING
from minidark.training.explain import explain
from minidark.training.report import StepReport
from minidark.training.run import follow
from minidark.training.train import Training
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
@click.option("--epochs", type=Number(0, min_open=True), metavar="N",
              help="Instead of --batches: the batches that read the training part of DATA N "
              "times.")  # fmt: skip
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
@table_options("With --pairs: pairs")
@separator_option("With --pairs: character")
@skip_option("With --pairs: skip")
@cfg_options
def train(**values: Any) -> None:
    """Train a network on a text or on pairs.

    \b
    minidark train rnn data.txt
    minidark train rnn data.txt --epochs 3 --set net.learning_rate=.002 --set gru.output=128
    minidark train gru book1.txt book2.txt --backup runs/books --seed 1
    minidark train rnn more.txt --weights backup/rnn_final.weights --clear
    minidark train rnn data.txt --resume auto
    minidark train rnn data.txt --explain
    minidark train pairs pairs.tsv --pairs
    minidark train pairs a.de a.en --pairs --valid b.de --valid b.en
    minidark train pairs reviews.csv --pairs --columns review,label

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
        command=command_words(),
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
            for doubt in options.doubts(training):
                shown.note(f"minidark: warning: {doubt}")
            if backups.former or before:
                shown.note(f"minidark: warning: {_replacing(options.newest, backups)}")
        shown.note(_named(options.path, net) + _beginning(training))
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
    return f"this run is finished after {number_of(batches, 'batch')}; --batches N continues it"


def _named(cfg: Path, net: Network) -> str:
    """What a shipped cfg is, for the first line of a run; "" for other cfgs."""
    if bare_name(cfg) is None:
        return ""
    normalizes = any(layer.norms for layer in net.layers)
    return f"{title(cfg, [(x.type, x.outputs) for x in net.layers], normalizes)}; "


def _beginning(training: Training) -> str:
    net = training.net
    parameters = sum(p.value.size for p in net.parameters())
    steps = number_of(net.options.time_steps, "step")
    if net.backend.name != "cpu":
        steps += f" on {net.backend.name}"
    elif net.backend.fast:
        steps += " with the fast kernels"
        steps += " and bf16" if net.backend.precision == BF16 else ""
    return (
        f"{parameters:,} parameters, {number_of(net.streams, 'stream')} of {steps}; "
        f"{training.feed.amounts()}; --seed {training.seed}"
    )
