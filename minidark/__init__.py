"""minidark: a config-driven, darknet-style mini framework for recurrent networks.

    import minidark

    net = minidark.load_network("rnn", "backup/rnn_final.weights")
    print(minidark.generate(net, seed=b"def ", length=200).decode())

The public names are those below. Each is loaded when it is first used, so that a command which
needs no numpy waits for none. The library prints nothing; it logs under "minidark".
"""

import logging
from typing import TYPE_CHECKING

__version__ = "0.1.0"

logging.getLogger("minidark").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from minidark import layers as layers
    from minidark.cfg.parser import load_network as load_network
    from minidark.cfg.parser import parse_network_cfg as parse_network_cfg
    from minidark.errors import BackendError as BackendError
    from minidark.errors import CfgError as CfgError
    from minidark.errors import DataError as DataError
    from minidark.errors import DivergedError as DivergedError
    from minidark.errors import MinidarkError as MinidarkError
    from minidark.errors import WeightsError as WeightsError
    from minidark.generate import generate as generate
    from minidark.network import Network as Network
    from minidark.pairs import Pairs as Pairs
    from minidark.predict import Prediction as Prediction
    from minidark.predict import Predictor as Predictor
    from minidark.predict import predict as predict
    from minidark.score import score as score
    from minidark.text import Text as Text
    from minidark.trace import trace as trace
    from minidark.train import StepReport as StepReport
    from minidark.train import train as train
    from minidark.weights import load_weights as load_weights
else:
    import sys

    from minidark import _lazy

    sys.modules[__name__].__class__ = _lazy.Package
    __all__ = ["__version__", "layers", *_lazy.HOMES]
