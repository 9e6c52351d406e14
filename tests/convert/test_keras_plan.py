"""What Keras is asked to build: known classes, numbers and names, whatever else a config has."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from minidark import WeightsError
from minidark.backend import Array
from minidark.convert import keras_plan
from minidark.convert.found import Found
from minidark.convert.keras_layers import read_layers
from minidark.convert.keras_wiring import chain

EVIL = {"module": "os", "class_name": "system", "config": {"command": "touch evil"}}
HOSTILE = {"kernel_initializer": EVIL, "dtype": {"config": {"name": "float32"}}, "evil": EVIL}
ARRAYS = {
    "layers/lstm/cell": [np.ones(shape, np.float32) for shape in [(3, 16), (4, 16), (16,)]],
    "layers/dense": [np.ones((4, 3), np.float32), np.ones(3, np.float32)],
}


def model(first: dict[str, Any] | None = None, **lstm: Any) -> dict[str, Any]:
    """A Sequential of an LSTM and a Dense, with what a hostile config may have beside."""
    own = {
        "name": "l", "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid",
        "return_sequences": True, **HOSTILE,
    }  # fmt: skip
    layers = [
        {"class_name": "LSTM", "config": own | lstm, "build_config": EVIL},
        {"class_name": "Dense", "config": {"name": "d", "activation": "linear", **HOSTILE}},
    ]
    config = {"layers": [first, *layers] if first else layers, "evil": EVIL}
    return {"class_name": "Sequential", "config": config, "compile_config": EVIL}


def found_in(config: dict[str, Any]) -> Found:
    wired = chain(config, "a.keras")
    found = read_layers(wired, ARRAYS)
    found.trial = keras_plan.trial(config, wired, found, "model.weights.h5", b"weights")
    return found


def plan_of(found: Found, symbols: Array) -> dict[str, Any]:
    """The plan that the worker is given."""
    given: dict[str, Any] = {}

    def keep(reader: str, file: str, data: bytes, *_: Any) -> dict[str, Array]:
        assert (reader, file) == ("keras_trial_worker.py", "trial.npz")
        with np.load(io.BytesIO(data)) as arrays:
            given.update(json.loads(str(arrays["plan"])))
            assert arrays["weights"].tobytes() == b"weights"
            np.testing.assert_array_equal(arrays["symbols"], symbols)
        return {"outputs": symbols}

    assert found.trial
    with patch.object(keras_plan, "read_arrays", keep):
        assert found.trial.run(symbols) is symbols
    return given


def test_nothing_but_numbers_and_names_of_the_config_reaches_keras() -> None:
    plan = plan_of(found_in(model(stateful=True, dropout=0.5)), np.zeros((2, 1), int))
    assert "evil" not in json.dumps(plan)
    lstm, dense = plan["model"]["layers"]
    assert lstm == {
        "kind": "LSTM", "name": "l", "reads": [], "is_trained": True,
        "arguments": {
            "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid",
            "return_sequences": True, "stateful": True,
        },
    }  # fmt: skip
    assert dense["arguments"] == {"activation": "linear"}
    assert plan["symbols"] == 3


@pytest.mark.parametrize("key", ["return_state", "unroll", "stateful", "units", "use_bias"])
def test_an_argument_that_is_more_is_refused(key: str) -> None:
    with pytest.raises(
        WeightsError, match=f"LSTM 'l' cannot be taken over: its {key} is no number"
    ):
        found_in(model(**{key: EVIL}))


INPUT = {"class_name": "InputLayer", "config": {"name": "x"}}
STEPS: dict[str, tuple[list[Any] | None, dict[str, Any], int | None]] = {
    "any number": ([None, None, 3], {}, None),
    "a fixed number": ([None, 7, 3], {}, 7),
    "one, without an axis of time": ([None, 3], {}, 1),
    "the last of any": ([None, None, 3], {"return_sequences": False}, 50),
    "the last of a fixed number": ([None, 7, 3], {"return_sequences": False}, 7),
    "fixed, with a state that stays": ([2, 7, 3], {"stateful": True}, None),
    "the last of a state that stays": (
        [2, 7, 3], {"stateful": True, "return_sequences": False}, 350,
    ),
    "unknown": (None, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_of_a_trial_are_those_that_the_model_takes(name: str) -> None:
    shape, keys, steps = STEPS[name]
    first = {**INPUT, "config": {"name": "x", "batch_shape": shape}} if shape else None
    found = found_in(model(first, **keys))
    assert found.trial
    assert found.trial.steps == steps
    assert found.last_only == ("return_sequences" in keys)


def test_a_size_that_is_no_number_is_refused() -> None:
    first = {**INPUT, "config": {"name": "x", "batch_shape": [None, EVIL, 3]}}
    with pytest.raises(
        WeightsError, match=r"^a\.keras: an input has an axis whose size is no number"
    ):
        found_in(model(first))


def test_the_worker_names_no_class_that_the_plan_lacks() -> None:
    """It takes classes from keras.layers by name, and the plan has only names that were read."""
    worker = Path(keras_plan.__file__).with_name("keras_trial_worker.py").read_text()
    assert "deserialize" not in worker
    assert "load_model" not in worker
