"""The Keras models of `keras_models`, in all three forms of files, beside Keras itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from minidark import MinidarkError, Network
from minidark.backend import Array
from minidark.convert import keras_chain, keras_plan
from minidark.convert.fold import in_float64
from minidark.convert.found import fill
from minidark.convert.proof import compared
from tests.convert.keras_models import INPUTS, REFUSED, RIGHT, TABLE, Row, file_name, symbols
from tests.fuzz.targets import read_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keras", "h5py", "torch"))),
        reason="Keras, h5py or PyTorch is not installed",
    ),
]
HALF = {"mixed_float16", "float16"}  # Keras computes with three digits
# Of these a .h5 does not tell whose class it is, or that two layers were one.
NOT_IN_OLDER = {"one's own layer", "shared between"}
OLDER_REASONS = {"subclassed within": "minidark reads only"}  # it names no module
OLDER_TRIALS = ("gru", "nested twice", "frozen within", "two inner models", "states")
# These arrays need more than shapes and numbers.
NOT_ALONE = {
    "batchnorm without scale": "1.batchnorm needs 8, 8, 8, 8",
    "batchnorm without center": "0.batchnorm needs 7, 7, 7, 7",
    "nested twice": "both fit 2.batchnorm",
}
OTHER_EPSILON = {"batchnorm epsilon"}  # it is not in the file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Keras saved all models, and their outputs."""
    made = tmp_path_factory.mktemp("keras")
    command = [sys.executable, "-W", "ignore", "-m", "tests.convert.keras_models", str(made)]
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return made


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, Array]:
    with np.load(folder / "outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(autouse=True)
def in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files are read here, without a process for each."""
    monkeypatch.chdir(tmp_path)
    with patch.object(keras_chain, "read_arrays", read_here):
        yield


def difference(net: Network, row: Row, theirs: Array) -> float:
    """The largest difference between a network in float64 and Keras's outputs."""
    if row.logits:
        exps = np.exp(theirs - theirs.max(axis=-1, keepdims=True))
        theirs = exps / exps.sum(axis=-1, keepdims=True)
    count = len(theirs)
    if row.last and count == len(symbols()):  # of each step, with the state carried over
        own = in_float64(net).twin(1).forward(symbols()[:, None])[:, 0]
        return float(np.abs(own - theirs).max())
    own = in_float64(net).twin(count).forward(symbols().reshape(count, -1).T)
    own = own[-1] if row.last or theirs.ndim == 2 else own.transpose(1, 0, 2)
    assert own.shape == theirs.shape
    return float(np.abs(own - theirs).max())


def assert_refused(error: MinidarkError, path: Path, reason: str) -> None:
    assert str(error).startswith(f"{path}: ")
    assert reason in str(error)
    assert "\n" not in str(error)


def assert_same(name: str, net: Network, outputs: dict[str, Array]) -> None:
    assert difference(net, TABLE[name], outputs[name]) < (1e-3 if name in HALF else 1e-5)


@pytest.mark.parametrize("name", TABLE)
def test_a_model_is_the_same_network_or_is_refused(
    name: str, folder: Path, outputs: dict[str, Array]
) -> None:
    row, path = TABLE[name], folder / f"{file_name(name)}.keras"
    if row.refused:
        with pytest.raises(MinidarkError) as error:
            keras_chain.read(path).network()
        assert_refused(error.value, path, row.refused)
        return
    found = keras_chain.read(path)
    assert found.last_only == row.last
    assert_same(name, found.network(), outputs)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOT_IN_OLDER])
def test_the_older_file_of_a_model_too(name: str, folder: Path, outputs: dict[str, Array]) -> None:
    row, path = TABLE[name], folder / f"{file_name(name)}.h5"
    if row.refused:
        with pytest.raises(MinidarkError) as error:
            keras_chain.read(path).network()
        assert_refused(error.value, path, OLDER_REASONS.get(name, row.refused))
        return
    assert_same(name, keras_chain.read(path).network(), outputs)


@pytest.mark.parametrize("name", [name for name in RIGHT if name not in OTHER_EPSILON])
def test_weights_alone_and_a_cfg_are_the_same_network(
    name: str, folder: Path, outputs: dict[str, Array]
) -> None:
    net = keras_chain.read(folder / f"{file_name(name)}.keras").network()
    for parameter in net.parameters():
        parameter.value[...] = 9
    path = folder / f"{file_name(name)}.weights.h5"
    found = keras_chain.read(path)
    with pytest.raises(MinidarkError, match=r"has arrays, and not the layers; add --cfg CFG"):
        found.network()
    if name in NOT_ALONE:
        with pytest.raises(MinidarkError) as error:
            found.arrays_for(net)
        assert_refused(error.value, path, NOT_ALONE[name])
        return
    fill(net, found.arrays_for(net), path)
    assert_same(name, net, outputs)


TRIALS = """
import runpy, sys
from pathlib import Path
import numpy as np
read = runpy.run_path(sys.argv[1])["read"]
for folder in sorted(Path(sys.argv[2]).iterdir()):
    np.savez(folder / "outputs.npz", **read(folder))
"""


def test_the_models_own_program_agrees(folder: Path, tmp_path: Path) -> None:
    """Each trial, in one process for all, and not one for each."""
    files = [f"{file_name(name)}.keras" for name in RIGHT]
    files += [f"{file_name(name)}.h5" for name in OLDER_TRIALS]
    found = {file: keras_chain.read(folder / file) for file in files}

    def keep(reader: str, file: str, data: bytes, path: Path, *_: Any) -> dict[str, Array]:
        (tmp_path / "trials" / path.name).mkdir(parents=True)
        (tmp_path / "trials" / path.name / file).write_bytes(data)
        raise MinidarkError("later")

    for model in found.values():
        with patch.object(keras_plan, "read_arrays", keep), pytest.raises(MinidarkError):
            compared(model.network(), model)
    worker = Path(keras_plan.__file__).with_name("keras_trial_worker.py")
    command = [sys.executable, "-W", "ignore", "-c", TRIALS, str(worker), str(tmp_path / "trials")]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": "torch"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]

    def load(reader: str, file: str, data: bytes, path: Path, *_: Any) -> dict[str, Array]:
        with np.load(tmp_path / "trials" / path.name / "outputs.npz") as stored:
            return dict(stored)

    for name, model in found.items():
        with patch.object(keras_plan, "read_arrays", load):
            largest = compared(model.network(), model)
            wrong = model.network()
            wrong.layers[-1 if len(wrong.layers) == 1 else -2].parameters()[0].value.flat[0] += 0.05
            with pytest.raises(MinidarkError, match="the model differs from predict"):
                compared(wrong, model)
        assert largest is not None, name
        assert largest < 1e-5, name


def test_the_table_is_large() -> None:
    assert (len(RIGHT), len(REFUSED)) == (69, 48)
    assert not any(row.refused for row in RIGHT.values())
    assert all(row.refused for row in REFUSED.values())
    assert INPUTS == 7
