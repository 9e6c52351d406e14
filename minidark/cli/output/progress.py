"""Progress of a long command on standard error: a bar on a terminal, elsewhere a line from time to
time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from minidark.cli.output.display import terminal

log = logging.getLogger(__name__)

LINE_EVERY = 10.0  # seconds
BAR_EVERY = 0.1  # seconds

Report = Callable[[int, int], None]  # what is done, and the total


@contextlib.contextmanager
def progress(what: str) -> Iterator[Report]:
    """Yields a function that shows how much is done. `what` is the work, in a word. With --quiet,
    nothing is shown."""
    console = terminal()
    if not log.isEnabledFor(logging.INFO):
        yield lambda done, total: None
    elif console is None:
        yield _Seldom(
            lambda done, total: log.info("%s: %.0f %%", what, 100 * done / total), LINE_EVERY
        )
    else:
        share = TextColumn("{task.percentage:3.0f} %")
        columns = (TextColumn(what), BarColumn(bar_width=None), share, TimeRemainingColumn())
        with Progress(*columns, console=console, expand=True, transient=True) as bar:
            task = bar.add_task("", total=None)
            yield _Seldom(
                lambda done, total: bar.update(task, completed=done, total=total), BAR_EVERY
            )


class _Seldom:
    """Calls `show` at most once in `seconds`, first after that time."""

    def __init__(self, show: Report, seconds: float):
        self.show, self.seconds, self.shown = show, seconds, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.shown >= self.seconds:
            self.shown = now
            self.show(done, total)
