"""Whether one thread or several compute a small piece of work faster, found by trying both.

It depends on the processor where several threads pay: on Zen 4, one thread reads the shared cache
as fast as two; on an Intel Xeon, two read it twice as fast, and their own caches hold more. The
results are the same.
"""

from __future__ import annotations

import math

BLOCK = 24  # calls with the same choice; the first half of them fills the caches
BLOCKS = 4


class Trial:
    """The choice for calls that each do the same work. Calls are `choice`, the work, `add`."""

    def __init__(self) -> None:
        self.calls, self.several = 0, False
        self.fastest = {False: math.inf, True: math.inf}  # seconds, by choice

    @property
    def decided(self) -> bool:
        return self.calls >= BLOCK * BLOCKS

    def choice(self) -> bool:
        """Whether several threads are to compute this call."""
        return self.several if self.decided else bool(self.calls // BLOCK % 2)

    def add(self, several: bool, seconds: float) -> None:
        """Count a call, and decide after the last block."""
        if self.decided:
            return
        if self.calls % BLOCK >= BLOCK // 2:
            self.fastest[several] = min(self.fastest[several], seconds)
        self.calls += 1
        self.several = self.fastest[True] < self.fastest[False]
