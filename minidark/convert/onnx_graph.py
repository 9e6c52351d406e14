"""The graph of an ONNX model: the nodes that its outputs need, and the numbers in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from minidark.backend import Array
from minidark.convert.found import LARGEST
from minidark.convert.onnx_data import Beside, array_of, inside, is_elsewhere
from minidark.convert.onnx_size import LARGEST_STRUCTURE
from minidark.convert.onnx_values import Constant
from minidark.errors import BackendError, WeightsError, bare, echo

OWN = ("", "ai.onnx")  # domains of ONNX's own operators
OLDEST = 7  # opset; older ones broadcast differently, and their Dropout is active by default
SHARED_FREELY = 1 << 16  # bytes of a constant that layers may share freely
INTEGERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}


class Graph:
    """A parsed model. nodes: those that the outputs depend on, in order. Raises WeightsError."""

    def __init__(self, model: Any, path: Path | str):
        self.model, self.path = model, path
        self.producer: str = model.producer_name
        self.opset: int = max((o.version for o in model.opset_import if o.domain in OWN), default=1)
        if not model.opset_import and not model.graph.node:
            raise WeightsError(f"{path}: not an ONNX model, or damaged")
        if self.opset < OLDEST:
            message = f"its opset is {self.opset}; minidark reads {OLDEST} and later"
            raise WeightsError(f"{path}: {message}")
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        beside = Beside(path)
        self.constants = {
            name: self._constant(tensor, beside) for name, tensor in self.tensors.items()
        }
        self.inputs = [v for v in model.graph.input if v.name not in self.tensors]
        self.outputs: list[str] = [value.name for value in model.graph.output]
        self.nodes = _needed(model.graph.node, self.outputs)

    def constant_in(self, attribute: Any, name: str) -> Constant:
        """The tensor in an attribute of the node with the output `name`. Its numbers must be in
        the model."""
        attribute.t.name = attribute.t.name or name
        return self._constant(attribute.t, None)

    def _constant(self, tensor: Any, beside: Beside | None) -> Constant:
        large = 4 * math.prod(tensor.dims) > SHARED_FREELY
        load = functools.cache(functools.partial(self._load, tensor, beside))
        return Constant(load, frozenset([tensor.name] if large else []))

    def _load(self, tensor: Any, beside: Beside | None) -> Array:
        if tensor.data_type in INTEGERS:
            return inside(tensor, self.path)
        return array_of(tensor, self.path, beside)

    def runnable(self, outputs: Sequence[str]) -> bytes:
        """A model that computes only these outputs and opens no other file. Raises BackendError if
        it is too large for one file."""
        graph = self.model.graph
        nodes = _needed(graph.node, outputs)
        names = {name for node in nodes for name in node.input} | {*outputs}
        size = sum(4 * math.prod(t.dims) for name, t in self.tensors.items() if name in names)
        if size > LARGEST - LARGEST_STRUCTURE:
            raise BackendError(f"{size:,} bytes of weights are too many for onnxruntime")
        weights = [
            numpy_helper.from_array(np.ascontiguousarray(self.constants[name].load()), name)
            if is_elsewhere(tensor) else tensor
            for name, tensor in self.tensors.items() if name in names
        ]  # fmt: skip
        smaller = helper.make_graph(
            nodes,
            "model",
            [value for value in self.inputs if value.name in names],
            [value for value in graph.output if value.name in outputs],
            weights,
        )
        model = helper.make_model(smaller, opset_imports=self.model.opset_import)
        model.ir_version = self.model.ir_version
        data: bytes = model.SerializeToString()
        return data


class Operation:
    """A node's operator, name and attributes. Raises WeightsError for an attribute that contains a
    graph, or numbers in another file."""

    def __init__(self, node: Any, path: Path | str):
        self.kind: str = node.op_type
        self.path = path
        self.name = f" {echo(node.name)}" if node.name else ""
        self.label = bare(node.name or (node.output[0] if node.output else ""))
        self.domain: str = node.domain
        self.inputs: list[str] = list(node.input)
        self.outputs: list[str] = list(node.output)
        for attribute in node.attribute:
            self._check(attribute)
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.node = node

    def _check(self, attribute: Any) -> None:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise self.refused("it contains a graph of its own")
        for tensor in [attribute.t, *attribute.tensors]:
            if is_elsewhere(tensor):
                inside(tensor, self.path)

    def given(self, at: int) -> bool:
        return len(self.inputs) > at and bool(self.inputs[at])

    def refused(self, why: str) -> WeightsError:
        """The error that this node cannot be converted."""
        return WeightsError(
            f"{self.path}: {bare(self.kind)}{self.name} cannot be taken over: {why}"
        )


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """The nodes on which the outputs depend, in order."""
    names, found = set(outputs), []
    for node in reversed(nodes):
        if not names.isdisjoint(node.output):
            names.update(node.input)
            found.append(node)
    return found[::-1]
