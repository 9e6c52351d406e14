"""minidark: a config-driven, darknet-style mini framework for recurrent networks.

    import minidark

    net = minidark.load_network("rnn", "backup/rnn_final.weights")
    print(minidark.generate(net, seed=b"def ", length=200).decode())

The public names are listed below. Each is imported at its first use, so commands that do not need
numpy start without it. The library prints nothing; it logs to the logger "minidark".
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from minidark._version import __version__ as __version__

logging.getLogger("minidark").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from minidark import layers as layers
    from minidark.data.pairs import Pairs as Pairs
    from minidark.data.text import Text as Text
    from minidark.errors import BackendError as BackendError
    from minidark.errors import CfgError as CfgError
    from minidark.errors import DataError as DataError
    from minidark.errors import DivergedError as DivergedError
    from minidark.errors import MinidarkError as MinidarkError
    from minidark.errors import WeightsError as WeightsError
    from minidark.inference.classify import Classifier as Classifier
    from minidark.inference.generate import generate as generate
    from minidark.inference.predict import Prediction as Prediction
    from minidark.inference.predict import Predictor as Predictor
    from minidark.inference.predict import predict as predict
    from minidark.inference.score import score as score
    from minidark.inference.trace import trace as trace
    from minidark.network.network import Network as Network
    from minidark.network.parser import load_network as load_network
    from minidark.network.parser import parse_network_cfg as parse_network_cfg
    from minidark.training.report import StepReport as StepReport
    from minidark.training.train import train as train
    from minidark.weights.darknet import load_weights as load_weights

_HOMES = {  # public name: its module
    "Pairs": "minidark.data.pairs",
    "Text": "minidark.data.text",
    "BackendError": "minidark.errors",
    "CfgError": "minidark.errors",
    "DataError": "minidark.errors",
    "DivergedError": "minidark.errors",
    "MinidarkError": "minidark.errors",
    "WeightsError": "minidark.errors",
    "Classifier": "minidark.inference.classify",
    "generate": "minidark.inference.generate",
    "Prediction": "minidark.inference.predict",
    "Predictor": "minidark.inference.predict",
    "predict": "minidark.inference.predict",
    "score": "minidark.inference.score",
    "trace": "minidark.inference.trace",
    "Network": "minidark.network.network",
    "load_network": "minidark.network.parser",
    "parse_network_cfg": "minidark.network.parser",
    "StepReport": "minidark.training.report",
    "train": "minidark.training.train",
    "load_weights": "minidark.weights.darknet",
}
__all__ = ["__version__", "layers", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name or a module of the package at its first use."""
    if name in _HOMES:
        globals()[name] = value = getattr(import_module(_HOMES[name]), name)
        return value
    module = f"{__name__}.{name}"
    try:
        if not name.startswith("_"):
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
