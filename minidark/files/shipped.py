"""The cfgs and weights that travel with the package, under their bare names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from minidark.errors import CfgError, nearest

_PACKAGE = Path(__file__).parents[1]


def folder(kind: str) -> Path:
    """Where the shipped "cfg" or "weights" files are: inside the package once it is installed,
    beside it in a checkout."""
    inside = _PACKAGE / "shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def find_cfg(name: Path | str) -> Path:
    """The file of that name, or else the shipped cfg of that bare name ("gru"). Raises CfgError
    for a bare name that is neither, and for a missing file that bears the name of a shipped one."""
    path = Path(name)
    if path.suffix == ".cfg" and is_name(path.stem) and not os.path.exists(path):
        raise CfgError(f"no such file; it is shipped, under the bare name {path.stem}", name)
    if os.path.isfile(path) or path.name != str(name) or path.suffix:
        return path
    shipped = folder("cfg") / f"{name}.cfg"
    if not os.path.isfile(shipped) and not os.path.exists(path):
        known = names("cfg", ".cfg")
        raise CfgError(
            f"no such cfg; shipped are {', '.join(known)}{nearest(str(name), known)}", name
        )
    return shipped if os.path.isfile(shipped) else path


def is_name(name: str) -> bool:
    """Whether a shipped cfg has this bare name."""
    return name in names("cfg", ".cfg")


def as_typed(text: str) -> str:
    """A message with the shipped cfgs in it under their bare names, and not where they lie."""
    within = re.escape(f"{folder('cfg')}{os.sep}")
    return re.sub(rf"{within}([\w-]+)\.cfg\b", r"\1", text)


def names(kind: str, suffix: str) -> list[str]:
    """The bare names of what is shipped."""
    return sorted(path.name.removesuffix(suffix) for path in folder(kind).glob(f"*{suffix}"))
