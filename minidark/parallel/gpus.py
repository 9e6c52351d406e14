"""Ranks that compute on GPUs, one each: the same calls, for what lies in their memory.

A sum has the tree of all ranks' sums, and so the same bytes, whichever way its numbers go: through
pinned memory of the host and MPI, or where cupy has NCCL from GPU to GPU. Either goes on a stream
of its own, so that the layers below are computed meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np

from minidark.backend import Array, Backend
from minidark.errors import MinidarkError
from minidark.parallel.ranks import Ranks, wait_for

VISIBLE = "CUDA_VISIBLE_DEVICES"  # CUDA's list of the GPUs that a process sees
ID_BYTES = 128  # of what the ranks of NCCL find one another by


def see_own(environment: MutableMapping[str, str], local: int) -> None:
    """Before cupy is there: let a rank, number `local` on its machine, see the GPU of that number
    alone. Nothing where whoever started the ranks has dealt each of them one."""
    if VISIBLE not in environment:
        environment[VISIBLE] = str(local)
    elif "," in environment[VISIBLE]:
        listed = environment[VISIBLE].split(",")
        environment[VISIBLE] = listed[local].strip() if local < len(listed) else ""


def reaching(ranks: Ranks, backend: Backend) -> Ranks:
    """`ranks`, for buffers of this backend, too."""
    if ranks.size == 1 or backend.xp is np:
        return ranks
    from cupy.cuda import nccl

    kind = NcclRanks if nccl.available else PinnedRanks
    return kind(ranks, backend.xp)


class PinnedRanks(Ranks):
    """`ranks`, whose buffers may be cupy's: these go through memory of the host that is pinned,
    which a GPU copies from and to by itself."""

    def __init__(self, ranks: Ranks, cupy: Any):
        self.ranks, self.cuda = ranks, cupy.cuda
        self.rank, self.size, self.timeout = ranks.rank, ranks.size, ranks.timeout
        self.stream = self.cuda.Stream(non_blocking=True)
        self.pinned: dict[int, Array] = {}  # by bytes

    def sum(self, buffer: Array) -> None:
        self._by_host(self.ranks.sum, buffer)

    def broadcast(self, buffer: Array) -> None:
        self._by_host(self.ranks.broadcast, buffer)

    def barrier(self) -> None:
        self.ranks.barrier()

    def _by_host(self, call: Callable[[Array], None], buffer: Array) -> None:
        if isinstance(buffer, np.ndarray):
            call(buffer)
            return
        copy = self._pinned(buffer.nbytes)[: buffer.nbytes].view(buffer.dtype)
        with self._behind("its GPU"):
            buffer.get(out=copy)
        call(copy)
        with self._behind("its GPU"):
            buffer.set(copy)

    def _pinned(self, size: int) -> Array:
        if size not in self.pinned:
            memory = self.cuda.alloc_pinned_memory(size)
            self.pinned[size] = np.frombuffer(memory, np.uint8, size)
        return self.pinned[size]

    @contextlib.contextmanager
    def _behind(self, whom: str) -> Iterator[None]:
        """What is queued within it comes behind what was queued before; until it is done."""
        queued = self.cuda.Event(disable_timing=True)
        queued.record()
        self.stream.wait_event(queued)
        with self.stream:
            yield
        wait_for(lambda: self.stream.done, whom, self.timeout)


class NcclRanks(PinnedRanks):
    """The same from GPU to GPU. NCCL's own sum has another order for another number of ranks; here
    it sends and receives, and each rank adds."""

    def __init__(self, ranks: Ranks, cupy: Any):
        super().__init__(ranks, cupy)
        from cupy.cuda import nccl

        self.cupy, self.nccl = cupy, nccl
        name = np.zeros(ID_BYTES, np.uint8)
        if ranks.leads:
            name[:] = np.frombuffer(nccl.get_unique_id(), np.uint8)
        ranks.broadcast(name)
        self.world = nccl.NcclCommunicator(self.size, name.tobytes(), self.rank)

    def sum(self, buffer: Array) -> None:
        if isinstance(buffer, np.ndarray):
            self.ranks.sum(buffer)
            return
        for partner in self.partners():
            with self._heard(f"rank {partner}"):
                theirs = self.cupy.empty_like(buffer)
                self.nccl.groupStart()  # both at once: each would wait for the other's end
                self._call(self.world.send, buffer, partner)
                self._call(self.world.recv, theirs, partner)
                self.nccl.groupEnd()
                buffer += theirs

    def broadcast(self, buffer: Array) -> None:
        if isinstance(buffer, np.ndarray):
            self.ranks.broadcast(buffer)
            return
        with self._heard("rank 0"):
            self._call(self.world.bcast, buffer, 0)

    def _call(self, call: Callable[..., None], buffer: Any, whom: int) -> None:
        call(buffer.data.ptr, buffer.nbytes, self.nccl.NCCL_UINT8, whom, self.stream.ptr)

    @contextlib.contextmanager
    def _heard(self, whom: str) -> Iterator[None]:
        """What NCCL waits for on the GPU would keep the process from its end."""
        try:
            with self._behind(whom):
                yield
        except MinidarkError:
            self.world.abort()
            raise
