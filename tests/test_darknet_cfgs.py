"""darknet's own recurrent cfgs, narrow and in full size: they load as they stand, and sample."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import minidark

NET = (
    "inputs=256\nbatch={batch}\ntime_steps={steps}\nmomentum=0.9\ndecay=0.001\nlearning_rate=0.1\n"
)
STEPS = "policy=steps\nsteps=1000,1500\nscales=.1,.1\nmax_batches = 2000\n"
RNN = "[rnn]\nbatch_normalize=1\noutput = 1024\nhidden=1024\nactivation=leaky\n"
LSTM = "[lstm]\nbatch_normalize=1\noutput = 1024\n"
POLY = "burn_in=100\npolicy=poly\npower=4\nmax_batches=10000\n"
LINEAR = "[connected]\noutput=256\nactivation=linear\n[softmax]\n"
LEAKY = "[connected]\noutput=256\nactivation=leaky\n[softmax]\n"
COST = "[cost]\ntype=sse\n"

CFGS = {
    "rnn.cfg": (1, 1, STEPS + 3 * RNN + LEAKY),
    "rnn.train.cfg": (128, 576, STEPS + 3 * RNN + LEAKY),
    "gru.cfg": (1, 1, POLY + 3 * "[gru]\nbatch_normalize=1\noutput = 256\n" + LINEAR),
    "gru.cfg, wide": (1, 1, POLY + "[gru]\nbatch_normalize=1\noutput = 1024\n" + LINEAR + COST),
    "lstm.train.cfg": (128, 576, STEPS + 3 * LSTM + LEAKY + COST),
    "AlexeyAB's gru.cfg": (1, 1, POLY + 3 * "[gru]\noutput = 1024\n" + LINEAR + COST),
}


@pytest.mark.parametrize("width", [16, pytest.param(1024, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CFGS)
def test_darknets_own_cfgs_load_save_load_and_sample(
    name: str, width: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch, steps, rest = CFGS[name]
    rest = rest.replace("1024", str(width))
    path = tmp_path / "net.cfg"
    path.write_text("[net]\n# Test\nsubdivisions=1\n" + NET.format(batch=batch, steps=steps) + rest)
    with caplog.at_level(logging.WARNING, "minidark"):
        net = minidark.load_network(path, seed=3)
    assert len(caplog.records) == rest.count(COST)  # that [cost] adds nothing is all it says
    assert net.streams == batch
    for array in (a for layer in net.layers for a in layer.stored_arrays()):
        if array.kind == "rolling_variance":
            array.value[...] = 1  # as after training; at first it is 0
    net.save_weights(tmp_path / "net.weights")

    one = minidark.load_network(path, tmp_path / "net.weights", batch=1, time_steps=1, seed=4)
    text = minidark.generate(one, seed=b"ab", length=3, srand=7)
    assert text == minidark.generate(net, seed=b"ab", length=3, srand=7)
    assert text[:2] == b"ab"
    assert len(text) == 5
