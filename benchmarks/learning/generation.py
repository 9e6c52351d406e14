"""Loss on held-out text after the training time of nanoGPT's CPU recipe, and after four times that.

Networks train on the first nine tenths of a text and predict the last tenth in three ways: with a
state carried from beginning to end, like `minidark valid`; the same with a cache of earlier text;
and in windows at random positions, each from a zero state, as nanoGPT measures.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import minidark
from benchmarks.learning.commands import run
from benchmarks.table import Row
from minidark.data.bytepairs import byte_pairs

MILDER = "softmax.temperature=1.1"  # because the ensemble's predictions are overconfident
SHARE = 10  # 1 / SHARE of the text is held out
WINDOWS = (64, 256)  # characters, in nanoGPT's CPU recipe and for its best network
CACHE = 2000  # symbols
DRAWN, SIDE_BY_SIDE = 2000, 100  # windows in all, and at once
NANOGPT = "nanogpt-seconds.json"
RECIPE = (  # the CPU recipe of nanoGPT's README
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 "
    "--log_interval=100 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 "
    "--max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A row: `together` networks of a cfg, joined, each trained with these options. times: its
    training may take so many times as long as nanoGPT's. goal: nats per character."""

    cfg: str
    times: int
    goal: float
    together: int = 1
    options: tuple[str, ...] = ()


PLANS = {
    "generation": Plan("bytepairs", 1, 1.44),
    "generation-longer": Plan("bytepairs-long", 4, 1.40),
    "generation-joined": Plan("bytepairs", 4, 1.37, together=3),
}


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained network, its training time and its losses in nats per held-out character."""

    weights: Path
    seconds: float
    nats: float  # with a carried state
    remembering: float  # with a cache
    windows: list[float]  # in windows of WINDOWS characters


def tasks(
    text: Path, nanogpt: Path | None, kept: Path, seeds: int
) -> dict[str, Callable[[], Iterator[Row]]]:
    """The tasks by name. nanogpt: a checkout with a prepared data/shakespeare_char, or None. They
    keep weights, and the time of nanoGPT, in `kept`."""
    found: dict[str, Callable[[], Iterator[Row]]] = {}
    if nanogpt:
        found["nanogpt"] = partial(_nanogpt, nanogpt, kept)
    for name, plan in PLANS.items():
        found[name] = partial(_ours, plan, text, kept, seeds)
    return found


def _ours(plan: Plan, text: Path, kept: Path, seeds: int) -> Iterator[Row]:
    """Train `seeds` networks, or so many ensembles."""
    learned = [_joined(plan, text, kept, group) for group in groups(seeds, plan.together)]
    nats = [one.nats for one in learned]
    windows = zip(WINDOWS, zip(*(one.windows for one in learned), strict=True), strict=True)
    remark = f"{_each(nats)}; on windows of " + ", of ".join(
        f"{size} {_mean(losses)}" for size, losses in windows
    )
    work = f"{plan.cfg}, {plan.together} joined" if plan.together > 1 else plan.cfg
    within = f"{work}: nats per character, in {plan.times} x nanoGPT's time"
    yield Row(within, statistics.mean(nats), plan.goal, "nats", True, remark)
    seconds = kept / NANOGPT
    limit = plan.times * json.loads(seconds.read_text()) if seconds.exists() else None
    longest = max(one.seconds for one in learned)
    yield Row("  trained in", longest, limit, "s", True, "the longest run")
    remembering = [one.remembering for one in learned]
    mean = statistics.mean(remembering)
    yield Row(f"  read with --cache {CACHE}", mean, None, "nats", True, _each(remembering))


def groups(count: int, together: int) -> list[tuple[int, ...]]:
    """The seeds of so many ensembles, from 1."""
    firsts = range(1, 1 + count * together, together)
    return [tuple(range(first, first + together)) for first in firsts]


def _each(nats: Sequence[float]) -> str:
    single = ", ".join(f"{n:.3f}" for n in nats)
    return f"{single}: ± {statistics.stdev(nats):.3f}" if len(nats) > 1 else single


def _mean(losses: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(losses):.3f}" if len(losses) > 1 else ""
    return f"{statistics.mean(losses):.3f}{spread}"


@cache
def _held_out(text: Path, kept: Path) -> Path:
    """The last part of a text as a file. Trains one batch, which compiles the kernels."""
    data, held_out = text.read_bytes(), kept / "held-out.txt"
    kept.mkdir(parents=True, exist_ok=True)
    held_out.write_bytes(data[len(data) - len(data) // SHARE :])
    for cfg in {plan.cfg for plan in PLANS.values()}:
        run("train", cfg, str(text), "--batches", "1", "--backup", str(kept / "first"))
    return held_out


@cache
def _trained(
    cfg: str, options: tuple[str, ...], text: Path, kept: Path, seed: int
) -> tuple[Path, float]:
    """The final weights of a run, and its seconds; once for all rows of a benchmark."""
    _held_out(text, kept)
    folder = kept / "-".join([cfg, *options]).replace("/", "") / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    run("train", cfg, str(text), "--seed", str(seed), "--backup", str(folder),
        "--valid-fraction", str(1 / SHARE), *options)  # fmt: skip
    return folder / f"{cfg}_final.weights", time.perf_counter() - began


def _joined(plan: Plan, text: Path, kept: Path, seeds: tuple[int, ...]) -> Learned:
    """The networks of these seeds as one; a single network as it is."""
    runs = [_trained(plan.cfg, plan.options, text, kept, seed) for seed in seeds]
    held_out, seconds = _held_out(text, kept), sum(seconds for _, seconds in runs)
    if len(runs) == 1:
        return _read(plan.cfg, runs[0][0], seconds, held_out)
    weights = runs[0][0].with_name("joined.weights")  # in a folder that is new
    began = time.perf_counter()
    run("join", plan.cfg, str(weights), *(str(path) for path, _ in runs), "--set", MILDER)
    seconds += time.perf_counter() - began
    return _read(str(weights.with_suffix(".cfg")), weights, seconds, held_out)


def _read(cfg: str, weights: Path, seconds: float, held_out: Path) -> Learned:
    words = ("valid", cfg, str(weights), str(held_out), "--json", "--cache")
    nats, remembering = (
        json.loads(run(*words, str(cache)))["nats_per_character"] for cache in (0, CACHE)
    )
    net = minidark.load_network(cfg, weights)
    windows = [windowed(net, held_out.read_bytes(), size, seed=1) for size in WINDOWS]
    return Learned(weights, seconds, nats, remembering, windows)


def windowed(net: minidark.Network, data: bytes, size: int, seed: int, drawn: int = DRAWN) -> float:
    """Nats per character in `drawn` windows of `size` characters at random positions of a text,
    each read from a zero state. The first symbol of a window is not scored."""
    pairs = byte_pairs(net)
    begins = np.random.default_rng(seed).integers(0, len(data) - size, drawn)
    windows = [pairs.encode(data[begin : begin + size + 1]) for begin in begins]
    nats = sum(_nats(net, windows[at : at + SIDE_BY_SIDE]) for at in range(0, drawn, SIDE_BY_SIDE))
    return nats / sum(int(pairs.lengths[window[1:]].sum()) for window in windows)


def _nats(net: minidark.Network, windows: Sequence[npt.NDArray[np.intp]]) -> float:
    """The summed nats of all symbols except the first of each window."""
    longest = max(map(len, windows))
    padded = np.full((longest, len(windows)), -1)
    for at, window in enumerate(windows):
        padded[: window.size, at] = window
    one = net.twin(len(windows))
    return float(one.cost(one.forward(np.maximum(padded[:-1], 0)), padded[1:]))


def _nanogpt(checkout: Path, kept: Path) -> Iterator[Row]:
    """nanoGPT's validation loss, and the seconds of its training."""
    kept.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "train.py",
        *RECIPE.split(),
        f"--out_dir={(kept / 'out').absolute()}",
    ]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - began
    (kept / NANOGPT).write_text(json.dumps(seconds))
    loss = float(re.findall(r"val loss ([\d.]+)", done.stdout)[-1])
    remark = f"{seconds:.0f} s; on windows of 64 characters"
    yield Row("nanoGPT's recipe for a CPU", loss, unit="nats", less=True, remark=remark)
