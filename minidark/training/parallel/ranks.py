"""The processes that train one network together, and what they can say to each other.

A rank is one of R processes, numbered from 0, as MPI calls it. There are three calls, each made by
all ranks at the same place: the sum of a flat buffer, rank 0's buffer for all, and a barrier.
Everything else is put together from them. `Ranks` is a process by itself, for which they are
nothing.

Floating point sums hang on their order, and here it is fixed: that of a binary tree over the ranks,

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

so that R may be another power of two and the sum still have the same bytes.
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

GIVEN = "all ranks of a run are given the same"
TIMEOUT = 600.0  # seconds
SPIN, NAP = 5e-4, 2e-4  # seconds of looking, and of sleeping between two looks after them


class Ranks:
    """One process, rank 0 of 1; what is here of several is in `mpi`."""

    rank: int = 0
    size: int = 1
    timeout: float = TIMEOUT  # seconds that one call may take to hear of others

    def ready(self) -> object:
        """What `sum` waits for, of a buffer that another thread computes: it is whole when all is
        done that the calling thread has begun. None where that is so already."""
        return None

    def sum(self, buffer: Array, after: object = None) -> None:
        """In the place of a flat buffer (n,) of the host, the sum of all ranks'."""

    def broadcast(self, buffer: Array) -> None:
        """In the place of a flat buffer (n,) of the host, rank 0's."""

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    # --- made of these -------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def partners(self) -> Iterator[int]:
        """Whom this rank exchanges its sum with, one after another, so that each sum is of a
        subtree: recursive doubling."""
        distance = 1
        while distance < self.size:
            yield self.rank ^ distance
            distance *= 2

    def share(self, count: int) -> range:
        """Which of `count` things in a row are this rank's; R divides their number."""
        each = count // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def total(self, number: int) -> int:
        """The sum of all ranks' numbers, each below 2**52."""
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
        """In a flat buffer, all ranks' parts, of which `own` is this one's. As bytes, of which a
        sum with zeros changes none: zero has a sign, too."""
        if self.size == 1:
            return
        mine = buffer[own].copy()
        buffer[...] = 0
        buffer[own] = mine
        self.sum(buffer.view(np.uint8))

    def digests(self, things: Sequence[object]) -> Array:
        """All ranks' things, which they have as many of, as (R, things, bytes) that are equal where
        these are equal as JSON."""
        digests = np.zeros((self.size, len(things), 32), np.uint8)
        digests[self.rank] = [[*_sha256(thing)] for thing in things]
        self.sum(digests.reshape(-1))
        return digests

    def check_alike(self, things: Mapping[str, object], advice: str = GIVEN) -> None:
        """Raise DataError, on all ranks the same, for the first of `things`, as JSON has them, that
        a rank has otherwise than rank 0. advice: what to do then."""
        if self.size == 1:
            return
        digests = self.digests([*things.values()])
        for rank, theirs in enumerate(digests):
            for name, here, there in zip(things, theirs, digests[0], strict=True):
                if (here != there).any():
                    raise DataError(f"rank {rank} has {name} other than rank 0's; {advice}")


def wait_for(done: Callable[[], bool], whom: str, timeout: float) -> None:
    """Look until it is done, giving way to other processes and soon sleeping in between. Raises
    MinidarkError after `timeout` seconds."""
    began = time.monotonic()
    while not done():
        waited = time.monotonic() - began
        if waited > timeout:
            raise MinidarkError(
                f"nothing was heard of {whom} for {timeout:g} seconds (--rank-timeout): "
                "it is stuck or cut off, or waits for one that is"
            )
        if waited > SPIN:
            time.sleep(NAP)
        else:
            os.sched_yield()


def in_time(call: Callable[[], object], whom: str, timeout: float) -> None:
    """A call that waits for others by itself, and may do so for ever: on a thread that is then left
    behind. Raises as it does, or as `wait_for`."""
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
