"""A mutation loop in a process of its own: python -m tests.fuzz.survivor KIND SEED FROM COUNT.

For readers whose C code may crash or hang on damaged bytes, which minidark runs in processes of
their own, too. The number of the input that is next stands in the file `next`, so that the loop can
go on behind one that ended the process.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from minidark.convert import state_worker
from tests.fuzz.loop import Loop
from tests.fuzz.mutation import mutations

NEXT = Path("next")
SECONDS = 1.0  # of the processor for one input
MOST_ENDS = 0.001  # the share of inputs that may end the process


def main(kind: str, seed: int, start: int, count: int) -> None:
    logging.disable()
    warnings.simplefilter("ignore")  # torch's, for which Python would open its source
    inputs = itertools.islice(mutations(kind, seed), count)
    progress = os.open(NEXT, os.O_WRONLY | os.O_CREAT)
    loop = Loop(kind)
    state_worker.limit_memory(0)
    for number, data in enumerate(inputs):
        if number >= start:
            os.pwrite(progress, b"%10d" % (number + 1), 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            loop.run(data)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    loop.end()


def survive(kind: str, seed: int, count: int) -> list[int]:
    """Run the loop over `count` inputs in the working folder; the numbers of those that ended the
    process by a signal. Raises AssertionError with what the loop says."""
    ended: list[int] = []
    root = Path(__file__).parents[2]
    while True:
        start = ended[-1] + 1 if ended else 0
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.survivor",
            kind,
            *map(str, (seed, start, count)),
        ]
        path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False
        )
        if done.returncode >= 0:
            assert done.returncode == 0, done.stderr.decode(errors="replace")[-5000:]
            return ended
        ended.append(int(NEXT.read_text()) - 1)
        assert len(ended) <= 3 + MOST_ENDS * count, f"{len(ended)} inputs ended the process"


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
