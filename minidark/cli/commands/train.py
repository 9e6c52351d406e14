"""`minidark train`."""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from minidark.cli.command import typed
from minidark.cli.commands import explain as explaining
from minidark.cli.commands import resuming
from minidark.cli.commands.doubts import pairs_doubt, text_doubts
from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.options.compute import Compute, compute_options
from minidark.cli.options.numbers import Number, count
from minidark.cli.options.pair_options import separator_option
from minidark.cli.options.ranks import Finished, agreed, ranks_option
from minidark.cli.options.stopping import Stop, stoppable
from minidark.cli.output.display import JsonLines, display
from minidark.cli.output.stderr import tell
from minidark.data.pairs import TAB, Pairs
from minidark.data.text import Symbols, Text
from minidark.data.tokens import TokenText
from minidark.errors import CfgError
from minidark.network import Network
from minidark.training.backups import SAVE_EVERY, Backups, base_name
from minidark.training.checkpoint import FALLING
from minidark.training.events import Events
from minidark.training.parallel.ranks import Ranks
from minidark.training.records import sampled
from minidark.training.train import Training
from minidark.training.train import train as train_network

log = logging.getLogger(__name__)


@click.command()
@click.argument("cfg")
@click.argument("data", nargs=-1, required=True)
@click.option("--weights", metavar="FILE", help="Start from these weights.")
@click.option("--clear", is_flag=True, help="Count `seen` from zero, with --weights.")
@click.option("--resume", metavar="auto|FILE",
              help="Go on from a checkpoint as if nothing had happened; auto is the newest sound "
              "one in --backup. What is not given is as it was.")  # fmt: skip
@click.option("--backup", default="backup", show_default=True, metavar="DIR",
              help="Where the weights go; made where it is missing.")  # fmt: skip
@click.option("--save-every", type=count(), default=SAVE_EVERY, show_default=True, metavar="N",
              help="Batches between two BASE.backup.")  # fmt: skip
@click.option("--batches", type=count(), metavar="N",
              help="Train until N batches are seen in all, with those before --weights; in place "
              "of the cfg's max_batches, by which the rate falls too.")  # fmt: skip
@click.option("--seed", type=int, metavar="N",
              help="For initial weights and streams; a fresh one unless given.")  # fmt: skip
@click.option("--valid-fraction", type=Number(0, 1, max_open=True), default=0.05, metavar="F",
              show_default=True, help="Share to validate on: of a text its end, of pairs the same "
              "ones in every run.")  # fmt: skip
@click.option("--patience", type=count(), metavar="N",
              help="Stop after N validations without a new best.")  # fmt: skip
@click.option("--clip-norm", type=Number(0, min_open=True), metavar="X",
              help="Shorten longer mean gradients to this.")  # fmt: skip
@click.option("--shards", type=count(), metavar="G",
              help="Deal the streams in G groups, a power of two, each with a gradient of its own; "
              "one for each rank unless given.")  # fmt: skip
@click.option("--tensorboard", is_flag=True,
              help="Let TensorBoard see the run: events in tensorboard/ in DIR.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="The lines of log.jsonl on standard output, as they come; with --explain, one "
              "object.")  # fmt: skip
@ranks_option
@compute_options("auto")
@click.option("--tokenized", is_flag=True, help="DATA is integers between blanks, not bytes.")
@click.option("--explain", is_flag=True,
              help="Tell only how large, how long and at which rates it would be.")  # fmt: skip
@click.option("--pairs", is_flag=True, help="DATA is a file of pairs, a source, a tab and a target "
              "on each line: learn to predict the targets.")  # fmt: skip
@separator_option("With --pairs: what stands")
@cfg_options
def train(
    cfg: str,
    data: tuple[str, ...],
    weights: str | None,
    clear: bool,
    resume: str | None,
    backup: str,
    save_every: int,
    batches: int | None,
    seed: int | None,
    valid_fraction: float,
    patience: int | None,
    clip_norm: float | None,
    shards: int | None,
    tensorboard: bool,
    as_json: bool,
    ranks: Ranks,
    compute: Compute,
    tokenized: bool,
    explain: bool,
    pairs: bool,
    separator: str,
    choice: CfgChoice,
) -> None:
    """Train a network on a text, or on pairs.

    \b
    minidark train rnn data.txt
    minidark train gru book1.txt book2.txt --backup runs/books --seed 1
    minidark train rnn more.txt --weights backup/rnn_final.weights --clear
    minidark train rnn data.txt --resume auto
    minidark train rnn data.txt --explain
    minidark train pairs pairs.tsv --pairs

    The text is the bytes of DATA, one file after another. Leaves BASE.backup, BASE_best.weights,
    BASE_final.weights and the checkpoint BASE.ckpt in the backup folder, BASE being the cfg's
    name. Ctrl-C finishes the batch, saves BASE.backup and BASE.ckpt and stops.

    --weights begins a run with weights that there are; --resume goes on with a run, in the same
    cfg and text, to the same bytes as if it had never been stopped.

    `mpiexec -n 4 minidark train ...` trains one network on four ranks, each with its shards of
    the streams.
    """
    if not backup:
        raise click.UsageError("--backup needs the name of a folder")
    path, overrides = choice.path(cfg), choice.overrides
    newest = Path(backup, f"{base_name(path)}.ckpt")
    found_at, since = (None, None) if resume is None else resuming.find(resume, newest)
    if since:
        weights, clear = None, False
        seed, valid_fraction, tokenized = since.seed, since.valid_fraction, since.tokenized
        pairs, separator = since.pairs, since.separator or TAB
        batches = since.batches if batches is None else batches
        patience = since.patience if patience is None else patience
        compute = resuming.computed_as(compute, since)
    drawn = ranks.leading(secrets.randbelow(2**31))
    seed = drawn if seed is None else seed
    if batches is not None:
        choice = choice.overruled(f"net.max_batches={batches}")
    net = choice.load(cfg, weights, seed=seed, **compute.loading)
    net.seen = 0 if clear else net.seen
    net.clip_norm = net.clip_norm if clip_norm is None else clip_norm
    batches = net.options.max_batches
    _check_batches(net, batches, path)
    compute.settle(net, multiply_adds(net, batches - net.batches_seen))
    if explain and not ranks.leads:
        return
    begin = functools.partial(
        train_network,
        net,
        batches=batches,
        seed=seed,
        valid_fraction=valid_fraction,
        patience=patience,
        resume=since,
    )
    if explain:
        with _opened(data, net, tokenized, separator if pairs else None) as text:
            training = begin(text, baseline=False, shards=shards or ranks.size)
            if training.over:
                log.info(_over(net, batches))
                return
            explaining.show(explaining.explain(training, batches), as_json)
        return
    with (
        _opened(data, net, tokenized, separator if pairs else None) as text,
        stoppable(ranks.leads) as stop,
        display(batches, net.predicts_symbols) as shown,
        contextlib.ExitStack() as held,
    ):
        with stop.before_batches():
            training = begin(text, baseline=bool(weights), shards=shards, ranks=ranks)
            if not training.over:
                training.rehearse()
        if training.over:
            log.info(_over(net, batches))
            return
        if since:
            log.info("going on from %s, after batch %d", found_at, since.batch)
        if not ranks.leads:
            _follow(training, stop)
            return
        backups = held.enter_context(Backups(net, backup, path, save_every))
        if tensorboard:  # before the records, which take the place of another run's
            so_far = (since.batch, since.symbols, since.seconds) if since else ()
            backups.events = Events(backups.folder, *so_far)
        backups.keep(training, ["minidark", *sys.argv[1:]], since, overrides)
        if not since:
            for doubt in _doubts(net, path, data, pairs, tokenized):
                shown.note(f"minidark: warning: {doubt}")
        if not since and (backups.former or newest.exists()):
            shown.note(f"minidark: warning: {_replacing(newest, backups)}")
        shown.note(_beginning(training))
        lines = held.enter_context(JsonLines(as_json))
        for bare in training:
            report = sampled(bare, training)
            if agreed(ranks, stop, backups.saves_run(report)):
                training.gather()
            backups.after(report)
            shown.step(report)
            lines.step(report)
            if report.sample is not None and not report.last:
                shown.note(f"--- a sample after {report.batch} batches:\n{report.sample}\n---")
            if stop.due and not report.last:
                backups.stop()
                break
    if stop.due and not report.last:
        tell(f"minidark: stopped; {backups.path('.backup')} is saved, --resume auto goes on")
        raise Finished(128 + stop.due)
    log.info("%s is written", backups.path("_final.weights"))


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


def _follow(training: Training, stop: Stop) -> None:
    """What a rank does that does not lead."""
    for report in training:
        if agreed(training.ranks, stop):
            training.gather()
        if stop.due and not report.last:
            raise Finished(128 + stop.due)


def _over(net: Network, batches: int) -> str:
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
    rows = net.options.rows * net.options.subdivisions
    return 3.0 * rows * batches * sum(layer.work() for layer in net.layers)


def open_text(paths: Sequence[str], net: Network, tokenized: bool) -> Symbols:
    """The texts, as bytes or as tokens."""
    if not tokenized:
        return Text(paths, net.inputs)
    if len(paths) > 1:
        raise click.UsageError("a tokenized text is one file")
    return TokenText(paths[0], net.inputs)


def _opened(
    paths: Sequence[str], net: Network, tokenized: bool, separator: str | None
) -> contextlib.AbstractContextManager[Symbols | Pairs]:
    """The texts; or with a separator, pairs, which are held in memory."""
    if separator is None:
        if typed("separator"):
            raise click.UsageError("--separator goes with --pairs")
        return open_text(paths, net, tokenized)
    if tokenized:
        raise click.UsageError("--tokenized is for texts; the symbols of pairs are bytes")
    if len(paths) > 1:
        raise click.UsageError("pairs are one file")
    return contextlib.nullcontext(Pairs(paths[0], separator))


def _doubts(
    net: Network, cfg: Path, data: Sequence[str], pairs: bool, tokenized: bool
) -> Iterator[str]:
    if not pairs:
        yield from text_doubts(net, [] if tokenized else data)
    if not (pairs or tokenized) and (doubt := pairs_doubt(cfg, data)):
        yield doubt


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
