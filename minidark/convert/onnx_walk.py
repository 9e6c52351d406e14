"""The state of reading an ONNX model from node to node: values by name, and the layers so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.onnx_graph import Graph, Operation
from minidark.convert.onnx_values import (
    LAST,
    MOST_AXES,
    Axis,
    Constant,
    Features,
    FirstState,
    Ids,
    LastStates,
    Length,
    Sizes,
    Term,
    Value,
)
from minidark.errors import WeightsError, bare

MOST_USES = 8  # of a large constant
NO_CHAIN = "the model is no chain: its paths part"
STEPWISE = (
    "it is part of a recurrent step in basic operators that minidark does not recognize; instead "
    "of a loop over cells, export nn.GRU, nn.LSTM or nn.RNN"
)


@dataclass(slots=True)
class Node:
    """An operation with the values that it reads."""

    operation: Operation
    values: list[Value | None]

    @property
    def kind(self) -> str:
        return self.operation.kind

    @property
    def attributes(self) -> dict[str, Any]:
        return self.operation.attributes

    def value(self, at: int) -> Value | None:
        return self.values[at] if at < len(self.values) else None

    def refused(self, why: str) -> WeightsError:
        return self.operation.refused(why)


class Walk:
    """What is known so far. The network is a chain: each operation that changes the features must
    read their latest version."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.result = Found.begin(graph.path)
        self.values: dict[str, Value] = dict(graph.constants)
        self.sizes = Sizes()
        self.version = 0  # of the features
        self.time: Axis | None = None  # known from the first recurrent layer on; () for one step
        self.states: dict[tuple[str, int], tuple[str, str]] = {}  # by input and row: layer, state
        self.terms: dict[tuple[Any, ...], str] = {}  # names by expression
        self._uses: Counter[str] = Counter()  # of large constants

    def features(self, node: Node, at: int) -> Features:
        """An input that must be the network's latest features."""
        value = node.value(at)
        if isinstance(value, LastStates):
            value = self.last_step(node, value)
        if isinstance(value, Ids):
            raise node.refused("it reads the symbols as numbers")
        if isinstance(value, FirstState | Term):
            raise node.refused(STEPWISE)
        if not isinstance(value, Features):
            raise node.refused("what it reads first is not what comes before it")
        if value.version != self.version:
            raise node.refused(NO_CHAIN)
        if self.result.logarithms:
            raise node.refused("it reads the logarithms of a softmax")
        return value

    def last_step(self, node: Node, value: LastStates) -> Features:
        """The last layer's state as the features of the last step. Only outputs are features."""
        if len(value.parts) > 1:
            raise node.refused("it reads the states of several layers")
        layer, state = value.parts[0]
        if layer != self.result.names[-1] or value.version != self.version:
            raise node.refused(NO_CHAIN)
        if state == "cell":
            raise node.refused("it reads the cell state of an LSTM, which is not its output")
        return Features(value.axes, value.version, value.width, last=self.time != ())

    def grown(self, value: Features, **changes: Any) -> Features:
        """The features after an operation that changes them."""
        self.version += 1
        return replace(value, version=self.version, **{"binary": False, **changes})

    def check_last_axis(self, node: Node, value: Features) -> None:
        if not self.sizes.same(value.axes[-1], LAST):
            raise node.refused("the last axis before it is not that of the features")

    def array(self, node: Node, at: int) -> Array:
        """The numbers of a constant for a layer. Layers may share one, but a network must not grow
        to many times the file's size."""
        value = node.value(at)
        if not isinstance(value, Constant):
            raise node.refused(f"its input {at} is no constant")
        self.use(value)
        array = value.load()
        if array.dtype != np.float32:
            raise node.refused(f"its input {at} is {array.dtype}; expected float32")
        return array

    def use(self, constant: Constant) -> None:
        """Count the use of a constant."""
        for name in constant.sources:
            self._uses[name] += 1
            if self._uses[name] > MOST_USES:
                message = f"{bare(name)} is used more than {MOST_USES} times"
                raise WeightsError(f"{self.graph.path}: {message}")

    def integers(self, node: Node, at: int, name: str = "axes") -> list[int]:
        """The integers of a constant, at most MOST_AXES. name: what they are, for the error."""
        integers = [n for n in self.lengths(node, at, name) if isinstance(n, int)]
        if len(integers) < len(self.lengths(node, at, name)):
            raise node.refused(f"its {name} are no constant")
        return integers

    def lengths(self, node: Node, at: int, name: str) -> list[int | Length]:
        """Like `integers`, but some may be the lengths of axes."""
        value = node.value(at)
        if not isinstance(value, Constant):
            raise node.refused(f"its {name} are no constant")
        array = value.load()
        if array.size > MOST_AXES or array.dtype.kind not in "iO":
            raise node.refused(f"its {name} are not up to {MOST_AXES} integers")
        numbers: list[int | Length] = array.reshape(-1).tolist()
        return numbers
