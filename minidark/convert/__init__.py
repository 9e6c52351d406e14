"""Networks to and from the forms of other programs: one form one file, one table by suffix.

Models go out of a network whose batch norm is folded away, and come back as sections and arrays
(`found.Found`), from which a network is made as from a cfg. What goes out is run by its own
program and compared with `predict` before a file is written (`proof`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from minidark.cfg.forms import SUFFIXES as YAML
from minidark.files.archives import SUFFIXES as ARCHIVES

if TYPE_CHECKING:
    from minidark.convert.found import Found
    from minidark.convert.proof import Write

DARKNET = (".weights", ".backup")
CFGS = (".cfg", *YAML)
WEIGHTS = (*DARKNET, *ARCHIVES)


@dataclass(frozen=True, slots=True)
class Model:
    """A form of other programs: the module in this package, which is imported when it is used."""

    module: str
    reads: bool = True
    writes: bool = True

    @property
    def read(self) -> Callable[[Path | str], Found]:
        """Of a file's path, what is found in it. Raises WeightsError."""
        read: Callable[[Path | str], Found] = self._module.read
        return read

    @property
    def write(self) -> Write:
        """Of a network without batch norm in its sublayers and the inputs of some calls, the file's
        bytes and what its own program makes of the calls. Raises CfgError for a layer that the
        form has no counterpart of, BackendError for a library that is missing."""
        write: Write = self._module.write
        return write

    @property
    def _module(self) -> ModuleType:
        return import_module(f"minidark.convert.{self.module}")


MODELS = {
    ".onnx": Model("onnx"),
    ".keras": Model("keras"),
    ".py": Model("torch", reads=False),
    ".pt": Model("torch_state", writes=False),
    ".pth": Model("torch_state", writes=False),
}
