"""The processes that train one network together, and their communication.

A rank is one of R processes, numbered from 0, as in MPI. There are three calls, which all ranks
make in the same order: the sum of a flat buffer, a broadcast of rank 0's buffer, and a barrier. All
others are built from these. `Ranks` itself is a single process, for which they do nothing.

Floating point sums depend on their order. Here it is fixed to a binary tree over the ranks,

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

so that another power of two as R gives byte-identical sums.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from minidark.backend import Array
from minidark.errors import DataError, MinidarkError

ADVICE = "all ranks of a run need the same"
TIMEOUT = 600.0  # seconds
SPIN, NAP = 5e-4, 2e-4  # seconds of polling, then of sleeping between polls


class Ranks:
    """A single process, rank 0 of 1; `mpi` has the class for several."""

    rank: int = 0
    size: int = 1
    timeout: float = TIMEOUT  # most seconds that a call waits for other ranks

    def ready(self) -> object:
        """An event for `sum` to wait for, if another thread computes the buffer: reached when the
        calling thread's work so far is done. None if no wait is needed."""
        return None

    def sum(self, buffer: Array, after: object = None) -> None:
        """Replace a flat buffer (n,) on the host by the sum over all ranks."""

    def broadcast(self, buffer: Array) -> None:
        """Replace a flat buffer (n,) on the host by rank 0's."""

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    # --- built from these ----------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this rank prints and writes files."""
        return self.rank == 0

    def partners(self) -> Iterator[int]:
        """The ranks that this one exchanges sums with, in order, so that each sum is a subtree's:
        recursive doubling."""
        distance = 1
        while distance < self.size:
            yield self.rank ^ distance
            distance *= 2

    def share(self, count: int) -> range:
        """Which of `count` consecutive items are this rank's; R must divide count."""
        each = count // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def total(self, number: int) -> int:
        """Sum of all ranks' numbers, each below 2**52."""
        if self.size == 1:
            return number
        together = np.array([number], np.float64)
        self.sum(together)
        return int(together[0])

    def leading(self, number: int) -> int:
        """Rank 0's number."""
        together = np.array([number], np.int64)
        self.broadcast(together)
        return int(together[0])

    def gather(self, buffer: Array, own: slice) -> None:
        """Fill a flat buffer with all ranks' parts; `own` is this rank's. Added as bytes, because
        adding zeros to floats would lose the sign of a zero."""
        if self.size == 1:
            return
        mine = buffer[own].copy()
        buffer[...] = 0
        buffer[own] = mine
        self.sum(buffer.view(np.uint8))

    def digests(self, values: Sequence[object]) -> Array:
        """SHA-256 of each rank's values as JSON, (R, values, 32); all ranks have the same number of
        values."""
        digests = np.zeros((self.size, len(values), 32), np.uint8)
        digests[self.rank] = [[*_sha256(value)] for value in values]
        self.sum(digests.reshape(-1))
        return digests

    def check_alike(self, things: Mapping[str, object], advice: str = ADVICE) -> None:
        """Raise the same DataError on all ranks for the first of `things`, compared as JSON, that
        differs between a rank and rank 0. advice: the end of the message."""
        if self.size == 1:
            return
        digests = self.digests([*things.values()])
        for rank, theirs in enumerate(digests):
            for name, own, leading in zip(things, theirs, digests[0], strict=True):
                if (own != leading).any():
                    raise DataError(f"rank {rank} has {name} different from rank 0's; {advice}")


def wait_for(done: Callable[[], bool], whom: str, timeout: float) -> None:
    """Poll until done, yielding to other processes and soon sleeping between polls. Raises
    MinidarkError after `timeout` seconds."""
    began = time.monotonic()
    while not done():
        waited = time.monotonic() - began
        if waited > timeout:
            raise MinidarkError(
                f"no answer from {whom} for {timeout:g} seconds (--rank-timeout): "
                "it hangs or is cut off, or waits for another rank that does"
            )
        if waited > SPIN:
            time.sleep(NAP)
        else:
            os.sched_yield()


def in_time(call: Callable[[], object], whom: str, timeout: float) -> None:
    """Run a call that may block forever on a thread, which is abandoned after the timeout. Raises
    the call's error, or that of `wait_for`."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: not thread.is_alive(), whom, timeout)
    if raised:
        raise raised[0]


def _sha256(thing: object) -> bytes:
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).digest()
