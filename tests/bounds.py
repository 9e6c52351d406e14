"""What a reader may take for a file that it refuses: a second of the processor and 200 MB."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 1.0  # of the processor
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
    assert taken < seconds, f"{taken:.2f} seconds"
    memory = max(after.peak - before.peak, after.child_peak - before.child_peak)
    assert memory < MEMORY, f"{memory >> 20} MB"
