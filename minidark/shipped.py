"""The cfgs and weights that travel with the package, under their bare names."""

from __future__ import annotations

from pathlib import Path

from minidark.errors import CfgError, nearest

_PACKAGE = Path(__file__).parent


def folder(kind: str) -> Path:
    """Where the shipped "cfg" or "weights" files are: inside the package once it is installed,
    beside it in a checkout."""
    inside = _PACKAGE / "shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def find_cfg(name: Path | str) -> Path:
    """The file of that name, or else the shipped cfg of that bare name ("gru")."""
    path = Path(name)
    if path.is_file() or path.name != str(name) or path.suffix:
        return path
    shipped = folder("cfg") / f"{name}.cfg"
    if not shipped.is_file() and not path.exists():
        known = names("cfg", ".cfg")
        raise CfgError(
            f"no such cfg; shipped are {', '.join(known)}{nearest(str(name), known)}", name
        )
    return shipped if shipped.is_file() else path


def names(kind: str, suffix: str) -> list[str]:
    """The bare names of what is shipped."""
    return sorted(path.name.removesuffix(suffix) for path in folder(kind).glob(f"*{suffix}"))
