"""Every name and keyword that the source asks of cupy, against what cupy 14 has.

Looked at without running it: `xp.NAME(...)` and `cupy.NAME(...)` wherever they stand, and the
methods of arrays in the modules that device arrays pass through.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidark
from tests.fakecp.array import API

PACKAGE = Path(minidark.__file__).parent
HOST_ONLY = {"numpy_kernels.py"}  # and whatever else in backend/ a GPU never gets to see
ON_DEVICE = [
    *(PACKAGE / "layers").glob("*.py"),
    PACKAGE / "network" / "network.py",
    PACKAGE / "network" / "optim.py",
    PACKAGE / "backend" / "cupy_kernels.py",
]
NUMPYS = {n for n in dir(np.ndarray) if n[0] != "_" and callable(getattr(np.ndarray, n))}
METHODS = {n for n in NUMPYS if API["cupy.ndarray"].get(n) is not None}


def problems(source: str, methods_too: bool) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _module(node.value):
            place, name = "cupy", node.attr
            if name not in API[place]:
                yield f"{node.lineno}: cupy has no {name}"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, given = node.func.attr, {k.arg for k in node.keywords if k.arg}
        if _module(node.func.value):
            known = API["cupy"].get(name)
        elif methods_too and name in METHODS and not _numpys(node.func.value):
            known = API["cupy.ndarray"][name]
        elif methods_too and name in NUMPYS and not _numpys(node.func.value):
            yield f"{node.lineno}: cupy's arrays have no {name}"
            continue
        else:
            continue
        if known is not None and not given <= set(known):
            yield f"{node.lineno}: {name} has no {', '.join(sorted(given - set(known)))}"


def _module(node: ast.expr) -> bool:
    """xp, cupy, backend.xp."""
    return (isinstance(node, ast.Name) and node.id in ("xp", "cupy")) or (
        isinstance(node, ast.Attribute) and node.attr == "xp"
    )


def _numpys(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "np"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_the_source_asks_cupy_for_nothing_it_lacks(path: Path) -> None:
    assert list(problems(path.read_text(), methods_too=path in ON_DEVICE)) == []


@pytest.mark.parametrize(
    "line",
    [
        "xp.vecdot(a, b)",
        "with xp.errstate(all='ignore'): pass",
        "xp.add(a, b, where=m)",
        "self.backend.xp.take(a, i, mode='clip')",
        "backend.xp.sum(a, initial=0)",
        "xp.clip(a, min=0)",
        "cupy.insert(a, 0, 1)",
        "a.sum(initial=0)",
        "a.mean(where=m)",
        "a.sort(kind='stable', order='x')",
        "a.setflags(write=False)",
    ],
)
def test_a_mistake_is_found(line: str) -> None:
    assert list(problems(line, methods_too=True))


def test_the_dump_is_of_cupy_14() -> None:
    assert API["version"].startswith("14.")
    assert API["cupy"]["clip"] == ["a", "a_max", "a_min", "out"]
    assert "errstate" not in API["cupy"]


def calls_in(source: str) -> Any:
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and _module(node.value)
    }


def test_the_check_sees_the_calls_that_there_are() -> None:
    assert {"RawModule", "empty"} <= calls_in((PACKAGE / "backend/cupy_kernels.py").read_text())
