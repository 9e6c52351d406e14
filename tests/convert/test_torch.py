"""The PyTorch module that is written, held by torch: outputs and states, from any state on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark.convert.torch import write
from tests.convert.nets import ACTIVATED, ELMAN, INPUTS, RECURRENT, after, begin, folded, inputs
from tests.helpers import cfg


def loaded(data: bytes, folder: Path) -> Any:
    """What the module's `load` gives."""
    path = folder / "model.py"
    path.write_bytes(data)
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules as they are written, without the run in a process of its own."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setattr(
        "minidark.convert.torch.run_worker", lambda script, files, calls, made: (files[made], [])
    )
    return lambda net: write(net, [])[0]


NETS = RECURRENT | {f"elman {name}": sections for name, sections in ELMAN.items()}


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_torch_computes_the_same_from_any_state_on(
    name: str, streams: int, written: Any, tmp_path: Path
) -> None:
    import torch

    net = folded(NETS[name])
    module = loaded(written(net), tmp_path)
    twin, states = begin(net, streams)
    given, left = [], iter(map(torch.from_numpy, states))
    for layer in module.layers:
        given.append([next(left) for _ in layer.widths])
    with torch.no_grad():
        for x in inputs(streams):
            y, given = module(torch.from_numpy(x), given)
            np.testing.assert_allclose(y.numpy(), twin.forward(x), rtol=0, atol=1e-6)
            theirs = [state.numpy() for layer in given for state in layer]
            for ours, other in zip(after(twin), theirs, strict=True):
                np.testing.assert_allclose(other, ours, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ELMAN)
def test_an_elman_network_of_tanh_or_relu_is_torchs_own(
    name: str, written: Any, tmp_path: Path
) -> None:
    import torch

    module = loaded(written(folded(ELMAN[name])), tmp_path)
    own = [part for part in module.modules() if isinstance(part, torch.nn.RNN)]
    assert len(own) == (name in ("tanh", "relu"))


@pytest.mark.parametrize("name", ACTIVATED)
def test_every_activation_is_darknets(name: str, written: Any, tmp_path: Path) -> None:
    import torch

    net = folded(ACTIVATED[name])
    x = np.random.default_rng(3).normal(0, 2, (50, 3, INPUTS)).astype(np.float32)
    with torch.no_grad():
        y, _ = loaded(written(net), tmp_path)(torch.from_numpy(x))
    np.testing.assert_allclose(y.numpy(), net.forward(x), rtol=1e-5, atol=1e-5)


def test_the_module_needs_nothing_but_torch(written: Any) -> None:
    imports = [
        line
        for line in written(folded(RECURRENT["mixed"])).decode().splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert imports == [
        "from __future__ import annotations", "import base64", "import torch",
        "from torch import Tensor, nn",
    ]  # fmt: skip


def test_without_torch_the_file_is_written_and_told_to_be_unproven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Python that finds no torch stands in for one where it is not installed."""
    without = tmp_path / "python"
    without.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" -P -S -c "import sys; '
                       "sys.stderr.write('PyTorch is not installed: pip install torch'); "
                       'sys.exit(3)"\n')  # fmt: skip
    without.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without))
    data, outputs = write(folded(RECURRENT["gru"]), inputs(1))
    assert outputs == []
    assert b"class Gru(nn.Module)" in data
    assert caplog.messages == ["not proven: PyTorch is not installed: pip install torch"]


def test_a_cfg_cannot_get_out_of_the_docstring(written: Any, tmp_path: Path) -> None:
    """Keys that are unknown are only warned of, and stand in the cfg that is written."""
    from minidark.backend import get_backend
    from minidark.cfg.plan import plan_cfg
    from minidark.network.parser import build_network

    text = cfg(f"net inputs={INPUTS}", 'connected output=3 """\\nraise=SystemExit()')
    plan = plan_cfg(text.encode(), warn=lambda *_: None)
    net = build_network(plan, 0, get_backend())
    assert loaded(written(net), tmp_path)
