"""Differences between two resolved networks: defaults, shapes, parameters, optimizer, policy.

It compares meaning, not text: cfgs of the same network do not differ. Keys without effect are
ignored, such as momentum with Adam, gamma with a constant policy, or a [cost] after a cost.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, TypeVar

from minidark.cfg import options as o
from minidark.cfg.keys import keys_of
from minidark.cfg.links import PlannedLayer
from minidark.cfg.plan import CANONICAL, Plan
from minidark.cfg.rules import OF_ADAM, OF_POLICY, OF_SGD

IMAGE_KEYS = ("height", "width", "channels")  # resolved into inputs

Values = dict[str, Any]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer of one side, or of both. `a`, `b`: its number on each side, or None. `values` are set
    for a layer of one side, `changes` for one of both."""

    type: str
    a: int | None
    b: int | None
    values: Values
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Difference:
    net: list[Change]
    layers: list[LayerChange]
    parameters: tuple[int, int]

    def __bool__(self) -> bool:
        return bool(self.net or self.layers)


def difference(a: Plan, b: Plan) -> Difference:
    """Differences between two plans, `a` before and `b` after."""
    layers = [*_layer_changes(_resolved_layers(a), _resolved_layers(b))]
    net = _changes(*({**net_meaning(x.net), "batchnorm": divided(x)} for x in (a, b)))
    return Difference(net, layers, (a.trained, b.trained))


UNCOMPARED = ("max_batches",)  # the comparison sets it


def side_by_side(plans: Sequence[Plan]) -> list[tuple[str, list[str]]]:
    """What differs between several plans: a key of [net] or a layer, and its text in each plan; "-"
    where a key has no effect or a plan has no such layer."""
    nets = [{**net_meaning(plan.net), "batchnorm": divided(plan)} for plan in plans]
    rows = [(key, [_text(net[key]) for net in nets]) for key in nets[0] if key not in UNCOMPARED]
    for each in _slots([_resolved_layers(plan) for plan in plans]):
        rows.append(("layer", [_layer_text(layer, each) for layer in each]))
    return [(name, values) for name, values in rows if len({*values}) > 1]


def _slots(networks: Sequence[Sequence[_Layer]]) -> list[list[_Layer | None]]:
    """The layers of several networks side by side, aligned by type: a row has a layer of each
    network, or None."""
    slots: list[list[_Layer | None]] = [[layer] for layer in networks[0]]
    for count, layers in enumerate(networks[1:], start=1):
        types = [next(layer.type for layer in slot if layer) for slot in slots]
        merged: list[list[_Layer | None]] = []
        for _, before, after in _aligned(types, [x.type for x in layers], slots, layers):
            for slot, layer in itertools.zip_longest(before, after):
                merged.append([*(slot or [None] * count), layer])
        slots = merged
    return slots


def _layer_text(layer: _Layer | None, each: Sequence[_Layer | None]) -> str:
    """A layer's type and the values that are no defaults, or not the same in another layer of its
    type."""
    if layer is None:
        return "-"
    alike = [other.values for other in each if other and other.type == layer.type]
    shown = [
        f"{key}={_text(value)}"
        for key, value in layer.values.items()
        if key != "inputs"
        and (value != layer.defaults.get(key) or any(o[key] != value for o in alike))
    ]
    return " ".join([layer.type, *shown])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def net_meaning(net: o.NetOptions) -> Values:
    """The values of [net], with None for keys without effect."""
    unused = {*IMAGE_KEYS, *(OF_SGD if net.adam else OF_ADAM)}
    unused |= {key for keys in OF_POLICY.values() for key in keys}
    unused -= {*OF_POLICY.get(net.policy, ()), *(("power",) if net.burn_in else ())}
    values = {**dataclasses.asdict(net), "inputs": net.row_inputs}
    return {key: None if key in unused else value for key, value in values.items()}


def divided(plan: Plan) -> str | None:
    """The batch norm formula, unless weights choose it; None without batch norm."""
    return (plan.net.batchnorm or o.CPU) if plan.normalizes else None


@dataclass(frozen=True, slots=True)
class _Layer:
    number: int
    type: str
    values: Values
    defaults: Values

    @property
    def line(self) -> str:
        """All values as text, to find equal layers."""
        return f"{self.type} {self.values}"


def _resolved_layers(plan: Plan) -> list[_Layer]:
    layers = plan.layers
    if o.ends_in_extra_cost([layer.options for layer in layers]):
        layers = layers[:-1]
    return [_resolved(number, layer) for number, layer in enumerate(layers)]


def _resolved(number: int, layer: PlannedLayer) -> _Layer:
    keys = [key for key in keys_of(type(layer.options)).values() if key.works]
    values = {key.name: getattr(layer.options, key.field) for key in keys}
    if "hidden" in values:
        values["hidden"] = values["hidden"] or values["output"]
    type_ = CANONICAL.get(layer.section.type, layer.section.type)
    defaults = {key.name: key.default for key in keys}
    return _Layer(number, type_, {"inputs": layer.inputs, **values}, defaults)


def _layer_changes(a: Sequence[_Layer], b: Sequence[_Layer]) -> Iterator[LayerChange]:
    """Equal layers are matched first, then layers of the same type between them."""
    for same, before, after in _aligned([x.line for x in a], [x.line for x in b], a, b):
        if same:
            continue
        types = [x.type for x in before], [x.type for x in after]
        for alike, left, right in _aligned(*types, before, after):
            if alike:
                yield from filter(None, map(_changed, left, right))
            else:
                yield from (LayerChange(x.type, x.number, None, x.values, []) for x in left)
                yield from (LayerChange(x.type, None, x.number, x.values, []) for x in right)


def _aligned(
    keys_a: list[str], keys_b: list[str], a: Sequence[A], b: Sequence[B]
) -> Iterator[tuple[bool, Sequence[A], Sequence[B]]]:
    """Stretches of both, and whether their keys are equal."""
    matcher = SequenceMatcher(None, keys_a, keys_b, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        yield tag == "equal", a[i:j], b[k:m]


def _changed(a: _Layer, b: _Layer) -> LayerChange | None:
    changes = _changes(a.values, b.values)
    return LayerChange(a.type, a.number, b.number, {}, changes) if changes else None


def _changes(a: Values, b: Values) -> list[Change]:
    return [Change(key, a[key], b[key]) for key in a if a[key] != b[key]]
