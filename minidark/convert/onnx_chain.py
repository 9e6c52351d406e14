"""Reads an ONNX model: minidark's by the cfg in its metadata, another program's node by node.

Another program's model must be a chain of GRU with linear_before_reset=0, LSTM, MatMul or Gemm with
biases, activations and Softmax. Anything without a counterpart in darknet is refused with a reason.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from minidark.backend import Array
from minidark.convert.found import Found, carried, whole
from minidark.convert.gates import ONNX, Packed, unpack
from minidark.convert.onnx_data import Beside, array_of, inside
from minidark.convert.onnx_size import check_size
from minidark.errors import MinidarkError, WeightsError, bare, echo

log = logging.getLogger(__name__)

Constants = dict[str, Callable[[], Array]]  # of a model: arrays by name, built on demand

OLDEST = 7  # opset; older ones broadcast differently, and their Dropout is active by default
LAST_AXIS = 13  # opset since which Softmax is over one axis, by default the last
READ = "GRU, LSTM, MatMul, Gemm, Add, Softmax, Sigmoid, Tanh, Relu, Elu and LeakyRelu"
REASONS = {"RNN": "it is act(W x + W s), darknet's [rnn] act(W x) + act(W s)"}
RESHAPED = {  # operators that keep a zero tensor zero
    "Identity", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Reshape", "Cast", "Slice", "Gather",
    "Split",
}  # fmt: skip
OWN = ("", "ai.onnx")  # domains of ONNX's own operators
GATED = ("GRU", "LSTM")
LAST_STATE = "what follows reads its last state, and darknet's layers pass on all steps' outputs"
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE}
MOST_AXES = 8
LONGEST_PATH = 100  # nodes between a state and its source
SHARED_FREELY, MOST_USES = 1 << 16, 8  # bytes of a constant; most uses of a larger one
FEATURES, ONE = "features", "one"  # names of axes; the input's axes are numbers
PLAIN_ACTIVATIONS = {"Sigmoid": "logistic", "Tanh": "tanh", "Relu": "relu"}
SLOPED: dict[str, tuple[float, dict[float, str]]] = {  # the default of alpha; names by alpha
    "LeakyRelu": (0.01, {0.1: "leaky", 0.01: "relie"}),
    "Elu": (1.0, {1.0: "elu"}),
}


def read(path: Path | str) -> Found:
    """Read the layers and arrays of a model. Raises WeightsError."""
    return read_model(whole(path), path)


def read_model(data: bytes, path: Path | str) -> Found:
    """Like `read`, from a file's bytes."""
    try:
        check_size(data, path)
        model = onnx.load_model_from_string(data)
        beside = Beside(path)
        constants: Constants = {
            tensor.name: functools.cache(functools.partial(array_of, tensor, path, beside))
            for tensor in model.graph.initializer
        }
        notes = {prop.key: prop.value for prop in model.metadata_props}
        if model.producer_name == "minidark" and "cfg" in notes:
            return _ours(carried(path, notes["cfg"], notes.get("seen", "0")), constants)
        return Chain(model, constants, path).found()
    except (MinidarkError, MemoryError):
        raise
    except Exception as error:  # protobuf's errors share no base class
        raise WeightsError(f"{path}: not an ONNX model, or damaged") from error


def _ours(found: Found, constants: Constants) -> Found:
    """A model that minidark wrote: layers come from the cfg, arrays are matched by name."""
    for name, section in zip(found.names, found.sections[1:], strict=True):
        mine = {
            k.removeprefix(f"{name}."): v for k, v in constants.items() if k.startswith(f"{name}.")
        }
        if section.type in ONNX and "W" in mine:
            parts = _unpacked(section.type, *(mine[part]() for part in "WRB"))
        else:
            parts = {
                part.removesuffix(".T"): array().T if part.endswith(".T") else array()
                for part, array in mine.items()
            }
        found.arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    return found


def _unpacked(type_: str, w: Array, r: Array, b: Array | None) -> dict[str, Array]:
    """The sublayers of W (1, G H, I), R (1, G H, H) and the optional B (1, 2 G H)."""
    biases = () if b is None else np.split(b[0], 2)
    return unpack(ONNX[type_], Packed(w[0], r[0], *biases))


class Chain:
    """A model of another program, read node by node from its input."""

    def __init__(self, model: Any, constants: Constants, path: Path | str):
        self.graph, self.constants, self.path = model.graph, constants, path
        self.producer = model.producer_name
        self.opset = max((o.version for o in model.opset_import if o.domain in OWN), default=1)
        graph = self.graph
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:  # Constant nodes count as constants too
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.tensors[node.output[0]] = node.attribute[0].t
                constants[node.output[0]] = functools.partial(array_of, node.attribute[0].t, path)
        self.result = Found.begin(path)
        self.axes: list[str] = []  # of the current tensor
        self.single = {ONE}  # axes that are always of length 1
        self.time = ""  # the axis along which recurrent layers run
        self.uses: Counter[str] = Counter()  # of large constants

    def found(self) -> Found:
        if self.opset < OLDEST:
            raise WeightsError(
                f"{self.path}: its opset is {self.opset}; minidark reads {OLDEST} and later"
            )
        given = [v for v in self.graph.input if v.name not in self.constants]
        readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        at = given[0].name if given else ""
        tensor = given[0].type.tensor_type if given else None
        dims = tensor.shape.dim if tensor and tensor.HasField("shape") else [None] * 3
        if len(dims) > MOST_AXES:
            raise WeightsError(f"{self.path}: its first input has more than {MOST_AXES} axes")
        self.axes = [*map(str, range(len(dims) - 1)), FEATURES]
        self.single |= {str(i) for i, dim in enumerate(dims) if dim and dim.dim_value == 1}
        for _ in range(len(self.graph.node)):
            following = readers.get(at, [])
            if not following:
                break
            if len(following) > 1:
                raise self._refused(following[1], "the model is no chain: its paths part")
            at = self._take(following[0], at)
        if not self.result.names:
            raise WeightsError(f"{self.path}: no GRU, LSTM, MatMul or Gemm behind its first input")
        if at not in {value.name for value in self.graph.output}:
            raise self._unfinished(at)
        if self.axes[-1] != FEATURES:
            raise WeightsError(f"{self.path}: its output's last axis is not that of the features")
        self.result.end_in_softmax()
        return self.result

    def _unfinished(self, at: str) -> WeightsError:
        """The error for a chain that ends in a tensor that is neither read nor an output."""
        if at in self.makers and (node := self.makers[at]).op_type in GATED:
            return self._refused(node, LAST_STATE)
        said = f"the chain from its first input ends in {echo(at)}, which is no output"
        return WeightsError(f"{self.path}: {said}")

    def _take(self, node: Any, at: str) -> str:
        """Convert one node and return the name of the next tensor."""
        kind, attributes = (
            node.op_type,
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
        )
        if node.domain not in OWN:
            raise self._refused(node, f"it is of the domain {echo(node.domain)}")
        if kind in ("Squeeze", "Unsqueeze", "Transpose"):
            self._reshaped(node, attributes)
        elif kind == "Cast":
            if attributes["to"] not in FLOATS:
                raise self._refused(node, "it is to numbers that are no FLOAT")
        elif kind in (*GATED, "MatMul", "Gemm") and node.input[0] != at:
            raise self._refused(node, "what it reads first is not what comes before it")
        elif kind in GATED:
            self._recurrent(node, attributes)
            if not node.output[0]:
                raise self._refused(node, LAST_STATE)
        elif kind in ("MatMul", "Gemm"):
            self._product(node, attributes)
        elif kind == "Add":
            self._biases(node, at)
        elif kind == "Softmax":
            self._softmax(node, attributes)
        elif kind == "Dropout":
            self._dropout(node)
        elif kind in SLOPED:
            default, names = SLOPED[kind]
            if (alpha := round(attributes.get("alpha", default), 6)) not in names:
                raise self._refused(node, f"darknet has none with alpha {alpha}")
            self.result.activate(names[alpha])
        elif kind in PLAIN_ACTIVATIONS:
            self.result.activate(PLAIN_ACTIVATIONS[kind])
        elif kind != "Identity":
            raise self._refused(node, REASONS.get(kind, f"minidark reads only {READ}"))
        return str(node.output[0])

    def _softmax(self, node: Any, attributes: dict[str, Any]) -> None:
        """Before opset 13, Softmax is over all axes from `axis` to the last together, and `axis`
        defaults to 1."""
        one_axis, rank = self.opset >= LAST_AXIS, len(self.axes)
        axis = attributes.get("axis", -1 if one_axis else 1) % rank
        over = self.axes[axis : axis + 1] if one_axis else self.axes[axis:]
        if {*over} - self.single != {FEATURES}:
            default = "" if one_axis or "axis" in attributes else ", which are 1 to the last"
            raise self._refused(node, f"it is over other axes than the last alone{default}")
        self.result.add("softmax")

    def _dropout(self, node: Any) -> None:
        """Skip Dropout. Refuse it in training mode, its third input since opset 12."""
        if self._given(node, 2) and (
            node.input[2] not in self.tensors or self._flag(self.tensors[node.input[2]])
        ):
            raise self._refused(node, "its training_mode is not false")

    def _reshaped(self, node: Any, attributes: dict[str, Any]) -> None:
        """Track the axes, which are an attribute, or a constant if the operator reads them."""
        rank = len(self.axes)
        if node.op_type == "Transpose":
            order = attributes.get("perm", range(rank)[::-1])
            if sorted(order) != list(range(rank)):
                raise self._refused(node, f"it is not of the {rank} axes before it")
            self.axes = [self.axes[i] for i in order]
            return
        axes = attributes.get("axes")
        if axes is None:
            name = node.input[1] if self._given(node, 1) else ""
            if not name:
                raise self._refused(node, "it names no axes, and takes those that happen to be 1")
            if name not in self.tensors:
                raise self._refused(node, "its axes are no constant")
            axes = self._axes(node, self.tensors[name])
        if rank + len(axes) > MOST_AXES:
            raise self._refused(node, f"there are more than {MOST_AXES} axes")
        rank += len(axes) if node.op_type == "Unsqueeze" else 0
        found = sorted(axis % rank for axis in axes)
        if node.op_type == "Unsqueeze":
            for axis in found:
                self.axes.insert(axis, ONE)
            return
        self.axes = [name for i, name in enumerate(self.axes) if i not in found]
        if FEATURES not in self.axes:
            raise self._refused(node, "it takes away the axis of the features")

    def _flag(self, tensor: Any) -> bool:
        """Whether a constant is anything except a single zero."""
        return math.prod(tensor.dims) != 1 or bool(inside(tensor, self.path).any())

    def _axes(self, node: Any, tensor: Any) -> list[int]:
        """The integers of a constant, at most MOST_AXES."""
        if tensor.data_type != TensorProto.INT64 or math.prod(tensor.dims) > MOST_AXES:
            raise self._refused(node, f"its axes are not up to {MOST_AXES} integers")
        axes: list[int] = inside(tensor, self.path).reshape(-1).tolist()
        return axes

    def _recurrent(self, node: Any, attributes: dict[str, Any]) -> None:
        kind = node.op_type.lower()
        if attributes.get("linear_before_reset", 0):
            raise self._refused(
                node,
                "linear_before_reset=1 resets after the product, darknet's GRU before it: no "
                "weights of the one are weights of the other",
            )
        if kind == "gru" and self.producer == "pytorch":
            log.warning(
                "%s: %s is a GRU from PyTorch without linear_before_reset=1, as nn.GRU always has; "
                "what wrote the file may have lost that, and the network then computes something "
                "else",
                self.path, bare(node.name or node.output[0]),
            )  # fmt: skip
        keys = {"tanh": self._candidate(node, attributes)} if kind == "gru" else {}
        gates = [a.lower() for a in attributes.get("activations", [])]
        if kind == "lstm" and gates not in ([], [b"sigmoid", b"tanh", b"tanh"]):
            raise self._refused(node, "its activations have no counterpart")
        if attributes.get("direction", b"forward") != b"forward":
            raise self._refused(node, "only the direction forward has a counterpart")
        if "clip" in attributes or attributes.get("input_forget") or self._given(node, 7):
            raise self._refused(node, "clip, input_forget and peepholes have no counterpart")
        if attributes.get("layout") or self._given(node, 4):
            raise self._refused(node, "layout=1 and sequence_lens have no counterpart")
        for i in (5, 6):
            if self._given(node, i) and not self._zero(node.input[i]):
                raise self._refused(node, "its states begin with other numbers than zero")
        self.time = self.time or self.axes[0]
        if len(self.axes) != 3 or self.axes[2] != FEATURES or self.axes[0] != self.time:
            raise self._refused(node, "its input's axes are not time, streams and features")
        self.axes.insert(1, ONE)  # of directions
        w, r = (self._constant(node, i) for i in (1, 2))
        b = self._constant(node, 3) if self._given(node, 3) else None
        self.result.set_inputs(w.shape[2])
        self.result.add(kind, _unpacked(kind, w, r, b), output=r.shape[2], **keys)

    def _candidate(self, node: Any, attributes: dict[str, Any]) -> int:
        """1 if the candidate is tanh, 0 if it is logistic."""
        given = [a.lower() for a in attributes.get("activations", [b"Sigmoid", b"Tanh"])]
        if given not in ([b"sigmoid", b"tanh"], [b"sigmoid", b"sigmoid"]):
            raise self._refused(node, "its activations have no counterpart")
        return int(given[1] == b"tanh")

    def _zero(self, name: str) -> bool:
        """Whether an initial state is zero, or an input of the model."""
        for _ in range(LONGEST_PATH):
            if name in self.constants:
                return not self._numbers(name).any()
            if name not in self.makers:
                return True
            node = self.makers[name]
            if node.op_type == "ConstantOfShape":
                values = [a.t for a in node.attribute]
                single = all(math.prod(value.dims) == 1 for value in values)
                return single and not any(inside(value, self.path).any() for value in values)
            if node.op_type not in RESHAPED:
                return False
            name = node.input[0]
        return False

    def _product(self, node: Any, attributes: dict[str, Any]) -> None:
        if self.axes[-1] != FEATURES:
            raise self._refused(node, "the last axis before it is not that of the features")
        if attributes.get("transA"):
            raise self._refused(node, "transA=1 has no counterpart")
        matrix = self._constant(node, 1)
        if matrix.ndim != 2 or {attributes.get(k, 1) for k in ("alpha", "beta")} != {1}:
            raise self._refused(node, "it is no plain matrix product")
        weights = matrix if attributes.get("transB") else matrix.T
        outputs, inputs = weights.shape
        zero = np.zeros(outputs, "f4")
        biases = self._biases_of(node, 2, outputs) if self._given(node, 2) else zero
        self.result.set_inputs(inputs)
        arrays = {"biases": biases, "weights": weights}
        self.result.add("connected", arrays, output=outputs, activation="linear")

    def _biases(self, node: Any, at: str) -> None:
        other = 1 - list(node.input).index(at)
        name = f"{self.result.names[-1]}.biases" if self.result.names else ""
        if not name.endswith("connected.biases"):
            raise self._refused(node, "it adds to something else than a matrix product")
        if self.result.sections[-1].pairs["activation"].value != "linear":
            raise self._refused(node, "it adds behind an activation")
        if self.axes[-1] != FEATURES:
            raise self._refused(node, "the last axis before it is not that of the features")
        biases = self.result.arrays[name]
        self.result.arrays[name] = biases + self._biases_of(node, other, len(biases))

    def _biases_of(self, node: Any, at: int, outputs: int) -> Array:
        """A constant as (outputs,). It may have extra axes of length 1, or be a single number."""
        array = self._constant(node, at)
        in_row = array.size == max(array.shape[-1:], default=1) and array.ndim <= len(self.axes)
        if array.size not in (1, outputs) or not in_row:
            raise self._refused(node, "what it adds is not one number for each output")
        return np.broadcast_to(array.reshape(-1), (outputs,))

    def _given(self, node: Any, at: int) -> bool:
        return len(node.input) > at and bool(node.input[at])

    def _constant(self, node: Any, at: int) -> Array:
        name = node.input[at] if self._given(node, at) else ""
        if name not in self.constants:
            raise self._refused(node, f"its input {at} is no constant")
        return self._numbers(name)

    def _numbers(self, name: str) -> Array:
        """The array of a constant. Layers may share one, but a network must not grow to many times
        the file's size."""
        array = self.constants[name]()
        if array.nbytes > SHARED_FREELY:
            self.uses[name] += 1
            if self.uses[name] > MOST_USES:
                said = f"{bare(name)} is used more than {MOST_USES} times"
                raise WeightsError(f"{self.path}: {said}")
        return array

    def _refused(self, node: Any, why: str) -> WeightsError:
        name = f" {echo(node.name)}" if node.name else ""
        return WeightsError(f"{self.path}: {bare(node.op_type)}{name} cannot be taken over: {why}")
