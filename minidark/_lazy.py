"""Public names that are loaded when they are first used; see `minidark/__init__.py`.

Some of them, as `train` and `generate`, are functions in modules of the same names. Importing such
a module puts it into the package under its own name, where the function belongs; the package
refuses that.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

HOMES = {  # public name: its module
    "load_network": "minidark.cfg.parser",
    "parse_network_cfg": "minidark.cfg.parser",
    "BackendError": "minidark.errors",
    "CfgError": "minidark.errors",
    "DataError": "minidark.errors",
    "DivergedError": "minidark.errors",
    "MinidarkError": "minidark.errors",
    "WeightsError": "minidark.errors",
    "generate": "minidark.generate",
    "Network": "minidark.network",
    "Pairs": "minidark.pairs",
    "Prediction": "minidark.predict",
    "Predictor": "minidark.predict",
    "predict": "minidark.predict",
    "score": "minidark.score",
    "Text": "minidark.text",
    "trace": "minidark.trace",
    "StepReport": "minidark.train",
    "train": "minidark.train",
    "load_weights": "minidark.weights",
}


class Package(ModuleType):
    """The class of the module `minidark`."""

    def __getattr__(self, name: str) -> Any:
        """A public name, or one of the package's modules."""
        if name in HOMES:
            self.__dict__[name] = getattr(import_module(HOMES[name]), name)
            return self.__dict__[name]
        module = f"{self.__name__}.{name}"
        try:
            if not name.startswith("_"):
                return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "layers", *HOMES})
