"""Small networks learn by heart what they read."""

from __future__ import annotations

import pytest

from minidark import Text, train
from tests.conftest import WriteText
from tests.helpers import network

PERIOD = b"the quick brown fox "
LEARNED = 0.05  # nats per symbol; guessing among 27 letters costs 3.3


@pytest.mark.parametrize(
    ("layer", "net", "batches"),
    [
        ("gru output=24 tanh=1", "batch=4", 200),
        ("gru output=24 tanh=1", "batch=8 subdivisions=2", 200),
        ("gru output=24 batch_normalize=1", "batch=8", 250),
        ("lstm output=24", "batch=4", 250),
        ("rnn output=24 activation=tanh", "batch=4", 200),
    ],
)
def test_a_network_learns_to_repeat(
    layer: str, net: str, batches: int, write_text: WriteText
) -> None:
    made = network(
        f"net inputs=128 time_steps=10 adam=1 learning_rate=.02 decay=0 {net}",
        layer,
        "connected output=128 activation=linear",
        "softmax",
        dtype="float32",
    )
    with Text([write_text(PERIOD * 50)], 128) as text:
        reports = list(train(made, text, batches, seed=1, valid_fraction=0.2))
    assert reports[0].loss > 3
    assert reports[-1].average < LEARNED
    assert reports[-1].valid_loss is not None
    assert reports[-1].valid_loss < LEARNED
