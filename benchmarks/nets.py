"""The same small networks in minidark, PyTorch and ONNX Runtime.

GRUs with tanh candidates, or other cells, over 256 symbols, then a linear layer and softmax.
`nn.GRU` applies the reset gate after the product with the state and darknet before it; the amount
of arithmetic is the same. `Formula` writes darknet's equations in PyTorch literally.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.shapes import SYMBOLS, Shape, Step, text
from minidark.backend import Array


class Formula(nn.Module):
    """darknet's GRU, with the reset gate before the product and the six sublayers of the
    equations."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        for gate in "zrh":
            setattr(self, f"u{gate}", nn.Linear(inputs, width))
            setattr(self, f"w{gate}", nn.Linear(width, width))

    def forward(self, x: Any, h: Any) -> Any:
        y = []
        for row in x:
            z = torch.sigmoid(self.uz(row) + self.wz(h))
            r = torch.sigmoid(self.ur(row) + self.wr(h))
            c = torch.tanh(self.uh(row) + self.wh(r * h))
            h = z * h + (1 - z) * c
            y.append(h)
        return torch.stack(y), h


class PackedFormula(nn.Module):
    """The same GRU, with one product of the inputs for all gates and steps, and wz and wr packed
    together."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.u, self.wzr, self.wh = (
            nn.Linear(i, o) for i, o in ((inputs, 3 * width), (width, 2 * width), (width, width))
        )

    def forward(self, x: Any, h: Any) -> Any:
        y = []
        zr, c = self.u(x).split([2 * h.shape[-1], h.shape[-1]], dim=-1)
        for t in range(len(x)):
            z, r = torch.sigmoid(zr[t] + self.wzr(h)).chunk(2, dim=-1)
            h = z * h + (1 - z) * torch.tanh(c[t] + self.wh(r * h))
            y.append(h)
        return torch.stack(y), h


class Stack(nn.Module):
    """A stack of layers of one formula, with the interface of `nn.GRU`."""

    def __init__(self, formula: type[nn.Module], shape: Shape):
        super().__init__()
        widths = [SYMBOLS, *[shape.width] * shape.layers]
        self.layers = nn.ModuleList(formula(i, o) for i, o in pairwise(widths))

    def forward(self, x: Any, states: Any) -> Any:
        new = []
        for layer, h in zip(self.layers, states, strict=True):
            x, h = layer(x, h)
            new.append(h)
        return x, torch.stack(new)


def torch_cell(name: str, shape: Shape) -> nn.Module:
    if name in ("Formula", "PackedFormula"):
        return Stack({"Formula": Formula, "PackedFormula": PackedFormula}[name], shape)
    return getattr(nn, name)(SYMBOLS, shape.width, shape.layers)


def torch_step(shape: Shape, name: str, compiled: bool = False, device: str = "cpu") -> Step:
    """A training step. name: GRU, LSTM or RNN of torch.nn, or one of the formulas."""
    cell, out = torch_cell(name, shape).to(device), nn.Linear(shape.width, SYMBOLS).to(device)
    adam = torch.optim.Adam([*cell.parameters(), *out.parameters()], lr=0.001)
    cost = nn.CrossEntropyLoss()
    x, truth = (torch.from_numpy(a).to(device) for a in text(shape))
    rows = nn.functional.one_hot(x, SYMBOLS).float()
    zeros = torch.zeros(shape.layers, shape.streams, shape.width, device=device)
    state = (zeros, zeros) if name == "LSTM" else zeros
    run = torch.compile(cell) if compiled else cell

    def step() -> Any:
        nonlocal state
        adam.zero_grad()
        y, state = run(rows, state)
        state = tuple(s.detach() for s in state) if name == "LSTM" else state.detach()
        loss = cost(out(y).reshape(-1, SYMBOLS), truth.reshape(-1))
        loss.backward()
        adam.step()
        return loss.detach()

    return step


# --- sampling -----------------------------------------------------------------------------


def torch_sample(shape: Shape, length: int) -> Step:
    gru, out = torch_cell("GRU", shape), nn.Linear(shape.width, SYMBOLS)

    def sample() -> None:
        state, symbol = torch.zeros(shape.layers, 1, shape.width), 97
        with torch.inference_mode():
            for _ in range(length):
                x = torch.zeros(1, 1, SYMBOLS)
                x[0, 0, symbol] = 1
                y, state = gru(x, state)
                p = torch.softmax(out(y[0, 0]) / 0.7, dim=-1)
                symbol = int(torch.multinomial(p, 1))

    return sample


def onnx_sample(shape: Shape, length: int, threads: int) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(_onnx_model(shape), options)
    rng = np.random.default_rng(0)

    def sample() -> None:
        states = [np.zeros((1, 1, shape.width), np.float32) for _ in range(shape.layers)]
        symbol = 97
        for _ in range(length):
            x = np.zeros((1, 1, SYMBOLS), np.float32)
            x[0, 0, symbol] = 1
            feeds = {"x": x, **{f"h{i}": state for i, state in enumerate(states)}}
            p, *states = session.run(None, feeds)
            symbol = min(int(np.searchsorted(np.cumsum(p[0, 0]), rng.random())), SYMBOLS - 1)

    return sample


def _onnx_model(shape: Shape) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    rng, width = np.random.default_rng(0), shape.width
    arrays: dict[str, Array] = {"axis": np.array([1], np.int64)}

    def value(name: str, outputs: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, outputs])

    def weights(name: str, *size: int) -> str:
        arrays[name] = rng.normal(0, 0.05, size).astype(np.float32)
        return name

    nodes, y = [], "x"
    for i in range(shape.layers):
        inputs = SYMBOLS if i == 0 else width
        arguments = [
            y,
            weights(f"u{i}", 1, 3 * width, inputs),
            weights(f"w{i}", 1, 3 * width, width),
            weights(f"b{i}", 1, 6 * width),
            "",
            f"h{i}",
        ]
        nodes.append(helper.make_node("GRU", arguments, [f"y{i}", f"new{i}"], hidden_size=width))
        nodes.append(helper.make_node("Squeeze", [f"y{i}", "axis"], [y := f"rows{i}"]))
    nodes += [
        helper.make_node("MatMul", [y, weights("out", width, SYMBOLS)], ["product"]),
        helper.make_node("Add", ["product", weights("biases", SYMBOLS)], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["p"], axis=-1),
    ]
    states = range(shape.layers)
    graph = helper.make_graph(
        nodes,
        "sample",
        [value("x", SYMBOLS), *(value(f"h{i}", width) for i in states)],
        [value("p", SYMBOLS), *(value(f"new{i}", width) for i in states)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
