"""A model read from another program's file, as cfg sections and named arrays."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minidark.backend import Array, get_backend
from minidark.cfg.plan import CANONICAL, Plan, check_memory, plan_cfg, replan
from minidark.cfg.sections import MOST_SECTIONS, Pair, Section, ignore_doubt
from minidark.errors import CfgError, WeightsError, bare
from minidark.files.archives import SPARE
from minidark.files.disk import named, open_regular
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.weights.arrays import check_finite, seen_note

log = logging.getLogger(__name__)

LARGEST = 2**31 - 1  # bytes: the limit of a protobuf
TRAINING = {  # [net] of a cfg that a model becomes; models do not record how they were trained
    "batch": 32, "time_steps": 64, "adam": 1, "learning_rate": 0.001, "decay": 0, "clip_norm": 5,
    "max_batches": 1000,
}  # fmt: skip

MEANINGS = ("tanh", "reset_after", "elman", "activation")  # keys that do not change the arrays


@dataclass(frozen=True, slots=True)
class Trial:
    """How to run a model in its own program.

    run: its outputs (T, S, O) for symbols (T, S); (1, S, O) if it gives only the last. All streams
    begin from a zero state. A model that takes and gives states runs in two calls with its state
    carried over. It raises BackendError if the program is not installed. steps: T, if the model
    accepts no other or gives only its last output; None: any T.
    """

    run: Callable[[Array], Array]
    steps: int | None = None


@dataclass(slots=True)
class Found:
    """Layers in order, and their arrays under minidark's names."""

    path: Path | str
    sections: list[Section]
    arrays: dict[str, Array] = field(default_factory=dict)
    seen: int = 0
    own: bool = False  # whether minidark wrote the file, so that its cfg is the network's
    completed: bool = False  # whether a [softmax] was added that the file does not have
    logarithms: bool = False  # whether the model outputs the logarithms of [softmax]'s outputs
    last_only: bool = False  # whether the model outputs only its last step
    has_activations: bool = True  # whether the file records the layers' activations
    trial: Trial | None = None
    names: list[str] = field(init=False)  # layer names, such as "0.gru"
    origins: dict[str, str] = field(init=False, default_factory=dict)  # by layer name: theirs

    def __post_init__(self) -> None:
        self.names = [self._name(i, section) for i, section in enumerate(self.sections[1:])]

    @classmethod
    def begin(cls, path: Path | str) -> Found:
        """An empty model with only [net]. `set_inputs` sets its inputs with the first layer."""
        return cls(path, [_section("net", {"batch": 1, "time_steps": 1})])

    @staticmethod
    def _name(index: int, section: Section) -> str:
        return f"{index}.{CANONICAL.get(section.type, section.type)}"

    def add(self, type_: str, arrays: Mapping[str, Array] | None = None, **keys: object) -> None:
        """Append a layer. arrays: by the last parts of their names, such as "uz.weights"."""
        if len(self.sections) == MOST_SECTIONS:
            raise WeightsError(f"{self.path}: more than {MOST_SECTIONS:,} layers")
        self.sections.append(_section(type_, keys))
        name = self._name(len(self.names), self.sections[-1])
        self.names.append(name)
        self.arrays |= {f"{name}.{part}": array for part, array in (arrays or {}).items()}

    def drop_last(self) -> None:
        """Remove the last layer, which becomes a part of another one. Its arrays stay."""
        self.sections.pop()
        self.origins.pop(self.names.pop(), None)

    def came_from(self, origin: str) -> None:
        """Record what its own program calls the last layer, for `understood`."""
        self.origins[self.names[-1]] = origin

    def set_inputs(self, inputs: int) -> None:
        """Set the network's number of inputs, unless an earlier layer has set it."""
        self.sections[0].pairs.setdefault("inputs", Pair("inputs", str(inputs), 1))

    def activate(self, activation: str) -> None:
        """Set the activation of a last linear [connected]; otherwise append an [activation]."""
        last = self.sections[-1]
        linear = last.pairs.get("activation")
        if last.type == "connected" and linear and linear.value == "linear":
            last.pairs["activation"] = Pair("activation", activation, 1)
        else:
            self.add("activation", activation=activation)

    def end_in_softmax(self) -> None:
        """Append a [softmax] if the last layer is linear and has one output for each input.

        Other programs often compute the softmax inside the loss. A network with as many outputs as
        inputs reads the symbols that it predicts, so its outputs are logits.
        """
        last = {key: pair.value for key, pair in self.sections[-1].pairs.items()}
        if self.sections[-1].type != "connected" or last["activation"] != "linear":
            return
        symbols = self.sections[0].pairs["inputs"].value
        if last["output"] == symbols != "1":
            self.add("softmax")
            self.completed = True

    def as_probabilities(self, outputs: Array) -> Array:
        """The outputs that the network should give, from those of the model: (..., O)."""
        if not (self.completed or self.logarithms):
            return outputs
        exps = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return np.asarray(exps / exps.sum(axis=-1, keepdims=True))

    def understood(self) -> str:
        """The architecture in one line, such as "65 inputs, gru 128 tanh=1, softmax (added)"."""
        inputs = self.sections[0].pairs.get("inputs")
        parts = [f"{inputs.value} inputs"] if inputs else []
        for name, section in zip(self.names, self.sections[1:], strict=True):
            keys = {k: p.value for k, p in section.pairs.items() if p.value != "linear"}
            width, activation = keys.pop("output", ""), keys.pop("activation", "")
            options = [f"{key}={value}" for key, value in keys.items() if value != "0"]
            parts.append(" ".join(filter(None, [section.type, width, activation, *options])))
            if name in self.origins:
                parts[-1] += f" ({self.origins[name]})"
        if self.completed:
            parts[-1] += " (added: the model gives logits)"
        if self.logarithms:
            parts[-1] += " (the model gives its logarithm)"
        if self.last_only:
            parts.append("of which the model gives the last step")
        return ", ".join(parts)

    def network(self, allow_nonfinite: bool = False) -> Network:
        """Build the network. Its sections, from which a cfg is written, can train a text further.
        Raises WeightsError if arrays and layers do not fit."""
        if self.completed:
            log.info(
                "%s: the last layer outputs logits, one for each symbol; [softmax] is added after "
                "it; --cfg chooses other layers",
                self.path,
            )
        try:
            plan = replan(self.sections)
            check_memory(plan, None, 4)
            self._check_numbers(plan)
            net = build_network(plan, 0, get_backend(), draw=False)
        except CfgError as error:
            raise WeightsError(f"{self.path}: cannot build the network: {error}") from error
        fill(net, self.arrays, self.path, allow_nonfinite)
        net.seen = self.seen
        if not self.own:
            pairs = net.sections[0].pairs | _section("net", TRAINING).pairs
            net.sections[0] = replace(net.sections[0], pairs=pairs)
        return net

    def arrays_for(self, net: Network) -> Mapping[str, Array]:
        """The arrays for a network of the user's cfg, by its names. A file that lacks its layers
        finds them by the network's. Raises WeightsError."""
        del net
        return self.arrays

    def check_cfg(self, net: Network) -> None:
        """Raise WeightsError if a layer of the user's cfg computes something else from the same
        arrays."""
        if not self.sections:  # only arrays
            return
        try:
            theirs = dict(zip(self.names, replan(self.sections).layers, strict=True))
        except CfgError as error:
            raise WeightsError(f"{self.path}: {error}") from error
        for layer, options in zip(net.layers, net.layer_options, strict=True):
            planned = theirs.get(layer.name)
            if not planned or type(planned.options) is not type(options):
                continue
            for key in MEANINGS if self.has_activations else MEANINGS[:-1]:
                ours, own = (getattr(o, key, None) for o in (options, planned.options))
                if ours != own:
                    ours, own = (int(v) if isinstance(v, bool) else v for v in (ours, own))
                    raise WeightsError(
                        f"{self.path}: {layer.name} has {key}={own} in the model, but {ours} in "
                        "the cfg; correct the cfg, or use --allow-other-cfg"
                    )

    def _check_numbers(self, plan: Plan) -> None:
        """Raise WeightsError if the network is far larger than its arrays."""
        needed = sum(layer.size.held for layer in plan.layers)
        existing = sum(array.size for array in self.arrays.values())
        if needed > existing + SPARE:
            message = f"its layers need {needed:,} numbers, but it contains {existing:,}"
            raise WeightsError(f"{self.path}: {message}")


def fill(
    net: Network, arrays: Mapping[str, Array], path: Path | str, allow_nonfinite: bool = False
) -> None:
    """Copy arrays into a network. Raises WeightsError if their names or shapes differ from the
    network's, or, unless `allow_nonfinite`, if they contain NaN or infinity."""
    wanted = {a.name: a for layer in net.layers for a in layer.arrays()}
    if odd := wanted.keys() ^ arrays.keys():
        name = min(odd)
        if name in wanted:
            raise WeightsError(f"{path}: {bare(name)} is missing, which the cfg needs")
        raise WeightsError(f"{path}: {bare(name)} is not an array of the cfg")
    for name, array in wanted.items():
        if arrays[name].shape != array.value.shape:
            own, needed = (" x ".join(map(str, a.shape)) for a in (arrays[name], array.value))
            raise WeightsError(f"{path}: {bare(name)} is {own}; the cfg needs {needed}")
    if not allow_nonfinite:
        check_finite(arrays.items(), path)
    for name, array in wanted.items():
        array.value[...] = arrays[name]


def carried(path: Path | str, cfg: str, seen: str) -> Found:
    """The layers of the cfg stored in a file that minidark wrote, without arrays. Raises
    WeightsError."""
    try:
        sections = plan_cfg(cfg.encode(errors="replace"), None, warn=ignore_doubt).sections
    except CfgError as error:
        raise WeightsError(f"{path}: in the cfg stored in it, {error}") from error
    return Found(path, sections, seen=seen_note(seen, path), own=True)


def _section(type_: str, keys: Mapping[str, object]) -> Section:
    return Section(type_, 1, {key: Pair(key, str(value), 1) for key, value in keys.items()})


def whole(path: Path | str) -> bytes:
    """The bytes of a model file. Raises WeightsError if it has more than LARGEST bytes."""
    with open_regular(path, named(path, WeightsError)) as file:
        if file.seek(0, io.SEEK_END) > LARGEST:
            raise WeightsError(f"{path}: larger than {LARGEST:,} bytes, the limit for a model")
        file.seek(0)
        return file.read(LARGEST)
