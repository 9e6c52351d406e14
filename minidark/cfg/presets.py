"""Starting points for `minidark init`."""

from __future__ import annotations

from dataclasses import dataclass

READ_OUT = "[connected]\noutput=256\nactivation=linear\n[softmax]\n"
ADAM = "adam=1\ndecay=0\nclip_norm=1\npower=1\npolicy=cosine\n"


@dataclass(frozen=True, slots=True)
class Preset:
    """`says` is one line; `text` is a cfg with the values that differ from the defaults."""

    says: str
    text: str


def _net(streams: int, steps: int, rate: float, rise: int, batches: int, rest: str = ADAM) -> str:
    return (
        f"[net]\ninputs=256\nbatch={streams}\ntime_steps={steps}\nlearning_rate={rate}\n"
        f"burn_in={rise}\nmax_batches={batches}\n{rest}"
    )


def _gru(output: int) -> str:
    return f"[gru]\noutput={output}\ntanh=1\ninit=orthogonal\nupdate_bias=.5\n"


def _dropout(probability: float) -> str:
    return f"[dropout]\nprobability={probability}\n"


PRESETS = {
    "tiny": Preset(
        "a GRU of 64: half a minute, for experiments",
        _net(16, 32, 0.01, 20, 1000) + _gru(64) + READ_OUT,
    ),
    "small": Preset(
        "a GRU of 320, the shipped rnn with clip_norm=1: minutes, for half a megabyte of text",
        _net(16, 64, 0.005, 50, 2500) + _gru(320) + _dropout(0.2) + READ_OUT,
    ),
    "large": Preset(
        "two GRUs of 512: hours, for megabytes of text",
        _net(32, 64, 0.003, 200, 20_000)
        + _gru(512)
        + _dropout(0.2)
        + _gru(512)
        + _dropout(0.2)
        + READ_OUT,
    ),
    "lstm": Preset(
        "an LSTM of 288",
        _net(32, 64, 0.006, 50, 2000)
        + "[lstm]\noutput=288\ninit=orthogonal\nforget_bias=1\n"
        + READ_OUT,
    ),
    "rnn-vanilla": Preset(
        "a plain [rnn] of 320: fast, with a short memory",
        _net(32, 64, 0.001, 100, 2000)
        + "[rnn]\noutput=320\nactivation=tanh\ninit=orthogonal\n"
        + READ_OUT,
    ),
    "darknet": Preset(
        "a GRU of 256 in darknet's own keys: batch norm, SGD",
        _net(64, 32, 0.5, 100, 2000, "momentum=.9\ndecay=.00001\npolicy=poly\npower=2\n")
        + "[gru]\noutput=256\nbatch_normalize=1\ntanh=0\n"
        + READ_OUT,
    ),
}
