"""docs/from-pytorch-and-keras.md: each case runs as it stands there, on a small model."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from minidark.cfg.plan import plan_cfg
from tests.cli.running import run

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "from-pytorch-and-keras.md").read_text("utf-8")
FENCE = re.compile(r"```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
TEXT = "To be, or not to be: that is the question.\nROMEO: all the rest.\n" * 80
TORCH = """
import json
import torch
from torch import nn

torch.manual_seed(0)
vocabulary = sorted(set(open("more.txt").read()))
char_to_id = {char: i for i, char in enumerate(vocabulary)}
size = len(vocabulary)


class Chars(nn.Module):
    def __init__(self, hidden=0):
        super().__init__()
        self.encoder = nn.Embedding(size, 6)
        self.rnn = nn.GRU(6, 8, 2, batch_first=True)
        self.hidden = nn.Linear(8, hidden) if hidden else None
        self.decoder = nn.Linear(hidden or 8, size)

    def forward(self, ids):
        y, _ = self.rnn(self.encoder(ids))
        return self.decoder(torch.relu(self.hidden(y)) if self.hidden else y)


model = Chars(HIDDEN)
ids = torch.zeros(1, 20, dtype=torch.long)
"""
KERAS = """
import json
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras

keras.utils.set_random_seed(0)
vocabulary = sorted(set(open("more.txt").read()))
size = len(vocabulary)
"""
CHAIN = """
model = keras.Sequential([
    keras.layers.Input((None,)),
    keras.layers.Embedding(size, 6),
    keras.layers.GRU(8, return_sequences=True),
    keras.layers.Dense(size, activation="softmax"),
])
"""
TUTORIAL = """
class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(size + 1, 6)
        self.gru = keras.layers.GRU(8, return_sequences=True, return_state=True)
        self.dense = keras.layers.Dense(size + 1)

    def call(self, ids):
        return self.dense(self.gru(self.embedding(ids))[0])


class Lookup:
    def get_vocabulary(self):
        return ["[UNK]", *vocabulary]


ids_from_chars = Lookup()
model = Model()
model(keras.ops.zeros((1, 5), "int32"))
"""
CASES = {  # by the beginning of the heading: what the page assumes, and what it needs
    "A state dict of PyTorch": (TORCH.replace("HIDDEN", "0"), ["torch"]),
    "Any chain of PyTorch": (TORCH.replace("HIDDEN", "7"), ["torch", "onnxruntime"]),
    "A Keras model": (KERAS + CHAIN, ["keras", "torch", "h5py"]),
    "A subclassed Keras model": (KERAS + TUTORIAL, ["keras", "torch", "h5py"]),
    "An ONNX model": (TORCH.replace("HIDDEN", "7"), ["torch", "onnxruntime", "onnxscript"]),
}
VOCABULARY = 'json.dump(vocabulary, open("vocab.json", "w"))\n'


def section(heading: str) -> str:
    (found,) = (part for part in PAGE.split("\n## ") if part.startswith(heading))
    return found


def fences(heading: str, language: str) -> list[str]:
    return [f["text"] for f in FENCE.finditer(section(heading)) if f["language"] == language]


def test_each_case_has_five_lines_and_is_tested() -> None:
    headings = [part.splitlines()[0] for part in PAGE.split("\n## ")[1:] if "```sh" in part]
    assert len(headings) == len(CASES) == 5
    for heading, known in zip(headings, CASES, strict=True):
        assert heading.startswith(known)
        lines = [*fences(known, "python"), *fences(known, "sh")]
        assert sum(len(block.splitlines()) for block in lines) == 5


@pytest.mark.parametrize("heading", CASES)
def test_a_case_runs_from_its_first_line_to_its_last(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, needed = CASES[heading]
    if missing := [name for name in needed if not find_spec(name)]:
        pytest.skip(f"{', '.join(missing)} is missing")
    monkeypatch.chdir(tmp_path)
    Path("more.txt").write_text(TEXT)
    python, commands = "".join(fences(heading, "python")), "".join(fences(heading, "sh"))
    code = before + python + ("" if "vocab.json" in python else VOCABULARY)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    for text in fences(heading, "ini"):
        plan_cfg(text.encode(), "tutorial.cfg")
        small = text.replace("=66", f"={len({*TEXT}) + 1}").replace("=256", "=6")
        Path("tutorial.cfg").write_text(small.replace("=1024", "=8"))
    for line in commands.splitlines():
        words = shlex.split(line)[1:]
        if words[0] == "train":
            words += ["--batches", "2"]
        result = run(*words)
        assert result.exit_code == 0, (line, result.stderr)
        if words[0] == "convert" and "--cfg" not in words:
            assert "largest difference" in result.stderr, line
        if words[0] == "generate":
            seed = words[words.index("--seed") + 1]
            assert result.stdout.startswith(seed)
            assert len(result.stdout.replace("[UNK]", "?")) == len(seed) + 300 + 1
