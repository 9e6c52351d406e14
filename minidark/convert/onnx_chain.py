"""An ONNX model of another program, read from its input on, node by node, as a cfg's layers.

A chain of GRU with linear_before_reset=0, LSTM, MatMul or Gemm with biases, activations, Softmax.
Whatever has no counterpart in darknet is refused with the reason.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.onnx import Constants, array_of, unpacked
from minidark.errors import WeightsError, bare, echo

PASSED_OVER = {"Identity", "Squeeze", "Unsqueeze", "Transpose", "Dropout", "Cast", "Flatten"}
PLAIN_ACTIVATIONS = {"Sigmoid": "logistic", "Tanh": "tanh", "Relu": "relu"}
LEAKS = {0.1: "leaky", 0.01: "relie"}


class Chain:
    """A model of another program, read from its input on, node by node."""

    def __init__(self, graph: Any, constants: Constants, path: Path | str):
        self.graph, self.constants, self.path = graph, constants, path
        for node in graph.node:  # constants of another spelling
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = functools.partial(array_of, node.attribute[0].t, path)
        self.result = Found.begin(path)

    def found(self) -> Found:
        given = [v.name for v in self.graph.input if v.name not in self.constants]
        readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        at = given[0] if given else ""
        for _ in range(len(self.graph.node)):
            following = readers.get(at, [])
            if not following:
                break
            if len(following) > 1:
                raise self._refused(following[1], "the model is no chain: its paths part")
            at = self._take(following[0], at)
        if len(self.result.sections) == 1:
            raise WeightsError(f"{self.path}: no GRU, LSTM, MatMul or Gemm behind its first input")
        return self.result

    def _take(self, node: Any, at: str) -> str:
        """One node; the name of the tensor to go on from."""
        kind, attributes = (
            node.op_type,
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
        if kind in ("GRU", "LSTM"):
            self._recurrent(node, attributes)
        elif kind in ("MatMul", "Gemm"):
            self._product(node, attributes)
        elif kind == "Add":
            self._biases(node, at)
        elif kind == "Softmax":
            if attributes.get("axis", -1) not in (-1, 2):
                raise self._refused(node, "it is not over the last axis")
            self.result.add("softmax")
        elif kind == "LeakyRelu" and round(attributes.get("alpha", 0.01), 6) in LEAKS:
            self.result.activate(LEAKS[round(attributes.get("alpha", 0.01), 6)])
        elif kind == "Elu" and attributes.get("alpha", 1.0) == 1:
            self.result.activate("elu")
        elif kind in PLAIN_ACTIVATIONS:
            self.result.activate(PLAIN_ACTIVATIONS[kind])
        elif kind not in PASSED_OVER:
            raise self._refused(node, "darknet has no counterpart")
        return str(node.output[0])

    def _recurrent(self, node: Any, attributes: dict[str, Any]) -> None:
        kind = node.op_type.lower()
        if attributes.get("linear_before_reset", 0):
            raise self._refused(
                node,
                "linear_before_reset=1 resets after the product, darknet's GRU before it: no "
                "weights of the one are weights of the other",
            )
        keys = {"tanh": self._candidate(node, attributes)} if kind == "gru" else {}
        if attributes.get("direction", b"forward") != b"forward":
            raise self._refused(node, "only the direction forward has a counterpart")
        if "clip" in attributes or attributes.get("input_forget") or self._given(node, 7):
            raise self._refused(node, "clip, input_forget and peepholes have no counterpart")
        w, r = (self._constant(node, i) for i in (1, 2))
        zero = np.zeros((1, 2 * w.shape[1]), w.dtype)
        b = self._constant(node, 3) if self._given(node, 3) else zero
        self.result.set_inputs(w.shape[2])
        self.result.add(kind, unpacked(kind, w, r, b), output=r.shape[2], **keys)

    def _candidate(self, node: Any, attributes: dict[str, Any]) -> int:
        """1 where the candidate is tanh, 0 where it is logistic."""
        given = [a.lower() for a in attributes.get("activations", [b"Sigmoid", b"Tanh"])]
        if given not in ([b"sigmoid", b"tanh"], [b"sigmoid", b"sigmoid"]):
            raise self._refused(node, "its activations have no counterpart")
        return int(given[1] == b"tanh")

    def _product(self, node: Any, attributes: dict[str, Any]) -> None:
        matrix = self._constant(node, 1)
        if matrix.ndim != 2 or {attributes.get(k, 1) for k in ("alpha", "beta")} != {1}:
            raise self._refused(node, "it is no plain matrix product")
        weights = matrix if attributes.get("transB") else matrix.T
        outputs, inputs = weights.shape
        biases = self._constant(node, 2) if self._given(node, 2) else np.zeros(outputs, "f4")
        self.result.set_inputs(inputs)
        arrays = {"biases": biases, "weights": weights}
        self.result.add("connected", arrays, output=outputs, activation="linear")

    def _biases(self, node: Any, at: str) -> None:
        other = 1 - list(node.input).index(at)
        name = f"{self.result.names[-1]}.biases" if self.result.names else ""
        if not name.endswith("connected.biases"):
            raise self._refused(node, "it adds to something else than a matrix product")
        self.result.arrays[name] = self.result.arrays[name] + self._constant(node, other)

    def _given(self, node: Any, at: int) -> bool:
        return len(node.input) > at and bool(node.input[at])

    def _constant(self, node: Any, at: int) -> Array:
        name = node.input[at] if self._given(node, at) else ""
        if name not in self.constants:
            raise self._refused(node, f"its input {at} is no constant")
        return self.constants[name]()

    def _refused(self, node: Any, why: str) -> WeightsError:
        name = f" {echo(node.name)}" if node.name else ""
        return WeightsError(f"{self.path}: {bare(node.op_type)}{name} cannot be taken over: {why}")
