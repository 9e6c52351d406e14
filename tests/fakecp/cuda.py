"""cupy.cuda: streams, events, pinned memory, and NCCL between the threads of one process.

A stream runs what it is given at once, which a device is free to do, too. So what a test would not
see is refused: work on a stream that does not wait for what came before, and copies to memory that
is not pinned. `nccl` is what `from cupy.cuda import nccl` gives.
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from tests.fakecp.array import API, current, wait

SECONDS = 30  # in which a rank is heard of
NCCL = API["cupy.cuda.nccl"]


def is_available() -> bool:
    return True


def get_current_stream() -> Any:
    return current.stream or NULL


class Device:
    """Each rank's own, with few processors, so that streams of a small network share a block."""

    attributes: ClassVar = {"MultiProcessorCount": 2}

    @property
    def pci_bus_id(self) -> str:
        return threading.current_thread().name


class Event:
    """On the stream of the thread that records it: another thread's has nothing in it."""

    def __init__(self, disable_timing: bool = False):
        self.thread: str | None = None

    def record(self, stream: Any) -> None:
        assert stream is get_current_stream()
        self.thread = threading.current_thread().name


class Stream:
    """One that waits for an event may be entered until it is done, and after that waits anew."""

    def __init__(self, non_blocking: bool = False):
        self.ptr, self.ready = id(self), False

    def wait_event(self, event: Event) -> None:
        assert event.thread
        self.ready = True

    def __enter__(self) -> Stream:
        if not self.ready:
            raise RuntimeError("this stream does not wait for what computes its arrays")
        current.stream = self
        return self

    def __exit__(self, *error: Any) -> None:
        current.stream = None

    @property
    def done(self) -> bool:
        wait("done")
        self.ready = False
        return True


NULL = SimpleNamespace(ptr=0)


def alloc_pinned_memory(size: int) -> Any:
    memory = bytearray(size)
    current.pinned.append(np.frombuffer(memory, np.uint8))
    return memory


class _Group(threading.local):
    """What a thread began with groupStart."""

    waiting: list[Any] | None = None


_group = _Group()
_boxes: defaultdict[tuple[bytes, int, int], queue.Queue[bytes]] = defaultdict(queue.Queue)


def _group_start() -> None:
    _group.waiting = []


def _group_end() -> None:
    assert _group.waiting is not None
    for receive in _group.waiting:
        receive()
    _group.waiting = None


class NcclError(RuntimeError):
    pass


class NcclCommunicator:
    def __init__(self, ndev: int, commId: bytes, rank: int):
        assert len(commId) == 128
        self.size, self.name, self.rank = ndev, commId, rank

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._check(datatype, stream)
        if _group.waiting is None:
            raise RuntimeError("send waits for its recv, and would for ever: groupStart is missing")
        _boxes[self.name, self.rank, peer].put(ctypes.string_at(sendbuf, count))

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._check(datatype, stream)
        assert _group.waiting is not None
        _group.waiting.append(lambda: self._take(recvbuf, count, peer))

    def bcast(self, buff: int, count: int, datatype: int, root: int, stream: int) -> None:
        self._check(datatype, stream)
        if self.rank != root:
            self._take(buff, count, root)
            return
        for other in {*range(self.size)} - {root}:
            _boxes[self.name, root, other].put(ctypes.string_at(buff, count))

    def abort(self) -> None:
        """Nothing hangs here."""

    def _take(self, to: int, count: int, sender: int) -> None:
        data = _boxes[self.name, sender, self.rank].get(timeout=SECONDS)
        assert len(data) == count
        ctypes.memmove(to, data, count)

    def _check(self, datatype: int, stream: int) -> None:
        if datatype != nccl.NCCL_UINT8:
            raise TypeError(f"{datatype} is not bytes")
        if current.stream is None or stream != current.stream.ptr:
            raise RuntimeError("NCCL on another stream than what it sends is computed on")


nccl = SimpleNamespace(
    available=False,  # until a test has it
    NCCL_UINT8=1,
    NcclCommunicator=NcclCommunicator,
    NcclError=NcclError,
    get_unique_id=lambda: os.urandom(128),
    groupStart=_group_start,
    groupEnd=_group_end,
)
for _place, _things in {
    "cupy.cuda.nccl": nccl.__dict__,
    "cupy.cuda.Device": ["attributes", "pci_bus_id"],
    "cupy.cuda.Event": ["record"],
    "cupy.cuda.Stream": ["wait_event", "done"],
    "cupy.cuda": [
        "Device",
        "Event",
        "Stream",
        "alloc_pinned_memory",
        "get_current_stream",
        "is_available",
    ],
    "cupy.cuda.nccl.NcclCommunicator": ["send", "recv", "bcast", "abort"],
}.items():
    assert not {*_things} - {*API[_place]}, _place
