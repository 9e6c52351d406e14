"""Ranks that compute on GPUs, one each: the same calls, for what lies in their memory.

A sum has the tree of all ranks' sums, and so the same bytes, whichever way its numbers go: through
pinned memory of the host and MPI, or where cupy has NCCL and each rank a GPU of its own, from GPU
to GPU. Either goes on a stream of its own, so that the layers below are computed meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array, Backend
from minidark.errors import BackendError, MinidarkError
from minidark.training.parallel.ranks import Ranks, in_time, wait_for

VISIBLE = "CUDA_VISIBLE_DEVICES"  # CUDA's list of the GPUs that a process sees
BOOT = Path("/proc/sys/kernel/random/boot_id")
ID_BYTES = 128  # of what the ranks of NCCL find one another by


def see_own(environment: MutableMapping[str, str], local: int) -> None:
    """Before cupy is there: let a rank, number `local` on its machine, see the GPU of that number
    alone. Nothing where whoever started the ranks has dealt each of them one."""
    if VISIBLE not in environment:
        environment[VISIBLE] = str(local)
    elif "," in environment[VISIBLE]:
        listed = environment[VISIBLE].split(",")
        environment[VISIBLE] = listed[local].strip() if local < len(listed) else ""


def transport(backend: Backend) -> str:
    """By what ranks reach each other's buffers of this backend, where none share a GPU: all must
    have the same."""
    if backend.xp is np:
        return "MPI"
    from cupy.cuda import nccl

    return "NCCL" if nccl.available else "pinned memory"


def reaching(ranks: Ranks, backend: Backend) -> Ranks:
    """`ranks`, for buffers of this backend, too. On GPUs a call of all ranks."""
    if ranks.size == 1 or backend.xp is np:
        return ranks
    alone = not _some_share(ranks, backend.xp)
    kind = NcclRanks if alone and transport(backend) == "NCCL" else PinnedRanks
    return kind(ranks, backend.xp)


def _some_share(ranks: Ranks, cupy: Any) -> bool:
    """Whether two ranks have one GPU, between which NCCL refuses to go."""
    places = ranks.digests([[machine(), cupy.cuda.Device().pci_bus_id]])
    return len(np.unique(places, axis=0)) < ranks.size


def machine() -> str:
    """What names this machine: since when its kernel runs, which its containers have in common and
    copies of it have not; else its name."""
    try:
        return BOOT.read_text()
    except OSError:
        return socket.gethostname()


class PinnedRanks(Ranks):
    """`ranks`, whose buffers may be cupy's: these go through memory of the host that is pinned,
    which a GPU copies from and to by itself."""

    def __init__(self, ranks: Ranks, cupy: Any):
        self.ranks, self.cuda = ranks, cupy.cuda
        self.rank, self.size, self.timeout = ranks.rank, ranks.size, ranks.timeout
        self.stream = self.cuda.Stream(non_blocking=True)
        self.pinned: dict[int, Array] = {}  # by bytes

    def ready(self) -> Any:
        """An event of the calling thread's stream, on which the buffer is computed."""
        event = self.cuda.Event(disable_timing=True)
        event.record(self.cuda.get_current_stream())
        return event

    def sum(self, buffer: Array, after: Any = None) -> None:
        if isinstance(buffer, np.ndarray):
            self.ranks.sum(buffer)
        else:
            self._by_host(self.ranks.sum, buffer, after)

    def broadcast(self, buffer: Array) -> None:
        if isinstance(buffer, np.ndarray):
            self.ranks.broadcast(buffer)
        else:
            self._by_host(self.ranks.broadcast, buffer)

    def barrier(self) -> None:
        self.ranks.barrier()

    def _by_host(self, call: Callable[[Array], None], buffer: Any, after: Any = None) -> None:
        copy = self._pinned(buffer.nbytes).view(buffer.dtype)
        with self._behind(after):
            buffer.get(out=copy)
        self._until_done("its GPU")
        call(copy)
        with self._behind(None):
            buffer.set(copy)
        self._until_done("its GPU")

    def _pinned(self, size: int) -> Array:
        if size not in self.pinned:
            memory = self.cuda.alloc_pinned_memory(size)
            self.pinned[size] = np.frombuffer(memory, np.uint8, size)
        return self.pinned[size]

    @contextlib.contextmanager
    def _behind(self, after: Any) -> Iterator[None]:
        """On the stream of the sums, when `after` is there, or what this thread has begun."""
        self.stream.wait_event(after or self.ready())
        with self.stream:
            yield

    def _until_done(self, whom: str) -> None:
        wait_for(lambda: self.stream.done, whom, self.timeout)


class NcclRanks(PinnedRanks):
    """The same from GPU to GPU. NCCL's own sum has another order for another number of ranks; here
    it sends and receives, and each rank adds.

    NCCL waits for others by itself, on the GPU and where it first meets them on the host, too.
    """

    def __init__(self, ranks: Ranks, cupy: Any):
        super().__init__(ranks, cupy)
        from cupy.cuda import nccl

        self.cupy, self.nccl = cupy, nccl
        name = np.zeros(ID_BYTES, np.uint8)
        if ranks.leads:
            name[:] = np.frombuffer(nccl.get_unique_id(), np.uint8)
        ranks.broadcast(name)
        in_time(lambda: self._meet(name.tobytes()), "some rank", self.timeout)

    def _meet(self, name: bytes) -> None:
        try:
            self.world = self.nccl.NcclCommunicator(self.size, name, self.rank)
        except self.nccl.NcclError as error:
            raise BackendError(f"{error}; each rank needs a GPU of its own") from error

    def sum(self, buffer: Array, after: Any = None) -> None:
        if isinstance(buffer, np.ndarray):
            self.ranks.sum(buffer)
            return
        after = after or self.ready()
        for partner in self.partners():
            self._in_time(functools.partial(self._add, buffer, partner, after), f"rank {partner}")
            after = None

    def _add(self, buffer: Any, partner: int, after: Any) -> None:
        with self._behind(after):
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
        after = self.ready()
        self._in_time(functools.partial(self._hear, buffer, after), "rank 0")

    def _hear(self, buffer: Any, after: Any) -> None:
        with self._behind(after):
            self._call(self.world.bcast, buffer, 0)

    def _call(self, call: Callable[..., None], buffer: Any, whom: int) -> None:
        call(buffer.data.ptr, buffer.nbytes, self.nccl.NCCL_UINT8, whom, self.stream.ptr)

    def _in_time(self, call: Callable[[], None], whom: str) -> None:
        """What NCCL waits for on the GPU would keep the process from its end."""
        try:
            in_time(call, whom, self.timeout)
            self._until_done(whom)
        except MinidarkError:
            self.world.abort()
            raise
