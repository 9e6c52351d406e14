"""PyTorch models as people build them, for the readers of state dicts, `.pt2` and `.onnx`.

`MODELS` has a row for each: how to build it, what its forward takes, and what a reader of its state
dict and of its exported program must do with it: RIGHT, or a part of the reason for the refusal.
Other formats have a table of their own with the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from minidark.backend import Array

V, E, H = 9, 5, 8  # symbols, features of an embedding, hidden units
SYMBOLS = 1000
RIGHT = "right"
ASSUMED = "assumed"  # read as a plain chain, which the log says; the file does not tell otherwise

Function = Callable[[Any], Any]
Part = tuple[str, Callable[[], Any]]  # a name, and how to make the module


class Chain(nn.Module):
    """Modules in the order of `use`; they are registered in the order of `parts`.

    A part may be a plain function. last: forward returns the last step only.
    """

    def __init__(self, parts: Sequence[Part], use: str = "", last: bool = False) -> None:
        super().__init__()
        for name, make in parts:
            self.add_module(name, make())
        self.use = use.split() or [name for name, _ in parts]
        self.last = last
        self.batch_first = any(getattr(m, "batch_first", False) for m in self.modules())

    def forward(self, x: Any, states: Any = None) -> Any:
        after: list[Any] = []
        for name in self.use:
            module = self.get_submodule(name)
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                x, state = self.recurrent(module, x, None if states is None else states[len(after)])
                after.append(state)
            else:
                x = module(x)
        return x if states is None else (x, after)

    def recurrent(self, module: Any, x: Any, state: Any) -> Any:
        if isinstance(module, nn.RNNCellBase):
            state = module(x, state)
            return (state[0] if isinstance(state, tuple) else state), state
        x, state = module(x, state)
        if self.last and module is [m for m in self.children() if isinstance(m, nn.RNNBase)][-1]:
            x = x[:, -1] if self.batch_first else x[-1]
        return x, state


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Residual(nn.Module):
    """A recurrent layer whose input is added to its output."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(V, H), nn.GRU(H, H)
        self.decoder = nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        x = self.encoder(x)
        return self.decoder(x + self.rnn(x)[0])


class CharRnn(nn.Module):
    """As char-rnn.pytorch has it: one symbol a call, the state passed by hand."""

    def __init__(self, cell: str, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, H)
        self.rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](H, H, layers)
        self.decoder = nn.Linear(H, V)

    def forward(self, x: Any, hidden: Any) -> Any:
        streams = x.size(0)
        y, hidden = self.rnn(self.encoder(x).view(1, streams, -1), hidden)
        return self.decoder(y.view(streams, -1)), hidden


class WordModel(nn.Module):
    """As PyTorch's word_language_model example has it, with a tied head or without."""

    def __init__(self, kind: str, tied: bool = False) -> None:
        super().__init__()
        width = H if tied else E
        self.drop = nn.Dropout(0.5)
        self.encoder = nn.Embedding(V, width)
        if kind in ("LSTM", "GRU"):
            self.rnn = getattr(nn, kind)(width, H, 2, dropout=0.5)
        else:
            nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[kind]
            self.rnn = nn.RNN(width, H, 2, nonlinearity=nonlinearity, dropout=0.5)
        self.decoder = nn.Linear(H, V)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, x: Any, hidden: Any) -> Any:
        y, hidden = self.rnn(self.drop(self.encoder(x)), hidden)
        logits = self.decoder(self.drop(y)).view(-1, V)
        return functional.log_softmax(logits, dim=1), hidden


class Tied(Chain):
    """A head without biases, whose weights are those of the embedding."""

    def __init__(self) -> None:
        super().__init__([emb(V, H), gru(H), ("decoder", lambda: nn.Linear(H, V, bias=False))])
        self.get_submodule("decoder").weight = self.get_submodule("encoder").weight


class LastState(nn.Module):
    """A head that reads the final state h_n instead of the outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.encoder = nn.Embedding(V, E)
        self.rnn = getattr(nn, kind)(E, H, 2)
        self.fc = nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        _, state = self.rnn(self.encoder(x))
        return self.fc((state[0] if isinstance(state, tuple) else state)[-1])


class Zeros(nn.Module):
    """Zero states made in forward, batch first, as many tutorials do it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, E)
        self.rnn = getattr(nn, kind)(E, H, 2, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        h = torch.zeros(2, x.size(0), H, device=x.device)
        state = (h, torch.zeros_like(h)) if isinstance(self.rnn, nn.LSTM) else h
        return self.fc(self.rnn(self.embedding(x), state)[0])


class Learned(nn.Module):
    """An initial state that is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(V, H), nn.Linear(H, V)
        self.start = nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x, self.start.expand(-1, x.size(1), -1).contiguous())[0])


class Attention(nn.Module):
    """A recurrent layer followed by self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(V, H), nn.GRU(H, H)
        self.attention = nn.MultiheadAttention(H, 2)
        self.fc = nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        y, _ = self.rnn(self.encoder(x))
        return self.fc(self.attention(y, y, y)[0])


class OwnGru(nn.Module):
    """A GRU written with nn.Linear, in a loop over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.new, self.fc = (
            nn.Linear(V + H, 2 * H),
            nn.Linear(V + H, H),
            nn.Linear(H, V),
        )

    def forward(self, x: Any) -> Any:
        h, outputs = torch.zeros(x.size(1), H), []
        for step in x:
            r, z = torch.sigmoid(self.gates(torch.cat([step, h], -1))).chunk(2, -1)
            n = torch.tanh(self.new(torch.cat([step, r * h], -1)))
            h = (1 - z) * n + z * h
            outputs.append(self.fc(h))
        return torch.stack(outputs)


class Unrolled(nn.Module):
    """A cell in a loop over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell, self.fc = nn.Embedding(V, E), nn.GRUCell(E, H), nn.Linear(H, V)

    def forward(self, x: Any) -> Any:
        h, outputs = torch.zeros(x.size(1), H), []
        for step in self.encoder(x):
            h = self.cell(step, h)
            outputs.append(self.fc(h))
        return torch.stack(outputs)


class Two(nn.Module):
    """Two recurrent layers that read the same input, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.a, self.b = nn.Embedding(V, E), nn.GRU(E, H), nn.LSTM(E, H)
        self.fc = nn.Linear(2 * H, V)

    def forward(self, x: Any) -> Any:
        x = self.encoder(x)
        return self.fc(torch.cat([self.a(x)[0], self.b(x)[0]], -1))


@dataclass(frozen=True, slots=True)
class TorchModel:
    """How to build and call a model, and what must come of its files.

    takes: ids, or rows of floats, which the test makes one-hot. layout: the axes of the input; "TS"
    (time, streams), "ST" with batch_first, "S" for one symbol a call, "T" without an axis of
    streams. start: the initial states that forward takes; None: it takes none and returns only its
    outputs. gives: what forward returns. last: only the outputs of the last step.
    """

    make: Callable[[], Any]
    state: str = RIGHT  # of its state dict
    program: str = RIGHT  # of its .pt2
    takes: Literal["ids", "floats"] = "ids"
    layout: Literal["TS", "ST", "S", "T"] = "TS"
    start: Callable[[int], Any] | None = None
    gives: Literal["logits", "logarithms", "probabilities", "values"] = "logits"
    last: bool = False
    inputs: int = V
    scale: float = 2.0

    def module(self, seed: int = 1) -> Any:
        """The module in evaluation mode with random weights, `scale` times as large as PyTorch's
        defaults so that no gate is idle."""
        torch.manual_seed(seed)
        module = self.make()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(self.scale)
        return module.eval()

    def example(self, steps: int = 7, streams: int = 2) -> tuple[Any, ...]:
        """The arguments of forward for an export."""
        symbols = np.random.default_rng(3).integers(0, self.inputs, (steps, streams))
        if self.layout == "T":
            symbols = symbols[:, :1]
        x = self.x(symbols[:1] if self.layout == "S" else symbols)
        return (x,) if self.start is None else (x, self.start(streams))

    @property
    def time_axis(self) -> int | None:
        """The axis of T in forward's first argument; None for one symbol a call."""
        return {"TS": 0, "ST": 1, "T": 0, "S": None}[self.layout]

    def x(self, symbols: Array) -> Any:
        """The first argument of forward, for symbols (T, S)."""
        x = torch.from_numpy(np.ascontiguousarray(symbols))
        if self.layout == "ST":
            x = x.T.contiguous()
        elif self.layout in ("S", "T"):
            x = x.reshape(-1)
        return x if self.takes == "ids" else functional.one_hot(x, self.inputs).float()

    def outputs(self, module: Any, symbols: Array) -> Array:
        """The outputs (T, S, O) for symbols (T, S), from a zero state; (1, S, O) if `last`."""
        steps, streams = symbols.shape
        pieces, states = [symbols], None if self.start is None else self.start(streams)
        if self.layout == "S":
            pieces = np.split(symbols, steps)
        elif self.start is not None:
            pieces = np.split(symbols, [steps // 3])
        outputs = []
        with torch.no_grad():
            for piece in pieces:
                if states is None:
                    y = module(self.x(piece))
                else:
                    y, states = module(self.x(piece), states)
                if self.layout == "ST" and not self.last:
                    y = y.reshape(streams, len(piece), -1).transpose(0, 1)
                outputs.append(y.reshape(1 if self.last else len(piece), streams, -1))
        return np.asarray(torch.cat(outputs).double().numpy())

    def expected(self, module: Any, symbols: Array) -> Array:
        """What a network must give that was read from the model: its probabilities, or values."""
        y = self.outputs(module, symbols)
        if self.gives not in ("logits", "logarithms"):
            return y
        exps = np.exp(y - y.max(axis=-1, keepdims=True))
        return np.asarray(exps / exps.sum(axis=-1, keepdims=True))


# --- parts ------------------------------------------------------------------------------------


def emb(symbols: int = V, width: int = E) -> Part:
    return "encoder", lambda: nn.Embedding(symbols, width)


def gru(inputs: int = E, name: str = "rnn", **keys: Any) -> Part:
    return name, lambda: nn.GRU(inputs, H, **keys)


def lstm(inputs: int = E, name: str = "rnn", **keys: Any) -> Part:
    return name, lambda: nn.LSTM(inputs, H, **keys)


def rnn(inputs: int = E, name: str = "rnn", **keys: Any) -> Part:
    return name, lambda: nn.RNN(inputs, H, **keys)


def linear(inputs: int = H, outputs: int = V, name: str = "decoder", **keys: Any) -> Part:
    return name, lambda: nn.Linear(inputs, outputs, **keys)


def act(module: Callable[[], Any], name: str = "act") -> Part:
    return name, module


def do(function: Function, name: str = "do") -> Part:
    return name, lambda: Do(function)


def chain(*parts: Part, use: str = "", last: bool = False) -> Callable[[], Any]:
    return lambda: Chain(parts, use, last)


def zeros(*shape: int, pair: bool = False) -> Callable[[int], Any]:
    """Zero states (..., S, H): a tensor, or a pair of them for an LSTM."""

    def start(streams: int) -> Any:
        one = torch.zeros(*shape, streams, H)
        return (one, one.clone()) if pair else one

    return start


def each(*starts: Callable[[int], Any]) -> Callable[[int], Any]:
    """A list with a state for each recurrent module of a Chain."""
    return lambda streams: [start(streams) for start in starts]


def one_hot(ids: Any) -> Any:
    return functional.one_hot(ids, V).float()


# --- reasons ----------------------------------------------------------------------------------

BOTH = "bidirectional: minidark's layers read only forward"
PROJ = "has a projection (proj_size), and minidark's layers have none"
NORM = "normalizes"
MATRICES = "two matrices in a row"
ORDER = "fit in more than one order"
PARTS = "the model is no chain"
NO_MODULE = "is not an array of"
FITS = "do not form a chain"

MODELS: dict[str, TorchModel] = {
    # One kind of cell after an embedding.
    "gru": TorchModel(chain(emb(), gru(), linear())),
    "lstm": TorchModel(chain(emb(), lstm(), linear())),
    "rnn": TorchModel(chain(emb(), rnn(), linear())),
    "rnn relu": TorchModel(
        chain(emb(), rnn(nonlinearity="relu"), linear()), scale=1, state=ASSUMED
    ),
    "gru of two layers": TorchModel(chain(emb(), gru(num_layers=2, dropout=0.3), linear())),
    "lstm of two layers": TorchModel(chain(emb(), lstm(num_layers=2, dropout=0.3), linear())),
    "rnn of two layers": TorchModel(chain(emb(), rnn(num_layers=2, dropout=0.3), linear())),
    "gru of three layers": TorchModel(chain(emb(), gru(num_layers=3), linear())),
    "lstm of three layers": TorchModel(chain(emb(), lstm(num_layers=3), linear())),
    "gru without biases": TorchModel(chain(emb(), gru(bias=False), linear())),
    "lstm without biases": TorchModel(chain(emb(), lstm(bias=False), linear())),
    "rnn without biases": TorchModel(chain(emb(), rnn(bias=False), linear())),
    # Layouts.
    "gru batch first": TorchModel(chain(emb(), gru(batch_first=True), linear()), layout="ST"),
    "lstm batch first": TorchModel(
        chain(emb(), lstm(batch_first=True, num_layers=2), linear()), layout="ST"
    ),
    "rnn batch first": TorchModel(chain(emb(), rnn(batch_first=True), linear()), layout="ST"),
    "transposed by hand": TorchModel(
        chain(emb(), do(lambda x: x.transpose(0, 1), "there"), gru(), linear(),
              do(lambda x: x.permute(1, 0, 2), "back")),
        layout="ST",
    ),
    "no axis of streams": TorchModel(chain(emb(), lstm(), linear()), layout="T"),
    "rows joined": TorchModel(
        chain(emb(), lstm(batch_first=True), do(lambda x: x.reshape(-1, H)), linear()),
        layout="ST",
    ),
    "zero states of a gru": TorchModel(lambda: Zeros("GRU"), layout="ST"),
    "zero states of an lstm": TorchModel(lambda: Zeros("LSTM"), layout="ST"),
    # Floats as inputs.
    "one-hot gru": TorchModel(chain(gru(V), linear()), takes="floats"),
    "one-hot lstm": TorchModel(chain(lstm(V, num_layers=2), linear()), takes="floats"),
    "one-hot rnn": TorchModel(chain(rnn(V), linear()), takes="floats"),
    "one-hot inside": TorchModel(chain(do(one_hot), gru(V), linear())),
    "values": TorchModel(
        chain(gru(3), linear(H, 1)), takes="floats", inputs=3, gives="values"
    ),
    "an lstm alone": TorchModel(chain(lstm(V)), takes="floats", gives="values"),
    # States in and out.
    "gru with states": TorchModel(
        chain(emb(), gru(num_layers=2), linear()), start=each(zeros(2))
    ),
    "lstm with states": TorchModel(
        chain(emb(), lstm(num_layers=2), linear()), start=each(zeros(2, pair=True))
    ),
    "two modules with states": TorchModel(
        chain(emb(), gru(name="rnn1"), lstm(H, "rnn2", num_layers=2), linear()),
        start=each(zeros(1), zeros(2, pair=True)),
    ),
    "gru cell": TorchModel(
        chain(emb(), ("cell", lambda: nn.GRUCell(E, H)), linear()), layout="S", start=each(zeros())
    ),
    "lstm cell": TorchModel(
        chain(emb(), ("cell", lambda: nn.LSTMCell(E, H)), linear()),
        layout="S", start=each(zeros(pair=True)),
    ),
    "rnn cell": TorchModel(
        chain(emb(), ("cell", lambda: nn.RNNCell(E, H)), linear()), layout="S", start=each(zeros())
    ),
    "rnn cell relu": TorchModel(
        chain(("cell", lambda: nn.RNNCell(V, H, nonlinearity="relu")), linear()),
        takes="floats", layout="S", start=each(zeros()), scale=1, state=ASSUMED,
    ),
    "two cells": TorchModel(
        chain(emb(), ("cell1", lambda: nn.GRUCell(E, H, bias=False)),
              ("cell2", lambda: nn.LSTMCell(H, H)), linear()),
        layout="S", start=each(zeros(), zeros(pair=True)),
    ),
    "char-rnn.pytorch gru": TorchModel(lambda: CharRnn("gru", 2), layout="S", start=zeros(2)),
    "char-rnn.pytorch lstm": TorchModel(
        lambda: CharRnn("lstm", 1), layout="S", start=zeros(1, pair=True)
    ),
    "word_language_model LSTM": TorchModel(
        lambda: WordModel("LSTM"), start=zeros(2, pair=True), gives="logarithms"
    ),
    "word_language_model GRU": TorchModel(
        lambda: WordModel("GRU"), start=zeros(2), gives="logarithms"
    ),
    "word_language_model RNN_TANH": TorchModel(
        lambda: WordModel("RNN_TANH"), start=zeros(2), gives="logarithms"
    ),
    "word_language_model RNN_RELU": TorchModel(
        lambda: WordModel("RNN_RELU"), start=zeros(2), gives="logarithms", scale=1, state=ASSUMED
    ),
    "word_language_model tied": TorchModel(
        lambda: WordModel("LSTM", tied=True), start=zeros(2, pair=True), gives="logarithms"
    ),
    # Read at the last step.
    "last step": TorchModel(chain(emb(), gru(), linear(), last=True), last=True),
    "last step, batch first": TorchModel(
        chain(emb(), lstm(batch_first=True, num_layers=2), linear(), last=True),
        last=True, layout="ST",
    ),
    "last state of a gru": TorchModel(lambda: LastState("GRU"), last=True),
    "last state of an lstm": TorchModel(lambda: LastState("LSTM"), last=True),
    "last step of values": TorchModel(
        chain(lstm(3, batch_first=True), linear(H, 1), last=True),
        takes="floats", inputs=3, layout="ST", last=True, gives="values",
    ),
    # Heads.
    "head without biases": TorchModel(chain(emb(), gru(), linear(bias=False))),
    "head without biases, one-hot": TorchModel(
        chain(gru(V), linear(bias=False)), takes="floats"
    ),
    "tied head without biases": TorchModel(Tied),
    "softmax": TorchModel(
        chain(emb(), lstm(), linear(), act(lambda: nn.Softmax(-1))), gives="probabilities"
    ),
    "log-softmax": TorchModel(
        chain(emb(), gru(), linear(), act(lambda: nn.LogSoftmax(-1))), gives="logarithms"
    ),
    "softmax over the streams": TorchModel(
        chain(emb(), gru(), linear(), act(lambda: nn.Softmax(1))), gives="values",
        state=ASSUMED, program="not over the features alone",
    ),
    "sigmoid": TorchModel(
        chain(gru(V), linear(H, 4), act(nn.Sigmoid)), takes="floats", gives="values", state=ASSUMED
    ),
    # Several Linears, and activations.
    "relu between linears": TorchModel(
        chain(emb(), gru(), linear(H, 6, "fc1"), act(nn.ReLU), linear(6, V, "fc2")), state=MATRICES
    ),
    "two linears": TorchModel(
        chain(emb(), lstm(), linear(H, 6, "fc1"), linear(6, V, "fc2")), state=MATRICES
    ),
    "linear first": TorchModel(
        chain(linear(V, E, "fc_in"), act(nn.Tanh), gru(), linear()), takes="floats", state=ORDER
    ),
    "linear in between": TorchModel(
        chain(emb(), gru(), linear(H, 6, "middle"), lstm(6, "rnn2"), linear()),
    ),
    "no recurrence": TorchModel(chain(emb(), linear(E, V)), state=MATRICES),
    "tanh after the gru": TorchModel(
        chain(emb(), gru(), act(nn.Tanh), linear()), state=ASSUMED
    ),
    "leaky": TorchModel(
        chain(emb(), gru(), linear(H, 6, "fc1"), act(lambda: nn.LeakyReLU(0.1)),
              linear(6, V, "fc2")),
        state=MATRICES,
    ),
    "relie and elu": TorchModel(
        chain(emb(), linear(E, 6, "fc0"), act(nn.LeakyReLU, "a0"), gru(6), linear(H, 6, "fc1"),
              act(nn.ELU, "a1"), linear(6, V, "fc2")),
        state=MATRICES,
    ),
    "a slope darknet lacks": TorchModel(
        chain(emb(), gru(), act(lambda: nn.LeakyReLU(0.3)), linear()), state=ASSUMED,
        program="darknet has none with negative_slope 0.3",
    ),
    "gelu": TorchModel(
        chain(emb(), gru(), act(nn.GELU), linear()), state=ASSUMED,
        program="has no counterpart in minidark",
    ),
    # Orders.
    "head registered first": TorchModel(
        chain(linear(), emb(), lstm(), use="encoder rnn decoder")
    ),
    "registered in another order": TorchModel(
        chain(emb(V, H), lstm(H, "b"), lstm(H, "a"), linear(), use="encoder a b decoder"),
        state=ORDER,
    ),
    "numbered modules": TorchModel(
        chain(emb(V, H), lstm(H, "rnn1"), do(lambda x: x), gru(H, "rnn2"), linear())
    ),
    "used twice": TorchModel(
        chain(emb(V, H), lstm(H), linear(), use="encoder rnn rnn decoder"), state=ASSUMED,
        program="is used twice",
    ),
    # What minidark has no counterpart of.
    "bidirectional gru": TorchModel(
        chain(emb(), gru(bidirectional=True), linear(2 * H)), state=BOTH, program=BOTH
    ),
    "bidirectional lstm": TorchModel(
        chain(emb(), lstm(bidirectional=True, num_layers=2), linear(2 * H)), state=BOTH,
        program=BOTH,
    ),
    "bidirectional rnn": TorchModel(
        chain(emb(), rnn(bidirectional=True), linear(2 * H)), state=BOTH, program=BOTH
    ),
    "proj_size": TorchModel(
        chain(emb(), lstm(proj_size=4), linear(4)), state=PROJ, program=PROJ
    ),
    "LayerNorm": TorchModel(
        chain(emb(), gru(), ("norm", lambda: nn.LayerNorm(H)), linear()), state=NORM, program=NORM
    ),
    "BatchNorm1d": TorchModel(
        chain(emb(), gru(), do(lambda x: x.permute(1, 2, 0), "there"),
              ("norm", lambda: nn.BatchNorm1d(H)), do(lambda x: x.permute(2, 0, 1), "back"),
              linear()),
        state=NORM, program=NORM,
    ),
    "Conv1d": TorchModel(
        chain(emb(), do(lambda x: x.permute(1, 2, 0), "there"),
              ("conv", lambda: nn.Conv1d(E, E, 3, padding=1)),
              do(lambda x: x.permute(2, 0, 1), "back"), gru(), linear()),
        state="convolution", program="convolution",
    ),
    "residual": TorchModel(Residual, state=ASSUMED, program=PARTS),
    "side by side": TorchModel(Two, state=FITS, program=PARTS),
    "attention": TorchModel(Attention, state=NO_MODULE, program="takes an axis apart"),
    "a gru of its own": TorchModel(OwnGru, takes="floats", state=FITS, program="a cell in a loop"),
    "a cell in a loop": TorchModel(Unrolled, program="a cell in a loop"),
    "a learned first state": TorchModel(
        Learned, takes="floats", state="start", program="begins with other numbers than zero"
    ),
    "scaled embedding": TorchModel(
        chain(emb(), do(lambda x: x * math.sqrt(E)), gru(), linear()), state=ASSUMED,
        program="has no counterpart in minidark",
    ),
    "mean over time": TorchModel(
        chain(emb(), gru(), do(lambda x: x.mean(0)), linear()), state=ASSUMED, last=True,
        program="has no counterpart in minidark",
    ),
}  # fmt: skip
