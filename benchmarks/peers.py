"""Runs each peer of a benchmark in a process of its own, in turns.

In one process, the threads of one library that wait for work slow the other down. They do so from
another process too, because they spin while they wait. So a peer is stopped between its turns.

    python -m benchmarks.peers minidark '{"shape": [2, 128, 50, 50], "kernels": "fast"}'
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.shapes import Shape
from benchmarks.turns import REST, TURN, seconds_of

STEPS = {  # kinds of peers: the function that makes a step, whose module only the peer imports
    "minidark": ("shapes", "minidark_step"),
    "torch": ("nets", "torch_step"),
    "bare": ("training", "bare_products"),
    "sample": ("shapes", "minidark_sample"),
    "samples": ("shapes", "minidark_samples"),
    "torch sample": ("nets", "torch_sample"),
    "onnx sample": ("nets", "onnx_sample"),
    "vector": ("sampling", "plain_vector_products"),
}


class Peer:
    """A process with one step function."""

    def __init__(self, kind: str, shape: Shape, **options: Any):
        facts = {"shape": [shape.layers, shape.width, shape.steps, shape.streams], **options}
        command = [sys.executable, "-m", "benchmarks.peers", kind, json.dumps(facts)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()  # it is ready; peers that load side by side would disturb the first steps

    def _answer(self) -> str:
        """The next line that the process prints. It is stopped after it."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        return line

    def seconds(self, repetitions: int) -> float:
        """The mean seconds of a step over some repetitions."""
        assert self.process.stdin
        self.process.send_signal(signal.SIGCONT)
        print(repetitions, file=self.process.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate()


def medians(peers: Mapping[str, Callable[[], Peer]], rounds: int) -> dict[str, float]:
    """The median seconds of each peer's step over its turns. Earlier steps, which compile and warm
    up, do not count."""
    with contextlib.ExitStack() as stack:
        running = {name: make() for name, make in peers.items()}
        for peer in running.values():
            stack.callback(peer.end)
        repetitions = {}
        for name, peer in running.items():
            peer.seconds(1)
            repetitions[name] = max(1, round(TURN / peer.seconds(2)))
        seconds: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(rounds):
            for name, peer in running.items():
                time.sleep(REST)
                seconds[name].append(peer.seconds(repetitions[name]))
    return {name: float(np.median(times)) for name, times in seconds.items()}


def main(kind: str, facts: str) -> None:
    options = json.loads(facts)
    shape = Shape(*options.pop("shape"))
    module, name = STEPS[kind]
    step = getattr(import_module(f"benchmarks.{module}"), name)(shape, **options)
    print("ready", flush=True)
    for line in sys.stdin:
        print(seconds_of(step, int(line)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
