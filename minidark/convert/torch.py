"""Writes a PyTorch module: one `.py` with the weights inside, which needs only torch.

    from my import load
    net = load()
    y, states = net(x)

The file includes darknet's cells (a copy of `torch_layers`), because torch's cells differ: nn.GRU
resets after the product, so it replaces only a [gru] with reset_after=1 and tanh=1, and nn.RNN
replaces only an [rnn] with elman=1 and activation tanh or relu. The weights are float32 in base64,
so that module and weights stay together; the file takes four thirds of their size.
"""

from __future__ import annotations

import base64
import logging
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidark._version import __version__
from minidark.backend import Array
from minidark.cfg.sections import format_sections
from minidark.convert.gates import TORCH, pack
from minidark.convert.proof import Proven, check_chain
from minidark.convert.workers import run_worker
from minidark.errors import BackendError
from minidark.layers.affine import PackedLayer
from minidark.network import Network

log = logging.getLogger(__name__)

HEAD = '''"""A network by minidark {version}, in PyTorch.

    from my import load           # this file being my.py
    net = load()
    y, states = net(x)            # x float (T, S, {inputs}): T steps of S streams, one-hot
    y, states = net(x, states)    # goes on from there; y is (T, S, {outputs})

Its cfg, batch norm folded away; it has seen {seen} rows:

{cfg}
"""
'''

TAIL = '''

def load() -> Net:
    """The network with its weights, ready to infer."""
    net = Net(
        [
{layers}
        ]
    )
    numbers = torch.frombuffer(bytearray(base64.b64decode(WEIGHTS)), dtype=torch.float32)
    arrays = list(net.state_dict().values())
    with torch.no_grad():
        for array, part in zip(arrays, numbers.split([a.numel() for a in arrays]), strict=True):
            array.copy_(part.view_as(array))
    return net.eval()


WEIGHTS = """
{weights}
"""
'''


def write(net: Network, calls: Sequence[Array]) -> Proven:
    """The module of a network without batch norm in its sublayers, and torch's outputs for `calls`.
    Without torch it logs a warning and returns no outputs."""
    check_chain(net, "PyTorch")
    data = _module(net)
    try:
        return run_worker("torch_worker.py", {"model.py": data}, calls, "model.py")
    except BackendError as error:
        log.warning("not proven: %s", error)
        return data, []


def _module(net: Network) -> bytes:
    written = [LAYERS[layer.type](layer) for layer in net.layers if layer.type in LAYERS]
    arrays = [np.ascontiguousarray(a, dtype="<f4").tobytes() for _, own in written for a in own]
    weights = base64.b64encode(b"".join(arrays)).decode()
    cfg = format_sections(net.sections).encode("ascii", "backslashreplace").decode()
    head = HEAD.format(
        version=__version__,
        inputs=net.inputs,
        outputs=net.outputs,
        seen=net.seen,
        cfg=textwrap.indent(cfg.replace("\\", "\\\\").replace('"', "'"), "    ").rstrip(),
    )
    source = Path(__file__).with_name("torch_layers.py").read_text(encoding="utf-8")
    _, _, code = source.partition("from __future__ import annotations\n")
    tail = TAIL.format(
        layers="\n".join(f"            {call}," for call, _ in written),
        weights="\n".join(textwrap.wrap(weights, 96)),
    )
    begin = "\nfrom __future__ import annotations\n\nimport base64\n"
    return (head + begin + code + tail).encode()


Written = tuple[str, list[Array]]  # a layer's constructor call, and its arrays in torch's order


def _gru(layer: Any) -> Written:
    sizes = f"{layer.inputs}, {layer.outputs}"
    if layer.reset_after and layer.tanh:
        return f"TorchGru({sizes})", [*pack(TORCH["gru"], layer)]
    if layer.reset_after:
        return f"ResetAfterGru({sizes})", _packed(layer)
    return f"Gru({sizes}, tanh={layer.tanh})", _packed(layer)


def _lstm(layer: Any) -> Written:
    return f"Lstm({layer.inputs}, {layer.outputs})", _packed(layer)


def _rnn(layer: Any) -> Written:
    if layer.elman:
        call = f'({layer.inputs}, {layer.outputs}, "{layer.activation.name}")'
        if layer.activation.name in ("tanh", "relu"):
            return f"TorchRnn{call}", [*pack(TORCH["rnn"], layer)]
        return f"Elman{call}", _packed(layer)
    names = f'"{layer.activation.name}", "{layer.self_activation.name}"'
    sizes = f"{layer.inputs}, {layer.hidden}, {layer.outputs}"
    return f"Rnn({sizes}, {names}, shortcut={layer.shortcut})", _packed(layer)


def _connected(layer: Any) -> Written:
    call = f'Connected({layer.inputs}, {layer.outputs}, "{layer.activation.name}")'
    return call, _packed(layer)


def _packed(layer: PackedLayer) -> list[Array]:
    return [array for affine in layer.affines for array in (affine.weights, affine.biases)]


def _batchnorm(layer: Any) -> Written:
    divisor = layer.norm.divisor
    call = f"Batchnorm({layer.inputs}, inside={divisor.inside}, outside={divisor.outside})"
    return call, [a.value for a in layer.arrays()]


LAYERS: dict[str, Callable[[Any], Written]] = {  # [dropout] and [cost] are omitted
    "gru": _gru,
    "lstm": _lstm,
    "rnn": _rnn,
    "connected": _connected,
    "batchnorm": _batchnorm,
    "activation": lambda layer: (f'Activation("{layer.activation.name}")', []),
    "logistic": lambda layer: ('Activation("logistic")', []),
    "softmax": lambda layer: (f"Softmax({layer.groups}, {layer.temperature!r})", []),
}
