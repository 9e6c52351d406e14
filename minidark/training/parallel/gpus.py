"""Ranks with one GPU each: the same calls as `Ranks`, on buffers in GPU memory.

A sum follows the same tree as all ranks' sums, so it has the same bytes on either path: through
pinned host memory and MPI, or, if cupy has NCCL and each rank has its own GPU, from GPU to GPU.
Transfers have a stream of their own, so that the layers below are computed at the same time.
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

VISIBLE = "CUDA_VISIBLE_DEVICES"  # GPUs that a process sees
BOOT = Path("/proc/sys/kernel/random/boot_id")
ID_BYTES = 128  # of NCCL's unique id


def see_own(environment: MutableMapping[str, str], local: int) -> None:
    """Restrict a rank, number `local` on its machine, to the GPU of that number. Must run before
    cupy is imported. Does nothing if each rank already has one GPU."""
    if VISIBLE not in environment:
        environment[VISIBLE] = str(local)
    elif "," in environment[VISIBLE]:
        listed = environment[VISIBLE].split(",")
        environment[VISIBLE] = listed[local].strip() if local < len(listed) else ""


def transport(backend: Backend) -> str:
    """How ranks that share no GPU transfer buffers of this backend; it must be the same on all
    ranks."""
    if backend.xp is np:
        return "MPI"
    from cupy.cuda import nccl

    return "NCCL" if nccl.available else "pinned memory"


def reaching(ranks: Ranks, backend: Backend) -> Ranks:
    """`ranks` with support for this backend's buffers. On GPUs, all ranks must call it."""
    if ranks.size == 1 or backend.xp is np:
        return ranks
    alone = not _some_share(ranks, backend.xp)
    kind = NcclRanks if alone and transport(backend) == "NCCL" else PinnedRanks
    return kind(ranks, backend.xp)


def _some_share(ranks: Ranks, cupy: Any) -> bool:
    """Whether two ranks share a GPU, which NCCL does not support."""
    places = ranks.digests([[machine(), cupy.cuda.Device().pci_bus_id]])
    return len(np.unique(places, axis=0)) < ranks.size


def machine() -> str:
    """An identifier of this machine: its boot id, which its containers share and copies of it do
    not, or else its host name."""
    try:
        return BOOT.read_text()
    except OSError:
        return socket.gethostname()


class PinnedRanks(Ranks):
    """`ranks` with support for cupy buffers, through pinned host memory."""

    def __init__(self, ranks: Ranks, cupy: Any):
        self.ranks, self.cuda = ranks, cupy.cuda
        self.rank, self.size, self.timeout = ranks.rank, ranks.size, ranks.timeout
        self.stream = self.cuda.Stream(non_blocking=True)
        self.pinned: dict[int, Array] = {}  # by size in bytes

    def ready(self) -> Any:
        """An event on the calling thread's stream, on which the buffer is computed."""
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
        """Work on the transfer stream, after the event `after` or this thread's previous work."""
        self.stream.wait_event(after or self.ready())
        with self.stream:
            yield

    def _until_done(self, whom: str) -> None:
        wait_for(lambda: self.stream.done, whom, self.timeout)


class NcclRanks(PinnedRanks):
    """The same from GPU to GPU. NCCL's own sum has a different order for each number of ranks; so
    this class sends, receives and adds.

    NCCL has waits of its own, on the GPU and, at the first contact, on the host.
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
            self.nccl.groupStart()  # both together, otherwise they would wait for each other
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
        """Abort NCCL on an error: a wait on the GPU would keep the process from exiting."""
        try:
            in_time(call, whom, self.timeout)
            self._until_done(whom)
        except MinidarkError:
            self.world.abort()
            raise
