"""Training speed against PyTorch and bare matrix products, and training memory.

`python -m benchmarks.training` prints the table. `--profile` adds a profile of a step.
"""

from __future__ import annotations

import argparse
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import nets, peers, shapes
from benchmarks.peers import Peer
from benchmarks.recurrent import forward_and_backward
from benchmarks.shapes import SYMBOLS, Shape
from benchmarks.table import Row, machine, show
from benchmarks.turns import medians
from minidark.backend import PRECISIONS, compiled, memory

# For each shape: rounds, and goals of the speed relative to nn.GRU, to the formula and to bare
# products with the fast kernels, and to nn.GRU with numpy's kernels.
GOALS = {
    Shape(2, 128, 50, 50): (9, 3.5, 4.5, 0.75, 1.5),
    Shape(3, 256, 50, 50): (9, 2.7, 4.0, 0.85, 1.15),
    Shape(2, 512, 64, 64): (7, 2.4, 4.5, 0.90, 1.2),
    Shape(3, 1024, 32, 32): (5, 2.4, 2.2, 0.93, 1.2),
}
HALF_GOALS = {  # speed with precision bf16 relative to float32
    Shape(3, 256, 50, 50): (9, 1.35),
    Shape(2, 512, 64, 64): (7, 1.6),
    Shape(3, 1024, 32, 32): (5, 1.6),
}
OTHERS = {"lstm": "LSTM", "rnn": "RNN"}
FLOAT = 4  # bytes


def rows() -> list[Row]:
    return [*gru_rows(), *half_rows(), *other_rows(), *compiled_rows(), *memory_rows()]


def gru_rows() -> Iterator[Row]:
    for shape, (rounds, beside_gru, beside_formula, share, numpys) in GOALS.items():
        seconds = peers.medians(
            {
                "fast": partial(Peer, "minidark", shape, kernels="fast"),
                "reset_after": partial(
                    Peer, "minidark", shape, kernels="fast", cell="gru reset_after"
                ),
                "numpy": partial(Peer, "minidark", shape, kernels="numpy"),
                "nn.GRU": partial(Peer, "torch", shape, name="GRU"),
                "formula": partial(Peer, "torch", shape, name="Formula"),
                "packed": partial(Peer, "torch", shape, name="PackedFormula"),
                "bare": partial(Peer, "bare", shape),
            },
            rounds,
        )
        times = ", ".join(f"{name} {1e3 * s:.1f}" for name, s in seconds.items())
        fast = seconds["fast"]
        yield Row(f"train {shape}, nn.GRU", seconds["nn.GRU"] / fast, beside_gru, remark=times)
        yield Row(
            f"train {shape}, reset_after=1, nn.GRU", seconds["nn.GRU"] / seconds["reset_after"]
        )
        yield Row(f"train {shape}, the formula in PyTorch", seconds["formula"] / fast,
                  beside_formula)  # fmt: skip
        yield Row(f"train {shape}, the formula packed", seconds["packed"] / fast)
        yield Row(f"train {shape}, bare numpy products", seconds["bare"] / fast, share)
        yield Row(f"train {shape}, nn.GRU by numpy's kernels", seconds["nn.GRU"] / seconds["numpy"],
                  numpys)  # fmt: skip


def half_rows() -> Iterator[Row]:
    """Precision bf16 beside float32, on processors that have it."""
    for shape, (rounds, beside_single) in HALF_GOALS.items() if compiled.has_half() else ():
        seconds = peers.medians(
            {
                name: partial(Peer, "minidark", shape, kernels="fast", precision=name)
                for name in PRECISIONS
            },
            rounds,
        )
        times = ", ".join(f"{name} {1e3 * s:.1f}" for name, s in seconds.items())
        yield Row(f"train {shape}, bf16 beside float32", seconds["float32"] / seconds["bf16"],
                  beside_single, remark=times)  # fmt: skip


def other_rows() -> Iterator[Row]:
    for cell, name in OTHERS.items():
        for shape, rounds in ((Shape(2, 128, 50, 50), 7), (Shape(3, 256, 50, 50), 7)):
            seconds = peers.medians(
                {
                    "fast": partial(Peer, "minidark", shape, kernels="fast", cell=cell),
                    "numpy": partial(Peer, "minidark", shape, kernels="numpy", cell=cell),
                    f"nn.{name}": partial(Peer, "torch", shape, name=name),
                },
                rounds,
            )
            times = ", ".join(f"{name} {1e3 * s:.1f}" for name, s in seconds.items())
            ratio = seconds[f"nn.{name}"] / seconds["fast"]
            yield Row(f"train {cell} {shape}, nn.{name}", ratio, remark=times)


def compiled_rows() -> Iterator[Row]:
    """The packed formula with `torch.compile`, if its compiler is installed. It unrolls the time
    loop, which takes minutes for the larger shapes."""
    if not shutil.which("g++"):
        return
    shape = Shape(2, 128, 50, 50)
    runs = {
        "fast": shapes.minidark_step(shape, "fast"),
        "torch.compile": nets.torch_step(shape, "PackedFormula", compiled=True),
    }
    began = time.perf_counter()
    runs["torch.compile"]()
    remark = f"first step {time.perf_counter() - began:.0f} s"
    seconds = medians(runs, 9)
    ratio = seconds["torch.compile"] / seconds["fast"]
    yield Row(f"train {shape}, the formula packed, torch.compile", ratio, remark=remark)


# --- bare products ------------------------------------------------------------------------


def products(shape: Shape) -> Iterator[tuple[int, int, int, int]]:
    """The products a @ b of a training step: repetitions, rows, depth and columns."""
    n, s, h = shape.steps * shape.streams, shape.streams, shape.width
    for layer in range(shape.layers):
        yield shape.steps, s, h, 2 * h  # wz | wr, forward
        yield shape.steps, s, h, h  # wh
        yield shape.steps, s, h, h  # backward
        yield shape.steps, s, 2 * h, h
        yield 1, 2 * h, n, h  # gradients of the weights
        yield 1, h, n, h
        if layer:  # the first layer looks symbols up instead
            yield 1, n, h, 3 * h
            yield 1, n, 3 * h, h
            yield 1, 3 * h, n, h
    yield 1, n, h, SYMBOLS
    yield 1, n, SYMBOLS, h
    yield 1, SYMBOLS, n, h


def bare_products(shape: Shape) -> Callable[[], None]:
    """Only the matrix products of a step, with numpy."""
    rng = np.random.default_rng(0)
    work = []
    for times, rows, depth, columns in products(shape):
        a = rng.normal(0, 0.05, (rows, depth)).astype(np.float32)
        b = rng.normal(0, 0.05, (depth, columns)).astype(np.float32)
        work.append((times, a, b, np.empty((rows, columns), np.float32)))

    def run() -> None:
        for times, a, b, c in work:
            for _ in range(times):
                np.matmul(a, b, out=c)

    return run


# --- memory -------------------------------------------------------------------------------


def memory_rows() -> Iterator[Row]:
    """The peak memory of a training step, relative to the necessary minimum."""
    for shape in GOALS:
        shapes.minidark_step(shape, "fast")()  # loads the kernels, which should not count
        memory.release()
        tracemalloc.start()
        step = shapes.minidark_step(shape, "fast")
        for _ in range(3):
            step()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        needed = FLOAT * (4 * _parameters(shape) + _activations(shape))
        remark = f"{peak / 2**20:.1f} MiB of {needed / 2**20:.1f}"
        yield Row(f"memory {shape}, peak over need", peak / needed, 1.3, "x", True, remark)


def _parameters(shape: Shape) -> int:
    return sum(p.value.size for p in shapes.network(shape, "numpy").parameters())


def _activations(shape: Shape) -> int:
    """The numbers that backward reads: each GRU's gates, states and reset states, and softmax's
    p."""
    n = shape.steps * shape.streams
    return (
        n * (5 * shape.width * shape.layers + SYMBOLS) + shape.layers * shape.streams * shape.width
    )


# --- profile ------------------------------------------------------------------------------

PARTS = {
    "products of all rows": ("gemm_nt", "gemm_nn", "gemm_tn"),
    "sequences: products and gates": ("gru_sequence", "gru_sequence_backward"),
    "softmax and cost": ("softmax", "cross_entropy"),
    "optimizer": ("adam_step",),
    "data: gather, scatter, sums": ("gather", "scatter_add", "column_sums"),
}


def profile_rows(shape: Shape, rounds: int) -> Iterator[Row]:
    """The share of a step's time for each part of the fast kernels. For the sequences, the remark
    is the share of their products."""
    seconds: dict[str, float] = {}
    real = {name: getattr(compiled, name) for names in PARTS.values() for name in names}
    step = shapes.minidark_step(shape, "fast")
    step()
    try:
        for name, kernel in real.items():
            setattr(compiled, name, _timed(kernel, name, seconds))
        step()
        seconds.clear()
        began = time.perf_counter()
        for _ in range(rounds):
            step()
        whole = time.perf_counter() - began
    finally:
        for name, kernel in real.items():
            setattr(compiled, name, kernel)
    bare = shape.layers * medians({"bare": forward_and_backward(shape)}, rounds)["bare"]
    for part, names in PARTS.items():
        share = 100 * sum(seconds.get(name, 0) for name in names) / whole
        remark = f"products alone {100 * bare * rounds / whole:.0f} %" if "gates" in part else ""
        yield Row(f"{shape} {part}", share, unit="%", remark=remark)
    rest = 100 * (1 - sum(seconds.values()) / whole)
    yield Row(
        f"{shape} the rest, in Python", rest, unit="%", remark=f"{1e3 * whole / rounds:.1f} ms"
    )


def _timed(kernel: Any, name: str, seconds: dict[str, float]) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = kernel(*args, **kwargs)
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - began
        return result

    return timed


def show_profile() -> None:
    profile = [row for shape, goals in GOALS.items() for row in profile_rows(shape, goals[0])]
    show("Profile of a step with the fast kernels", profile)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    show(f"Training. {machine()}", rows())
    if arguments.profile:
        show_profile()


if __name__ == "__main__":
    main()
