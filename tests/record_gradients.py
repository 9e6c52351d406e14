"""Writes golden records of gradients by PyTorch's autograd, in float64, of [gru] reset_after=1.

    python -m tests.record_gradients

It takes torch 2.13, and computes with nothing of minidark's: weights are drawn here, their files
written here. The cell without batch norm is torch's own nn.GRU. Two batches follow one another
without an update; the state is carried over and detached. Keys are those of every `grad_*` record:
x, truth, output, cost (summed nats), updates (minus the gradients, one array after another in file
order), input_delta (minus the gradient of x), each with 0 and 1, and rolling. Where a batch norm
meets the zero state, autograd gives NaN, the root of a variance of zero having no derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidark.backend import Array
from tests.golden_cases import GOLDEN

I, H, T, S = 10, 8, 6, 5  # noqa: E741  the shape alphabet's inputs
GATES = ("wz", "wr", "wh", "uz", "ur", "uh")  # pjreddie's order in files
NET = """[net]
inputs=10
batch=5
time_steps=6
learning_rate=0.1
momentum=0.9
decay=0
max_batches=10

[gru]
output=8
tanh=1
reset_after=1
{normalize}
[connected]
output=10
activation=linear

[softmax]
"""
HEADER = np.array([0, 2, 0, 0, 0], "<i4").tobytes()  # version 0.2.0, seen 0 in 64 bits
Arrays = dict[str, Any]  # tensors by the last parts of their names, in file order


def drawn(rng: np.random.Generator, normalize: bool) -> dict[str, Array]:
    """What weight files hold, in their order."""
    sizes = {gate: (H, H if gate[0] == "w" else I) for gate in GATES} | {"out": (I, H)}
    arrays = {}
    for name, (outputs, inputs) in sizes.items():
        arrays[f"{name}.biases"] = rng.normal(0, 0.3, outputs)
        arrays[f"{name}.weights"] = rng.normal(0, 0.5, (outputs, inputs))
        if normalize and name != "out":
            arrays[f"{name}.scales"] = rng.uniform(0.5, 1.5, outputs)
            arrays[f"{name}.rolling_mean"] = rng.normal(0, 0.1, outputs)
            arrays[f"{name}.rolling_variance"] = rng.uniform(0.5, 1.5, outputs)
    return {name: array.astype("<f4") for name, array in arrays.items()}


def sublayer(arrays: Arrays, name: str, rows: Any, normalize: bool) -> Any:
    """norm(W rows) + b, with darknet's division on a CPU; moves the rolling statistics."""
    v = rows @ arrays[f"{name}.weights"].T
    if normalize:
        mean, variance = v.mean(0), v.var(0, correction=1)
        for kind, found in (("mean", mean), ("variance", variance)):
            rolling = arrays[f"{name}.rolling_{kind}"]
            rolling.mul_(0.99).add_(0.01 * found.detach())
        v = (v - mean) / (variance.sqrt() + 1e-6) * arrays[f"{name}.scales"]
    return v + arrays[f"{name}.biases"]


def written_out(arrays: Arrays, x: Any, h: Any) -> Any:
    """The cell with batch norm, whose statistics are those of each step's rows."""
    import torch

    outputs = []
    for row in x:
        uz, ur, uh = (sublayer(arrays, name, row, True) for name in ("uz", "ur", "uh"))
        wz, wr, wh = (sublayer(arrays, name, h, True) for name in ("wz", "wr", "wh"))
        z, r = torch.sigmoid(uz + wz), torch.sigmoid(ur + wr)
        h = z * h + (1 - z) * torch.tanh(uh + r * wh)
        outputs.append(h)
    return torch.stack(outputs), h


def torchs_own(arrays: Arrays, x: Any, h: Any) -> Any:
    """nn.GRU's function, with its gates in the order r, z, candidate."""
    import torch

    packed = [
        torch.cat([arrays[f"{side}{gate}.{kind}"] for gate in "rzh"])
        for kind in ("weights", "biases")
        for side in "uw"
    ]
    y, h = torch.gru(x, h[None], packed, True, 1, 0.0, True, False, False)
    return y, h[0]


def record(name: str, seed: int, normalize: bool) -> None:
    """Write net.cfg, start.weights and golden.npz of one case."""
    import torch

    rng = np.random.default_rng(seed)
    start = drawn(rng, normalize)
    arrays = {key: torch.tensor(a, dtype=torch.float64) for key, a in start.items()}
    trained = [a.requires_grad_() for key, a in arrays.items() if ".rolling" not in key]
    cell, h = (written_out if normalize else torchs_own), torch.zeros(S, H, dtype=torch.float64)
    golden: dict[str, Array] = {}
    for batch in "01":
        x = rng.normal(0, 1, (T, S, I)).astype(np.float32)
        truth = np.eye(I, dtype=np.float32)[rng.integers(0, I, (T, S))]
        given = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        y, h = cell(arrays, given, h)
        h = h.detach()
        scores = y @ arrays["out.weights"].T + arrays["out.biases"]
        cost = -(torch.tensor(truth) * torch.log_softmax(scores, dim=-1)).sum()
        gradients = torch.autograd.grad(cost, [given, *trained])
        dx, *others = (-gradient.numpy() for gradient in gradients)
        golden |= {
            f"x{batch}": x,
            f"truth{batch}": truth,
            f"output{batch}": torch.softmax(scores, dim=-1).detach().numpy(),
            f"cost{batch}": cost.detach().numpy(),
            f"updates{batch}": np.concatenate([other.reshape(-1) for other in others]),
            f"input_delta{batch}": dx,
        }
    rolling = [a.numpy() for key, a in arrays.items() if ".rolling" in key]
    golden["rolling"] = np.concatenate([np.zeros(0), *rolling])

    folder = GOLDEN / name
    folder.mkdir(exist_ok=True)
    text = NET.format(normalize="batch_normalize=1\n" if normalize else "")
    (folder / "net.cfg").write_text(text)
    (folder / "start.weights").write_bytes(HEADER + b"".join(a.tobytes() for a in start.values()))
    np.savez_compressed(folder / "golden.npz", **golden)  # type: ignore[arg-type]


if __name__ == "__main__":
    record("grad_gru_reset_after", 20, normalize=False)
    record("grad_gru_reset_after_batchnorm", 21, normalize=True)
