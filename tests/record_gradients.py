"""Writes golden records of gradients by PyTorch's autograd, in float64, of minidark's own cells:
[gru] reset_after=1 and [rnn] elman=1.

    python -m tests.record_gradients

It takes torch 2.13, and computes with nothing of minidark's: weights are drawn here, their files
written here. The cells without batch norm are torch's own nn.GRU and nn.RNN. Two batches follow one
another without an update; the state is carried over and detached. Keys are those of every `grad_*`
record: x, truth, output, cost (summed nats), updates (minus the gradients, one array after another
in file order), input_delta (minus the gradient of x), each with 0 and 1, and rolling. Where a batch
norm meets the zero state, autograd gives NaN, the root of a variance of zero having no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidark.backend import Array
from tests.golden_cases import GOLDEN

I, H, T, S = 10, 8, 6, 5  # noqa: E741  the shape alphabet's inputs
NET = """[net]
inputs=10
batch=5
time_steps=6
learning_rate=0.1
momentum=0.9
decay=0
max_batches=10

{section}
output=8
{keys}
[connected]
output=10
activation=linear

[softmax]
"""
HEADER = np.array([0, 2, 0, 0, 0], "<i4").tobytes()  # version 0.2.0, seen 0 in 64 bits
Arrays = dict[str, Any]  # tensors by the last parts of their names, in file order
Run = Callable[[Arrays, Any, Any], Any]  # of arrays, x and the state, to outputs and the state


@dataclass(frozen=True, slots=True)
class Case:
    """A layer: its section, and the inputs of its sublayers in pjreddie's order in files."""

    section: str
    keys: tuple[str, ...]
    inputs: dict[str, int]
    run: Run


def drawn(rng: np.random.Generator, case: Case) -> dict[str, Array]:
    """What weight files hold, in their order."""
    arrays, normalize = {}, NORMALIZE in case.keys
    for name, inputs in {**case.inputs, "out": H}.items():
        outputs = I if name == "out" else H
        arrays[f"{name}.biases"] = rng.normal(0, 0.3, outputs)
        arrays[f"{name}.weights"] = rng.normal(0, 0.5, (outputs, inputs))
        if normalize and name != "out":
            arrays[f"{name}.scales"] = rng.uniform(0.5, 1.5, outputs)
            arrays[f"{name}.rolling_mean"] = rng.normal(0, 0.1, outputs)
            arrays[f"{name}.rolling_variance"] = rng.uniform(0.5, 1.5, outputs)
    return {name: array.astype("<f4") for name, array in arrays.items()}


def sublayer(arrays: Arrays, name: str, rows: Any) -> Any:
    """norm(W rows) + b, with darknet's division on a CPU; moves the rolling statistics."""
    v = rows @ arrays[f"{name}.weights"].T
    mean, variance = v.mean(0), v.var(0, correction=1)
    for kind, found in (("mean", mean), ("variance", variance)):
        rolling = arrays[f"{name}.rolling_{kind}"]
        rolling.mul_(0.99).add_(0.01 * found.detach())
    v = (v - mean) / (variance.sqrt() + 1e-6) * arrays[f"{name}.scales"]
    return v + arrays[f"{name}.biases"]


def gru_with_norm(arrays: Arrays, x: Any, h: Any) -> Any:
    """The cell with batch norm, whose statistics are those of each step's rows."""
    import torch

    outputs = []
    for row in x:
        uz, ur, uh = (sublayer(arrays, name, row) for name in ("uz", "ur", "uh"))
        wz, wr, wh = (sublayer(arrays, name, h) for name in ("wz", "wr", "wh"))
        z, r = torch.sigmoid(uz + wz), torch.sigmoid(ur + wr)
        h = z * h + (1 - z) * torch.tanh(uh + r * wh)
        outputs.append(h)
    return torch.stack(outputs), h


def rnn_with_norm(arrays: Arrays, x: Any, s: Any) -> Any:
    import torch

    outputs = []
    for row in x:
        s = torch.tanh(sublayer(arrays, "input", row) + sublayer(arrays, "self", s))
        outputs.append(s)
    return torch.stack(outputs), s


def torchs_rnn(name: str) -> Run:
    """nn.RNN's function of an activation, "tanh" or "relu"."""
    parts = [f"{side}.{kind}" for kind in ("weights", "biases") for side in ("input", "self")]

    def run(arrays: Arrays, x: Any, s: Any) -> Any:
        import torch

        of_torch = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}[name]
        packed = [arrays[part] for part in parts]
        y, s = of_torch(x, s[None], packed, True, 1, 0.0, True, False, False)
        return y, s[0]

    return run


def torchs_gru(arrays: Arrays, x: Any, h: Any) -> Any:
    """nn.GRU's function, with its gates in the order r, z, candidate."""
    import torch

    packed = [
        torch.cat([arrays[f"{side}{gate}.{kind}"] for gate in "rzh"])
        for kind in ("weights", "biases")
        for side in "uw"
    ]
    y, h = torch.gru(x, h[None], packed, True, 1, 0.0, True, False, False)
    return y, h[0]


NORMALIZE = "batch_normalize=1"
GRU = {gate: H if gate[0] == "w" else I for gate in ("wz", "wr", "wh", "uz", "ur", "uh")}
RNN = {"input": I, "self": H}
CASES = {  # by the folder's name, with a seed
    ("grad_gru_reset_after", 20): Case("[gru]", ("tanh=1", "reset_after=1"), GRU, torchs_gru),
    ("grad_gru_reset_after_batchnorm", 21): Case(
        "[gru]", ("tanh=1", "reset_after=1", NORMALIZE), GRU, gru_with_norm
    ),
    ("grad_rnn_elman_tanh", 22): Case(
        "[rnn]", ("activation=tanh", "elman=1"), RNN, torchs_rnn("tanh")
    ),
    ("grad_rnn_elman_relu", 23): Case(
        "[rnn]", ("activation=relu", "elman=1"), RNN, torchs_rnn("relu")
    ),
    ("grad_rnn_elman_batchnorm", 24): Case(
        "[rnn]", ("activation=tanh", "elman=1", NORMALIZE), RNN, rnn_with_norm
    ),
}


def record(name: str, seed: int, case: Case) -> None:
    """Write net.cfg, start.weights and golden.npz of one case."""
    import torch

    rng = np.random.default_rng(seed)
    start = drawn(rng, case)
    arrays = {key: torch.tensor(a, dtype=torch.float64) for key, a in start.items()}
    trained = [a.requires_grad_() for key, a in arrays.items() if ".rolling" not in key]
    h = torch.zeros(S, H, dtype=torch.float64)
    golden: dict[str, Array] = {}
    for batch in "01":
        x = rng.normal(0, 1, (T, S, I)).astype(np.float32)
        truth = np.eye(I, dtype=np.float32)[rng.integers(0, I, (T, S))]
        given = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        y, h = case.run(arrays, given, h)
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
    text = NET.format(section=case.section, keys="".join(f"{key}\n" for key in case.keys))
    (folder / "net.cfg").write_text(text)
    (folder / "start.weights").write_bytes(HEADER + b"".join(a.tobytes() for a in start.values()))
    np.savez_compressed(folder / "golden.npz", **golden)  # type: ignore[arg-type]


if __name__ == "__main__":
    for (name, seed), case in CASES.items():
        record(name, seed, case)
