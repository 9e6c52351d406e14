"""Groups of streams: each trains as a network of its own would, and their sums have one order."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, DataError, MinidarkError, Network, Pairs, Text, train
from minidark.data.text import Streams
from minidark.training.checkpoint import copied_arrays
from minidark.training.feeds import Pass
from minidark.training.parallel.ranks import Ranks
from minidark.training.parallel.shards import Shards, Tree
from tests.conftest import WriteText
from tests.helpers import network
from tests.training.parallel.threads import in_threads

SYMBOLS, STEPS = 8, 9
OUT = (f"connected output={SYMBOLS} activation=linear", "softmax")
TANH = "gru output=5 tanh=1"
DROPS = " dropconnect=.5"
CASES = {
    "gru, adam": ("adam=1", TANH),
    "lstm, sgd, subdivisions": ("subdivisions=2 clip_norm=.1", "lstm output=4"),
    "rnn, random policy": ("policy=random", "rnn output=5 shortcut=1"),
    "gru, batch norm": ("decay=.01", f"{TANH} batch_normalize=1"),
    "[batchnorm]": ("adam=1", TANH, "batchnorm"),
    "a graph, tied": (
        "adam=1",
        "connected output=5 activation=linear",
        TANH,
        "route layers=0,1",
        "connected output=5 activation=tanh",
        "shortcut from=1",
        "connected tied=0 activation=linear",
        "activation",
    ),
    "stopbackward": ("", "lstm output=4", f"{TANH} stopbackward=1"),
}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams begin anew often."""
    monkeypatch.setattr("minidark.data.text.RESTART", 0.2)


def make(case: str = "gru, adam", streams: int = 8, dtype: str = "float32") -> Network:
    keys, *layers = CASES[case]
    subdivisions = 2 if "subdivisions" in keys else 1
    net = f"net inputs={SYMBOLS} batch={streams * subdivisions} time_steps={STEPS} {keys}"
    made = network(f"{net} learning_rate=.05", *layers, *OUT, dtype=dtype, seed=3)
    made.backend.use_kernels("numpy")
    return made


def arrays(net: Network) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in copied_arrays(net).items()}


def test_one_group_is_the_loop_that_there_was(text: Text) -> None:
    """Written out, with nothing of `train`: the bytes of a run that deals its streams to nobody."""
    net, by_hand = make(), make()
    list(train(net, text, 12, seed=7, valid_fraction=0.25))
    streams = Streams(text.split(0.25)[0], 8, np.random.default_rng([7, 1]))
    for batch in range(12):
        for stream in streams.restart() if batch else ():
            by_hand.reset_state(stream)
        by_hand.train_batch(*streams.next(STEPS))
    assert arrays(net) == arrays(by_hand)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("groups", [2, 4])
def test_each_group_is_a_network_of_its_own(text: Text, case: str, groups: int) -> None:
    """Beside G networks of S / G streams, whose gradients are added by hand."""
    net, alone = make(case), [make(case, 8 // groups) for _ in range(groups)]
    whole = make(case)
    list(train(net, text, 6, seed=7, valid_fraction=0, shards=groups))
    streams, each = Streams(text.split(0)[0], 8, np.random.default_rng([7, 1])), 8 // groups
    for batch in range(6):
        for stream in streams.restart() if batch else ():
            alone[stream // each].reset_state(stream % each)
        for _ in range(whole.options.subdivisions):
            x, truth = streams.next(STEPS)
            for g, one in enumerate(alone):
                mine = slice(g * each, (g + 1) * each)
                one.accumulate(x[:, mine], truth[:, mine])
        for p, *theirs in zip(whole.parameters(), *(n.parameters() for n in alone), strict=True):
            p.grad[...] = by_hand([t.grad for t in theirs])
        for one, *them in zip(rolling(whole), *map(rolling, alone), strict=True):
            one[...] = by_hand(them) / groups
        whole.accumulated = 8 * STEPS * whole.options.subdivisions
        whole.seen += whole.accumulated
        whole.update()
        for one in alone:
            for mine_, theirs_ in zip(stored(one), stored(whole), strict=True):
                mine_[...] = theirs_
            one.learner.drop_gradients()
    for layer, *layers in zip(whole.layers, *(n.layers for n in alone), strict=True):
        for name, state in layer.states.items():
            state[...] = np.concatenate([one.states[name] for one in layers])
    assert arrays(net) == arrays(whole)


def by_hand(parts: list[Any]) -> Any:
    """(0 + 1) + (2 + 3)."""
    pairs = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return pairs[0] if len(pairs) == 1 else pairs[0] + pairs[1]


def stored(net: Network) -> list[Any]:
    return [array.value for layer in net.layers for array in layer.arrays()]


def rolling(net: Network) -> list[Any]:
    kinds = ("rolling_mean", "rolling_variance")
    return [a.value for layer in net.layers for a in layer.arrays() if a.kind in kinds]


@pytest.mark.parametrize("case", ["gru, adam", "lstm, sgd, subdivisions"])
def test_groups_descend_what_one_does(text: Text, case: str) -> None:
    """But for rounding: a gradient is a sum over rows, however they are dealt."""
    one, four = make(case, dtype="float64"), make(case, dtype="float64")
    losses = [
        [report.loss for report in train(net, text, 6, seed=7, shards=groups)]
        for net, groups in ((one, 1), (four, 4))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-11)
    for name, array in copied_arrays(one).items():
        np.testing.assert_allclose(copied_arrays(four)[name], array, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layer", ["dropout", TANH + DROPS, "rnn output=5 hidden=5" + DROPS])
def test_draws_are_anew_for_each_group_and_batch_and_leave_others_draws_alone(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(f"net inputs={SYMBOLS} batch=4 time_steps=2 learning_rate=0", layer, *OUT, seed=3)
    before = net.rng.bit_generator.state
    shards = Shards(net, 2, Ranks(), 7)
    drawn: list[bytes] = []
    plain = type(net.layers[0]).forward

    def note(self: Any, x: Any, *, train: bool = False) -> Any:
        y = plain(self, np.ones((2, 2, SYMBOLS)), train=train)
        drawn.append(y.tobytes())
        return y

    monkeypatch.setattr(type(net.layers[0]), "forward", note)
    ids = np.zeros((2, 4), np.intp)
    for _ in range(2):
        net.reset_state()
        shards.learn([Pass(ids, ids, ids.size, fresh=False)], measure=False)
    assert len({*drawn}) == 4
    assert net.rng.bit_generator.state == before


def test_a_group_of_pairs_that_has_none_left_adds_nothing(tmp_path: Path) -> None:
    """Of five pairs in passes of four, three groups of the second pass are empty."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{a}{a}\n" for a in "abcde"))
    sections = ("net inputs=256 batch=4 time_steps=8 learning_rate=.1", TANH)
    ends = []
    for groups in (1, 4):
        net = network(*sections, "connected output=256 activation=linear", "softmax", seed=3)
        reports = list(train(net, Pairs(path), 4, seed=1, valid_fraction=0, shards=groups))
        ends.append(([r.loss for r in reports], [r.symbols for r in reports], copied_arrays(net)))
    (losses, symbols, one), (losses_4, symbols_4, four) = ends
    assert symbols == symbols_4
    assert losses == pytest.approx(losses_4, rel=1e-11)
    for name in (parameter.name for parameter in net.parameters()):  # a padding has a state, too
        np.testing.assert_allclose(four[name], one[name], rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("each_backend")
def test_groups_of_a_gpu_descend_what_one_does(text: Text) -> None:
    losses = []
    for groups in (1, 4):
        net = make()
        run = train(getattr(net, "thing", net), text, 4, seed=7, shards=groups)
        losses.append([report.loss for report in run])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_layers_sum_is_under_way_while_those_below_are_computed(text: Text) -> None:
    begun = threading.Event()

    class Told(Ranks):
        def sum(self, buffer: Any, after: object = None) -> None:
            begun.set()

    net = make()
    shards = Shards(net, 2, Told(), 7)
    below, heard = shards.groups[1].layers[0], []
    backward = below.backward

    def late(dy: Any, **how: Any) -> Any:
        heard.append(begun.wait(30))
        return backward(dy, **how)

    below.backward = late  # type: ignore[method-assign]
    x, truth = Streams(text.split(0)[0], 8, np.random.default_rng(0)).next(STEPS)
    shards.learn([Pass(x, truth, x.size, fresh=False)], measure=False)
    assert heard == [True]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_the_tree_adds_neighbours_whatever_came_before(count: int) -> None:
    rng = np.random.default_rng(count)
    parts = [rng.standard_normal(5).astype(np.float32) for _ in range(count)]
    wanted = list(parts)
    while len(wanted) > 1:
        wanted = [a + b for a, b in zip(wanted[::2], wanted[1::2], strict=True)]
    tree = Tree()
    for part in parts:
        tree.add(part.copy())
    assert tree.top.tobytes() == wanted[0].tobytes()


@pytest.mark.parametrize("groups", [3, 16, 0])
def test_streams_that_cannot_be_dealt_are_told(text: Text, groups: int) -> None:
    with pytest.raises(CfgError, match=f"8 streams .* cannot be split into {groups} shards"):
        train(make(), text, 2, shards=groups)


def test_so_are_ranks_that_groups_cannot_be_dealt_to(text: Text) -> None:
    class Three(Ranks):
        size = 3

    with pytest.raises(MinidarkError, match="4 shards cannot be split among 3 ranks"):
        train(make(), text, 2, shards=4, ranks=Three())


def test_one_stream_has_no_statistics(text: Text) -> None:
    with pytest.raises(CfgError, match="its variance needs two"):
        next(train(make("gru, batch norm"), text, 2, shards=8))


OTHER = {
    "weights": "weights",
    "text": "data",
    "seed": "options",
    "shards": "options",
    "cfg": "a cfg",
}


@pytest.mark.parametrize("what", OTHER)
def test_ranks_that_are_about_to_train_something_else_say_so_all_alike(
    text: Text, write_text: WriteText, what: str
) -> None:
    """Rank 1's is another, of one thing only."""

    def said(ranks: Ranks) -> str:
        odd = what if ranks.rank else ""
        net = make("lstm, sgd, subdivisions" if odd == "cfg" else "gru, adam")
        net.parameters()[0].value[0] += odd == "weights"
        data = other if odd == "text" else text
        seed, shards = 7 + (odd == "seed"), 4 if odd == "shards" else 2
        with pytest.raises(DataError) as caught:
            train(net, data, 2, seed=seed, shards=shards, ranks=ranks)
        return str(caught.value)

    with Text([write_text(bytes(4000))], SYMBOLS) as other:
        one, two = in_threads(2, said)
    assert one == two
    assert one.startswith(f"rank 1 has {OTHER[what]} different from rank 0's")


def test_weights_that_come_apart_are_noticed_before_a_checkpoint(text: Text) -> None:
    def said(ranks: Ranks) -> str:
        net = make()
        run = train(net, text, 4, seed=7, shards=2, ranks=ranks)
        next(run)
        run.gather()
        net.parameters()[0].value[0] += ranks.rank
        next(run)
        with pytest.raises(DataError) as caught:
            run.gather()
        return str(caught.value)

    one, two = in_threads(2, said)
    assert one == two
    assert one.startswith("rank 1 has weights different from rank 0's; their processors or BLAS")


def test_an_error_leaves_no_sum_to_wait_for(text: Text) -> None:
    class Failing(Ranks):
        def sum(self, buffer: Any, after: object = None) -> None:
            raise MinidarkError("lost")

    shards = Shards(make(), 2, Failing(), 7)
    x, truth = Streams(text.split(0)[0], 8, np.random.default_rng(0)).next(STEPS)
    with pytest.raises(MinidarkError, match="lost"):
        shards.learn([Pass(x, truth, x.size, fresh=False)], measure=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        shards.summing.submit(print)
