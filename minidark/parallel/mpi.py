"""Ranks that `mpiexec` started, through mpi4py, which is imported for nothing else.

Every wait has a deadline, so that a rank that is stuck, or cut off, ends the run of all others and
does not hang it. MPI's own waits have none, and spin: here one looks, gives way to other processes,
and soon sleeps in between.

Source: Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in
MPICH" (recursive doubling).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.errors import BackendError, MinidarkError
from minidark.parallel.ranks import Ranks

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # what mpiexec sets: MPICH's, Open MPI's
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
TIMEOUT = 600.0  # seconds
SPIN, NAP = 5e-4, 2e-4  # seconds of looking, and of sleeping between two looks after them


def started(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which rank of how many mpiexec started this process as: (0, 1) where it did not."""
    rank, size = (
        next((int(environment[n]) for n in names if environment.get(n, "").isdigit()), default)
        for names, default in ((NUMBERS, 0), (SIZES, 1))
    )
    return rank, size


def find_ranks(timeout: float = TIMEOUT) -> Ranks:
    """The processes that mpiexec started, or this one by itself. Raises BackendError where mpi4py
    is missing or belongs to another MPI."""
    _, size = started()
    return MpiRanks(size, timeout) if size > 1 else Ranks()


class MpiRanks(Ranks):
    """All processes of one `mpiexec`. timeout: seconds that one call may take to hear of others,
    behind which it raises MinidarkError."""

    def __init__(self, size: int, timeout: float):
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(
                f"mpiexec started {size} ranks, which take mpi4py and MPI's library ({reason}); "
                "pip install 'minidark[mpi]'"
            ) from error
        self.world, self.timeout = MPI.COMM_WORLD, timeout
        self.all_done = MPI.Request.Testall
        self.rank, self.size = self.world.rank, self.world.size
        if self.size != size:
            raise BackendError(
                f"mpiexec started {size} ranks, and mpi4py's MPI sees {self.size}: it is another; "
                "take the mpiexec that is installed beside it"
            )

    def sum(self, buffer: Array) -> None:
        theirs = np.empty_like(buffer)
        distance = 1
        while distance < self.size:
            partner = self.rank ^ distance
            requests = [
                self.world.Irecv(theirs, partner),
                self.world.Isend(buffer, partner),
            ]
            self._wait(requests, f"rank {partner}")
            with np.errstate(all="ignore"):  # what overflows shows in the cost
                buffer += theirs
            distance *= 2

    def broadcast(self, buffer: Array) -> None:
        self._wait([self.world.Ibcast(buffer, 0)], "rank 0")

    def barrier(self) -> None:
        self._wait([self.world.Ibarrier()], "some rank")

    def end(self, code: int) -> None:
        """End all ranks, with this exit code."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would say that it was told to
        self.world.Abort(code)

    def _wait(self, requests: Sequence[Any], whom: str) -> None:
        began = time.monotonic()
        while not self.all_done(requests):
            waited = time.monotonic() - began
            if waited > self.timeout:
                raise MinidarkError(
                    f"nothing was heard of {whom} for {self.timeout:g} seconds (--rank-timeout): "
                    "it is stuck or cut off, or waits for one that is"
                )
            if waited > SPIN:
                time.sleep(NAP)
            else:
                os.sched_yield()
