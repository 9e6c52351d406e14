"""Training speed beside PyTorch's `nn.GRU`, in one run, step by step.

Same work on both sides: GRU layers with tanh candidates over 256 symbols, a linear layer,
softmax cross-entropy, Adam, state carried from batch to batch. `nn.GRU` resets after the
product with the state, so the two formulas differ by where r stands; the arithmetic is alike.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import minidark

SYMBOLS = 256


def minidark_step(layers: int, width: int, steps: int, streams: int) -> Callable[[], float]:
    grus = f"[gru]\noutput={width}\ntanh=1\n" * layers
    cfg = (
        f"[net]\ninputs={SYMBOLS}\nbatch={streams}\ntime_steps={steps}\nadam=1\nlearning_rate=.001\n"
        f"decay=0\n{grus}[connected]\noutput={SYMBOLS}\nactivation=linear\n[softmax]\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.cfg")
        path.write_text(cfg)
        net = minidark.load_network(path)
    x, truth = ids(steps, streams)
    return lambda: float(net.train_batch(x, truth))


def torch_step(layers: int, width: int, steps: int, streams: int) -> Callable[[], float]:
    gru = torch.nn.GRU(SYMBOLS, width, layers)
    embed = torch.nn.functional.one_hot
    out = torch.nn.Linear(width, SYMBOLS)
    adam = torch.optim.Adam([*gru.parameters(), *out.parameters()], lr=0.001)
    cost = torch.nn.CrossEntropyLoss()
    x, truth = (torch.from_numpy(a) for a in ids(steps, streams))
    rows = embed(x, SYMBOLS).float()
    state = torch.zeros(layers, streams, width)

    def step() -> float:
        nonlocal state
        adam.zero_grad()
        y, state = gru(rows, state.detach())
        loss = cost(out(y).reshape(-1, SYMBOLS), truth.reshape(-1))
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


def ids(steps: int, streams: int) -> tuple[np.ndarray, np.ndarray]:
    text = np.random.default_rng(0).integers(0, SYMBOLS, (steps + 1, streams))
    return text[:-1].copy(), text[1:].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    shape = (args.layers, args.width, args.steps, args.streams)
    runs = {"minidark": minidark_step(*shape), "torch.nn.GRU": torch_step(*shape)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for step in runs.values():
        step()
    for _ in range(args.rounds):
        for name, step in runs.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    print(f"{platform.machine()}, numpy {np.__version__}, torch {torch.__version__}")
    print(f"{args.layers} x {args.width}, T={args.steps}, S={args.streams}, Adam, ms per step:")
    for name, times in seconds.items():
        print(f"  {name:14} best {min(times) * 1e3:7.1f}   median {np.median(times) * 1e3:7.1f}")
    ratio = np.median(seconds["torch.nn.GRU"]) / np.median(seconds["minidark"])
    best = min(seconds["torch.nn.GRU"]) / min(seconds["minidark"])
    print(f"minidark is {ratio:.2f} times as fast by medians, {best:.2f} by best steps")


if __name__ == "__main__":
    main()
