"""The plan of a cfg: everything that can be checked before any array is allocated.

`plan_cfg` is a function of bytes: for any input it returns a plan or raises CfgError, in less than
a second and without allocating the network. `network.parser` makes the network.

Source: darknet src/parser.c (parse_network_cfg, parse_net_options), which allocates as it reads.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from minidark.cfg import options as o
from minidark.cfg.forms import parse_cfg
from minidark.cfg.keys import read_options
from minidark.cfg.links import NAMING, PlannedLayer, line_of, linked, plain
from minidark.cfg.sections import (
    Doubt,
    Pair,
    Refuse,
    Section,
    Warn,
    ignore_doubt,
    raise_,
    without_blanks,
)
from minidark.errors import (
    OVERRIDDEN,
    CfgError,
    OverrideError,
    WrongLayerError,
    bare,
    nearest,
    place,
)

log = logging.getLogger(__name__)

NET_TYPES = ("net", "network")
CANONICAL = {"conn": "connected", "soft": "softmax", "network": "net"}
IMAGE_TYPES = frozenset({
    "convolutional", "conv", "deconvolutional", "deconv", "local", "maxpool", "max", "avgpool",
    "avg", "crop", "crnn", "conv_lstm", "upsample", "reorg", "sam", "scale_channels", "region",
    "yolo", "Gaussian_yolo", "detection", "iseg", "normalization", "lrn", "l2norm",
})  # fmt: skip
MOST_DOUBTS = 100
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Plan:
    """Typed values and sizes, and the sections they come from."""

    sections: list[Section]
    net: o.NetOptions
    layers: list[PlannedLayer]

    @property
    def normalizes(self) -> bool:
        """Whether a layer has batch norm."""
        return any(layer.options.normalizes for layer in self.layers)

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        return sum(layer.size.trained for layer in self.layers)

    def parameter_bytes(self, itemsize: int) -> int:
        """Memory of the layers' arrays, the gradients and the optimizer's slots."""
        slots = 2 if self.net.adam else 1
        held = sum(layer.size.held for layer in self.layers)
        return itemsize * (held + (1 + slots) * self.trained)

    def pass_bytes(self, itemsize: int) -> int:
        """Lower bound of the memory of a training pass: the states, and the arrays saved for its
        rows."""
        state = sum(layer.size.state for layer in self.layers)
        saved = sum(layer.size.kept for layer in self.layers)
        return itemsize * (self.net.streams * state + self.net.rows * saved)


class Doubts:
    """Logs each cfg warning once per file; raises it if `strict`."""

    def __init__(self, path: Path | str | None, strict: bool):
        self.path, self.strict = path, strict
        self.logged: set[str] = set()

    def __call__(self, message: str, line: int) -> None:
        if self.strict:
            raise CfgError(message, self.path, line)
        if message in self.logged:
            return
        if len(self.logged) == MOST_DOUBTS:
            raise CfgError(f"more than {MOST_DOUBTS} warnings; not a cfg", self.path, line)
        self.logged.add(message)
        log.warning("%s%s", place(self.path, line), message)


def plan_cfg(
    data: bytes,
    path: Path | str | None = None,
    *,
    warn: Warn | None = None,
    overrides: Sequence[str] = (),
    itemsize: int = 4,
) -> Plan:
    """The plan of a cfg's bytes. `path` selects the form and is used in messages; `warn` receives
    warnings (None: they are logged).

    overrides: see `override`. itemsize: bytes of a number. Raises CfgError, also if the network
    needs more memory than the machine has.
    """
    warn = warn or Doubts(path, strict=False)
    sections = parse_cfg(data, path, warn)
    check_first(sections, path)
    for text in overrides:
        override(sections, text)
    plan = plan_network(sections, path, warn)
    check_memory(plan, path, itemsize)
    return plan


def plan_network(
    sections: Sequence[Section], path: Path | str | None, warn: Warn, refuse: Refuse = raise_
) -> Plan:
    """The plan of a list of sections, of any size. Raises CfgError. If `refuse` returns, unknown
    sections are skipped and wrong values replaced by defaults."""
    net = _read_net(sections, path, warn, refuse)
    layers: list[PlannedLayer] = []
    for section in sections[1:]:
        try:
            kind = _options_type(section, path)
        except CfgError as error:
            refuse(error)
            continue
        options = read_options(kind, section, path, warn, refuse)
        layers.append(_planned(section, options, layers, sections, net.row_inputs, path, refuse))
        _doubt_layer(layers, warn)
    if len(sections) == 1:
        refuse(CfgError("no layers: this cfg has only [net]", path))
    for previous, layer in pairwise(layers):
        if complaint := _misplaced(previous, layer):
            refuse(CfgError(complaint, path, layer.section.line))
    for layer in layers:  # after their places, which are the cause of some misfits
        if message := layer.options.misfit(layer.inputs):
            line = line_of(layer.section, message.partition("=")[0])
            refuse(WrongLayerError(message, path, line))
    _doubt_frozen_layers(net, layers, warn)
    return Plan(list(sections), net, layers)


def _planned(
    section: Section,
    options: o.LayerOptions,
    below: Sequence[PlannedLayer],
    sections: Sequence[Section],
    inputs: int,
    path: Path | str | None,
    refuse: Refuse,
) -> PlannedLayer:
    """The layer after `below`. With a wrong link, it reads the previous layer."""
    refused = NAMING & section.pairs.keys() and not [*options.named()]  # its value was no number
    # If sections were refused, too, numbers of layers say nothing.
    if section is sections[1 + len(below)] and not refused:
        try:
            return linked(section, options, below, inputs, path)
        except CfgError as error:
            refuse(error)
    return plain(section, options, len(below), below[-1].size.outputs if below else inputs)


def replan(
    sections: Sequence[Section], changes: Mapping[int, Mapping[str, object]] | None = None
) -> Plan:
    """The plan of sections that were planned before, with changed values: keys by the number of a
    section; None removes a key. Raises CfgError."""
    changed = list(sections)
    for number, values in (changes or {}).items():
        section = copy.deepcopy(sections[number])
        for key, value in values.items():
            if value is None:
                section.pairs.pop(key, None)
            else:
                section.pairs[key] = Pair(key, str(value), line_of(section, key))
        changed[number] = section
    return plan_network(changed, None, ignore_doubt)


def check_memory(plan: Plan, path: Path | str | None, itemsize: int) -> None:
    """Raise CfgError if training the network would need more memory than the machine has."""
    parameters, one_pass = plan.parameter_bytes(itemsize), plan.pass_bytes(itemsize)
    needed, available = parameters + one_pass, _memory()
    if available is None or needed <= available:
        return
    message = (
        f"this network needs {needed / GIB:,.1f} GiB to train; this machine has "
        f"{available / GIB:,.1f} GiB ({parameters / GIB:,.1f} GiB for {plan.trained:,} parameters, "
        f"their gradients and updates; {one_pass / GIB:,.1f} GiB for a pass of {plan.net.rows:,} "
        "rows)"
    )
    section, keys = plan.sections[0], ("batch", "time_steps")
    if parameters > one_pass:
        largest = max(plan.layers, key=lambda layer: layer.size.held)
        section, keys = largest.section, ("output", "hidden")
    raise CfgError(message, path, line_of(section, *keys))


def _memory() -> int | None:
    """Memory in bytes available to this process, if known: that of the machine or of its
    container."""
    limits = []
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys():
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
        except (OSError, ValueError):  # no such limit; without one, memory.max says "max"
            continue
    return min(limits, default=None)


def check_first(sections: Sequence[Section], path: Path | str | None) -> None:
    """Raise CfgError if the first section is not [net]. Must run before overrides are applied."""
    first = sections[0]
    if first.type not in NET_TYPES:
        hint = nearest(first.type.lower(), NET_TYPES)
        raise CfgError(
            f"the first section is [{bare(first.type)}]; expected [net]{hint}", path, first.line
        )


def _read_net(
    sections: Sequence[Section], path: Path | str | None, warn: Warn, refuse: Refuse
) -> o.NetOptions:
    check_first(sections, path)
    first = sections[0]
    net = read_options(o.NetOptions, first, path, warn, refuse)

    def mistake(message: str, *keys: str) -> None:
        refuse(CfgError(message, path, line_of(first, *keys)))

    if net.batch % net.subdivisions:
        mistake(
            f"batch={net.batch} is not divisible by subdivisions={net.subdivisions}",
            "subdivisions",
            "batch",
        )
    if not net.row_inputs:
        mistake("[net] needs inputs=N, the number of symbols (256 for bytes)")
    if net.policy == "steps" and (not net.steps or len(net.steps) != len(net.scales)):
        mistake(
            f"policy=steps has {len(net.steps)} steps and {len(net.scales)} scales; "
            "it needs the same number of both, at least one",
            "steps",
            "scales",
        )
    if net.policy in ("poly", "cosine") and not net.max_batches:
        mistake(f"policy={net.policy} needs max_batches", "policy")
    return net


def _options_type(section: Section, path: Path | str | None) -> type[o.LayerOptions]:
    if section.type in o.LAYER_TYPES:
        return o.LAYER_TYPES[section.type]
    if section.type in NET_TYPES:
        raise CfgError(f"a second [{section.type}]", path, section.line)
    if section.type in IMAGE_TYPES:
        raise CfgError(
            f"[{section.type}] works on images; minidark is for recurrent networks "
            f"({', '.join(t for t in o.LAYER_TYPES if t not in CANONICAL)})",
            path,
            section.line,
        )
    hint = nearest(section.type, o.LAYER_TYPES)
    raise CfgError(f"unknown section [{bare(section.type)}]{hint}", path, section.line)


def _misplaced(previous: PlannedLayer, layer: PlannedLayer) -> str | None:
    """A message if [bytepairs] is not the first layer, or the next layer does not read symbols."""
    if layer.options.gives_symbols:
        return "[bytepairs] must be the first layer"
    if previous.options.gives_symbols and not layer.options.reads_symbols:
        return (
            f"[{layer.section.type}] does not read symbols; [bytepairs] needs a recurrent or "
            "connected layer after it"
        )
    return None


def _doubt_layer(layers: Sequence[PlannedLayer], warn: Warn) -> None:
    """Warn of settings of the last layer that are valid but probably not intended."""
    options, section = layers[-1].options, layers[-1].section
    for rule, message in options.doubts():
        warn(Doubt(rule, message), line_of(section, message.partition("=")[0]))
    if o.ends_in_extra_cost([layer.options for layer in layers[-2:]]):
        message = (
            f"[cost] has no effect here: the [{layers[-2].section.type}] before it has its own "
            "cost. darknet's C adds both gradients: to train as it does with SGD, double "
            "learning_rate and halve decay"
        )
        warn(Doubt("extra-cost", message), section.line)


def _doubt_frozen_layers(net: o.NetOptions, layers: Sequence[PlannedLayer], warn: Warn) -> None:
    """Warn of weight decay below stopbackward: Adam makes a full step for any gradient, even decay
    alone."""
    for layer in layers:
        if layer.options.stopbackward and net.adam and net.decay:
            message = (
                "stopbackward with adam=1 leaves the decay as the only gradient, and Adam moves "
                "the weights below to zero at the full rate; set decay=0 in [net]"
            )
            warn(Doubt("frozen-decay", message), layer.section.pairs["stopbackward"].line)


def override(sections: Sequence[Section], text: str) -> None:
    """Apply "gru.output=64" to every section of that type, or "1.output=64" to the layer with that
    number, counted from 0 as in `info` and in array names. Raises CfgError."""
    where, equals, value = without_blanks(text).partition("=")
    place, dot, key = where.partition(".")
    if not (equals and dot and place and key and value):
        raise OverrideError(text, " is not section.key=value")
    for section in _overridden(sections, place, text):
        section.pairs[key] = Pair(key, value, OVERRIDDEN)


def _overridden(sections: Sequence[Section], place: str, text: str) -> list[Section]:
    types = [CANONICAL.get(s.type, s.type) for s in sections]
    if place.isdecimal() and place.isascii():
        if len(place) > 4 or int(place) >= len(sections) - 1:
            layers = f"0 to {len(sections) - 2}" if len(sections) > 1 else "none"
            raise OverrideError(text, f": no layer {bare(place)}; this cfg's are {layers}")
        return [sections[1 + int(place)]]
    name = CANONICAL.get(place, place)
    matches = [s for s, type_ in zip(sections, types, strict=True) if type_ == name]
    if not matches:
        hint = nearest(place, types)
        raise OverrideError(text, f": no [{bare(place)}] in this cfg{hint}")
    return matches
