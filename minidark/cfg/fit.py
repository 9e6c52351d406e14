"""Suggests cfg changes that would make a weight file fit, from the file's length alone.

Sizes are computed from the options; no arrays are created.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from minidark.cfg import options as o
from minidark.cfg.keys import read_options
from minidark.cfg.links import PlannedLayer, linked
from minidark.cfg.sections import Pair, Section, ignore_doubt
from minidark.errors import OVERRIDDEN, CfgError

WIDEST = 8192
TALLEST = 8  # most layers to add or remove
MOST_SECTIONS = 40


def stored_bytes(sections: Sequence[Section]) -> int:
    """Size of the layers in a weight file, in pjreddie's order, without the header. Raises CfgError
    if a layer cannot read those that it names."""
    inputs = read_options(o.NetOptions, sections[0], None, ignore_doubt).row_inputs
    floats = 0
    layers: list[PlannedLayer] = []
    for section in sections[1:]:
        options = read_options(o.LAYER_TYPES[section.type], section, None, ignore_doubt)
        layers.append(linked(section, options, layers, inputs))
        size = layers[-1].size
        if not options.dontload:
            floats += size.affine + size.untrained
            floats += 0 if options.dontloadscales else 3 * size.norms
    return 4 * floats


def _fits(sections: Sequence[Section], payload: int) -> bool:
    try:
        return stored_bytes(sections) == payload
    except CfgError:  # a changed width is not that of a layer that it is added to
        return False


def changes_that_fit(sections: Sequence[Section], payload: int) -> list[str]:
    """Single changes after which the layers would have `payload` bytes; empty for a cfg with many
    sections, where trying them would be slow."""
    if len(sections) > MOST_SECTIONS:
        return []
    return [
        description
        for description, changed in _changes(sections, payload)
        if _fits(changed, payload)
    ]


def _changes(sections: Sequence[Section], payload: int) -> Iterator[tuple[str, list[Section]]]:
    for kind in dict.fromkeys(s.type for s in sections[1:] if _has_width(s.type)):
        alike = [i for i, s in enumerate(sections) if s.type == kind]
        groups = [alike] if len(alike) == 1 else [alike, *([i] for i in alike)]
        for group in groups:
            place = f"[{kind}]" if group == alike else f"[{kind}] on line {sections[group[0]].line}"
            for flag in "01":
                yield (
                    f"batch_normalize={flag} in {place}",
                    _with(sections, group, "batch_normalize", flag),
                )
            width = _width(sections, group, payload)
            yield f"output={width} in {place}", _with(sections, group, "output", str(width))
        if kind not in ("connected", "conn"):
            yield from _taller(sections, alike)


def _width(sections: Sequence[Section], group: list[int], payload: int) -> int:
    """The width at which the size, which grows with it, reaches `payload`."""
    low, high = 1, WIDEST
    while low < high:
        middle = (low + high) // 2
        try:
            size = stored_bytes(_with(sections, group, "output", str(middle)))
        except CfgError:  # a width that other layers need as it is
            return low
        low, high = (middle + 1, high) if size < payload else (low, middle)
    return low


def _taller(sections: Sequence[Section], alike: list[int]) -> Iterator[tuple[str, list[Section]]]:
    last = alike[-1]
    for count in range(1, TALLEST + 1):
        more = [*sections[:last], *[sections[last]] * (count + 1), *sections[last + 1 :]]
        yield f"{count} more of [{sections[last].type}]", more
        if count < len(alike):
            gone = alike[-count:]
            fewer = [s for i, s in enumerate(sections) if i not in gone]
            yield f"{count} fewer of [{sections[last].type}]", fewer


def _with(sections: Sequence[Section], group: list[int], key: str, value: str) -> list[Section]:
    changed = [copy.deepcopy(s) if i in group else s for i, s in enumerate(sections)]
    for i in group:
        changed[i].pairs[key] = Pair(key, value, OVERRIDDEN)
    return changed


def _has_width(type_: str) -> bool:
    return o.LAYER_TYPES[type_].has_width
