"""How many threads pay while other programs use the processors.

The threads of a product wait for the slowest of them. Where another program takes the processor
from one thread, all wait, and two threads can take twenty times as long as one. So the wall time of
work on several threads is compared with the processor time that it got. Where it got much less than
free processors would give, fewer threads work from then on, and now and then more are tried again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

WINDOW = 0.1  # seconds of watched work behind each decision
PATIENCE = 2  # windows in a row that have to be bad: every machine has something to do now and then
APART = 2e-4  # seconds between two pieces of work that are watched, so that it costs little
CRAWLING = 0.5  # share of the one processor, below which the user is told why it is slow
FIRST_WAIT, LONGEST_WAIT = 3.0, 60.0  # seconds before more threads are tried again

Clock = Callable[[], float]
Began = tuple[float, float] | None


class Watch:
    """Decides on the number of threads of this process; `count` is the decision.

    most: threads where all processors are free. free: share of the processor time that free
    processors would give, below which they are busy. fixed: the user chose the number of threads,
    which stays. limit: called with each new count. A caller that always reads `count` needs none.
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
        self.bad = 0  # windows in a row in which the processors were busy
        self.before: int | None = None  # the count that goes back in force if a trial fails
        self.next_trial = 0.0
        self.next_piece = 0.0
        self.wall = self.got = self.due = 0.0
        self.said: set[str] = set()

    def begin(self, clock: Clock) -> Began:
        """Before a piece of work; `clock` reads the processor time that counts for it."""
        now = time.perf_counter()
        return (now, clock()) if now >= self.next_piece else None

    def end(self, began: Began, clock: Clock, cores: float) -> None:
        """After it; `cores` is how many processors it keeps busy where they are free."""
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
        """Decide anew. share: of the processor time that free processors would have given; now:
        seconds of a clock."""
        self.bad = 0 if share >= self.free else self.bad + 1
        if not self.bad:
            if self.before is not None:
                self.before, self.wait = None, FIRST_WAIT
            if self.count < self.most and now >= self.next_trial:
                self.before = self.count
                self._set((self.count + self.most + 1) // 2)
        elif self.before is not None:  # more threads were tried, and are too many
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
        """Log a warning, each only once."""
        if message not in self.said:
            self.said.add(message)
            log.warning(message, *values)
