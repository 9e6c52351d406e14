"""minidark networks for benchmarks: GRUs with tanh candidates, or other cells, over 256 symbols,
then a linear layer and softmax."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import minidark
from minidark.backend import Array
from minidark.inference.generate import sample_many

SYMBOLS = 256


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    width: int
    steps: int = 1
    streams: int = 1

    def __str__(self) -> str:
        return f"{self.layers}x{self.width} T{self.steps} S{self.streams}"


CELLS = {
    "gru": "[gru]\ntanh=1",
    "gru reset_after": "[gru]\ntanh=1\nreset_after=1",
    "lstm": "[lstm]",
    "rnn": "[rnn]\nactivation=tanh",
}


def network(
    shape: Shape, kernels: str, cell: str = "gru", device: str = "cpu", precision: str = "float32"
) -> minidark.Network:
    layers = f"{CELLS[cell]}\noutput={shape.width}\n" * shape.layers
    cfg = (
        f"[net]\ninputs={SYMBOLS}\nbatch={shape.streams}\ntime_steps={shape.steps}\nadam=1\n"
        f"learning_rate=.001\ndecay=0\n{layers}[connected]\noutput={SYMBOLS}\nactivation=linear\n"
        "[softmax]\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.cfg")
        path.write_text(cfg)
        return minidark.load_network(path, kernels=kernels, device=device, precision=precision)


def text(shape: Shape) -> tuple[Array, Array]:
    ids = np.random.default_rng(0).integers(0, SYMBOLS, (shape.steps + 1, shape.streams))
    return ids[:-1].copy(), ids[1:].copy()


Step = Callable[[], object]  # returns the cost; on a GPU, float() waits for it


def minidark_step(
    shape: Shape, kernels: str, cell: str = "gru", device: str = "cpu", precision: str = "float32"
) -> Step:
    net, (x, truth) = network(shape, kernels, cell, device, precision), text(shape)
    return lambda: net.train_batch(x, truth)


def minidark_sample(shape: Shape, kernels: str, length: int, precision: str = "float32") -> Step:
    """Samples `length` characters. Each call packs the weights anew."""
    net = network(shape, kernels, precision=precision)
    return lambda: minidark.generate(net, b"a", length, srand=1)


def minidark_samples(shape: Shape, kernels: str, length: int, texts: int) -> Step:
    """Samples `length` characters of each of several texts, side by side."""
    net = network(shape, kernels)
    return lambda: sample_many(net, b"a", length, 0.7, range(texts))
