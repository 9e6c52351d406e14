"""Reduces the number of threads while other programs use the processors.

Threads that share a product wait for the slowest one. If another program takes the processor from
one thread, all of them wait, and two threads can take twenty times as long as one. So a watch
compares the wall time of work on several threads with its processor time. If the processor time is
much less than idle processors would provide, fewer threads work from then on. From time to time,
the watch tries more threads again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

WINDOW = 0.1  # seconds of watched work for each decision
PATIENCE = 2  # consecutive busy windows before a change, because short interruptions are normal
APART = 2e-4  # seconds between two watched pieces of work, to keep the overhead low
CRAWLING = 0.5  # share of a single processor below which a warning explains the slowness
FIRST_WAIT, LONGEST_WAIT = 3.0, 60.0  # seconds before more threads are tried again

Clock = Callable[[], float]
Began = tuple[float, float] | None


class Watch:
    """Decides the number of threads of this process; `count` is the current decision.

    most: threads when all processors are idle. free: processors count as busy below this share of
    the processor time that idle ones would provide. fixed: the user chose the number of threads,
    so it is not changed. limit: called with each new count; not needed if the caller always reads
    `count`.
    """

    def __init__(
        self,
        most: int,
        free: float,
        fixed: bool = False,
        limit: Callable[[int], None] = lambda count: None,
    ):
        self.most, self.free, self.fixed, self.limit = most, free, fixed, limit
        self.count = most
        self.wait = FIRST_WAIT
        self.bad = 0  # consecutive windows with busy processors
        self.before: int | None = None  # during a trial of more threads, the count before it
        self.next_trial = 0.0
        self.next_piece = 0.0
        self.wall = self.got = self.due = 0.0
        self.said: set[str] = set()

    def begin(self, clock: Clock) -> Began:
        """Call before a piece of work. clock: reads the processor time that the work uses."""
        now = time.perf_counter()
        return (now, clock()) if now >= self.next_piece else None

    def end(self, began: Began, clock: Clock, cores: float) -> None:
        """Call after a piece of work. cores: the number of idle processors it would keep busy."""
        if began is None:
            return
        now = time.perf_counter()
        wall = now - began[0]
        self.next_piece = now + APART - wall
        self.wall += wall
        self.got += clock() - began[1]
        self.due += wall * cores
        if self.wall >= WINDOW:
            share = self.got / self.due
            self.wall = self.got = self.due = 0.0
            self.judge(share, now)

    def judge(self, share: float, now: float) -> None:
        """Update the decision. share: of the processor time that idle processors would have
        provided. now: seconds of a clock."""
        self.bad = 0 if share >= self.free else self.bad + 1
        if not self.bad:
            if self.before is not None:
                self.before, self.wait = None, FIRST_WAIT
            if self.count < self.most and now >= self.next_trial:
                self.before = self.count
                self._set((self.count + self.most + 1) // 2)
        elif self.before is not None:  # the trial of more threads failed
            count, self.before = self.before, None
            self.wait = min(2 * self.wait, LONGEST_WAIT)
            self.next_trial = now + self.wait
            self._set(count)
        elif self.count > 1 and self.bad >= PATIENCE:
            self.next_trial = now + self.wait
            self._fall_back(max(1, min(self.count - 1, int(self.count * share))))
        elif self.count == 1 and share < CRAWLING:
            self._say(
                "this process gets only %.0f %% of a processor, because other programs are "
                "running; it will be faster when they end",
                100 * share,
            )

    def _fall_back(self, count: int) -> None:
        if self.fixed:
            self._say(
                "other programs are using the processors, and threads that wait for one another "
                "are slow: fewer than %d --threads may be faster",
                self.count,
            )
            return
        self._set(count)
        self._say(
            "other programs are using the processors: computing on %d thread%s instead of %d until "
            "they are free",
            count, "" if count == 1 else "s", self.most,
        )  # fmt: skip

    def _set(self, count: int) -> None:
        self.count = count
        self.limit(count)
        log.debug("computing on %d of %d threads", count, self.most)

    def _say(self, message: str, *values: object) -> None:
        """Log each warning only once."""
        if message not in self.said:
            self.said.add(message)
            log.warning(message, *values)
