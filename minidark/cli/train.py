"""`minidark train`."""

from __future__ import annotations

import contextlib
import math
import secrets
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from minidark.backups import SAVE_EVERY, Backups
from minidark.cli.cfg_options import CfgChoice, cfg_options
from minidark.errors import CfgError
from minidark.generate import generate
from minidark.network import Network
from minidark.text import Text
from minidark.train import StepReport
from minidark.train import train as train_network

SAMPLE_LENGTH = 200
LINE_EVERY = 20  # batches between lines where there is no terminal
SAMPLE_EVERY = 500  # batches


@click.command()
@click.argument("cfg")
@click.argument("data", nargs=-1, required=True)
@click.option("--weights", metavar="FILE", help="Start from these weights.")
@click.option("--clear", is_flag=True, help="Count `seen` from zero, with --weights.")
@click.option("--backup", default="backup", show_default=True, metavar="DIR",
              help="Where the weights go; made where it is missing.")  # fmt: skip
@click.option("--save-every", type=click.IntRange(1), default=SAVE_EVERY, show_default=True,
              metavar="N", help="Batches between two BASE.backup.")  # fmt: skip
@click.option(
    "--batches", type=click.IntRange(1), metavar="N", help="In place of the cfg's max_batches."
)
@click.option(
    "--seed", type=int, metavar="N", help="For initial weights and streams [a fresh one]."
)
@click.option("--valid-fraction", type=click.FloatRange(0, 1, max_open=True), default=0.05,
              metavar="F", show_default=True, help="Share of the text to validate on.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), metavar="N",
              help="Stop after N validations without a new best.")  # fmt: skip
@click.option("--clip-norm", type=click.FloatRange(0, min_open=True), metavar="X",
              help="Shorten longer mean gradients to this.")  # fmt: skip
@cfg_options
def train(
    cfg: str,
    data: tuple[str, ...],
    weights: str | None,
    clear: bool,
    backup: str,
    save_every: int,
    batches: int | None,
    seed: int | None,
    valid_fraction: float,
    patience: int | None,
    clip_norm: float | None,
    choice: CfgChoice,
) -> None:
    """Train a network on a text: the bytes of DATA, one file after another.

    \b
    minidark train cfg/rnn.cfg data.txt
    minidark train gru book1.txt book2.txt --backup runs/books --seed 1
    minidark train cfg/rnn.cfg more.txt --weights backup/rnn_final.weights --clear

    Leaves BASE.backup, BASE_best.weights and BASE_final.weights in the backup folder, BASE being
    the cfg's name. Ctrl-C finishes the batch, saves BASE.backup and stops.
    """
    if seed is None:
        seed = secrets.randbelow(2**31)
    if batches is not None:  # the policy that ends there ends there too
        choice = choice.overruled(f"net.max_batches={batches}")
    net = choice.load(cfg, weights, seed=seed)
    if clear:
        net.seen = 0
    if clip_norm is not None:
        net.clip_norm = clip_norm
    batches = net.options.max_batches
    if not batches:
        raise CfgError("no max_batches in [net]; add it, or give --batches N", choice.path(cfg))
    if net.batches_seen >= batches:
        raise click.UsageError(
            f"these weights have seen {net.batches_seen} of {batches} batches already; "
            "give more --batches, or --clear to count anew"
        )
    with Text(data, net.inputs) as text, _stoppable() as stop, _display(batches) as display:
        backups = Backups(net, backup, choice.path(cfg), save_every)
        display.note(_beginning(net, text, valid_fraction, seed))
        reports = train_network(
            net, text, batches, seed=seed, valid_fraction=valid_fraction, patience=patience
        )
        for report in reports:
            backups.after(report)
            display.step(report)
            if report.batch % SAMPLE_EVERY == 0 and not report.last and net.outputs <= 256:
                display.note(_sample(net, report.batch))
            if stop.signal and not report.last:
                display.note(f"stopped; {backups.save('.backup')} is saved")
                sys.exit(128 + stop.signal)
    click.echo(f"minidark: {backups.path('_final.weights')} is written", err=True)


def _beginning(net: Network, text: Text, valid_fraction: float, seed: int) -> str:
    parameters = sum(p.value.size for p in net.parameters())
    held_out = int(text.size * valid_fraction)
    return (
        f"{parameters:,} parameters, {net.streams} streams of {net.options.time_steps} steps; "
        f"{text.size - held_out:,} characters to train on, {held_out:,} to validate on; "
        f"--seed {seed}"
    )


def _sample(net: Network, batch: int) -> str:
    text = generate(net, b"\n\n", SAMPLE_LENGTH, srand=batch).decode(errors="replace")
    return f"--- a sample after {batch} batches:\n{text.strip()}\n---"


class _Stop:
    """Which signal asked to stop; the second one stops at once."""

    signal: int = 0

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def _stoppable() -> Iterator[_Stop]:
    stop = _Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Display(Protocol):
    def step(self, report: StepReport) -> None: ...
    def note(self, text: str) -> None: ...


class _Lines:
    """darknet's line now and then: for logs and pipes."""

    def step(self, report: StepReport) -> None:
        if report.batch % LINE_EVERY == 0 or report.last:
            click.echo(
                f"{report.batch}: {report.loss:f}, {report.average:f} avg, {report.rate:f} rate, "
                f"{report.seconds:f} seconds, {report.epochs:f} epochs",
                err=True,
            )
        if report.valid_loss is not None:
            click.echo(_validated(report), err=True)

    def note(self, text: str) -> None:
        click.echo(text, err=True)


class _Bar:
    """A live bar: for terminals."""

    def __init__(self, progress: Progress, batches: int):
        self.progress = progress
        self.task = progress.add_task("", total=batches, figures="")
        self.valid = ""

    def step(self, report: StepReport) -> None:
        if report.valid_loss is not None:
            self.valid = f", validation {_bits(report.valid_loss)}"
            if report.last:
                self.note(_validated(report))
        figures = (
            f"loss {report.average:.3f} nats = {_bits(report.average)} bits{self.valid}, "
            f"{report.symbols / report.seconds:,.0f} chars/s"
        )
        self.progress.update(self.task, completed=report.batch, figures=figures)

    def note(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def _display(batches: int) -> Iterator[_Display]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        yield _Bar(progress, batches)


def _bits(nats: float) -> str:
    return f"{nats / math.log(2):.3f}"


def _validated(report: StepReport) -> str:
    assert report.valid_loss is not None
    return (
        f"{report.batch}: validation {report.valid_loss:.4f} nats, {_bits(report.valid_loss)} bits "
        f"per character{', the best so far' if report.best else ''}"
    )
