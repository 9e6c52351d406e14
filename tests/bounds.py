"""What a reader may take for a file that it refuses: a second of the processor and 200 MB.

On a slower machine, or beside programs that share its caches, a second is as much longer as a fixed
loop takes longer there.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 1.0  # of the processor
LOOP_SECONDS = 0.08  # of `_slowness`'s loop, on a server's processor of 2022
MEMORY = 200 << 20  # bytes more than before


@dataclass(frozen=True, slots=True)
class Usage:
    """Of this process and of its children that have ended."""

    seconds: float
    children: float  # their seconds
    peak: int  # bytes of memory at most
    child_peak: int  # of the largest child


def usage() -> Usage:
    """So far, where the platform says."""
    try:
        import resource
    except ImportError:
        return Usage(0, 0, 0, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    own, children = (
        resource.getrusage(k) for k in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return Usage(
        own.ru_utime + own.ru_stime,
        children.ru_utime + children.ru_stime,
        _peak() or unit * own.ru_maxrss,
        unit * children.ru_maxrss,
    )


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _peak() -> int:
    """The most memory since `_forget_peak`, which only Linux knows."""
    if not STATUS.exists():
        return 0
    line = next((la for la in STATUS.read_text().splitlines() if la.startswith("VmHWM")), "0 0")
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def _slowness() -> float:
    """How many times longer than LOOP_SECONDS a fixed loop takes now, at least 1."""
    before = time.process_time()
    texts: dict[int, str] = {}
    for i in range(300_000):
        texts[i & 1023] = str(i)
    return max(1.0, (time.process_time() - before) / LOOP_SECONDS)


@contextlib.contextmanager
def bounded(worker: Callable[[], object] | None = None, seconds: float = SECONDS) -> Iterator[None]:
    """What happens within the block takes no more than `seconds` and MEMORY. `worker` does the same
    with a good file: what it imports, and the start of its process, are not counted."""
    idle = 0.0
    if worker:
        before = usage()
        worker()
        idle = usage().children - before.children
    gc.collect()
    gc.freeze()  # what the other tests have left is not looked through again and again
    _forget_peak()
    before = usage()
    try:
        yield
    finally:
        gc.unfreeze()
    after = usage()
    taken = after.seconds - before.seconds + max(0, after.children - before.children - idle)
    if taken >= seconds:
        slowness = _slowness()
        assert taken < seconds * slowness, f"{taken:.2f} seconds, {slowness:.2f} times slower here"
    memory = max(after.peak - before.peak, after.child_peak - before.child_peak)
    assert memory < MEMORY, f"{memory >> 20} MB"
