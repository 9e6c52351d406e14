"""What is found in a file of another program: the sections of a cfg, and arrays by name."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minidark.backend import Array, get_backend
from minidark.cfg.plan import CANONICAL, Plan, check_memory, plan_cfg, replan
from minidark.cfg.sections import MOST_SECTIONS, Pair, Section, unheard
from minidark.errors import CfgError, WeightsError, bare
from minidark.files.archives import SPARE
from minidark.files.disk import named, open_regular
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.weights.arrays import check_finite, seen_note

log = logging.getLogger(__name__)

LARGEST = 2**31 - 1  # bytes: the most that a protobuf can have


@dataclass(slots=True)
class Found:
    """Layers in order, the arrays that they are to have, under minidark's names."""

    path: Path | str
    sections: list[Section]
    arrays: dict[str, Array] = field(default_factory=dict)
    seen: int = 0
    completed: bool = False  # by a [softmax] that the file does not have
    names: list[str] = field(init=False)  # of its layers: "0.gru"

    def __post_init__(self) -> None:
        self.names = [self._name(i, section) for i, section in enumerate(self.sections[1:])]

    @classmethod
    def begin(cls, path: Path | str) -> Found:
        """Nothing but [net], whose inputs are those of the first layer that is added."""
        return cls(path, [_section("net", {"batch": 1, "time_steps": 1})])

    @staticmethod
    def _name(index: int, section: Section) -> str:
        return f"{index}.{CANONICAL.get(section.type, section.type)}"

    def add(self, type_: str, arrays: Mapping[str, Array] | None = None, **keys: object) -> None:
        """Another layer; arrays by the last parts of their names: "uz.weights"."""
        if len(self.sections) == MOST_SECTIONS:
            raise WeightsError(f"{self.path}: more than {MOST_SECTIONS:,} layers; not read")
        self.sections.append(_section(type_, keys))
        name = self._name(len(self.names), self.sections[-1])
        self.names.append(name)
        self.arrays |= {f"{name}.{part}": array for part, array in (arrays or {}).items()}

    def set_inputs(self, inputs: int) -> None:
        """Of the network, where no layer has told before."""
        self.sections[0].pairs.setdefault("inputs", Pair("inputs", str(inputs), 1))

    def activate(self, activation: str) -> None:
        """An activation behind what is there: the last layer's, where that is linear."""
        last = self.sections[-1]
        linear = last.pairs.get("activation")
        if last.type == "connected" and linear and linear.value == "linear":
            last.pairs["activation"] = Pair("activation", activation, 1)
        else:
            self.add("activation", activation=activation)

    def end_in_softmax(self) -> None:
        """Put a [softmax] behind the logits of another program's network, which leaves that to its
        loss: a last layer, linear, with an output for each input. Such a network reads the symbols
        that it predicts; one with other outputs may be for anything."""
        last = {key: pair.value for key, pair in self.sections[-1].pairs.items()}
        if self.sections[-1].type != "connected" or last["activation"] != "linear":
            return
        symbols = self.sections[0].pairs["inputs"].value
        if last["output"] == symbols != "1":
            self.add("softmax")
            self.completed = True

    def network(self, allow_nonfinite: bool = False) -> Network:
        """The network of all this. Raises WeightsError where arrays and layers do not fit."""
        if self.completed:
            log.info(
                "%s: its last layer gives logits, one for each symbol; [softmax] is added behind "
                "it, and --cfg names other layers",
                self.path,
            )
        try:
            plan = replan(self.sections)
            check_memory(plan, None, 4)
            self._check_numbers(plan)
            net = build_network(plan, 0, get_backend(), draw=False)
        except CfgError as error:
            raise WeightsError(f"{self.path}: no network: {error}") from error
        fill(net, self.arrays, self.path, allow_nonfinite)
        net.seen = self.seen
        return net

    def _check_numbers(self, plan: Plan) -> None:
        """Raise WeightsError for a network that is far larger than its arrays."""
        needed = sum(layer.size.held for layer in plan.layers)
        existing = sum(array.size for array in self.arrays.values())
        if needed > existing + SPARE:
            said = f"its layers need {needed:,} numbers, and {existing:,} are in it"
            raise WeightsError(f"{self.path}: {said}")


def fill(
    net: Network, arrays: Mapping[str, Array], path: Path | str, allow_nonfinite: bool = False
) -> None:
    """Put arrays into a network, which must have all of them. Raises WeightsError."""
    wanted = {a.name: a for layer in net.layers for a in layer.arrays()}
    if odd := wanted.keys() ^ arrays.keys():
        name = min(odd)
        there = "no" if name in wanted else "one array too many,"
        raise WeightsError(f"{path}: {there} {bare(name)}, by the cfg")
    for name, array in wanted.items():
        if arrays[name].shape != array.value.shape:
            shapes = (" x ".join(map(str, a.shape)) for a in (arrays[name], array.value))
            raise WeightsError(f"{path}: {bare(name)} is {', and '.join(shapes)} by the cfg")
    if not allow_nonfinite:
        check_finite(arrays.items(), path)
    for name, array in wanted.items():
        array.value[...] = arrays[name]


def carried(path: Path | str, cfg: str, seen: str) -> Found:
    """The layers of a cfg that a file of ours carries, without arrays yet. Raises WeightsError."""
    try:
        sections = plan_cfg(cfg.encode(errors="replace"), None, warn=unheard).sections
    except CfgError as error:
        raise WeightsError(f"{path}: in the cfg that it carries, {error}") from error
    return Found(path, sections, seen=seen_note(seen, path))


def _section(type_: str, keys: Mapping[str, object]) -> Section:
    return Section(type_, 1, {key: Pair(key, str(value), 1) for key, value in keys.items()})


def whole(path: Path | str) -> bytes:
    """The bytes of a model's file. Raises WeightsError for one that is larger than any is."""
    with open_regular(path, named(path, WeightsError)) as file:
        if file.seek(0, io.SEEK_END) > LARGEST:
            raise WeightsError(f"{path}: larger than {LARGEST:,} bytes; too large for such a model")
        file.seek(0)
        return file.read(LARGEST)
