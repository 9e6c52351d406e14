"""Reads the arrays of another program's model: python state_worker.py READER FOLDER.

READER is a script beside this file whose `read(folder)` returns arrays by name. It may set its own
SECONDS and MEMORY, for the limits below. The arrays are written to arrays.npz under numbers,
because a name may be any text; `names` lists the names as JSON.

The reader's input is untrusted, so the process limits its CPU time and memory in proportion to the
size of the input. The limits are set after the reader's libraries are imported.
"""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np

FULL = 5  # exit code if arrays.npz cannot be written
SECONDS, BYTES_A_SECOND = 3, 20 << 20  # 3 seconds are generous, for slow and busy machines
MEMORY, TIMES = 128 << 20, 8  # bytes, plus this multiple of the file's size


def limit(size: int, least_seconds: int, least_memory: int) -> None:
    """Set the limits for a file of `size` bytes, where the platform supports them."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime + least_seconds + size / BYTES_A_SECOND
    _lower(resource.RLIMIT_CPU, math.ceil(seconds))
    limit_memory(size, least_memory)


def limit_memory(size: int, least: int = MEMORY) -> None:
    """Set the memory limit, which only Linux supports."""
    status = Path("/proc/self/status")
    if status.exists():
        import resource

        data = next(line for line in status.read_text().splitlines() if line.startswith("VmData"))
        _lower(resource.RLIMIT_DATA, 1024 * int(data.split()[1]) + least + TIMES * size)


def _lower(kind: int, value: int) -> None:
    import resource

    soft, hard = resource.getrlimit(kind)
    limits = [value, *(n for n in (soft, hard) if n != resource.RLIM_INFINITY)]
    resource.setrlimit(kind, (min(limits), hard))


def main(reader: str, folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    module = runpy.run_path(str(Path(__file__).with_name(reader)))
    limit(size, module.get("SECONDS", SECONDS), module.get("MEMORY", MEMORY))
    arrays = module["read"](folder)
    numbered = {str(i): array for i, array in enumerate(arrays.values())}
    try:
        np.savez(folder / "arrays.npz", **numbered, names=np.array(json.dumps([*arrays])))
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(FULL)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
