"""Ranks that are threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from minidark.training.parallel.ranks import Ranks

SECONDS = 30  # in which a rank is heard of
Found = TypeVar("Found")


class Threads(Ranks):
    """Each call is heard by all, as MPI's are."""

    def __init__(self, rank: int, buffers: list[Any], barrier: threading.Barrier):
        self.rank, self.size, self.buffers, self.meet = rank, len(buffers), buffers, barrier

    def _all(self, call: str, buffer: Any) -> list[Any]:
        """The buffers of all; each has to be in the same call, as they would be with MPI."""
        assert isinstance(buffer, np.ndarray)
        self.buffers[self.rank] = call, buffer.copy()
        self.meet.wait(SECONDS)
        calls, buffers = zip(*self.buffers, strict=True)
        self.meet.wait(SECONDS)
        assert len({(c, b.shape, b.dtype) for c, b in zip(calls, buffers, strict=True)}) == 1, calls
        return [*buffers]

    def sum(self, buffer: Any, after: object = None) -> None:
        parts = self._all("sum", buffer)
        while len(parts) > 1:
            parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
        buffer[...] = parts[0]

    def broadcast(self, buffer: Any) -> None:
        buffer[...] = self._all("broadcast", buffer)[0]

    def barrier(self) -> None:
        self.meet.wait(SECONDS)


def in_threads(size: int, job: Callable[[Ranks], Found]) -> list[Found]:
    """What `job` gives on each of so many ranks."""
    buffers, barrier = [None] * size, threading.Barrier(size)

    def work(rank: int) -> Found:
        try:
            return job(Threads(rank, buffers, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        found = [pool.submit(work, rank) for rank in range(size)]
    for error in (future.exception() for future in found):
        if error and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in found]
