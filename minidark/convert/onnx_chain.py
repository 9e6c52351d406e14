"""Reads an ONNX model: minidark's by the cfg in its metadata, another program's node by node.

Another program's model must be a chain of layers that minidark has. Each node that its outputs need
is converted by a row of `HANDLERS`, or refused with the reason. A node that reads only constants is
computed (`onnx_fold`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from minidark.convert.found import Found, carried, whole
from minidark.convert.gates import ONNX
from minidark.convert.onnx_axes import MOVES
from minidark.convert.onnx_cells import STEPS, is_step
from minidark.convert.onnx_fold import Folder
from minidark.convert.onnx_graph import OWN, Graph, Operation
from minidark.convert.onnx_layers import LAYERS
from minidark.convert.onnx_recurrent import RECURRENT, unpacked
from minidark.convert.onnx_size import check_size
from minidark.convert.onnx_trial import Caller
from minidark.convert.onnx_values import (
    LAST,
    MOST_AXES,
    Axis,
    Features,
    FirstState,
    Ids,
    LastStates,
    Traced,
    Value,
)
from minidark.convert.onnx_walk import Node, Walk
from minidark.errors import MinidarkError, WeightsError, echo

HANDLERS = {**MOVES, **LAYERS, **RECURRENT}
READ = "GRU, LSTM, RNN, MatMul, Gemm, Add, Softmax, Sigmoid, Tanh, Relu, Elu and LeakyRelu"
REASONS = {
    **dict.fromkeys(
        ["LayerNormalization", "BatchNormalization", "InstanceNormalization"],
        "it normalizes between layers",
    ),
    "Conv": "minidark has no convolution",
}
INTEGERS = {TensorProto.INT64, TensorProto.INT32}


def read(path: Path | str) -> Found:
    """Read the layers and arrays of a model. Raises WeightsError."""
    return read_model(whole(path), path)


def read_model(data: bytes, path: Path | str) -> Found:
    """Like `read`, from a file's bytes."""
    try:
        check_size(data, path)
        model = onnx.load_model_from_string(data)
        notes = {prop.key: prop.value for prop in model.metadata_props}
        graph = Graph(model, path)
        if model.producer_name == "minidark" and "cfg" in notes:
            return _ours(carried(path, notes["cfg"], notes.get("seen", "0")), graph)
        return _theirs(graph)
    except (MinidarkError, MemoryError):
        raise
    except Exception as error:  # protobuf's errors share no base class
        raise WeightsError(f"{path}: not an ONNX model, or damaged") from error


def _ours(found: Found, graph: Graph) -> Found:
    """A model that minidark wrote: layers come from the cfg, arrays are matched by name."""
    for name, section in zip(found.names, found.sections[1:], strict=True):
        mine = {
            k.removeprefix(f"{name}."): v.load
            for k, v in graph.constants.items() if k.startswith(f"{name}.")
        }  # fmt: skip
        if section.type in ONNX and "W" in mine:
            parts = unpacked(section.type, *(mine[part]() for part in "WRB"))
        else:
            parts = {
                part.removesuffix(".T"): array().T if part.endswith(".T") else array()
                for part, array in mine.items()
            }
        found.arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    return found


def _theirs(graph: Graph) -> Found:
    """A model of another program."""
    walk = Walk(graph)
    symbols = _inputs(walk)
    folder = Folder(graph)
    for proto in graph.nodes:
        operation = Operation(proto, graph.path)
        values = [_read(walk, operation, name) for name in operation.inputs]
        if any(isinstance(value, Traced) for value in values):
            results = _handled(walk, Node(operation, values))
        else:
            results = folder.fold(operation, values)
        named = zip(operation.outputs, results, strict=False)
        walk.values |= {name: value for name, value in named if name}
    if not walk.result.names:
        raise WeightsError(f"{graph.path}: no layer that minidark has behind its first input")
    output, features = _output(walk)
    walk.result.last_only = features.last
    walk.result.end_in_softmax()
    walk.result.trial = Caller(walk, symbols, output, features).trial()
    return walk.result


def _inputs(walk: Walk) -> Any:
    """Describe the model's inputs, and return that of the symbols: the first of integers, else the
    first. Others are initial states."""
    graph = walk.graph
    if not graph.inputs:
        raise WeightsError(f"{graph.path}: it has no input")
    whole_numbers = [v for v in graph.inputs if v.type.tensor_type.elem_type in INTEGERS]
    chosen = (whole_numbers or graph.inputs)[0]
    for value in graph.inputs:
        tensor = value.type.tensor_type
        rank = len(tensor.shape.dim) if tensor.HasField("shape") else 3 - bool(whole_numbers)
        if rank > MOST_AXES:
            raise WeightsError(f"{graph.path}: an input has more than {MOST_AXES} axes")
        prefix = "" if value is chosen else f"{value.name}."
        labels = [f"{prefix}{i}" for i in range(rank)]
        lengths = {
            label: dim.dim_value
            for label, dim in zip(labels, tensor.shape.dim, strict=False) if dim.dim_value > 0
        }  # fmt: skip
        axes: list[Axis] = [(label,) for label in labels]
        if value is not chosen:
            walk.values[value.name] = FirstState(tuple(axes), value.name)
        elif whole_numbers:
            walk.values[value.name] = Ids(tuple(axes))
        else:
            width = lengths.pop(labels[-1], None) if labels else None
            walk.values[value.name] = Features((*axes[:-1], LAST), 0, width)
        walk.sizes.known |= lengths
    return chosen


def _read(walk: Walk, operation: Operation, name: str) -> Value | None:
    if name and name not in walk.values:
        raise operation.refused("it reads what no node before it computes")
    return walk.values[name] if name else None


def _handled(walk: Walk, node: Node) -> list[Value]:
    operation = node.operation
    if operation.domain not in OWN:
        raise node.refused(f"it is of the domain {echo(operation.domain)}")
    if is_step(node):
        return list(STEPS[node.kind](walk, node))
    if node.kind not in HANDLERS:
        raise node.refused(REASONS.get(node.kind, f"minidark reads only {READ}"))
    return list(HANDLERS[node.kind](walk, node))


def _output(walk: Walk) -> tuple[str, Features]:
    """The output that is the network's: the latest features. Raises WeightsError if the model does
    not output them."""
    values = [(name, walk.values.get(name)) for name in walk.graph.outputs]
    for name, value in values:
        if isinstance(value, Features) and value.version == walk.version:
            return name, value
    for name, value in values:
        own = ((walk.result.names[-1], "state"),)
        if isinstance(value, LastStates) and value.parts == own and value.version == walk.version:
            return name, Features(value.axes, value.version, value.width, last=walk.time != ())
    raise WeightsError(f"{walk.graph.path}: none of its outputs is that of its last layer")
