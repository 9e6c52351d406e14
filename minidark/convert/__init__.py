"""Model formats of other programs: one module reads or writes one format; MODELS lists them.

Writers take a network whose batch norm is folded into its weights. Readers return sections and
arrays (`found.Found`), from which a network is built as from a cfg. Before a model is saved, its
own program runs it, and `proof` compares the outputs with `predict`.
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
    """The modules in this package that read and write a format. They are imported on first use."""

    reader: str = ""
    writer: str = ""
    missing: str = ""  # the error message if their library is not installed

    @property
    def reads(self) -> bool:
        return bool(self.reader)

    @property
    def writes(self) -> bool:
        return bool(self.writer)

    @property
    def read(self) -> Callable[[Path | str], Found]:
        """The function that reads a model from a path. It raises WeightsError."""
        read: Callable[[Path | str], Found] = self._module(self.reader).read
        return read

    @property
    def write(self) -> Write:
        """The function that writes a model. It takes a network without batch norm in its sublayers
        and the inputs of some calls, and returns the file's bytes and its own program's outputs
        for these calls. It raises CfgError for a layer that the format cannot represent, and
        BackendError if a library is missing."""
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
    ".h5": Model("keras_chain"),
    ".hdf5": Model("keras_chain"),
    ".py": Model(writer="torch"),
    ".pt": Model("torch_state"),
    ".pth": Model("torch_state"),
    ".pt2": Model("torch_program"),
}
STATE_DICT = Model("torch_safetensors")  # a .safetensors that another program wrote
