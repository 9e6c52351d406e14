"""Display of a training run: a progress bar on a terminal, darknet's lines elsewhere, and lines of
JSON for programs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
from collections.abc import Iterator
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import OutputError, discard_output, say_json
from minidark.errors import number_of, visible
from minidark.training.records import is_logged, log_line
from minidark.training.report import StepReport
from minidark.training.run import Follower

log = logging.getLogger(__name__)

LINE_EVERY = 20  # batches between lines, without a terminal


class Display(Follower):
    """Shows a run. The base class, for --quiet, shows nothing."""

    def note(self, text: str) -> None:
        """Show a line of text besides the figures."""

    def show_sample(self, report: StepReport) -> None:
        """Show a sample of the network, except after the last batch: `train` shows that one."""
        if report.sample is not None and not report.last:
            self.note(sample_note(report))


class Lines(Display):
    """Prints darknet's line every LINE_EVERY batches, for logs and pipes."""

    def __init__(self, in_bits: bool):
        self.in_bits = in_bits

    def after(self, report: StepReport) -> None:
        if report.batch % LINE_EVERY == 0 or report.last:
            tell(report_line(report))
        if report.valid_loss is not None:
            tell(validated(report, self.in_bits))
        self.show_sample(report)

    def note(self, text: str) -> None:
        tell(text)


class Bar(Display):
    """A progress bar, for terminals."""

    def __init__(self, progress: Progress, batches: int, in_bits: bool):
        self.progress, self.in_bits = progress, in_bits
        self.task = progress.add_task("", total=batches, figures="")
        self.valid = self.exact = ""

    def after(self, report: StepReport) -> None:
        if report.valid_loss is not None:
            self.valid = f", validation {self._figure(report.valid_loss)}"
            if report.valid_exact is not None:
                self.exact = f", {report.valid_exact:.2%} exact"
            if report.last:
                self.note(validated(report, self.in_bits))
        unit = " bits" if self.in_bits else ""
        figures = (
            f"loss {self._figure(report.average)}{self.valid}{unit}{self.exact}, "
            f"{report.symbols / report.seconds:,.0f} chars/s"
        )
        self.progress.update(self.task, completed=report.batch, figures=figures)
        self.show_sample(report)

    def _figure(self, cost: float) -> str:
        return f"{cost / math.log(2):.2f}" if self.in_bits else f"{cost:.3f}"

    def note(self, text: str) -> None:
        self.progress.console.print(visible(text), markup=False, highlight=False)


def terminal() -> Console | None:
    """The console of standard error; None if it cannot show a progress bar."""
    console = Console(stderr=True)
    return console if sys.stderr.isatty() and not console.is_dumb_terminal else None


@contextlib.contextmanager
def display(batches: int, in_bits: bool) -> Iterator[Display]:
    """in_bits: the cost is in nats per character, so show bits too."""
    if not log.isEnabledFor(logging.INFO):
        yield Display()
        return
    console = terminal()
    if console is None:
        yield Lines(in_bits)
        return
    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        yield Bar(progress, batches, in_bits)


class JsonLines(Follower):
    """Prints the lines of log.jsonl to standard output as they are written, if `read`.

    If the reader closes the pipe, the run continues silently. If the disk is full, it continues
    with a warning, and the end of the `with` raises OutputError.
    """

    def __init__(self, read: bool):
        self.read = read
        self._lost: OutputError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._lost and error is None:
            raise self._lost

    def after(self, report: StepReport) -> None:
        if not self.read or not is_logged(report):
            return
        try:
            say_json(log_line(report))
        except BrokenPipeError:
            self.read = False
            discard_output()
        except OutputError as error:
            self.read, self._lost = False, error
            log.warning("%s; the run continues without this output", error)


def sample_note(report: StepReport) -> str:
    """The sample of a batch, between two lines."""
    return f"--- a sample after {number_of(report.batch, 'batch')}:\n{report.sample}\n---"


def report_line(report: StepReport) -> str:
    """darknet's line for a batch."""
    return (
        f"{report.batch}: {report.loss:f}, {report.average:f} avg, {report.rate:f} rate, "
        f"{report.seconds:f} seconds, {report.epochs:f} epochs"
    )


def validated(report: StepReport, in_bits: bool) -> str:
    assert report.valid_loss is not None
    cost, exact = report.valid_loss, report.valid_exact
    if exact is not None:
        figures = f"{cost:.4f} nats per target character, {exact:.2%} exact"
    elif in_bits:
        figures = f"{cost:.4f} nats, {cost / math.log(2):.3f} bits per character"
    else:
        figures = f"cost {cost:.4f} per character"
    return f"{report.batch}: validation {figures}{', the best so far' if report.best else ''}"
