"""Ranks started by `mpiexec`, through mpi4py, which is imported only for them.

Every wait has a deadline, so that one rank that hangs or is cut off ends the run on all others
instead of blocking it. MPI's own waits have no deadline, and spin.

Source: Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in
MPICH" (recursive doubling).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.errors import BackendError
from minidark.training.parallel.gpus import see_own
from minidark.training.parallel.ranks import TIMEOUT, Ranks, wait_for

HEARD = 0.5  # seconds for mpiexec to forward output, before Abort
LAST_WORDS = 5  # most seconds that a rank may take to end
OPEN_MPI = "OMPI_COMM_WORLD_SIZE"
SIZES = ("PMI_SIZE", OPEN_MPI)  # set by mpiexec of MPICH and of Open MPI
LOCALS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK")  # rank number on its machine


def started(environment: Mapping[str, str] = os.environ) -> int:
    """Number of ranks that mpiexec started; 1 without mpiexec."""
    return _number(environment, SIZES, 1)


def _number(environment: Mapping[str, str], names: Sequence[str], default: int) -> int:
    """The first of these variables that is a number of at most nine digits."""
    texts = (environment.get(name, "") for name in names)
    return next((int(text) for text in texts if re.fullmatch(r"[0-9]{1,9}", text)), default)


def find_ranks(timeout: float = TIMEOUT) -> Ranks:
    """The processes started by mpiexec, or only this one. Raises BackendError if mpi4py is missing
    or belongs to another MPI."""
    size = started()
    if size == 1:
        return Ranks()
    see_own(os.environ, _number(os.environ, LOCALS, 0))
    return MpiRanks(size, timeout)


class MpiRanks(Ranks):
    """All processes of one `mpiexec`. timeout: most seconds that a call waits for other ranks
    before it raises MinidarkError."""

    def __init__(self, size: int, timeout: float):
        if OPEN_MPI in os.environ:  # mpi4py's wheel would load the MPI next to it
            os.environ.setdefault("MPI4PY_MPIABI", "openmpi")
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(
                f"mpiexec started {size} ranks, which need mpi4py and MPI's library ({reason}); "
                "pip install 'minidark[mpi]'"
            ) from error
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise BackendError("this MPI does not support threads, which minidark needs")
        self.world, self.timeout = MPI.COMM_WORLD, timeout
        self.all_done = MPI.Request.Testall
        self.rank, self.size = self.world.rank, self.world.size
        if self.size != size:
            raise BackendError(
                f"mpiexec started {size} ranks, but mpi4py's MPI sees {self.size}; "
                "use the mpiexec of that MPI"
            )

    def sum(self, buffer: Array, after: object = None) -> None:
        theirs = np.empty_like(buffer)
        for partner in self.partners():
            requests = [self.world.Irecv(theirs, partner), self.world.Isend(buffer, partner)]
            self._wait(requests, f"rank {partner}")
            with np.errstate(all="ignore"):  # overflow shows in the cost
                buffer += theirs

    def broadcast(self, buffer: Array) -> None:
        self._wait([self.world.Ibcast(buffer, 0)], "rank 0")

    def barrier(self) -> None:
        self._wait([self.world.Ibarrier()], "some rank")

    def end(self, code: int) -> None:
        """End all ranks with this exit code."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Abort waits if mpiexec is unreachable
        signal.alarm(LAST_WORDS)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            time.sleep(HEARD)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # hides MPI's message about Abort
        finally:
            self.world.Abort(code)

    def _wait(self, requests: Sequence[Any], whom: str) -> None:
        wait_for(lambda: self.all_done(requests), whom, self.timeout)
