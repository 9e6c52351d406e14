"""Reads a Keras model: its layers and their arrays, as a cfg's layers.

It needs only h5py, in a separate process, and executes nothing from the file.

Another program's model must be a chain of GRU with reset_after=False, LSTM, Dense, activations and
Softmax. Anything without a counterpart in darknet is refused with a reason. In a functional model a
layer has one node per use. A node names the layer that it reads, the node of that layer, and the
output; outputs after the first are last states.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidark.backend import Array
from minidark.convert.found import LARGEST, Found, carried
from minidark.convert.gates import KERAS, Packed, unpack
from minidark.convert.keras import NOTE, keras_epsilon
from minidark.convert.workers import read_arrays
from minidark.errors import MinidarkError, WeightsError, bare, echo
from minidark.files import zips
from minidark.files.archives import LARGEST_JSON, MALFORMED
from minidark.files.disk import named, open_regular
from minidark.layers.batchnorm import CPU, DIVISORS

FORM = "Keras 3 model"
WEIGHTS = "model.weights.h5"
MOST_UNPACKED = 2  # times the file's size: Keras does not compress
LONGEST = 60  # time limit of unpacking in seconds, for a busy machine

LISTED = ("Functional", "Sequential")  # kinds of model whose config lists their layers
ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu", "elu": "elu"}
GATED = {"GRU", "LSTM"}
LEAKS = {0.1: "leaky", 0.01: "relie"}
PASSED_OVER = {"Dropout", "Identity"}
OWN = "keras."  # prefix of Keras's own modules
READ = "GRU, LSTM, Dense, Activation, Softmax, LeakyReLU, Dropout and Identity"
REASONS = {"SimpleRNN": "it is act(W x + W s), darknet's [rnn] act(W x) + act(W s)"}


def read(path: Path | str) -> Found:
    """Read the layers and arrays of a model. Raises WeightsError; BackendError without h5py;
    SaveError if the folder for temporary files is full."""
    with open_regular(path, named(path, WeightsError)) as file:
        return read_model(file, path)


def read_model(file: BinaryIO, path: Path | str) -> Found:
    """Like `read`, from an open file. A model that `write` wrote contains its cfg. The config of
    any other model describes its layers. Nothing in the file is executed."""
    try:
        with zips.open_zip(file, MOST_UNPACKED) as archive:
            config = json.loads(_member(archive, "config.json", LARGEST_JSON))
            layers = _layers(config, path)
            note = _note(archive)
            weights = _member(archive, WEIGHTS, LARGEST)
        arrays = read_arrays("keras_state_worker.py", WEIGHTS, weights, path, FORM, LONGEST)
        model = Layers(layers, arrays, path, config["config"].get("output_layers"))
        return model.fill(carried(path, note["cfg"], note["seen"])) if note else model.found()
    except MinidarkError:
        raise
    except zips.PackedError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error


def _layers(config: dict[str, Any], path: Path | str) -> list[Any]:
    """The layers of a model's config. Raises WeightsError for a config without layers."""
    if (kind := config["class_name"]) not in LISTED:
        said = (
            "is a class of your own, whose call may do more than its layers; save "
            "keras.Model(model.inputs, model.outputs)"
            if "layers" in config["config"]
            else "is a subclassed model: the order of its layers is in its Python code, not in the "
            "file; build it with keras.Sequential or keras.Model(inputs, outputs)"
        )
        raise WeightsError(f"{path}: {bare(str(kind))} {said}")
    layers: list[Any] = config["config"]["layers"]
    return layers


def _note(archive: zipfile.ZipFile) -> dict[str, str]:
    """The note that `write` stored; empty for another program's model."""
    if NOTE not in archive.namelist():
        return {}
    note: dict[str, str] = json.loads(_member(archive, NOTE, LARGEST_JSON))
    return note


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a member of the zip. Raises ValueError if its declared size exceeds `most`."""
    if archive.getinfo(name).file_size > most:
        raise ValueError
    return archive.read(name)


class Layers:
    """The layers of a model's config in order, each with the arrays under its name."""

    def __init__(
        self, layers: list[Any], arrays: dict[str, Array], path: Path | str, outputs: Any = None
    ):
        """arrays: keyed by layer name and number, "gru_0/1". outputs: a functional model's, from
        its config."""
        self.layers, self.path, self.outputs = layers, path, outputs
        self.divisor = CPU
        self.taken: set[str] = set()  # layers whose arrays are in the network
        self.arrays: dict[str, list[Array]] = {}
        for name, array in arrays.items():
            self.arrays.setdefault(name.rpartition("/")[0], []).append(array)

    def fill(self, found: Found) -> Found:
        """Add the arrays of a model that `write` wrote: names and sizes match the cfg."""
        if pair := found.sections[0].pairs.get("batchnorm"):
            self.divisor = DIVISORS[pair.value]
        for name in found.names:
            index, _, type_ = name.partition(".")
            if (own := f"{type_}_{index}") in self.arrays:
                parts = self._taken(type_, own)
                found.arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        return found

    def found(self) -> Found:
        """Read another program's model: a chain of GRU with reset_after=False, LSTM, Dense,
        activations and Softmax."""
        found, before = Found.begin(self.path), ""
        inputs = {la["config"]["name"] for la in self.layers if la["class_name"] == "InputLayer"}
        for layer in self.layers:
            kind, config, name = layer["class_name"], layer["config"], layer["config"]["name"]
            if kind == "InputLayer":
                continue
            if not str(layer.get("module", OWN)).startswith(OWN):
                raise self._refused(kind, name, "it is a class of your own, not Keras's")
            if why := _unchained(layer, before, inputs):
                raise self._refused(kind, name, why)
            self._take(found, kind, config, name)
            before = name
        if not found.names:
            raise WeightsError(f"{self.path}: no GRU, LSTM or Dense in this model")
        if self.outputs is not None and (before, 0) not in _sources(self.outputs):
            raise WeightsError(f"{self.path}: its last layer, {echo(before)}, is no output")
        found.end_in_softmax()
        return found

    def _take(self, found: Found, kind: str, config: dict[str, Any], name: str) -> None:
        if kind in GATED:
            self._recurrent(found, kind, config, name)
        elif kind == "Dense":
            arrays = self._taken("connected", name)
            found.set_inputs(arrays["weights"].shape[1])
            found.add("connected", arrays, output=config["units"], activation="linear")
            self._activate(found, config["activation"], kind, name)
        elif kind == "Activation":
            self._activate(found, config["activation"], kind, name)
        elif kind == "Softmax":
            if (axis := config.get("axis", -1)) != -1:
                raise self._refused(kind, name, f"its axis is {echo(axis)}, and only -1 is read")
            found.add("softmax")
        elif kind == "LeakyReLU":
            if (leak := round(config["negative_slope"], 6)) not in LEAKS:
                raise self._refused(kind, name, f"darknet has no negative_slope {echo(leak)}")
            found.activate(LEAKS[leak])
        elif kind not in PASSED_OVER:
            raise self._refused(kind, name, REASONS.get(kind, f"minidark reads only {READ}"))

    def _recurrent(self, found: Found, kind: str, config: dict[str, Any], name: str) -> None:
        if kind == "GRU" and config.get("reset_after", True):
            raise self._refused(
                kind, name,
                "reset_after=True resets after the product, darknet's GRU before it: no weights of "
                "the one are weights of the other",
            )  # fmt: skip
        if config.get("go_backwards") or not config.get("return_sequences"):
            raise self._refused(kind, name, "it must run forward and return sequences")
        activation = config["activation"]
        gates = config["recurrent_activation"]
        allowed = ("tanh", "sigmoid") if kind == "GRU" else ("tanh",)
        if gates != "sigmoid" or activation not in allowed:
            raise self._refused(kind, name, "its activations have no counterpart")
        arrays = self._taken(kind.lower(), name)
        keys = {"tanh": int(activation == "tanh")} if kind == "GRU" else {}
        first = next(array for part, array in arrays.items() if part.endswith("weights"))
        found.set_inputs(first.shape[1])
        found.add(kind.lower(), arrays, output=config["units"], **keys)

    def _activate(self, found: Found, activation: Any, kind: str, name: str) -> None:
        if activation == "softmax":
            found.add("softmax")
        elif str(activation) in ACTIVATIONS:
            found.activate(ACTIVATIONS[str(activation)])
        elif activation not in ("linear", None):
            raise self._refused(kind, name, f"activation {echo(activation)} has no counterpart")

    def _taken(self, type_: str, name: str) -> dict[str, Array]:
        """A layer's arrays by the last parts of minidark's names. Raises WeightsError."""
        if name in self.taken:  # reuse could grow the network to many times the file's size
            raise WeightsError(f"{self.path}: the layer {echo(name)} is used twice")
        self.taken.add(name)
        arrays = self.arrays[name]
        if odd := {a.dtype.name for a in arrays} - {"float32"}:
            raise WeightsError(f"{self.path}: {echo(name)} is {min(odd)}; expected float32")
        if type_ in KERAS:
            kernel, recurrent, *biases = arrays
            two = biases and biases[0].shape[:-1] == (2,)  # with reset_after=True
            biases = [*biases[0]] if two else biases[:1]
            return unpack(KERAS[type_], Packed(kernel.T, recurrent.T, *biases))
        if type_ == "connected":
            kernel, *biases = arrays
            return {
                "weights": kernel.T,
                "biases": biases[0] if biases else np.zeros(kernel.shape[1], np.float32),
            }
        scales, biases_, mean, variance = arrays
        rolling, outside = variance, self.divisor.outside
        if outside:
            root = np.sqrt(variance + keras_epsilon(self.divisor))
            rolling = np.square(np.maximum(root - outside, 0))
        kinds = ("scales", "biases", "rolling_mean", "rolling_variance")
        return dict(zip(kinds, (scales, biases_, mean, rolling), strict=True))

    def _refused(self, kind: str, name: str, why: str) -> WeightsError:
        return WeightsError(f"{self.path}: {bare(kind)} {echo(name)} cannot be taken over: {why}")


def _unchained(layer: dict[str, Any], before: str, inputs: set[str]) -> str:
    """The reason why a layer is not part of a chain: it must read only the output of the layer
    before it, or the model's input. "" if it is; in a Sequential it always is."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        return "the model uses it more than once"
    for node in nodes:
        options = node["kwargs"]
        (name, output), *others = _sources([node["args"], options])
        if name not in ({before} if before else inputs):
            return "the model is no chain: its paths part"
        if output:
            return "it reads a last state, and darknet's layers pass on the outputs of all steps"
        if any(other not in inputs for other, _ in others):
            return "it begins with, or reads beside its input, what another layer gives"
        if options.get("mask") is not None or options.get("training"):
            return "a mask, and training=True, have no counterpart"
    return ""


def _sources(part: Any) -> list[tuple[str, int]]:
    """The layers that a part of a model's config reads, each with the number of its output."""
    if isinstance(part, dict):
        if "keras_history" in part:
            part = part["keras_history"]
        else:
            return [source for value in part.values() for source in _sources(value)]
    if not isinstance(part, list):
        return []
    if len(part) == 3 and isinstance(part[0], str):
        name, _, output = part
        return [(name, int(output))]
    return [source for value in part for source in _sources(value)]
