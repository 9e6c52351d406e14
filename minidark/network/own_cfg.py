"""Finds the cfg of a weight file by the record beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minidark.backend import get_backend
from minidark.cfg.fit import stored_bytes
from minidark.cfg.plan import plan_cfg
from minidark.cfg.sections import ignore_doubt
from minidark.cfg.source import RUN, read_source
from minidark.errors import CfgError, WeightsError, bare
from minidark.files import shipped
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.weights import made_with
from minidark.weights.made_with import Record


@dataclass(frozen=True, slots=True)
class OwnCfg:
    """A cfg, and the "section.key=value" settings with which it has the layers of a weight
    file."""

    path: Path
    overrides: tuple[str, ...]


def own_cfg(weights: Path | str) -> OwnCfg | None:
    """The cfg that a weight file was made with; None if the file or its record is missing.

    A cfg is accepted only if its layers are those in the record. Tried in this order: `run.json`
    in the folder of the file, the recorded path, and that name beside the file and among the
    shipped cfgs. Raises WeightsError if none of them fits.
    """
    record = made_with.read(weights)
    if record is None:
        return None
    size = os.path.getsize(weights)
    for path in _candidates(Path(weights).parent, record):
        overrides = _overrides(path, record, size)
        if overrides is not None:
            return OwnCfg(path, tuple(overrides))
    raise WeightsError(
        f"{weights}: made with {bare(record.cfg, 200)}, which is missing or has other layers now; "
        "put the cfg of these weights before them"
    )


def _candidates(folder: Path, record: Record) -> Iterator[Path]:
    recorded = Path(record.cfg)
    yield folder / RUN
    yield recorded
    yield folder / recorded.name
    yield shipped.folder("cfg") / recorded.name


def _overrides(path: Path, record: Record, size: int) -> list[str] | None:
    """The settings with which a cfg has the recorded layers, in a file of `size` bytes; None if the
    cfg cannot be read or has other layers."""
    try:
        net = _network(path)
        overrides = made_with.overrides(record.layers, net)
        if overrides:
            net = _network(path, overrides, size)
        made_with.check_meanings(
            record.layers, made_with.meanings(net, "dontload"), path, "", None,
            net.chooses_batchnorm,
        )  # fmt: skip
    except (CfgError, WeightsError):
        return None
    return overrides


def _network(path: Path, overrides: Sequence[str] = (), size: int | None = None) -> Network:
    """The network without its weights. Raises CfgError, also if its weights need more than `size`
    bytes: the record of a small file may name any width."""
    plan = plan_cfg(read_source(path), path, warn=ignore_doubt, overrides=overrides)
    if size is not None and stored_bytes(plan.sections) > size:
        raise CfgError("needs more numbers than the weight file has", path)
    return build_network(plan, 0, get_backend(kernels="numpy"), draw=False)
