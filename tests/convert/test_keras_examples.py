"""Two well-known examples of Keras come over: they are compared, sampled and trained further.

keras.io's "Character-level text generation with LSTM" reads 40 one-hot characters of 56 and gives
the next one. TensorFlow's "Text generation with an RNN" subclasses keras.Model.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import run
from tests.helpers import cfg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keras", "h5py", "torch"))),
        reason="Keras, h5py or PyTorch is not installed",
    ),
]
EXAMPLES = """
import keras, numpy as np
from keras import layers
rng = np.random.default_rng(0)
model = keras.Sequential(
    [keras.Input(shape=(40, 56)), layers.LSTM(128), layers.Dense(56, activation="softmax")]
)
model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(0.01))
x = np.eye(56, dtype=np.float32)[rng.integers(0, 56, (64, 41))]
model.fit(x[:, :40], x[:, 40], verbose=0)
model.save("io.keras")
model.save("io.h5")

class MyModel(keras.Model):
    def __init__(self, vocab_size=66, embedding_dim=16, rnn_units=32):
        super().__init__()
        self.embedding = layers.Embedding(vocab_size, embedding_dim)
        self.gru = layers.GRU(rnn_units, return_sequences=True, return_state=True)
        self.dense = layers.Dense(vocab_size)

    def call(self, inputs, states=None, return_state=False, training=False):
        x = self.embedding(inputs, training=training)
        x, states = self.gru(x, initial_state=states, training=training)
        x = self.dense(x, training=training)
        return (x, states) if return_state else x

model = MyModel()
ids = rng.integers(0, 66, (4, 101))
model.compile(
    optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
model.fit(ids[:, :100], ids[:, 1:], verbose=0)
model.save_weights("tf.weights.h5")
model.save("tf.keras")
ids = rng.integers(0, 66, 1000)
first, states = model(ids[None, :400], return_state=True)
second = model(ids[None, 400:], states=states)
y = keras.ops.softmax(keras.ops.concatenate([first, second], axis=1))
np.savez("tf.npz", ids=ids, y=keras.ops.convert_to_numpy(keras.ops.stop_gradient(y))[0])
"""
TUTORIAL = cfg(
    "net inputs=66 batch=2 time_steps=5",
    "connected output=16 activation=linear",
    "gru output=32 tanh=1 reset_after=1",
    "connected output=66 activation=linear",
    "softmax",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", EXAMPLES]
    done = subprocess.run(command, cwd=made, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return made


def assert_it_samples_and_learns(symbols: int) -> None:
    """my.cfg and my.weights in the working folder."""
    Path("names").write_text("\n".join(f"<{i}>" for i in range(symbols)))
    sampled = run("generate", "my.cfg", "my.weights", "--tokens", "names", "--len", "9")
    assert sampled.exit_code == 0, sampled.stderr
    assert sampled.stdout.count("<") >= 9
    rng = np.random.default_rng(1)
    Path("text").write_text(" ".join(map(str, rng.integers(0, symbols, 3000))))
    trained = run(
        "train", "my.cfg", "text", "--tokenized", "--weights", "my.weights", "--clear",
        "--batches", "3", "--set", "net.batch=2", "--set", "net.time_steps=5",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    before, after = (
        load_network("my.cfg", file) for file in ("my.weights", "backup/my_final.weights")
    )
    assert any(
        (a.value != b.value).any()
        for a, b in zip(before.parameters(), after.parameters(), strict=True)
    )


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_the_example_of_keras_io(
    form: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", str(folder / f"io.{form}"), "my.weights", "--out-cfg", "my.cfg")
    assert result.exit_code == 0, result.stderr
    assert "56 inputs, lstm 128, connected 56, softmax, of which the model gives" in result.stderr
    assert "largest difference from its own program" in result.stderr
    if form == "keras":
        assert_it_samples_and_learns(56)


def test_the_tutorial_of_tensorflow(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.cfg").write_text(TUTORIAL)
    source = str(folder / "tf.weights.h5")
    without = run("convert", source, "my.weights", "--out-cfg", "other.cfg")
    assert without.exit_code == 4
    assert "it has arrays, and not the layers; add --cfg CFG with the layers" in without.stderr
    for file in ("tf.keras", "tf.weights.h5"):
        result = run("convert", str(folder / file), "my.weights", "--cfg", "my.cfg", "--force")
        assert result.exit_code == 0, result.stderr
        assert "took 0.connected from embedding, 1.gru from gru/cell" in result.stderr
        with np.load(folder / "tf.npz") as theirs:
            ids, y = theirs["ids"], theirs["y"]
        own = load_network("my.cfg", "my.weights", batch=1).predict(ids[:, None])[:, 0]
        np.testing.assert_allclose(own, y, rtol=0, atol=1e-5)
    assert_it_samples_and_learns(66)
