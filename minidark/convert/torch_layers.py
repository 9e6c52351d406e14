"""darknet's layers in PyTorch. Needs only torch. x is (T, S, inputs), a state is (S, width)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def plse(x: Tensor) -> Tensor:
    inside = x.clamp(-4, 4)
    return 0.125 * inside + 0.5 + 0.01 * (x - inside)


def stair(x: Tensor) -> Tensor:
    whole, half = x.floor(), (x / 2).floor()
    return half + (whole - 2 * half) * (x - whole)


def lhtan(x: Tensor) -> Tensor:
    inside = x.clamp(0, 1)
    return inside + 0.001 * (x - inside)


ACTIVATIONS = {
    "logistic": torch.sigmoid,
    "loggy": lambda x: torch.tanh(x / 2),
    "relu": torch.relu,
    "elu": lambda x: x.clamp(min=0) + torch.expm1(x.clamp(max=0)),
    "selu": lambda x: 1.0507 * (x.clamp(min=0) + 1.6732 * torch.expm1(x.clamp(max=0))),
    "relie": lambda x: torch.where(x > 0, x, 0.01 * x),
    "ramp": lambda x: torch.relu(x) + 0.1 * x,
    "linear": lambda x: x,
    "tanh": torch.tanh,
    "plse": plse,
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "stair": stair,
    "hardtan": lambda x: x.clamp(-1, 1),
    "lhtan": lhtan,
}


class Gru(nn.Module):
    """Unlike nn.GRU, it applies the reset gate before the product with the state."""

    def __init__(self, inputs: int, outputs: int, tanh: bool):
        super().__init__()
        self.widths = [outputs]
        self.u = nn.Linear(inputs, 3 * outputs)  # z, r, candidate
        self.w_zr = nn.Linear(outputs, 2 * outputs)
        self.w_h = nn.Linear(outputs, outputs)
        self.act = torch.tanh if tanh else torch.sigmoid

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (h,), outputs = state, []
        for u in self.u(x):
            uz, ur, uh = u.chunk(3, dim=-1)
            wz, wr = self.w_zr(h).chunk(2, dim=-1)
            z, r = torch.sigmoid(uz + wz), torch.sigmoid(ur + wr)
            h = z * h + (1 - z) * self.act(uh + self.w_h(r * h))
            outputs.append(h)
        return torch.stack(outputs), [h]


class TorchGru(nn.Module):
    """[gru] with reset_after=1 and tanh=1 is torch's own."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widths = [outputs]
        self.gru = nn.GRU(inputs, outputs)

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, h = self.gru(x, state[0][None])
        return y, [h[0]]


class ResetAfterGru(nn.Module):
    """nn.GRU but for its candidates, which are logistic."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widths = [outputs]
        self.u = nn.Linear(inputs, 3 * outputs)  # z, r, candidate
        self.w = nn.Linear(outputs, 3 * outputs)

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (h,), outputs = state, []
        for u in self.u(x):
            uz, ur, uh = u.chunk(3, dim=-1)
            wz, wr, wh = self.w(h).chunk(3, dim=-1)
            z, r = torch.sigmoid(uz + wz), torch.sigmoid(ur + wr)
            h = z * h + (1 - z) * torch.sigmoid(uh + r * wh)
            outputs.append(h)
        return torch.stack(outputs), [h]


class Lstm(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.widths = [outputs, outputs]  # state, cell
        self.u = nn.Linear(inputs, 4 * outputs)  # i, f, o, g
        self.w = nn.Linear(outputs, 4 * outputs)

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (h, c), outputs = state, []
        for u in self.u(x):
            i, f, o, g = (u + self.w(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), [h, c]


class Rnn(nn.Module):
    """act(input x) + act(self s); nn.RNN applies act to the sum."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, act: str, self_act: str, shortcut: bool
    ):
        super().__init__()
        self.widths = [hidden]
        self.input = nn.Linear(inputs, hidden)
        self.self = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)
        self.act, self.self_act = ACTIVATIONS[act], ACTIVATIONS[self_act]
        self.shortcut = shortcut

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (s,), states = state, []
        for from_input in self.act(self.input(x)):
            new = from_input + self.self_act(self.self(s))
            s = new + s if self.shortcut else new
            states.append(s)
        return self.act(self.output(torch.stack(states))), [s]


class TorchRnn(nn.Module):
    """[rnn] with elman=1 and activation tanh or relu is torch's own."""

    def __init__(self, inputs: int, outputs: int, act: str):
        super().__init__()
        self.widths = [outputs]
        self.rnn = nn.RNN(inputs, outputs, nonlinearity=act)

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y, s = self.rnn(x, state[0][None])
        return y, [s[0]]


class Elman(nn.Module):
    """nn.RNN but for its activation."""

    def __init__(self, inputs: int, outputs: int, act: str):
        super().__init__()
        self.widths = [outputs]
        self.input = nn.Linear(inputs, outputs)
        self.self = nn.Linear(outputs, outputs)
        self.act = ACTIVATIONS[act]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (s,), outputs = state, []
        for from_input in self.input(x):
            s = self.act(from_input + self.self(s))
            outputs.append(s)
        return torch.stack(outputs), [s]


class Connected(nn.Module):
    def __init__(self, inputs: int, outputs: int, act: str):
        super().__init__()
        self.widths: list[int] = []
        self.linear = nn.Linear(inputs, outputs)
        self.act = ACTIVATIONS[act]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.act(self.linear(x)), state


class Batchnorm(nn.Module):
    """Normalizes by rolling statistics, for inference only."""

    def __init__(self, width: int, inside: float = 0.0, outside: float = 1e-6):
        super().__init__()
        self.inside, self.outside = inside, outside
        self.widths: list[int] = []
        self.biases, self.scales = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.ones(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        divisor = (self.variance + self.inside).sqrt() + self.outside
        return (x - self.mean) / divisor * self.scales + self.biases, state


class Activation(nn.Module):
    def __init__(self, act: str):
        super().__init__()
        self.widths: list[int] = []
        self.act = ACTIVATIONS[act]

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return self.act(x), state


class Softmax(nn.Module):
    def __init__(self, groups: int, temperature: float):
        super().__init__()
        self.widths: list[int] = []
        self.groups, self.temperature = groups, temperature

    def forward(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        grouped = x.unflatten(-1, (self.groups, -1)) / self.temperature
        return torch.softmax(grouped, dim=-1).flatten(-2), state


class Net(nn.Module):
    """net(x) returns outputs (T, S, outputs) and a list of states; net(x, states) continues."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Tensor, states: list[list[Tensor]] | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        if states is None:
            states = [[x.new_zeros(x.shape[1], w) for w in layer.widths] for layer in self.layers]
        after = []
        for layer, state in zip(self.layers, states, strict=True):
            x, state = layer(x, state)
            after.append(state)
        return x, after
