"""Docstrings of the public names, of which the site's page is made."""

from __future__ import annotations

import inspect
import re
from types import FunctionType
from typing import Any

import minidark
from minidark import layers

PUBLIC = [name for name in vars(minidark)["__all__"] if name not in ("__version__", "layers")]
FACTORIES = [name for name in vars(layers) if name.startswith("make_")]
SHAPE = re.compile(r"\((?:T|S|N|rows)\b[^)]*\)")


def methods(owner: type) -> list[tuple[str, Any]]:
    """What a class defines in public, properties among them."""
    kinds = (property, FunctionType)
    return [(n, it) for n, it in vars(owner).items() if n[0] != "_" and isinstance(it, kinds)]


DOCUMENTED = [
    *((name, getattr(minidark, name)) for name in PUBLIC),
    *((name, getattr(layers, name)) for name in FACTORIES),
    *(
        (f"{owner.__name__}.{name}", getattr(owner, name))
        for owner in (minidark.Network, minidark.Text)
        for name, _ in methods(owner)
    ),
]


def test_every_public_name_has_a_docstring() -> None:
    assert len(DOCUMENTED) > 60
    assert [name for name, it in DOCUMENTED if not has_docstring(it)] == []


def has_docstring(it: Any) -> bool:
    own = bool(it.__doc__) if isinstance(it, type) else True  # not that of its base
    return own and len(inspect.getdoc(it) or "") > 20


def test_a_layer_says_its_shapes_its_equations_and_its_source() -> None:
    assert FACTORIES
    assert [name for name in FACTORIES if not says_its_source(getattr(layers, name))] == []


def says_its_source(layer: Any) -> bool:
    home = inspect.getmodule(layer)
    source = re.search("^Source: |minidark's own", (home and home.__doc__) or "", re.MULTILINE)
    return bool(SHAPE.search(layer.__doc__) and source)


def test_a_method_that_takes_or_gives_arrays_says_their_shapes() -> None:
    assert [name for name, it in methods(minidark.Network) if not says_its_shapes(it)] == []


def says_its_shapes(it: Any) -> bool:
    function: Any = it.fget if isinstance(it, property) else it
    noted = inspect.get_annotations(function)
    arrays = {key for key, note in noted.items() if "Array" in str(note)}
    return bool(not arrays or SHAPE.search(it.__doc__) or "accumulate" in it.__doc__)
