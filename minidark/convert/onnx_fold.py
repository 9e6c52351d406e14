"""Operations of an ONNX model on constants: shapes computed in the graph, weights cut and joined,
initial states of zeros.

What minidark does not follow becomes `Unknown`, which is an error only where a layer reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from minidark.backend import Array
from minidark.convert.onnx_graph import Graph, Operation
from minidark.convert.onnx_values import Constant, Unknown, Value, Zeros
from minidark.errors import WeightsError

Arrays = Sequence[Any]  # an array for each input, or None
Fold = Callable[[Arrays, dict[str, Any]], Array | list[Array]]
FEW = 64  # integers that an operation may compute with, or take as its axes or lengths
LARGEST, TIMES = 1 << 24, 32  # bytes of all results, plus this multiple of the model's tensors
KEEPS_ZERO = {
    "Identity", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Reshape", "Cast", "Slice", "Gather",
    "Split",
}  # fmt: skip
NOT_FOLLOWED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class Folder:
    """Computes operations on constants. Raises WeightsError if they need far more memory than the
    model's tensors."""

    def __init__(self, graph: Graph):
        self.graph = graph
        sizes = (4 * math.prod(tensor.dims) for tensor in graph.tensors.values())
        self.left = LARGEST + TIMES * sum(sizes)

    def fold(self, operation: Operation, values: Sequence[Value | None]) -> list[Value]:
        """The outputs of an operation that reads constants only."""
        kind, count = operation.kind, len(operation.outputs)
        if kind == "Constant":
            return [self._constant(operation)]
        if kind == "ConstantOfShape":
            return [self._filled(operation)]
        if isinstance(values[0] if values else None, Zeros) and kind in KEEPS_ZERO:
            return [Zeros()] * count
        if kind == "Concat" and all(isinstance(value, Zeros) for value in values):
            return [Zeros()]
        constants = [value for value in values if isinstance(value, Constant)]
        if kind == "Expand" and isinstance(values[0], Constant):
            return [self._expanded(values[0])]
        if len(constants) < sum(value is not None for value in values) or kind not in FOLDS:
            return [Unknown()] * count
        arrays = [value.load() if isinstance(value, Constant) else None for value in values]
        try:
            with np.errstate(all="raise"):
                result = FOLDS[kind](arrays, operation.attributes)
        except NOT_FOLLOWED:
            return [Unknown()] * count
        sources = frozenset().union(*(constant.sources for constant in constants))
        results = result if isinstance(result, list) else [result]
        return [self._kept(array, sources) for array in results]

    def _kept(self, array: Array, sources: frozenset[str]) -> Value:
        if array.dtype == object and array.size > FEW:
            return Unknown()
        self._spend(array)
        return Constant(lambda: array, sources)

    def _spend(self, array: Array) -> None:
        self.left -= array.nbytes
        if self.left < 0:
            message = "it computes with far more constants than it contains"
            raise WeightsError(f"{self.graph.path}: {message}")

    def _constant(self, operation: Operation) -> Value:
        for attribute in operation.node.attribute:
            if attribute.name == "value":
                return self.graph.constant_in(attribute, operation.outputs[0])
            if attribute.name in ("value_int", "value_ints"):
                return self._kept(np.array(operation.attributes[attribute.name]), frozenset())
        return Unknown()

    def _filled(self, operation: Operation) -> Value:
        """ConstantOfShape. Its default is zero."""
        for attribute in operation.node.attribute:
            value = self.graph.constant_in(attribute, operation.outputs[0]).load()
            if value.size != 1 or value.any():
                return Unknown()
        return Zeros()

    def _expanded(self, constant: Constant) -> Value:
        array = constant.load()
        self._spend(array)
        return Unknown() if array.dtype == object or array.any() else Zeros()


def _few(integers: Any) -> list[Any]:
    """A list of few integers or lengths of axes. Raises ValueError if there are more."""
    array = np.asarray(integers).reshape(-1)
    if array.size > FEW:
        raise ValueError
    few: list[Any] = array.tolist()
    return few


def _axes(arrays: Arrays, attributes: dict[str, Any]) -> tuple[int, ...]:
    """The axes of Squeeze and Unsqueeze: an attribute, or an input since opset 13."""
    return tuple(_few(arrays[1] if len(arrays) > 1 else attributes["axes"]))


def _cast(arrays: Arrays, attributes: dict[str, Any]) -> Array:
    (array,) = arrays
    numbers = {TensorProto.INT64: "iO", TensorProto.INT32: "iO", TensorProto.FLOAT: "f"}
    if array is None or array.dtype.kind not in numbers[attributes["to"]]:
        raise TypeError
    return array


def _reshaped(arrays: Arrays, attributes: dict[str, Any]) -> Array:
    array, shape = arrays
    return np.reshape(array, [n or array.shape[i] for i, n in enumerate(_few(shape))])


def _sliced(arrays: Arrays, attributes: dict[str, Any]) -> Array:
    array = np.asarray(arrays[0])
    if len(arrays) == 1:  # before opset 10
        lists = [_few(attributes.get(name, [])) for name in ("starts", "ends", "axes")]
    else:
        lists = [[] if part is None else _few(part) for part in arrays[1:]]
    starts, ends, axes, steps = [*lists, [], []][:4]
    axes, steps = axes or [*range(len(starts))], steps or [1] * len(starts)
    parts = [slice(None)] * array.ndim
    for axis, *part in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(*part)
    return array[tuple(parts)]


def _gathered(arrays: Arrays, attributes: dict[str, Any]) -> Array:
    array, indices = map(np.asarray, arrays)
    axis = attributes.get("axis", 0)
    if indices.size > max(1, array.shape[axis]):
        raise ValueError
    return np.asarray(np.take(array, indices.astype(np.int64), axis))


def _split(arrays: Arrays, attributes: dict[str, Any]) -> list[Array]:
    array, axis = np.asarray(arrays[0]), attributes.get("axis", 0)
    sizes = _few(arrays[1] if len(arrays) > 1 else attributes["split"])
    return np.split(array, np.cumsum(sizes)[:-1], axis)


def _arithmetic(function: Callable[[Array, Array], Array]) -> Fold:
    """A function of few integers and lengths of axes."""

    def fold(arrays: Arrays, attributes: dict[str, Any]) -> Array:
        a, b = map(np.asarray, arrays)
        if a.size > FEW or b.size > FEW or {a.dtype.kind, b.dtype.kind} - {"i", "O"}:
            raise TypeError
        return np.asarray(function(a, b))

    return fold


FOLDS: dict[str, Fold] = {
    "Identity": lambda arrays, attributes: np.asarray(arrays[0]),
    "Cast": _cast,
    "Transpose": lambda arrays, attributes: np.transpose(arrays[0], attributes.get("perm")),
    "Squeeze": lambda arrays, attributes: np.squeeze(arrays[0], _axes(arrays, attributes)),
    "Unsqueeze": lambda arrays, attributes: np.expand_dims(arrays[0], _axes(arrays, attributes)),
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Gather": _gathered,
    "Split": _split,
    "Concat": lambda arrays, attributes: np.concatenate(arrays, attributes["axis"]),
    "Mul": _arithmetic(np.multiply),
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Div": _arithmetic(np.floor_divide),
}
