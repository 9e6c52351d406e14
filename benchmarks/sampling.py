"""Sampling one stream against ONNX Runtime and PyTorch, and many streams against one.

All measurements include state, softmax, the random draw and, for minidark, the packing of the
weights at each call. ONNX Runtime is measured with one thread and with one for each processor; the
faster counts. `python -m benchmarks.sampling` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks import peers, shapes
from benchmarks.peers import Peer
from benchmarks.shapes import Shape, Step
from benchmarks.table import Row, machine, show
from minidark.backend import BF16, compiled
from minidark.backend.threads import processors


@dataclass(frozen=True, slots=True)
class Goals:
    """Speed relative to ONNX Runtime, to PyTorch, and of 64 texts to one."""

    onnx: float
    torch: float
    many: float | None


CHARACTERS = {  # of a text, and the goals
    Shape(2, 128): (1500, Goals(1.25, 2.5, 15.0)),
    Shape(3, 256): (1000, Goals(1.25, 2.5, 15.0)),
    Shape(3, 1024): (100, Goals(1.25, 1.4, None)),
}
LARGEST = Shape(3, 1024)
HALF = 1.8, 2.0  # precision bf16 beside float32 and ONNX Runtime, for the largest shape
BANDWIDTH = 0.9  # relative to a plain matrix-vector product, for the largest shape
MANY = 64
ROUNDS = 9


def rows() -> Iterator[Row]:
    for shape in CHARACTERS:
        yield from shape_rows(shape)
    yield bandwidth_row()


def shape_rows(shape: Shape) -> Iterator[Row]:
    length, goals = CHARACTERS[shape]
    title = f"sample {shape.layers}x{shape.width}"
    micro = {name: 1e6 * seconds for name, seconds in _seconds(shape, length).items()}
    remark = ", ".join(f"{name} {us:.0f}" for name, us in micro.items()) + " us a character"
    fast, onnx = micro["fast"], min(us for name, us in micro.items() if name.startswith("ONNX"))
    yield Row(f"{title}, ONNX Runtime", onnx / fast, goals.onnx, remark=remark)
    yield Row(f"{title}, PyTorch", micro["PyTorch"] / fast, goals.torch)
    yield Row(f"{title}, {MANY} at once, characters a second", MANY * fast / micro["at once"],
              goals.many)  # fmt: skip
    if "bf16" in micro:
        yield Row(f"{title}, bf16 beside float32", fast / micro["bf16"], HALF[0])
        yield Row(f"{title}, bf16 beside ONNX Runtime", onnx / micro["bf16"], HALF[1])


def _seconds(shape: Shape, length: int) -> dict[str, float]:
    """The seconds of a character with each peer."""
    threads = sorted({1, processors()})
    runs: dict[str, Callable[[], Peer]] = {
        "fast": partial(Peer, "sample", shape, kernels="fast", length=length),
        "numpy": partial(Peer, "sample", shape, kernels="numpy", length=length),
        **{
            f"ONNX Runtime on {count}": partial(
                Peer, "onnx sample", shape, length=length, threads=count
            )
            for count in threads
        },
        "PyTorch": partial(Peer, "torch sample", shape, length=length),
        "at once": partial(Peer, "samples", shape, kernels="fast", length=length // 4, texts=MANY),
    }
    if shape == LARGEST and compiled.has_half():
        runs["bf16"] = partial(Peer, "sample", shape, kernels="fast", length=length, precision=BF16)
    seconds = peers.medians(runs, ROUNDS)
    return {name: s / (length // 4 if name == "at once" else length) for name, s in seconds.items()}


def bandwidth_row() -> Row:
    """The speed at which a long text reads the weights of the largest shape, beside numpy's product
    with a vector. The text is so long that packing does not count."""
    length = 1000
    seconds = peers.medians(
        {
            "sample": partial(Peer, "sample", LARGEST, kernels="fast", length=length),
            "product": partial(Peer, "vector", LARGEST),
        },
        ROUNDS,
    )
    layers = shapes.network(LARGEST, "fast").layers
    looked_up = 3 * shapes.SYMBOLS * LARGEST.width
    read = 4 * (sum(layer.work() for layer in layers) - looked_up)
    ours, plain = (
        bytes_ / seconds[name] / 1e9
        for name, bytes_ in (("sample", length * read), ("product", PLAIN * _matrix_bytes(LARGEST)))
    )
    return Row("sample 3x1024, bandwidth of a plain product", ours / plain, BANDWIDTH,
               remark=f"{ours:.1f} of {plain:.1f} GB/s")  # fmt: skip


PLAIN = 20


def _matrix_bytes(shape: Shape) -> int:
    return 4 * 5 * shape.layers * shape.width**2


def plain_vector_products(shape: Shape) -> Step:
    """PLAIN products with a vector, of a matrix that is as large as the network's weights."""
    rng = np.random.default_rng(0)
    height = 5 * shape.layers * shape.width
    matrix = rng.normal(0, 1, (height, shape.width)).astype(np.float32)
    vector, result = matrix[0].copy(), np.empty(height, np.float32)

    def run() -> None:
        for _ in range(PLAIN):
            np.dot(matrix, vector, out=result)

    return run


def main() -> None:
    show(f"Sampling. {machine()}", rows())


if __name__ == "__main__":
    main()
