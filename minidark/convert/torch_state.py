"""Reads a PyTorch state dict, `.pt` or `.pth`.

torch opens the file with weights_only=True, in a separate process; its unpickler then creates only
tensors and containers. A state dict contains only names and arrays. `torch_modules` tells which
modules they belong to, and `torch_order` in which order they are used:

    nn.Embedding, nn.Linear              [connected], linear
    nn.GRU, nn.LSTM and their cells      [gru] tanh=1 reset_after=1, [lstm]
    nn.RNN and nn.RNNCell                [rnn] elman=1 activation=tanh

A [softmax] is added after logits. What was assumed is logged, because a state dict does not record
activations and residual connections, nor whether an nn.RNN computes tanh or relu.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from minidark.backend import Array
from minidark.convert.found import Found, Trial, whole
from minidark.convert.torch_modules import modules_of
from minidark.convert.torch_order import NO_CHAIN, order_of_use
from minidark.convert.torch_trial import run_modules
from minidark.convert.workers import read_arrays
from minidark.errors import WeightsError
from minidark.files import zips
from minidark.files.archives import MALFORMED

log = logging.getLogger(__name__)

FORM = "state dict"
LARGEST_PICKLE = 1 << 20  # bytes of names and shapes, which are unpickled one by one
MOST_UNPACKED = 2  # times the file's size: torch does not compress
LONGEST = 60  # seconds allowed for reading, generous for busy machines
EXPORT = "torch.export.save(torch.export.export(net.eval(), inputs), 'net.pt2')"
TANH = (
    "; nor does it record the activation of nn.RNN: assumed tanh, for relu give --cfg with [rnn] "
    "activation=relu"
)


def read(path: Path | str) -> Found:
    """Read a state dict. Raises WeightsError, BackendError if torch is not installed, and SaveError
    if the folder for temporary files is full."""
    return read_state(whole(path), path)


def read_state(data: bytes, path: Path | str) -> Found:
    """Like `read`, from the file's bytes."""
    _check_zip(data, path)
    arrays = read_arrays("torch_state_worker.py", "state.pt", data, path, FORM, LONGEST)
    return from_state(arrays, path)


def _check_zip(data: bytes, path: Path | str) -> None:
    """Raise WeightsError for a zip with compressed or too much data, or one that is no state dict.
    Older files are not zips."""
    if not data.startswith(b"PK"):
        return
    try:
        with zips.open_zip(io.BytesIO(data), MOST_UNPACKED) as archive:
            pickles = [m.file_size for m in archive.infolist() if m.filename.endswith(".pkl")]
            names = ["/" + name for name in archive.namelist()]
    except zips.PackedError as error:
        message = "its arrays are compressed; save net.state_dict() with torch.save"
        raise WeightsError(f"{path}: {message}") from error
    except (*zips.DAMAGED, *MALFORMED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error
    if any("/code/" in name for name in names):
        raise WeightsError(f"{path}: a TorchScript program; save net.state_dict(), or {EXPORT}")
    if any(name.endswith("/models/model.json") for name in names):
        raise WeightsError(f"{path}: a program of torch.export; name it .pt2")
    if sum(pickles) > LARGEST_PICKLE:
        raise WeightsError(f"{path}: more than {LARGEST_PICKLE:,} bytes besides its tensors")


def from_state(arrays: Mapping[str, Array], path: Path | str, keeps_order: bool = True) -> Found:
    """The layers of named arrays, in the only order that fits. keeps_order: whether the file keeps
    the order of the state dict. Raises WeightsError."""
    model = Found.begin(path)
    model.has_activations = False
    try:
        modules, is_registered = modules_of(arrays, path)
        readings = [module.readings for module in modules.values()]
        order = order_of_use(readings, path, is_registered and keeps_order)
        steps = [(reading, modules[reading.name]) for reading in order]
        for reading, module in steps:
            module.add_to(model, reading)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(f"{path}: {NO_CHAIN}") from error
    log.info(
        "%s: assumed %s, in this order; a state dict does not record activations and residual "
        "connections%s",
        path, ", ".join(map(str, order)), TANH if any(r.is_rnn for r in order) else "",
    )  # fmt: skip
    model.end_in_softmax()
    model.trial = Trial(partial(run_modules, steps))
    return model
