"""The stand-in for cupy in the place of cupy: networks and layers on it that a test can hold as
it holds those of the CPU.

A hosted network or layer gives and takes numpy arrays; its parameters and states are numpy's
views of the device's memory. What happens between, in minidark's own code, is on the device.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark import Network
from minidark.layers import Layer, Parameter
from minidark.layers.base import Stored, is_ids
from minidark.network.learner import Learner
from tests.fakecp.shim import COMPILER

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: CUDA C runs by it")


def put_in_place(monkeypatch: pytest.MonkeyPatch, dtype: str = "float32") -> None:
    """From here on `import cupy` gives the stand-in, for networks of that dtype."""
    monkeypatch.setitem(sys.modules, "cupy", fakecp)
    monkeypatch.setitem(sys.modules, "cupy.cuda", fakecp.cuda)
    from minidark.backend import cupy_kernels

    monkeypatch.setattr(cupy_kernels, "cupy", fakecp)  # a real one may have been there before
    for kept in ("_module", "_kernel", "_processors"):
        anew = functools.cache(getattr(cupy_kernels, kept).__wrapped__)
        monkeypatch.setattr(cupy_kernels, kept, anew)
    monkeypatch.setattr(fakecp.RULES, "float64", dtype == "float64")
    fakecp.COUNTS.reset()


class Hosted:
    """A network, its learner or a layer. What it takes and gives is numpy's."""

    def __init__(self, thing: Network | Learner | Layer):
        object.__setattr__(self, "thing", thing)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # isinstance() goes by this
        return type(self.thing)

    def __copy__(self) -> Hosted:
        return Hosted(copy.copy(self.thing))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.thing, name)
        return self._hosted_call(value) if inspect.ismethod(value) else host(value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.thing, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.thing, name)

    def _hosted_call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if isinstance(self.thing, Layer):  # a network uploads by itself
                arguments = tuple(self._device(a) for a in arguments)
            return host(method(*arguments, **keywords))

        return call

    def _device(self, value: Any) -> Any:
        if type(value) is Hosted:
            return value.thing
        if not isinstance(value, np.ndarray):
            return value
        backend = self.thing.backend
        return backend.asids(value) if is_ids(value) else backend.asarray(value)


def host(value: Any) -> Any:
    """A device array's own memory, numbers as floats; of layers and lists what is in them."""
    if isinstance(value, fakecp.ndarray):
        return value.host if value.ndim else float(value.host)
    if isinstance(value, Network | Learner | Layer):
        return Hosted(value)
    if isinstance(value, Parameter):
        return dataclasses.replace(value, value=host(value.value), grad=host(value.grad))
    if isinstance(value, Stored):
        return dataclasses.replace(value, value=host(value.value))
    if isinstance(value, tuple | list):
        return type(value)(map(host, value))
    if isinstance(value, dict):
        return {key: host(part) for key, part in value.items()}
    return value
