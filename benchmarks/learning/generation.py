"""Loss on held-out text after the training time of nanoGPT's CPU recipe, and after four times that.

Networks train on the first nine tenths of a text and predict the last tenth in three ways: with a
state carried from beginning to end, like `minidark valid`; the same with a cache of earlier text;
and in windows at random positions, each from a zero state, as nanoGPT measures. In four times the
time, three networks are trained and joined.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import minidark
from benchmarks.learning.commands import run
from benchmarks.table import Row
from minidark.data.bytepairs import byte_pairs

CFG = "bytepairs"
ONE, FOUR = 1.48, 1.42  # goals in nats per character, for one and four times the recipe's time
TIMES = 3  # repetitions with different seeds
TOGETHER = 3  # networks in an ensemble
MILDER = "softmax.temperature=1.1"  # because the ensemble's predictions are overconfident
SHARE = 10  # 1 / SHARE of the text is held out
WINDOWS = (64, 256)  # characters, in nanoGPT's CPU recipe and for its best network
CACHE = 2000  # symbols
DRAWN, SIDE_BY_SIDE = 2000, 100  # windows in all, and at once
RECIPE = (  # the CPU recipe of nanoGPT's README
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 "
    "--log_interval=100 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 "
    "--max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)


def generation(text: Path, nanogpt: Path | None) -> Iterator[Row]:
    """The rows for a text. nanogpt: a checkout with a prepared data/shakespeare_char, or None."""
    limit = None
    if nanogpt:
        loss, limit = _nanogpt(nanogpt)
        remark = f"{limit:.0f} s; on windows of 64 characters"
        yield Row("nanoGPT's recipe for a CPU", loss, unit="nats", less=True, remark=remark)
    yield from _ours(CFG, text, limit)


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained network, its training time and its losses in nats per held-out character."""

    weights: Path
    seconds: float
    nats: float  # with a carried state
    remembering: float  # with a cache
    windows: list[float]  # in windows of WINDOWS characters


def _ours(cfg: str, text: Path, limit: float | None) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        data, held_out = text.read_bytes(), Path(folder, "held-out.txt")
        held_out.write_bytes(data[len(data) - len(data) // SHARE :])
        run("train", cfg, str(text), "--batches", "1", "--backup", folder)  # compiles the kernels
        ones, joined = [], []
        for number in range(TIMES):
            seeds = range(1 + TOGETHER * number, 1 + TOGETHER * (number + 1))
            some = [_trained(cfg, text, seed, Path(folder, str(seed)), held_out) for seed in seeds]
            ones += some
            joined.append(_joined(cfg, some, Path(folder, f"joined{number}.weights"), held_out))
    yield from _rows(f"{cfg}, {len(ones)} seeds", ones, 1, ONE, limit)
    yield from _rows(f"{TOGETHER} of them joined, {TIMES} times", joined, 4, FOUR, limit)


def _rows(
    work: str, learned: Sequence[Learned], times: int, goal: float, limit: float | None
) -> Iterator[Row]:
    nats = [one.nats for one in learned]
    remark = f"{_each(nats)}; on windows of " + ", of ".join(
        f"{size} {statistics.mean(losses):.3f} ± {statistics.stdev(losses):.3f}"
        for size, losses in zip(
            WINDOWS, zip(*(one.windows for one in learned), strict=True), strict=True
        )
    )
    within = f"{work}: nats per character, in {times} x nanoGPT's time"
    yield Row(within, statistics.mean(nats), goal, "nats", True, remark)
    longest, most = max(one.seconds for one in learned), limit and times * limit
    yield Row("  trained in", longest, most, "s", True, "the longest run")
    remembering = [one.remembering for one in learned]
    mean = statistics.mean(remembering)
    yield Row(f"  read with --cache {CACHE}", mean, None, "nats", True, _each(remembering))


def _each(nats: Sequence[float]) -> str:
    return f"{', '.join(f'{n:.3f}' for n in nats)}: ± {statistics.stdev(nats):.3f}"


def _trained(cfg: str, text: Path, seed: int, folder: Path, held_out: Path) -> Learned:
    began = time.perf_counter()
    run("train", cfg, str(text), "--seed", str(seed), "--backup", str(folder),
        "--valid-fraction", str(1 / SHARE))  # fmt: skip
    seconds = time.perf_counter() - began
    return _read(cfg, folder / f"{cfg}_final.weights", seconds, held_out)


def _joined(cfg: str, learned: Sequence[Learned], weights: Path, held_out: Path) -> Learned:
    began = time.perf_counter()
    run("join", cfg, str(weights), *(str(one.weights) for one in learned), "--set", MILDER)
    seconds = time.perf_counter() - began + sum(one.seconds for one in learned)
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


def _nanogpt(checkout: Path) -> tuple[float, float]:
    """nanoGPT's validation loss, and the seconds of its training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", *RECIPE.split(), f"--out_dir={folder}"]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - began
    return float(re.findall(r"val loss ([\d.]+)", done.stdout)[-1]), seconds
