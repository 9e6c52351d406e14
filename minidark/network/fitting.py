"""Suggests the change of the cfg with which weights of another length would fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from minidark.cfg.fit import changes_that_fit, stored_bytes
from minidark.cfg.plan import override
from minidark.errors import CfgError, WeightsError, bare
from minidark.network import Network
from minidark.weights import made_with


def with_a_change_that_fits(error: WeightsError, net: Network, weights: Path | str) -> WeightsError:
    """The error. If only the length is wrong, it adds the cfg change that would fit, from the
    file's record or else from the length alone."""
    if error.payload is None:
        return error
    return WeightsError(f"{error}; {_what_fits(net, weights, error.payload)}", error.payload)


def _what_fits(net: Network, weights: Path | str, payload: int) -> str:
    record = made_with.read(weights)
    if record:
        said = f"they were made with {bare(record.cfg, 200)}"
        overrides = made_with.overrides(record.layers, net)
        if not _would_fit(net, overrides, payload):
            return said
        return f"{said}; {' '.join(f'--set {bare(text)}' for text in overrides)} would fit"
    fits = changes_that_fit(net.sections, payload)
    return (
        f"this would fit: {', or '.join(fits[:3])}"
        if fits
        else "is it the cfg they were made with?"
    )


def _would_fit(net: Network, overrides: Sequence[str], payload: int) -> bool:
    """Whether the changed network takes `payload` bytes; overrides from a record may be invalid."""
    changed = copy.deepcopy(net.sections)
    try:
        for text in overrides:
            override(changed, text)
        return stored_bytes(changed) == payload
    except CfgError:
        return False
