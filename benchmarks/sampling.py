"""Sampling one stream against ONNX Runtime and PyTorch, and many streams against one.

All measurements include state, softmax and the random draw. `python -m benchmarks.sampling` prints
the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import nets, shapes
from benchmarks.shapes import Shape
from benchmarks.table import Row, machine, show
from benchmarks.turns import medians
from minidark.backend import BF16, compiled
from minidark.inference.generate import sample_many

# Characters, and goals: speed relative to ONNX Runtime, to PyTorch, and of 64 streams to one.
GOALS = {
    Shape(2, 128): (2000, 1.3, 2.5, 15.0),
    Shape(3, 256): (1000, 1.2, 2.5, 15.0),
    Shape(3, 1024): (100, 1.0, 1.4, None),
}
HALF = 1.8, 2.0  # precision bf16 beside float32 and ONNX Runtime, for the largest shape
BANDWIDTH = 0.9  # relative to a plain matrix-vector product, for the largest shape
MANY = 64
ROUNDS = 9


def rows() -> list[Row]:
    return [row for shape in GOALS for row in shape_rows(shape)]


def shape_rows(shape: Shape) -> Iterator[Row]:
    length, beside_onnx, beside_torch, many = GOALS[shape]
    one = {
        "fast": shapes.minidark_sample(shape, "fast"),
        "numpy": shapes.minidark_sample(shape, "numpy"),
        "onnxruntime": nets.onnx_sample(shape),
        "torch": nets.torch_sample(shape),
    }
    runs: dict[str, Callable[[], object]] = {
        name: functools.partial(sample, length) for name, sample in one.items()
    }
    if many is None and compiled.HALF:
        one["bf16"] = shapes.minidark_sample(shape, "fast", BF16)
        runs["bf16"] = functools.partial(one["bf16"], length)
    net = shapes.network(shape, "fast")
    runs["64 at once"] = lambda: sample_many(net, b"a", length // 4, 0.7, range(MANY))
    if many is None:
        runs["vector"] = plain_vector_product
    seconds = medians(runs, ROUNDS)
    micro = {name: 1e6 * seconds[name] / length for name in one}
    micro["64 at once"] = 4e6 * seconds["64 at once"] / length
    remark = ", ".join(f"{name} {us:.0f}" for name, us in micro.items()) + " us a character"
    fast = micro["fast"]
    yield Row(f"sample {shape.layers}x{shape.width}, ONNX Runtime", micro["onnxruntime"] / fast,
              beside_onnx, remark=remark)  # fmt: skip
    yield Row(f"sample {shape.layers}x{shape.width}, PyTorch", micro["torch"] / fast, beside_torch)
    yield Row(f"sample {shape.layers}x{shape.width}, 64 at once, characters a second",
              MANY * fast / micro["64 at once"], many)  # fmt: skip
    if "bf16" in micro:
        title = f"sample {shape.layers}x{shape.width}, bf16 beside"
        yield Row(f"{title} float32", fast / micro["bf16"], HALF[0])
        yield Row(f"{title} ONNX Runtime", micro["onnxruntime"] / micro["bf16"], HALF[1])
    if many is None:
        read = 4 * sum(layer.work() for layer in net.layers) - 4 * 3 * 256 * shape.width
        ours, plain = read / fast / 1e3, PLAIN * MATRIX.nbytes / seconds["vector"] / 1e9
        remark = f"{ours:.1f} of {plain:.1f} GB/s"
        yield Row("sample 3x1024, bandwidth of a plain product", ours / plain, BANDWIDTH,
                  remark=remark)  # fmt: skip


PLAIN = 20
MATRIX = np.random.default_rng(0).normal(0, 1, (15 * 1024, 1024)).astype(np.float32)
VECTOR, RESULT = MATRIX[0].copy(), np.empty(len(MATRIX), np.float32)


def plain_vector_product() -> None:
    """PLAIN products with a vector, of a matrix as large as the largest network's weights."""
    for _ in range(PLAIN):
        np.dot(MATRIX, VECTOR, out=RESULT)


def main() -> None:
    show(f"Sampling. {machine()}", rows())


if __name__ == "__main__":
    main()
