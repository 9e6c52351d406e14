"""That kernels are compiled before a run's clock begins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import cfg

pytest.importorskip("numba")

pytestmark = pytest.mark.slow

NETS = {
    "gru": cfg("net inputs=256 batch=4 subdivisions=2 time_steps=6 adam=1 clip_norm=1",
               "gru output=8 tanh=1", "connected output=256 activation=linear", "softmax"),
    "lstm": cfg("net inputs=256 batch=4 time_steps=6", "lstm output=8 batch_normalize=1",
                "connected output=256 activation=linear", "softmax"),
    "rnn": cfg("net inputs=256 batch=16 time_steps=64", "rnn output=160 hidden=160",
               "connected output=256 activation=linear", "dropout", "softmax"),
}  # fmt: skip

# Of each network: which share of the time to its first report the run counts, and how many kernels
# were compiled, or read from where they are kept, until then, and later, a validation and a sample
# included.
COUNTED = """
import json, sys, time
import minidark
from minidark.backend import compiled
from minidark.data.text import Text

def have():
    modules = [m for name, m in sys.modules.items() if name.startswith(compiled.__name__)]
    found = {id(d): d for m in modules for d in vars(m).values() if hasattr(d, "signatures")}
    return sum(len(d.signatures) for d in found.values())

found = {}
for path in sys.argv[1:]:
    net = minidark.load_network(path, kernels="fast", seed=1)
    with Text(["text.txt"], 256) as text:
        before, clock = have(), time.perf_counter()
        training = minidark.train(net, text, 3, valid_fraction=0.2)
        share = next(training).seconds / (time.perf_counter() - clock)
        first = have()
        assert any(report.valid_loss for report in training)
        training.feed.sample(net, 1)
        found[path] = [share, first - before, have() - first]
print(json.dumps(found))
"""


def test_kernels_are_there_before_the_clock_begins_and_none_comes_later(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"The quick brown fox jumps over the lazy dog. " * 400)
    for name, text in NETS.items():
        (tmp_path / f"{name}.cfg").write_text(text)
    command = [sys.executable, "-c", COUNTED, *(f"{name}.cfg" for name in NETS)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    share, kernels, _ = found["gru.cfg"]
    assert kernels > 10
    assert share < 0.2
    assert {name: later for name, (*_, later) in found.items()} == {f"{n}.cfg": 0 for n in NETS}
