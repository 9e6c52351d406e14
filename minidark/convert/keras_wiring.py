"""The layers of a Keras model's config, nested models included, as one chain.

A model whose paths part or join is refused with the reason. In a functional model a layer has one
node per use. A node names the layer that it reads, the node of that layer, and the output; outputs
after the first are last states.

Keras finds a layer's arrays by its class and its number among the layers of that class, and not by
its name: the second LSTM of a model is layers/lstm_1. `Part.group` is such a path.

Source: https://keras.io/guides/serialization_and_saving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minidark.errors import WeightsError, bare, echo

OWN = ("keras.", "tf_keras.")  # prefixes of Keras's own modules
MODELS = ("Functional", "Sequential", "Model")  # kinds of model whose config lists their layers
INPUT = "InputLayer"
DEEPEST = 8  # levels of models within models
GROUPS = {  # how a weights file names the layers of a class that has arrays
    "GRU": "gru", "LSTM": "lstm", "SimpleRNN": "simple_rnn", "RNN": "rnn", "Dense": "dense",
    "Embedding": "embedding", "BatchNormalization": "batch_normalization",
    "TimeDistributed": "time_distributed", "Sequential": "sequential", "Functional": "functional",
    "Model": "functional", "GRUCell": "gru_cell", "LSTMCell": "lstm_cell",
    "SimpleRNNCell": "simple_rnn_cell",
}  # fmt: skip
CELLS = ("GRUCell", "LSTMCell", "SimpleRNNCell")
RECURRENT = ("GRU", "LSTM", "SimpleRNN", "RNN")
SEQUENCES = ("Embedding", "OneHot", "CategoryEncoding", "SpatialDropout1D")
JOINS = (
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract",
    "Attention", "AdditiveAttention", "MultiHeadAttention",
)  # fmt: skip
EVERYTHING = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
LAST = ([EVERYTHING, -1], [EVERYTHING, -1, EVERYTHING])  # the keys of y[:, -1] and y[:, -1, :]
Source = tuple[str, int]  # a layer and the number of its output


@dataclass(frozen=True, slots=True)
class Part:
    """A layer of the chain. A cell is listed as the layer that runs it."""

    kind: str
    name: str
    config: dict[str, Any]
    group: str = ""  # path of its arrays in a weights file
    top: str = ""  # the layer of the outermost model that contains it, whose name a .h5 has
    is_trained: bool = True  # no layer around it is frozen
    is_one_step: bool = False  # it reads the last step of a layer before it


@dataclass(slots=True)
class Chain:
    """A model's layers in order, and how it takes inputs and gives outputs."""

    path: Path | str
    parts: list[Part] = field(default_factory=list)
    shape: list[Any] = field(default_factory=list)  # of its data, streams first; [] if unknown
    states: list[Source] = field(default_factory=list)  # the new values of states that it takes
    last_only: bool = False

    def refused(self, kind: Any, name: Any, why: str) -> WeightsError:
        message = f"{bare(str(kind))} {echo(str(name))} cannot be taken over: {why}"
        return WeightsError(f"{self.path}: {message}")


def chain(config: dict[str, Any], path: Path | str) -> Chain:
    """The chain of a model's config. Raises WeightsError for a model that is none."""
    result = Chain(path)
    _model(result, config, Part("", "", {}), 0)
    return result


def is_own(layer: dict[str, Any]) -> bool:
    """Whether a layer or model is an instance of Keras's own class. A .h5 does not say it."""
    module = layer.get("module", "keras.")
    registered = layer.get("registered_name") or layer["class_name"]
    return f"{module}.".startswith(OWN) and registered == layer["class_name"]


def with_groups(layers: list[Any], inside: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """The layers of a model, each with the path of its arrays in a weights file."""
    counts: Counter[str] = Counter()
    for layer in layers:
        name = GROUPS.get(layer["class_name"], "")
        number = f"_{counts[name]}" if counts[name] else ""
        counts[name] += 1
        yield layer, f"{inside}layers/{name}{number}"


def _model(found: Chain, model: dict[str, Any], outer: Part, depth: int) -> None:
    """Add the layers of a model to the chain."""
    config = model["config"]
    if depth > DEEPEST:
        raise WeightsError(f"{found.path}: more than {DEEPEST} models within one another")
    inside = f"{outer.group}/" if depth else ""
    shapes = {la["config"]["name"]: _shape(la) for la in filter(_is_input, config["layers"])}
    if depth and len(shapes) > 1:
        raise found.refused(outer.kind, outer.name, "it has several inputs")
    before = ""
    for layer, group in with_groups(config["layers"], inside):
        if _is_input(layer):
            continue
        kind, own = layer["class_name"], layer["config"]
        if not is_own(layer):
            raise found.refused(kind, own.get("name", ""), "it is a class of your own, not Keras's")
        name = str(own.get("name", ""))
        nodes = layer.get("inbound_nodes") or []
        if why := _unchained(kind, nodes, before, shapes, found):
            raise found.refused(kind, name, why)
        (data, output), *states = sources(nodes) or [(before, 0)]
        if not (before or depth):
            found.shape = shapes.get(data) or [*shapes.values(), _shape(layer)][0]
        found.last_only |= bool(before) and output == 1
        if not depth:
            found.states += [(name, i + 1) for i in range(len(states))]
        is_trained = outer.is_trained and bool(own.get("trainable", True))
        part = Part(kind, name, own, group, outer.top or name, is_trained, found.last_only)
        _add(found, part, layer, depth)
        before = name
    _check_outputs(found, before, sources(config.get("output_layers", [before, 0, 0])), depth)


def _is_input(layer: dict[str, Any]) -> bool:
    return bool(layer["class_name"] == INPUT)


def _shape(layer: dict[str, Any]) -> list[Any]:
    """A layer's input shape where its config has it: Keras 2 writes it in any first layer."""
    config = layer["config"]
    shape: list[Any] = config.get("batch_shape") or config.get("batch_input_shape") or []
    return shape


def _check_outputs(found: Chain, last: str, outputs: list[Source], depth: int) -> None:
    """Raise WeightsError unless the last layer gives an output."""
    if not found.parts:
        return
    if (last, 0) not in outputs:
        if not ((last, 1) in outputs and _gives_state(found)):
            raise WeightsError(f"{found.path}: its last layer, {echo(last)}, is no output")
        found.last_only = True
    if depth and len(outputs) > 1:
        raise found.refused("the model around", last, "it has several outputs")


def _gives_state(found: Chain) -> bool:
    """Whether the second output of the last layer is its output at the last step."""
    last = found.parts[-1]
    return last.kind in RECURRENT and "/cells/" not in last.group


def _unchained(
    kind: str, nodes: list[Any], before: str, inputs: dict[str, Any], found: Chain
) -> str:
    """The reason why a layer is not part of a chain: it must read only the output of the layer
    before it, or the model's input. "" if it is; in a Sequential it always is."""
    if len(nodes) > 1:
        return "the model uses it more than once"
    for node in nodes:
        read = sources(node)
        if kind in JOINS and len(read) > 1:
            return "it joins several paths, and minidark reads only chains of Keras layers"
        (name, output), *others = read
        if name not in ([before] if before else inputs):
            return "its paths part, and minidark reads only chains of Keras layers"
        if output and not (output == 1 and _gives_state(found)):
            return "it reads a state that is not the output of the last step"
        if any(other not in inputs for other, _ in others):
            return "it begins with, or reads beside its input, what another layer gives"
        options = node["kwargs"] if isinstance(node, dict) else node[0][3]
        if options.get("mask") is not None or options.get("training"):
            return "a mask, and training=True, have no counterpart"
    return ""


def _add(found: Chain, part: Part, layer: dict[str, Any], depth: int) -> None:
    """Add a layer to the chain, or the layers within it."""
    kind, config = part.kind, part.config
    if kind in RECURRENT and part.is_one_step:
        raise found.refused(kind, part.name, "it reads only the last step of the layers before it")
    if kind in MODELS and "layers" in config:
        _model(found, layer, part, depth + 1)
    elif kind == "TimeDistributed":
        inner = config["layer"]
        if inner["class_name"] in (*RECURRENT, *MODELS, *SEQUENCES, kind) or not is_own(inner):
            raise found.refused(kind, part.name, "minidark reads only a Keras layer of one step")
        found.parts.append(
            replace(part, kind=inner["class_name"], config=inner["config"],
                    group=f"{part.group}/layer")
        )  # fmt: skip
    elif kind == "RNN":
        found.parts += _cells(found, part)
    elif kind == "GetItem":
        keys = layer["inbound_nodes"][0]["args"][1:]
        if found.last_only or keys not in ([key] for key in LAST):
            raise found.refused(kind, part.name, "minidark reads only the last step, y[:, -1]")
        found.last_only = True
    else:
        group = f"{part.group}/cell" if kind in RECURRENT else part.group
        found.parts.append(replace(part, group=group))
    if kind in RECURRENT:
        found.last_only |= not config.get("return_sequences")


def _cells(found: Chain, part: Part) -> Iterator[Part]:
    """The cells of an RNN, each as the layer that runs it."""
    cell = part.config["cell"]
    is_stack = cell["class_name"] == "StackedRNNCells"
    options = {key: value for key, value in part.config.items() if key != "cell"}
    for one, path in with_groups(cell["config"]["cells"] if is_stack else [cell]):
        kind, config = one["class_name"], one["config"]
        if kind not in CELLS or not (is_own(one) and is_own(cell)):
            raise found.refused("RNN", part.name, f"minidark reads only {', '.join(CELLS)} in it")
        yield replace(
            part,
            kind=kind.removesuffix("Cell"),
            config=options | config,
            group=f"{part.group}/cell" + (f"/cells/{path.partition('/')[2]}" if is_stack else ""),
            is_trained=part.is_trained and bool(config.get("trainable", True)),
        )


def sources(part: Any) -> list[Source]:
    """The layers that a part of a model's config reads, each with the number of its output."""
    if isinstance(part, dict):
        if "keras_history" in part:
            part = part["keras_history"]
        else:
            return [source for value in part.values() for source in sources(value)]
    if not isinstance(part, list):
        return []
    if len(part) in (3, 4) and isinstance(part[0], str) and isinstance(part[1], int):
        return [(part[0], int(part[2])), *sources(part[3:])]  # Keras 2 has options as a fourth
    return [source for value in part for source in sources(value)]
