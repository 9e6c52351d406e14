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
from minidark.errors import BackendError
from minidark.files.archives import SUFFIXES as ARCHIVES

if TYPE_CHECKING:
    from minidark.convert.found import Found
    from minidark.convert.proof import Write

DARKNET = (".weights", ".backup")
CFGS = (".cfg", *YAML)
WEIGHTS = (*DARKNET, *ARCHIVES)


@dataclass(frozen=True, slots=True)
class Model:
    """A form of other programs: the modules in this package that read and write it, which are
    imported when they are used."""

    reader: str = ""
    writer: str = ""
    missing: str = ""  # what to say where their library is missing

    @property
    def reads(self) -> bool:
        return bool(self.reader)

    @property
    def writes(self) -> bool:
        return bool(self.writer)

    @property
    def read(self) -> Callable[[Path | str], Found]:
        """Of a file's path, what is found in it. Raises WeightsError."""
        read: Callable[[Path | str], Found] = self._module(self.reader).read
        return read

    @property
    def write(self) -> Write:
        """Of a network without batch norm in its sublayers and the inputs of some calls, the file's
        bytes and what its own program makes of the calls. Raises CfgError for a layer that the
        form has no counterpart of, BackendError for a library that is missing."""
        write: Write = self._module(self.writer).write
        return write

    def _module(self, name: str) -> ModuleType:
        try:
            return import_module(f"minidark.convert.{name}")
        except ImportError as error:
            if not self.missing:
                raise
            raise BackendError(self.missing) from error


MODELS = {
    ".onnx": Model(
        "onnx_chain", "onnx", "ONNX needs the extra `onnx`: pip install 'minidark[onnx]'"
    ),
    ".keras": Model("keras_chain", "keras"),
    ".py": Model(writer="torch"),
    ".pt": Model("torch_state"),
    ".pth": Model("torch_state"),
}
