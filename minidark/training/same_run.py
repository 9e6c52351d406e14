"""Checks that a resumed run is the run of its checkpoint."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidark._version import __version__
from minidark.backend import Backend
from minidark.backend.threads import blas_threads
from minidark.cfg.keys import values_of
from minidark.cfg.recorded import recorded
from minidark.data.identity import Identity
from minidark.errors import BackendError, CfgError, DataError, bare, echo
from minidark.layers.batchnorm import DIVISORS
from minidark.network import Network
from minidark.training.checkpoint import FALLING, Checkpoint
from minidark.training.feeds import Feed

log = logging.getLogger(__name__)


def check_text(feed: Feed, since: Checkpoint) -> None:
    """Raise DataError if the data is not the checkpoint's. Sizes and samples identify a text; a
    file's modification time may differ, as in a copy."""
    now, before = feed.identity, Identity.from_json(since.text)
    for name in ("tokenized", "separator", "columns", "fields"):
        current, saved = getattr(feed, name), getattr(since, name)
        if current != saved:
            current, saved = _format(name, current), _format(name, saved)
            change: str | None = f"{name}={current}, and {saved} in the checkpoint"
            break
    else:
        change = now.undated().change(before.undated())
    if change:
        raise DataError(
            f"{change}; a run resumes only with its own text; to train on other text, start a new "
            "run with --weights"
        )
    if redated := now.change(before):
        log.warning("%s; treated as the same text", redated)
    _check_valid(feed.valid_identity, since)


def _check_valid(now: Identity | None, since: Checkpoint) -> None:
    """Raise DataError if the data to validate on is not the checkpoint's."""
    before = Identity.from_json(since.valid)
    if bool(now) != bool(before.files):
        change: str | None = (
            f"{'other' if now else 'no other'} data to validate on, and "
            f"{'held-out' if now else 'other'} data in the checkpoint"
        )
    else:
        change = now.undated().change(before.undated()) if now else None
    if change:
        raise DataError(f"{change}; a run resumes only with the same data to validate on")


def _format(name: str, value: bool | str | None) -> str:
    none = "none (a text)" if name == "separator" else "none"
    return none if value is None else repr(value)


def cfg_values(net: Network) -> list[dict[str, Any]]:
    """Every value of the cfg, defaults included, by section, as JSON values. Contains max_batches
    only if the learning rate depends on it, and later keys only where they are not defaults."""
    options = [("net", net.options)]
    options += [(a.type, b) for a, b in zip(net.layers, net.layer_options, strict=True)]  # type: ignore[misc]
    sections = [{"section": name, **recorded(name, values_of(o))} for name, o in options]
    if net.options.policy not in FALLING:
        del sections[0]["max_batches"]
    values: list[dict[str, Any]] = json.loads(json.dumps(sections))
    return values


def settle_cfg(net: Network, since: Checkpoint) -> None:
    """Apply the checkpoint's choice of batch norm if the cfg makes none."""
    name = since.cfg[0].get("batchnorm")
    if isinstance(name, str) and name in DIVISORS:
        net.settle_batchnorm(name)


def check_cfg(net: Network, since: Checkpoint) -> None:
    """Raise CfgError with the first value that differs from the checkpoint."""
    if message := _difference(cfg_values(net), since.cfg):
        raise CfgError(
            f"{message}; a run resumes only with its own cfg; to train with another, start a "
            "new run with --weights"
        )


def _difference(now: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> str | None:
    if len(now) != len(before):
        return f"{len(now) - 1} layers, and {len(before) - 1} in the checkpoint"
    for i, (current, saved) in enumerate(zip(now, before, strict=True)):
        place = f"layer {i - 1} [{current['section']}]" if i else "[net]"
        if current["section"] != saved["section"]:
            return f"{place} is [{bare(saved['section'])}] in the checkpoint"
        for key in {**current, **saved}:
            if current.get(key) != saved.get(key):
                return f"{place} {_pair(key, current)}, and {_pair(key, saved)} in the checkpoint"
    return None


def _pair(key: str, values: dict[str, Any]) -> str:
    if key not in values:
        return f"no {bare(key)}"
    value = values[key]
    return f"{bare(key)}={echo(int(value) if isinstance(value, bool) else value)}"


def computing(backend: Backend) -> dict[str, Any]:
    """Settings that determine the last digits."""
    kernels = "fast" if backend.fast else "numpy"
    return {
        "device": backend.name,
        "kernels": kernels if backend.name == "cpu" else backend.name,
        "dtype": backend.dtype.name,
        "precision": backend.precision,
    }


def surroundings() -> dict[str, Any]:
    """Settings that may affect the last digits: numpy's BLAS chooses its own order of summation."""
    return {
        "minidark": __version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": blas_threads(),
    }


def warn_of_surroundings(since: Checkpoint) -> None:
    """Log a warning with the surroundings that differ from the checkpoint's."""
    saved = since.surroundings
    changed = [
        f"{name} {value}, {echo(saved.get(name))} in the checkpoint"
        for name, value in surroundings().items()
        if value != saved.get(name)
    ]
    if changed:
        log.warning("%s: results may differ in the last digits", "; ".join(changed))


def check_computing(backend: Backend, since: Checkpoint) -> None:
    """Raise BackendError if the device, kernels, dtype or precision differ from the
    checkpoint's."""
    saved = {**since.computing, "precision": since.precision}
    for key, value in computing(backend).items():
        if value != saved.get(key):
            raise BackendError(
                f"{key} {value}, and {echo(saved.get(key))} in the checkpoint: an exact resume "
                "needs the same"
            )
