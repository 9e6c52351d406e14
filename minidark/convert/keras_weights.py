"""Arrays of a Keras model without its layers, for the layers of a cfg.

A subclassed model stores its arrays under the names of its attributes, in alphabetical order, so
the file does not tell the order of use. Kind and shape of its arrays tell the layer of the cfg.
Groups of a list are numbered in their order: layers/gru, layers/gru_1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.keras_layers import arrays_of, batchnorm
from minidark.errors import WeightsError, bare
from minidark.network import Network

log = logging.getLogger(__name__)

EPSILON = 1e-3
OLDER = "model_weights/"  # before the groups of the older layout
Shapes = list[tuple[int, ...]]


class Unnamed(Found):
    """The arrays of a model by group, to which a cfg gives layers."""

    def __init__(self, path: Path | str, message: str, groups: Mapping[str, list[Array]]):
        super().__init__(path, [])
        self.message = message
        self.groups = {name: arrays for name, arrays in groups.items() if arrays}

    def network(self, allow_nonfinite: bool = False) -> Network:
        raise WeightsError(f"{self.path}: {self.message}")

    def arrays_for(self, net: Network) -> dict[str, Array]:
        """The arrays under the names of a network's parameters. Raises WeightsError."""
        left, pairs = dict(self.groups), []
        result: dict[str, Array] = {}
        for layer in net.layers:
            if not layer.arrays():
                continue
            group = self._group(layer, left)
            parts = self._parts(layer, group, left.pop(group))
            result |= {f"{layer.name}.{part}": array for part, array in parts.items()}
            pairs.append(f"{layer.name} from {bare(group)}")
        if left:
            name = min(left)
            raise WeightsError(f"{self.path}: the cfg has no layer for {_told(name, left[name])}")
        log.info("%s: took %s", self.path, ", ".join(pairs))
        return result

    def _parts(self, layer: Any, group: str, arrays: list[Array]) -> dict[str, Array]:
        """A layer's arrays by the last parts of their names."""
        if layer.type != "batchnorm":
            return arrays_of(layer.type, arrays)
        log.warning(
            "%s: the epsilon of %s is not in the file; Keras's default, %g, is assumed",
            self.path, bare(group), EPSILON,
        )  # fmt: skip
        return batchnorm(arrays, EPSILON, layer.norm.divisor)

    def _group(self, layer: Any, left: Mapping[str, list[Array]]) -> str:
        """The group of a layer: the only one of its shapes, or the first of a numbered list."""
        wanted = _shapes(layer, self.path)
        fitting = [name for name, arrays in left.items() if [a.shape for a in arrays] in wanted]
        if not fitting:
            shapes = ", ".join(_told_shape(shape) for shape in wanted[0])
            others = "; ".join(_told(name, arrays) for name, arrays in left.items()) or "nothing"
            raise WeightsError(f"{self.path}: {layer.name} needs {shapes}; left is {others}")
        if fitting[0].startswith(OLDER):
            return fitting[0]  # listed in the model's order
        if len({re.sub("_?[0-9]+", "", name) for name in fitting}) > 1:
            names = " and ".join(map(bare, sorted(fitting)[:2]))
            raise WeightsError(
                f"{self.path}: {names} both fit {layer.name}, and the file does not tell their "
                "order; build the model with keras.Sequential and save it as .keras"
            )
        return min(fitting, key=_numbers)


def _shapes(layer: Any, path: Path | str) -> list[Shapes]:
    """The shapes of a layer's arrays in Keras: with biases, and without."""
    if layer.norms and layer.type != "batchnorm":
        raise WeightsError(f"{path}: {layer.name} has batch_normalize=1, which Keras's has not")
    inputs, outputs = layer.inputs, layer.outputs
    if layer.type == "batchnorm":
        return [[(outputs,)] * 4]
    if layer.type == "connected":
        kernels: Shapes = [(inputs, outputs)]
        biases: tuple[int, ...] = (outputs,)
    elif layer.type == "rnn" and not layer.elman:
        raise WeightsError(f"{path}: {layer.name} has no counterpart in Keras; set elman=1")
    else:
        columns = {"gru": 3, "lstm": 4, "rnn": 1}[layer.type] * outputs
        kernels = [(inputs, columns), (outputs, columns)]
        two = layer.type == "gru" and layer.reset_after
        biases = (2, columns) if two else (columns,)
    return [[*kernels, biases], kernels]


def _numbers(name: str) -> list[list[int]]:
    """The numbers in the parts of a group's path, to order layers/gru, layers/gru_1."""
    return [[int(n) for n in re.findall("[0-9]{1,9}", part)] for part in name.split("/")]


def _told(name: str, arrays: list[Array]) -> str:
    return f"{bare(name)} ({', '.join(_told_shape(array.shape) for array in arrays)})"


def _told_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
