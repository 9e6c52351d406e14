"""Every layer's forward once more, in Python floats and loops: slow, plain, and by itself.

It reads a layer's arrays by the names that stand in weight files and knows nothing of how
minidark packs them. Rows are lists of floats, a step is S rows, a sequence T steps.

Source: darknet src/activations.h, src/connected_layer.c, gru_layer.c, lstm_layer.c, rnn_layer.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minidark.layers import Layer

Row = list[float]
Rows = list[Row]
Steps = list[Rows]


# --- darknet's activations, one number at a time ------------------------------------------


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def stair(x: float) -> float:
    n = math.floor(x)
    return math.floor(x / 2) if n % 2 == 0 else (x - n) + math.floor(x / 2)


def hardtan(x: float) -> float:
    if x < -1:
        return -1
    return 1 if x > 1 else x


def plse(x: float) -> float:
    if x < -4:
        return 0.01 * (x + 4)
    return 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5


def lhtan(x: float) -> float:
    if x < 0:
        return 0.001 * x
    return 0.001 * (x - 1) + 1 if x > 1 else x


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "logistic": logistic,
    "loggy": lambda x: 2 / (1 + math.exp(-x)) - 1,
    "relu": lambda x: x * (x > 0),
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (math.exp(x) - 1),
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "linear": lambda x: x,
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "plse": plse,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "stair": stair,
    "hardtan": hardtan,
    "lhtan": lhtan,
}


# --- layers -------------------------------------------------------------------------------


def each(f: Callable[..., float], *operands: Rows) -> Rows:
    """f of the operands' elements, place by place."""
    return [[f(*xs) for xs in zip(*rows, strict=True)] for rows in zip(*operands, strict=True)]


def total(*operands: Rows) -> Rows:
    return each(lambda *xs: sum(xs), *operands)


class Reference:
    """A layer's arrays as they stand now, and zero states of its own.

    `options` are the section's. In training the rolling statistics in `arrays` move. gpu: batch
    norm divides as with [net] batchnorm=gpu.
    """

    def __init__(self, layer: Layer, options: Any, gpu: bool = False):
        self.type, self.options, self.gpu = layer.type, options, gpu
        self.arrays: dict[str, Any] = {}
        self.read(layer)
        state = [[0.0] * self.width() for _ in range(layer.streams)]
        self.state, self.cell = state, state
        self.read_so_far: list[Rows] = [[] for _ in range(layer.streams)]  # inputs, by stream
        self.passed = [False] * layer.streams  # whether a separator has come
        self.shown: list[dict[str, Rows]] = []  # gates and state after each step so far

    def read(self, layer: Layer) -> None:
        """Take the layer's arrays: "uz.weights", or "weights" where a layer has one sublayer."""
        for array in layer.arrays():
            self.arrays[array.name.removeprefix(f"{layer.name}.")] = array.value.tolist()

    def width(self) -> int:
        """Of the state."""
        hidden: int | None = getattr(self.options, "hidden", None)
        output: int = getattr(self.options, "output", 0)
        return hidden or output

    def forward(self, x: Steps, train: bool = False) -> Steps:
        steps: Steps = getattr(self, f"forward_{self.type}")(x, train)
        return steps

    def forward_gru(self, x: Steps, train: bool) -> Steps:
        act = math.tanh if self.options.tanh else logistic
        steps = []
        for rows in x:
            h = self.state
            z = each(logistic, total(self.sub("uz", rows, train), self.sub("wz", h, train)))
            r = each(logistic, total(self.sub("ur", rows, train), self.sub("wr", h, train)))
            if self.options.reset_after:
                inner = each(lambda r, w: r * w, r, self.sub("wh", h, train))
            else:
                inner = self.sub("wh", each(lambda r, h: r * h, r, h), train)
            c = each(act, total(self.sub("uh", rows, train), inner))
            self.state = each(lambda z, h, c: z * h + (1 - z) * c, z, h, c)
            self.shown.append({"z": z, "r": r, "c": c, "h": self.state})
            steps.append(self.state)
        return steps

    def forward_lstm(self, x: Steps, train: bool) -> Steps:
        steps = []
        for rows in x:
            h = self.state
            f, i, o, g = (
                each(act, total(self.sub(f"u{k}", rows, train), self.sub(f"w{k}", h, train)))
                for k, act in (("f", logistic), ("i", logistic), ("o", logistic), ("g", math.tanh))
            )
            self.cell = each(lambda f, c, i, g: f * c + i * g, f, self.cell, i, g)
            self.state = each(lambda o, c: o * math.tanh(c), o, self.cell)
            self.shown.append({"i": i, "f": f, "o": o, "g": g, "c": self.cell, "h": self.state})
            steps.append(self.state)
        return steps

    def forward_rnn(self, x: Steps, train: bool) -> Steps:
        act = ACTIVATIONS[self.options.activation]
        act_self = (act, logistic, ACTIVATIONS["loggy"])[self.options.logistic]
        steps = []
        for rows in x:
            s = self.state
            if self.options.elman:
                sums = total(self.sub("input", rows, train), self.sub("self", s, train))
                self.state = each(act, sums)
                self.shown.append({"s": self.state})
                steps.append(self.state)
                continue
            from_input = each(act, self.sub("input", rows, train))
            from_self = each(act_self, self.sub("self", s, train))
            self.state = total(from_input, from_self, *([s] if self.options.shortcut else []))
            self.shown.append({"input": from_input, "self": from_self, "s": self.state})
            steps.append(each(act, self.sub("output", self.state, train)))
        return steps

    def forward_connected(self, x: Steps, train: bool) -> Steps:
        rows = [row for step in x for row in step]  # all of them share their statistics
        return regroup(each(ACTIVATIONS[self.options.activation], self.sub("", rows, train)), x)

    def forward_attention(
        self, x: Steps, train: bool, symbols: list[list[int]] | None = None
    ) -> Steps:
        """symbols: (T, S), without any separator unless given."""
        steps = []
        for t, rows in enumerate(x):
            contexts, weights = [], []
            for s, row in enumerate(rows):
                if not self.passed[s]:
                    self.read_so_far[s].append(row)
                    if self.options.over == "source" and symbols is not None:
                        self.passed[s] = symbols[t][s] == self.options.separator
                context, shown = self.attend(row, self.read_so_far[s], train)
                contexts.append(context)
                weights.append(shown)
            self.shown.append({"attention": weights})
            steps.append(self.linear("output", contexts, train))
        return steps

    def attend(self, row: Row, inputs: Rows, train: bool) -> tuple[Row, Row]:
        """The heads' means of the values side by side, and the mean of their weights by column."""
        heads, memory, source = self.options.heads, self.options.memory, self.options.over
        first = max(0, len(inputs) - memory)
        query = split(self.linear("query", [row], train)[0], heads)
        keys = [split(k, heads) for k in self.linear("key", inputs[first:], train)]
        values = [split(v, heads) for v in self.linear("value", inputs[first:], train)]
        context: Row = []
        shown = [0.0] * memory
        for head in range(heads):
            scores = [
                sum(q * k for q, k in zip(query[head], key[head], strict=True))
                / math.sqrt(len(query[head]))
                for key in keys
            ]
            exps = [math.exp(score - max(scores)) for score in scores]
            weights = [e / sum(exps) for e in exps]
            columns = zip(*(value[head] for value in values), strict=True)
            context += [
                sum(w * v for w, v in zip(weights, column, strict=True)) for column in columns
            ]
            for number, weight in enumerate(weights, start=first):
                back = len(inputs) - 1 - number
                shown[number % memory if source == "source" else back] += weight / heads
        return context, shown

    def linear(self, name: str, rows: Rows, train: bool) -> Rows:
        """A sublayer, which may be missing."""
        return self.sub(name, rows, train) if key(name, "weights") in self.arrays else rows

    def forward_batchnorm(self, x: Steps, train: bool) -> Steps:
        rows = self.norm("", [row for step in x for row in step], train)
        return regroup(add(rows, self.arrays["biases"]), x)

    def forward_softmax(self, x: Steps, train: bool) -> Steps:
        size = len(x[0][0]) // self.options.groups
        return [
            [
                [p for at in range(0, len(row), size) for p in self.softmax(row[at : at + size])]
                for row in rows
            ]
            for rows in x
        ]

    def softmax(self, row: Row) -> Row:
        exps = [math.exp(v / self.options.temperature) for v in row]
        return [e / sum(exps) for e in exps]

    def forward_activation(self, x: Steps, train: bool) -> Steps:
        return [each(ACTIVATIONS[self.options.activation], rows) for rows in x]

    def forward_logistic(self, x: Steps, train: bool) -> Steps:
        return [each(logistic, rows) for rows in x]

    def forward_cost(self, x: Steps, train: bool) -> Steps:
        return x

    def forward_route(self, x: Steps, train: bool) -> Steps:
        return x

    def forward_shortcut(self, x: Steps, train: bool) -> Steps:
        act, half = ACTIVATIONS[self.options.activation], len(x[0][0]) // 2
        return [[[act(row[i] + row[half + i]) for i in range(half)] for row in rows] for rows in x]

    def forward_dropout(self, x: Steps, train: bool) -> Steps:
        assert not (train and self.options.probability), "what it drops is drawn"
        return x

    # --- sublayers ------------------------------------------------------------------------

    def sub(self, name: str, rows: Rows, train: bool) -> Rows:
        """norm(W x) + b of the rows that a norm sees at once."""
        matrix = self.arrays[key(name, "weights")]
        v = [[sum(w * x for w, x in zip(ws, row, strict=True)) for ws in matrix] for row in rows]
        if key(name, "scales") in self.arrays:
            v = self.norm(name, v, train)
        return add(v, self.arrays[key(name, "biases")])

    def norm(self, name: str, rows: Rows, train: bool) -> Rows:
        scales = self.arrays[key(name, "scales")]
        means = self.arrays[key(name, "rolling_mean")]
        variances = self.arrays[key(name, "rolling_variance")]
        columns = []
        for i, column in enumerate(zip(*rows, strict=True)):
            mean, variance = means[i], variances[i]
            if train:
                mean = sum(column) / len(column)
                variance = sum((v - mean) ** 2 for v in column) / (len(column) - 1)
                means[i] = 0.99 * means[i] + 0.01 * mean
                variances[i] = 0.99 * variances[i] + 0.01 * variance
            divisor = math.sqrt(variance + 1e-5) if self.gpu else math.sqrt(variance) + 1e-6
            columns.append([(v - mean) / divisor * scales[i] for v in column])
        return [list(row) for row in zip(*columns, strict=True)]


def key(name: str, kind: str) -> str:
    return f"{name}.{kind}" if name else kind


def add(rows: Rows, biases: Row) -> Rows:
    return [[v + b for v, b in zip(row, biases, strict=True)] for row in rows]


def split(row: Row, count: int) -> Rows:
    size = len(row) // count
    return [row[at : at + size] for at in range(0, len(row), size)]


def regroup(rows: Rows, like: Steps) -> Steps:
    """Rows to steps of as many as `like` has."""
    streams = len(like[0])
    return [rows[at : at + streams] for at in range(0, len(rows), streams)]
