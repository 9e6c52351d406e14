"""One step on several ranks against the same step on one: `make bench-scale`.

    python -m benchmarks.scale               measures 2 and 4 ranks, compares the simulator with
                                             them, and simulates larger machines
    python -m benchmarks.scale --plot FILE   also draws the simulated results

Each measurement is one `mpiexec`. It alternates: rank 0 trains alone while the others sleep, then
all train, and so on. Every rank computes with one thread. The goal is for wall time. Processor time
shows what the wall time would be on idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulator import Link, Work, batch
from benchmarks.table import Row, machine, show
from minidark import Network, Text, load_network, train
from minidark.backend import Array
from minidark.backend.threads import set_threads
from minidark.layers import Layer
from minidark.training.parallel.mpi import find_ranks
from minidark.training.parallel.ranks import Ranks

SYMBOLS, LAYERS, WIDTH, STEPS, STREAMS = 256, 2, 512, 64, 64
GOAL = 1.7  # speed of two ranks relative to one
RANKS = (2, 4)
MORE = (8, 64, 512, 4096)  # simulated
ROUNDS, BATCHES = 5, 2  # turns of each task, and batches in a turn
SPEEDS = (1, 16)  # relative to one thread of this machine
ADDITION = 5e9  # bytes that one thread adds per second
SMALL, SUMS = 8, 50  # bytes of a sum that measures latency, and number of such sums
DONE = ("together", "alone", "share", "sum", "small", "update")  # "share": a rank's streams, alone
CLOCK, PROCESSOR = 0, 1  # indices of wall time and processor time
Turn = tuple[Callable[[], object], int]  # a task and its repetitions
LINKS = (  # 90 % of the data sheets' bandwidth
    Link("10 Gbit Ethernet", 30e-6, 1.1e9),
    Link("100 Gbit Ethernet", 10e-6, 11e9),
    Link("400 Gbit InfiniBand", 2e-6, 45e9),
)


def network(folder: Path, streams: int = STREAMS) -> Network:
    layers = f"[gru]\ntanh=1\noutput={WIDTH}\n" * LAYERS
    cfg = folder / "scale.cfg"
    cfg.write_text(
        f"[net]\ninputs={SYMBOLS}\nbatch={streams}\ntime_steps={STEPS}\nadam=1\ndecay=0\n"
        f"learning_rate=.001\n{layers}[connected]\noutput={SYMBOLS}\nactivation=linear\n[softmax]\n"
    )
    return load_network(cfg, seed=1)


# --- the work of each rank ----------------------------------------------------------------


def worker() -> None:
    """Run a rank. Rank 0 prints [wall, processor] seconds of each task as JSON."""
    set_threads(1)
    ranks = find_ranks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text").write_bytes(np.random.default_rng(0).bytes(1 << 20))
        with Text([folder / "text"], SYMBOLS) as text:
            net = network(folder)
            turns = {"together": _training(net, text, ranks)}
            if ranks.leads:
                turns["alone"] = _training(network(folder), text, Ranks())
                share = network(folder, STREAMS // ranks.size)
                turns["share"] = _training(share, text, Ranks())
            size = sum(p.value.size for p in net.parameters())
            turns["sum"] = _summing(ranks, np.ones(size, net.backend.dtype), 2)
            turns["small"] = _summing(ranks, np.ones(SMALL, np.uint8), SUMS)
            turns["update"] = _updating(net)
            seconds = _in_turns(ranks, turns)
    if ranks.leads:
        print(json.dumps(seconds))


def _training(net: Network, text: Text, ranks: Ranks) -> Turn:
    run = train(net, text, 1 << 20, seed=1, valid_fraction=0, ranks=ranks)
    return (lambda: next(run)), BATCHES


def _summing(ranks: Ranks, buffer: Array, times: int) -> Turn:
    return (lambda: ranks.sum(buffer)), times


def _updating(net: Network) -> Turn:
    def update() -> None:
        for p in net.parameters():  # stands for the copies to and from the flat buffer
            p.grad[...] = p.grad.copy()
        net.learner.learn(rows=1, seen=0, cost=0.0)

    return update, BATCHES


def _in_turns(ranks: Ranks, turns: Mapping[str, Turn]) -> dict[str, tuple[float, float]]:
    """The median wall and processor seconds of each task."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in DONE}
    for _ in range(1 + ROUNDS):  # the first round compiles and warms up
        for name in DONE:
            work, count = turns.get(name, (lambda: None, 1))
            ranks.barrier()
            clock, processor = time.perf_counter(), time.process_time()
            for _ in range(count):
                work()
            spent = time.perf_counter() - clock, time.process_time() - processor
            times[name].append((spent[0] / count, spent[1] / count))
    return {name: tuple(np.median(of[1:], axis=0).tolist()) for name, of in times.items()}


# --- evaluation ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """The wall and processor seconds of each task, on `ranks` ranks."""

    ranks: int
    seconds: dict[str, tuple[float, float]]

    def clock(self, name: str) -> float:
        return self.seconds[name][0]

    @property
    def link(self) -> Link:
        """The connection of two ranks through this machine's memory, including additions."""
        exchanges = np.log2(self.ranks)
        latency = self.clock("small") / exchanges
        size = sum(sizes())
        return Link("memory", latency, size / max(1e-9, self.clock("sum") / exchanges - latency))

    def work(self, name: str, which: int = CLOCK) -> Work:
        seconds, update = self.seconds[name][which], self.seconds["update"][which]
        return Work.of(seconds, update, works(), sizes(), np.inf)

    def simulated(self, which: int) -> float:
        """Simulated seconds of a batch on all ranks. In wall time, they share this machine's
        cores."""
        cores = len(os.sched_getaffinity(0))
        crowded = max(1.0, self.ranks / cores) if which == CLOCK else 1.0
        work = self.work("share", which).times(crowded)
        return batch(work, self.ranks, self.link).seconds


def measure(ranks: int) -> Measured:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-n", str(ranks), sys.executable, "-m", "benchmarks.scale", "--worker"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Measured(ranks, json.loads(done.stdout))


def works() -> list[int]:
    return [layer.work() for layer in _layers()]


def sizes() -> list[int]:
    return [4 * sum(p.value.size for p in layer.parameters()) for layer in _layers()]


def _layers() -> list[Layer]:
    with tempfile.TemporaryDirectory() as name:
        return network(Path(name)).layers


def rows(measured: Measured) -> Iterator[Row]:
    seconds, ranks = measured.seconds, measured.ranks
    remark = ", ".join(f"{name} {1e3 * clock:.1f} ms" for name, (clock, _) in seconds.items())
    for which, by in ((CLOCK, "the clock"), (PROCESSOR, "processor seconds of rank 0")):
        alone, together = seconds["alone"][which], seconds["together"][which]
        goal = GOAL if ranks == 2 and which == CLOCK else None
        yield Row(f"{ranks} ranks, to one, by {by}", alone / together, goal, remark=remark)
        simulated = measured.simulated(which)
        remark = f"simulated {1e3 * simulated:.1f} ms"
        yield Row(f"{ranks} ranks, simulated, to measured", simulated / together, remark=remark)
        remark = f"together {1e3 * seconds['together'][PROCESSOR]:.1f} ms"


def larger(work: Work) -> Iterator[tuple[str, list[float]]]:
    """For each link and speed of the ranks, the share of a batch's time spent on computation, for
    MORE ranks. Each rank has as many streams as one rank here."""
    for link in LINKS:
        for speed in SPEEDS:
            faster = Work.of(work.computed / speed, work.update / speed, works(), sizes(), ADDITION)
            yield (
                f"{link.name}, ranks {speed} x as fast as here",
                [faster.computed / batch(faster, ranks, link).seconds for ranks in MORE],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--plot", metavar="FILE", help="draw the simulated results, as SVG or PNG")
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    measured = [measure(ranks) for ranks in RANKS]
    alone = measured[0].work("alone")
    show(machine(), [row for one in measured for row in rows(one)])
    for name, shares in larger(alone):
        results = ", ".join(f"{r}: {share:.3f}" for r, share in zip(MORE, shares, strict=True))
        print(f"simulated, {name}: {results}")
    if arguments.plot:
        plot(alone, arguments.plot)


def plot(work: Work, path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, shares in larger(work):
        axes.plot(MORE, shares, "o-" if "16" in name else "s--", label=name, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(MORE, [f"{r:,}" for r in MORE])
    axes.set(xlabel="ranks", ylabel="share of time spent on computation", ylim=(0, 1.02))
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.endswith("svg") else None)


if __name__ == "__main__":
    main()
