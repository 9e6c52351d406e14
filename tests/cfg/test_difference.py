"""How two networks differ: by what they mean, layer against layer."""

from __future__ import annotations

import pytest

from minidark.cfg.difference import difference, side_by_side
from tests.helpers import planned

NET = "net inputs=8 batch=4"
END = ("connected output=8 activation=linear", "softmax")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("net inputs=8",), ("network inputs=8 batch=1 learning_rate=.001 adam=0",)),
        (("net inputs=8",), ("net height=2 width=2 channels=2",)),
        (("net inputs=8 adam=1",), ("net inputs=8 adam=1 momentum=.5",)),
        (("net inputs=8",), ("net inputs=8 B1=.5 eps=.1 gamma=3 power=2 step=4 steps=3 scales=1",)),
        ((NET, "conn output=8", "soft"), (NET, "connected output=8 truth=1", "softmax groups=1")),
        ((NET, *END), (NET, *END, "cost")),
        ((NET, "rnn output=4"), (NET, "rnn output=4 hidden=4")),
    ],
)
def test_cfgs_that_mean_the_same_have_no_difference(a: tuple[str, ...], b: tuple[str, ...]) -> None:
    a, b = (c if len(c) > 1 else (*c, *END) for c in (a, b))
    assert not difference(planned(*a), planned(*b))
    assert not difference(planned(*b), planned(*a))


@pytest.mark.parametrize(
    ("a", "b", "changes"),
    [
        ("", "learning_rate=.5", [("learning_rate", 0.001, 0.5)]),
        ("", "adam=1", [("momentum", 0.9, None), ("adam", False, True), ("B1", None, 0.9),
                        ("B2", None, 0.999), ("eps", None, 1e-7)]),
        ("policy=exp gamma=.5", "policy=exp gamma=.6", [("gamma", 0.5, 0.6)]),
        ("burn_in=5 power=1", "burn_in=5 power=2", [("power", 1.0, 2.0)]),
        ("inputs=9", "inputs=8", [("inputs", 9, 8)]),
    ],
)  # fmt: skip
def test_what_net_says_and_that_has_an_effect_is_told(
    a: str, b: str, changes: list[tuple[str, object, object]]
) -> None:
    nets = [f"net {'' if 'inputs' in keys else 'inputs=8 '}{keys}" for keys in (a, b)]
    found = difference(*(planned(net, *END) for net in nets))
    assert [(c.key, c.a, c.b) for c in found.net] == changes


def test_layers_are_aligned_by_what_they_have_in_common() -> None:
    a = planned(NET, "gru output=4 tanh=1", "gru output=6", "dropout", *END)
    b = planned(NET, "gru output=4 tanh=1", "lstm output=6", "gru output=6 tanh=1", *END)
    found = difference(a, b)
    told = [(x.type, x.a, x.b, [(c.key, c.a, c.b) for c in x.changes]) for x in found.layers]
    assert told == [
        ("lstm", None, 1, []),
        ("gru", 1, 2, [("inputs", 4, 6), ("tanh", False, True)]),
        ("dropout", 2, None, []),
    ]
    assert found.net == []
    assert found.parameters == (a.trained, b.trained)


def test_a_width_changes_what_reads_it() -> None:
    plans = [planned(NET, f"gru output={n} tanh=1", *END) for n in (4, 5)]
    found = difference(*plans)
    assert [(x.type, [c.key for c in x.changes]) for x in found.layers] == [
        ("gru", ["output"]), ("connected", ["inputs"]),
    ]  # fmt: skip


def test_several_networks_stand_side_by_side() -> None:
    """A layer that one lacks is "-"; defaults are left out, unless another layer has another value;
    max_batches, which a comparison sets, is no difference."""
    plans = [
        planned(NET + " max_batches=5", "gru output=4 tanh=1", *END),
        planned(NET + " learning_rate=.5", "gru output=6", "dropout", *END),
        planned(NET, "lstm output=4", *END),
    ]
    rows = dict(side_by_side(plans)[:-2])
    assert [*rows] == ["learning_rate"]
    assert rows["learning_rate"][1] == "0.5"
    assert side_by_side(plans)[-2:] == [
        ("layer", ["gru output=4 tanh=1", "gru output=6 tanh=0", "lstm output=4"]),
        ("layer", ["-", "dropout", "-"]),
    ]
    assert side_by_side(plans[:1] * 3) == []
