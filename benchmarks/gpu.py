"""Training on a GPU, against PyTorch on the same GPU and against minidark on the CPU.

`python -m benchmarks.gpu` prints the table. It needs a GPU, and cupy and PyTorch that support it.
PyTorch's default TF32 is disabled, so that both compute in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import nets, shapes
from benchmarks.shapes import Shape
from benchmarks.table import Row, machine, show
from benchmarks.turns import medians
from minidark import BackendError
from minidark.backend import get_backend

ROUNDS = 5
BATCHES = 10  # between two waits for the GPU; training only waits for each report
SHAPES = (
    Shape(2, 128, 50, 50),
    Shape(3, 256, 50, 50),
    Shape(2, 512, 64, 64),
    Shape(3, 1024, 32, 32),
    Shape(3, 1024, 64, 256),
)


def rows(cpu: bool) -> Iterator[Row]:
    for shape in SHAPES:
        ours = shapes.minidark_step(shape, "auto", device="cuda")
        seconds = medians(
            {
                "GPU": several(ours),
                "nn.GRU": several(nets.torch_step(shape, "GRU", device="cuda")),
                "packed": several(nets.torch_step(shape, "PackedFormula", device="cuda")),
            },
            ROUNDS,
        )
        if cpu:
            step = shapes.minidark_step(shape, "fast")
            seconds["CPU"] = BATCHES * medians({"CPU": step}, ROUNDS)["CPU"]
        gpu, launch = seconds.pop("GPU"), launching(ours)
        for name, theirs in seconds.items():
            times = f"{1e3 * gpu / BATCHES:.2f} ms to {1e3 * theirs / BATCHES:.2f}"
            remark = f"{times}, launched in {1e3 * launch:.2f}"
            yield Row(f"train {shape}, {name}", theirs / gpu, remark=remark)


def several(step: shapes.Step) -> Callable[[], object]:
    """A function that runs BATCHES steps and waits for the last."""

    def run() -> float:
        for _ in range(BATCHES - 1):
            step()
        return float(step())  # type: ignore[arg-type]

    return run


def launching(step: shapes.Step) -> float:
    """The median seconds to launch a step's kernels on an idle GPU."""
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        cost = step()
        seconds.append(time.perf_counter() - began)
        float(cost)  # type: ignore[arg-type]
    return float(np.median(seconds))


def gpu() -> str:
    import cupy

    name: bytes = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    return f"{name.decode()}, cupy {cupy.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-cpu", action="store_true")
    arguments = parser.parse_args()
    try:
        get_backend("cuda")
    except BackendError as error:
        parser.error(str(error))
    import torch

    torch.backends.cudnn.allow_tf32 = False
    show(f"Training on a GPU. {gpu()}; {machine()}", rows(not arguments.without_cpu))


if __name__ == "__main__":
    main()
