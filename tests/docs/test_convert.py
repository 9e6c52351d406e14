"""docs/convert.md: what it shows is run, and its tables are the forms that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from minidark.cfg.plan import plan_cfg
from minidark.convert import CFGS, MODELS, WEIGHTS
from tests.cli.running import output
from tests.helpers import cfg, randomize

pytestmark = pytest.mark.slow

DOC = (Path(__file__).parents[2] / "docs" / "convert.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
NEEDS = {  # what a block imports: its file, and what else it takes
    "minidark": ("my.safetensors", ()),
    "onnxruntime": ("my.onnx", ("onnx",)),
    "keras": ("my.keras", ("h5py", "torch")),
    "torch": ("my.py", ()),
    "safetensors": ("my.safetensors", ()),
    "numpy": ("my.npz", ()),
}
LONG = [pytest.mark.long, pytest.mark.timeout(600)]  # Keras takes seconds to start
CFG = cfg(
    "net inputs=256", "gru output=8 tanh=1", "connected output=256 activation=linear", "softmax"
)


def imported(block: str) -> str:
    found = re.match(r"(?:import|from) (\w+)", block)
    assert found
    return found[1]


def test_there_is_a_block_for_each() -> None:
    assert [imported(block) for block in BLOCKS] == [*NEEDS]
    assert all(len(block.split("\n\n", 1)[1].splitlines()) == 2 for block in BLOCKS)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=name, marks=LONG if name == "keras" else [])
        for block in BLOCKS
        for name in [imported(block)]
    ],
)
def test_each_loads_in_three_lines_and_gives_what_predict_gives(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = imported(block)
    file, others = NEEDS[name]
    for module in (name, *others):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    monkeypatch.chdir(tmp_path)
    Path("my.cfg").write_text(CFG)
    net = load_network("my.cfg", batch=1)
    randomize(net.layers)
    net.save_weights("my.weights")
    output("convert", "my.weights", file, "--cfg", "my.cfg")

    (given,) = re.findall(r"`(x = [^`]*)`", DOC)
    code = f"import numpy as np\n{given}\n{block}\n"
    code += 'y = y if "y" in globals() else np.zeros(0)\ny = getattr(y, "detach", lambda: y)()\n'
    code += 'np.save("y.npy", np.asarray(y))\n'
    Path("run.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "run.py"],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    y = np.load("y.npy")
    if y.size:
        wanted = net.predict(np.array([[b] for b in b"def "]))
        y = y.transpose(1, 0, 2) if name == "keras" else y
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-6)


def test_the_table_has_every_form() -> None:
    table = DOC[DOC.index("| form | out |") : DOC.index("A model that is written")]
    named = set(re.findall(r"`(\.\w+)`", table))
    assert named == {*WEIGHTS, *MODELS, *CFGS}
    for suffix, model in MODELS.items():
        (row,) = [line for line in table.splitlines() if f"`{suffix}`" in line[:20]]
        _, _, out, back, *_ = row.split("|")
        assert (out.strip()[:3] == "yes", back.strip()[:3] == "yes") == (model.writes, model.reads)


def test_the_yaml_is_a_cfg() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    assert [la.section.type for la in plan_cfg(block.encode(), "a.yaml").layers] == [
        "gru", "connected", "softmax",
    ]  # fmt: skip


def test_the_shipped_network_differs_as_little_as_it_says() -> None:
    """Ten times the figures, because the last digits are the machine's."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from minidark.convert.fold import denormalize
    from minidark.convert.onnx import write
    from minidark.convert.proof import drawn_symbols, written
    from minidark.files.shipped import folder

    net = load_network(folder("cfg") / "rnn.cfg", folder("weights") / "rnn.weights")
    _, difference = written(denormalize(net), write, drawn_symbols(256))
    (said,) = re.findall(r"\| `\.onnx` \| ([0-9.e-]+) \|", DOC)
    assert difference is not None
    assert difference < 10 * float(said)
