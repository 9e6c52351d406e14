"""Whether a run that is resumed is the run that its checkpoint was taken of."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidark._version import __version__
from minidark.backend import Backend
from minidark.backend.threads import blas_threads
from minidark.data.identity import Identity
from minidark.errors import BackendError, CfgError, DataError, bare, echo
from minidark.layers.batchnorm import DIVISORS
from minidark.network import Network
from minidark.training.checkpoint import FALLING, Checkpoint
from minidark.training.feeds import Feed

log = logging.getLogger(__name__)


def check_text(feed: Feed, since: Checkpoint) -> None:
    """A file's time alone may be another, as a copy's is: sizes and samples are the text."""
    now, before = feed.identity, Identity.from_json(since.text)
    for name in ("tokenized", "separator"):
        here, there = getattr(feed, name), getattr(since, name)
        if here != there:
            change: str | None = f"{name}={_shown(here)}, and before {_shown(there)}"
            break
    else:
        change = now.undated().change(before.undated())
    if change:
        raise DataError(
            f"{change}; a run goes on with the text that it began with, and --weights begins "
            "another from its weights"
        )
    if redated := now.change(before):
        log.warning("%s; taken for the same", redated)


def _shown(value: bool | str | None) -> str:
    return "none, for a text" if value is None else repr(value)


def cfg_values(net: Network) -> list[dict[str, Any]]:
    """Every value that the cfg gave or left at its default, section by section, as JSON has them.
    max_batches is among them where the rate falls towards it."""
    options = [("net", net.options)]
    options += [(a.type, b) for a, b in zip(net.layers, net.layer_options, strict=True)]  # type: ignore[misc]
    sections = [{"section": name, **dataclasses.asdict(o)} for name, o in options]
    if net.options.policy not in FALLING:
        del sections[0]["max_batches"]
    values: list[dict[str, Any]] = json.loads(json.dumps(sections))
    return values


def settle_cfg(net: Network, since: Checkpoint) -> None:
    """Take over what weights settled where the cfg has no say."""
    name = since.cfg[0].get("batchnorm")
    if isinstance(name, str) and name in DIVISORS:
        net.settle_batchnorm(name)


def check_cfg(net: Network, since: Checkpoint) -> None:
    """Raise CfgError with the first value that is not what it was."""
    if said := _difference(cfg_values(net), since.cfg):
        raise CfgError(
            f"{said}; a run goes on with the cfg that it began with, and --weights begins "
            "another from its weights"
        )


def _difference(now: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> str | None:
    if len(now) != len(before):
        return f"{len(now) - 1} layers, and {len(before) - 1} in the checkpoint"
    for i, (here, there) in enumerate(zip(now, before, strict=True)):
        place = f"layer {i - 1} [{here['section']}]" if i else "[net]"
        if here["section"] != there["section"]:
            return f"{place} is [{bare(there['section'])}] in the checkpoint"
        for key in {**here, **there}:
            if here.get(key) != there.get(key):
                return f"{place} {_pair(key, here)}, and {_pair(key, there)} in the checkpoint"
    return None


def _pair(key: str, values: dict[str, Any]) -> str:
    if key not in values:
        return f"no {bare(key)}"
    value = values[key]
    return f"{bare(key)}={echo(int(value) if isinstance(value, bool) else value)}"


def computing(backend: Backend) -> dict[str, Any]:
    """What decides the last digits."""
    kernels = "fast" if backend.fast else "numpy"
    return {
        "device": backend.name,
        "kernels": kernels if backend.name == "cpu" else backend.name,
        "dtype": backend.dtype.name,
    }


def surroundings() -> dict[str, Any]:
    """What may decide them: numpy's products are a library's, which sums as it likes."""
    return {
        "minidark": __version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": blas_threads(),
    }


def warn_of_surroundings(since: Checkpoint) -> None:
    """Log what is other than it was."""
    there = since.surroundings
    changed = [
        f"{name} {value}, before {echo(there.get(name))}"
        for name, value in surroundings().items()
        if value != there.get(name)
    ]
    if changed:
        log.warning("%s: the last digits may differ from one run in one go", "; ".join(changed))


def check_computing(backend: Backend, since: Checkpoint) -> None:
    """Raise BackendError where it is not what it was."""
    for key, value in computing(backend).items():
        if value != since.computing.get(key):
            raise BackendError(
                f"{key} {value}, and {echo(since.computing.get(key))} in the checkpoint: a run "
                "goes on exactly only with the same"
            )
