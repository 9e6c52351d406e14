"""Docstrings of the public names, of which the site's page is made."""

from __future__ import annotations

import inspect
import re
from types import FunctionType
from typing import Any

import pytest

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


@pytest.mark.parametrize(("name", "it"), DOCUMENTED)
def test_every_public_name_has_a_docstring(name: str, it: Any) -> None:
    assert name
    assert len(inspect.getdoc(it) or "") > 20
    if isinstance(it, type):
        assert it.__doc__  # its own, not that of its base


@pytest.mark.parametrize("name", FACTORIES)
def test_a_layer_says_its_shapes_its_equations_and_its_source(name: str) -> None:
    layer = getattr(layers, name)
    assert SHAPE.search(layer.__doc__)
    home = inspect.getmodule(layer)
    assert re.search("^Source: |minidark's own", (home and home.__doc__) or "", re.MULTILINE)


@pytest.mark.parametrize(("name", "it"), methods(minidark.Network))
def test_a_method_that_takes_or_gives_arrays_says_their_shapes(name: str, it: Any) -> None:
    function: Any = it.fget if isinstance(it, property) else it
    noted = inspect.get_annotations(function)
    arrays = {key for key, note in noted.items() if "Array" in str(note)}
    assert not arrays or SHAPE.search(it.__doc__) or "accumulate" in it.__doc__, name
