"""The cfgs, weights and texts that ship with the package; cfgs and weights by bare names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from minidark.errors import CfgError, nearest

_PACKAGE = Path(__file__).parents[1]
_NETWORK = "rnn"  # weights/rnn.weights, made with cfg/rnn.cfg


def folder(kind: str) -> Path:
    """The folder of the shipped "cfg", "weights" or "texts": inside an installed package, beside it
    in a checkout."""
    inside = _PACKAGE / "shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def network() -> tuple[str, str]:
    """The cfg and the weights of the shipped network."""
    return _NETWORK, str(folder("weights") / f"{_NETWORK}.weights")


def find_cfg(name: Path | str) -> Path:
    """The file with that name, or else the shipped cfg with that bare name ("gru"). Raises CfgError
    for an unknown bare name, and for a missing file that has a shipped cfg's name."""
    path = Path(name)
    if path.suffix == ".cfg" and is_name(path.stem) and not os.path.exists(path):
        raise CfgError(f"no such file; use the bare name {path.stem} for the shipped cfg", name)
    if os.path.isfile(path) or path.name != str(name) or path.suffix:
        return path
    shipped = folder("cfg") / f"{name}.cfg"
    if not os.path.isfile(shipped) and not os.path.exists(path):
        known = names("cfg", ".cfg")
        raise CfgError(
            f"no such cfg; shipped cfgs are {', '.join(known)}{nearest(str(name), known)}", name
        )
    return shipped if os.path.isfile(shipped) else path


def is_name(name: str) -> bool:
    """Whether a shipped cfg has this bare name."""
    return name in names("cfg", ".cfg")


def as_typed(text: str) -> str:
    """A message with the paths of shipped cfgs replaced by their bare names."""
    within = re.escape(f"{folder('cfg')}{os.sep}")
    return re.sub(rf"{within}([\w-]+)\.cfg\b", r"\1", text)


def names(kind: str, suffix: str) -> list[str]:
    """The bare names of the shipped files."""
    return sorted(path.name.removesuffix(suffix) for path in folder(kind).glob(f"*{suffix}"))


def bare_name(path: Path | str) -> str | None:
    """The bare name of a shipped cfg, by its path; None for other files."""
    home, path = folder("cfg"), Path(path)
    try:
        is_shipped = path.suffix == ".cfg" and path.resolve().parent == home.resolve()
    except (OSError, ValueError):  # a name that no file can have
        return None
    return path.stem if is_shipped else None
