"""What is fuzzed: the readers as functions on bytes, and what must hold whatever the bytes are.

Which of a target's rarer checks are made hangs on the bytes alone, so that an input that was found
once is found again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import numpy as np

from minidark import CfgError, Network, WeightsError
from minidark.backend import Array, get_backend
from minidark.cfg.plan import Doubts, Plan, plan_cfg
from minidark.cfg.sections import format_sections
from minidark.convert.found import Found, fill
from minidark.errors import MinidarkError, bare
from minidark.network.parser import build_network
from minidark.report.run import figures, read_run_folder
from minidark.training.checkpoint import Checkpoint
from minidark.training.records import _Log
from minidark.weights import named as named_weights
from minidark.weights.darknet import read_weights
from tests.fuzz import seeds
from tests.helpers import network

RARELY = 32  # one input in so many
LONGEST_MESSAGE = 500  # characters
SMALL = 2000  # numbers: networks that are made
UNTOUCHED = -1


def cfg_target(data: bytes) -> None:
    """A cfg's bytes are a plan that is what it says, or one line of CfgError."""
    try:
        plan = plan_cfg(data, "a.cfg", warn=Doubts("a.cfg", strict=len(data) % RARELY == 1))
    except CfgError as error:
        check_message(error)
        return
    assert plan.layers
    assert plan.net.rows >= 1
    if len(data) % RARELY == 0:
        again = plan_cfg(format_sections(plan.sections).encode())
        assert sizes(again) == sizes(plan)
    if len(data) % RARELY == 2 and plan.trained < SMALL and plan.net.streams < SMALL:
        check_network(plan)


def sizes(plan: Plan) -> list[object]:
    return [plan.net, *((layer.options, layer.inputs, layer.size) for layer in plan.layers)]


def check_network(plan: Plan) -> None:
    try:
        net = build_network(plan, 0, get_backend("cpu"))
    except CfgError as error:  # an activation or another name that is none
        check_message(error)
        return
    assert sum(p.value.size for p in net.parameters()) == plan.trained


def check_message(error: MinidarkError) -> None:
    said = str(error)
    assert said.isprintable(), said
    assert len(said) < LONGEST_MESSAGE, said


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network that files are read into, and how many bytes behind the header are right for it."""

    net: Network
    payload: dict[str, int]

    @classmethod
    def of(cls, *sections: str) -> Loaded:
        net = network(*sections, dtype="float32")
        return cls(net, {order: cls.measured(net, order) for order in ("pjreddie", "alexey")})

    @staticmethod
    def measured(net: Network, order: str) -> int:
        arrays = [
            a
            for layer, options in zip(net.layers, net.layer_options, strict=True)
            if not options.dontload
            for a in layer.stored_arrays(order)
            if not options.dontloadscales or a.kind in ("biases", "weights")
        ]
        return 4 * sum(a.value.size for a in arrays)


NETWORKS = [
    Loaded.of("net inputs=2", "gru output=2 batch_normalize=1", "connected output=2"),
    Loaded.of("net inputs=2", "lstm output=3", "dropout", "softmax"),
    Loaded.of("net inputs=3", "rnn output=2 hidden=1", "batchnorm"),
    Loaded.of(
        "net inputs=1",
        "connected output=2 batch_normalize=1 dontloadscales=1",
        "gru output=1 dontload=1",
        "connected output=1 batch_normalize=1",
    ),
]
ORDERS = (None, "pjreddie", "alexey", None)


def weights_target(data: bytes) -> None:
    """A weight file's bytes fill the network whose file is about as long, or are one line of
    WeightsError and leave it as it was. Its last bytes settle how it is read."""
    loaded = min(NETWORKS, key=lambda loaded: abs(loaded.payload["pjreddie"] + 20 - len(data)))
    net, last = loaded.net, data[-1] if data else 0
    order, allowed, cutoff = ORDERS[last & 3], bool(last & 64), (None, None, None, 1)[last >> 4 & 3]
    edges = net.parameters()[0].value, net.parameters()[-1].value
    for edge in edges:  # an input before may have left NaN
        edge[...] = UNTOUCHED
    net.seen = UNTOUCHED
    try:
        header = read_weights(net, data, "x.weights", 0, cutoff, order, allow_nonfinite=allowed)
    except WeightsError as error:
        check_message(error)
        assert net.seen == UNTOUCHED
        assert all((edge == UNTOUCHED).all() for edge in edges)
        return
    assert net.seen == header.seen >= 0
    payload = loaded.payload[order or header.order]
    assert cutoff or len(data) == header.size + payload
    assert allowed or all(np.isfinite(edge).all() for edge in edges)


def yaml_target(data: bytes) -> None:
    """The same of a cfg in YAML, and what is a plan is the same plan as a cfg's text."""
    try:
        plan = plan_cfg(data, "a.yaml", warn=unheard)
    except CfgError as error:
        check_message(error)
        return
    again = plan_cfg(format_sections(plan.sections).encode(), "a.cfg", warn=unheard)
    assert sizes(again) == sizes(plan)


def unheard(message: str, line: int) -> None:
    del message, line


NAMED = ("net inputs=2", "connected output=2", "batchnorm")  # few arrays, so that files are short
NAMED_NETWORK = network(*NAMED, dtype="float32")


def named_target(data: bytes, path: str) -> None:
    """A file of named arrays fills the network, or is one line of WeightsError and leaves it as it
    was."""
    net = NAMED_NETWORK
    edges = net.parameters()[0].value, net.parameters()[-1].value
    for edge in edges:
        edge[...] = UNTOUCHED
    net.seen = UNTOUCHED
    try:
        named_weights.load(net, io.BytesIO(data), path)
    except WeightsError as error:
        check_message(error)
        assert net.seen == UNTOUCHED
        assert all((edge == UNTOUCHED).all() for edge in edges)
        return
    assert net.seen >= 0
    assert all(np.isfinite(edge).all() for edge in edges)


def check_model(read: Callable[[], Found]) -> None:
    """What `read` finds is a network, or one line of WeightsError."""
    try:
        net = read().network()
    except WeightsError as error:
        check_message(error)
        return
    assert all(np.isfinite(p.value).all() for p in net.parameters())


def onnx_target(data: bytes) -> None:
    from minidark.convert.onnx_chain import read_model

    check_model(lambda: read_model(data, "x.onnx"))


def keras_target(data: bytes) -> None:
    from minidark.convert import keras_chain

    with patch.object(keras_chain, "read_arrays", read_here):
        check_model(lambda: keras_chain.read_model(io.BytesIO(data), "x.keras"))


H5_CFG = ("net inputs=2", "gru output=1 tanh=1 reset_after=1", "connected output=2")
H5_NETWORK = network(*H5_CFG, dtype="float32")


def h5_target(data: bytes) -> None:
    """A whole model is a network; weights alone fill the one of a cfg."""
    from minidark.convert import keras_chain

    with patch.object(keras_chain, "read_arrays", read_here):
        try:
            found = keras_chain.read_h5(data, "x.h5")
            fill(H5_NETWORK, found.arrays_for(H5_NETWORK), "x.h5")
        except WeightsError as error:
            check_message(error)
        check_model(lambda: keras_chain.read_h5(data, "x.h5"))


def torch_target(data: bytes) -> None:
    from minidark.convert import torch_state

    with patch.object(torch_state, "read_arrays", read_here):
        check_model(lambda: torch_state.read_state(data, "x.pt"))


def program_target(data: bytes) -> None:
    from minidark.convert.torch_program import read_program

    check_model(lambda: read_program(data, "x.pt2"))


def state_target(data: bytes) -> None:
    from minidark.convert.torch_names import has_state
    from minidark.convert.torch_safetensors import read_state

    has_state(io.BytesIO(data))
    check_model(lambda: read_state(data, "x.safetensors"))


HDF5 = "x.h5"  # in the working folder


def read_here(
    reader: str, file: str, data: bytes, path: str, form: str, limit: float
) -> dict[str, Array]:
    """`workers.read_arrays` without a process for each file: the same reader, and whatever goes
    wrong there is the same error."""
    del file, limit
    module = import_module(f"minidark.convert.{reader.removesuffix('.py')}")

    def refuse(why: str) -> NoReturn:
        raise WeightsError(f"{path}: {bare(why, 300)}")

    with patch.object(module, "refuse", refuse):
        try:
            if "keras" not in reader:
                return dict(module.arrays(io.BytesIO(data), module.MOST * len(data)))
            Path(HDF5).write_bytes(data)
            with module.h5py.File(HDF5, "r") as opened:
                return dict(module.arrays(opened, len(data)))
        except WeightsError:
            raise
        except Exception as error:
            raise WeightsError(f"{path}: not a {form}, or damaged") from error


# --- what a training run leaves -----------------------------------------------------------------


def checkpoint_target(data: bytes) -> None:
    """A checkpoint with the right digest goes on for a batch, or is one line."""
    path = Path("x.ckpt")
    path.write_bytes(data)
    training = seeds.one_run()
    try:
        training.restore(Checkpoint.read(path))
        next(training, None)
    except MinidarkError as error:
        check_message(error)


def run_target(data: bytes) -> None:
    """A run's folder is a report's figures, in JSON, or one line."""
    check_report(data, seeds.made("log")[0])


def log_target(data: bytes) -> None:
    check_report(seeds.made("run")[0], data)
    try:
        log = _Log(Path("log.jsonl"), len(data) % 40)  # as a run that goes on cuts it off
    except MinidarkError as error:
        check_message(error)
        return
    assert log.size <= len(data)


def check_report(run: bytes, log: bytes) -> None:
    Path("run.json").write_bytes(run)
    Path("log.jsonl").write_bytes(log)
    try:
        found = read_run_folder(Path())
    except MinidarkError as error:
        check_message(error)
        return
    json.dumps(figures(found))
    assert found.state
    assert len(found.speeds) <= len(found.lines)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "cfg": cfg_target,
    "weights": weights_target,
    "yaml": yaml_target,
    "safetensors": lambda data: named_target(data, "x.safetensors"),
    "npz": lambda data: named_target(data, "x.npz"),
    "onnx": onnx_target,
    "keras": keras_target,
    "h5": h5_target,
    "pt": torch_target,
    "pt2": program_target,
    "state": state_target,
    "checkpoint": checkpoint_target,
    "run": run_target,
    "log": log_target,
}
