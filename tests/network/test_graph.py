"""Layers that read several others: against networks written out by hand, from pass to pass."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, Network, WeightsError, load_weights
from minidark.backend import Array
from minidark.cfg.plan import check_memory, plan_network
from minidark.layers.base import Layer, Stored
from minidark.training.gradcheck import check_gradients, shrunk
from minidark.weights.darknet import save_weights
from tests.helpers import gradients, network, one_hot, planned, randomize, states

I, T, S = 5, 4, 3  # noqa: E741  the shape alphabet's inputs
NET = f"net inputs={I} batch={S} time_steps={T}"
GRU = "gru output=4 tanh=1"
READ_OUT = (f"connected output={I} activation=linear", "softmax")
GRAPHS: dict[str, tuple[str, ...]] = {
    "residual": (GRU, GRU, "shortcut from=-2", *READ_OUT),
    "absolute": (GRU, GRU, "shortcut from=0", *READ_OUT),
    "nested": (GRU, GRU, "shortcut from=0", GRU, "shortcut from=-2", "route layers=0,-1,-2",
               "lstm output=3", *READ_OUT),
    "several readers": (GRU, "connected output=4 activation=tanh", "rnn output=4 activation=tanh",
                        "route layers=0,0,1", "shortcut from=3", *READ_OUT),
    "unread": (GRU, "gru output=3", "route layers=0", *READ_OUT),
    "tied": ("connected output=4 activation=linear", GRU, "route layers=0,1",
             "connected output=4 activation=tanh", "shortcut from=1",
             "connected tied=0 activation=linear", "softmax"),
}  # fmt: skip


def made(name: str, net: str = NET, dtype: str = "float64") -> Network:
    one = network(net, *GRAPHS[name], dtype=dtype)
    randomize(one.layers)
    return one


def ids(steps: int = T, streams: int = S, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, I, (steps, streams))


def of(net: Network, name: str) -> Any:
    array = net[name]
    assert isinstance(array, Stored)
    return array.value


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_outputs_and_gradients_are_those_worked_out_by_hand() -> None:
    """x -> a = tanh(A x); b = B [a, a], c = tanh(b + a), p = softmax(C [c, a] )."""
    layers = (
        "connected output=3 activation=tanh", "route layers=-1,0",
        "connected output=3 activation=linear", "shortcut from=0 activation=tanh",
        "route layers=-1,-4", f"connected output={I} activation=linear", "softmax",
    )  # fmt: skip
    net = network(NET, *layers)
    randomize(net.layers)
    assert [layer.inputs for layer in net.layers] == [I, 6, 3 * 2, 6, 6, 6, I]
    assert [layer.outputs for layer in net.layers] == [3, 6, 3, 3, 6, I, I]
    x, truth = one_hot(ids(), I).reshape(-1, I), one_hot(ids(seed=1), I).reshape(-1, I)
    w = {
        n: (of(net, f"{n}.connected.weights"), of(net, f"{n}.connected.biases")) for n in (0, 2, 5)
    }
    a = np.tanh(x @ w[0][0].T + w[0][1])
    aa = np.concatenate([a, a], axis=1)
    c = np.tanh(aa @ w[2][0].T + w[2][1] + a)
    ca = np.concatenate([c, a], axis=1)
    p = softmax(ca @ w[5][0].T + w[5][1])
    np.testing.assert_allclose(net.predict(ids()).reshape(-1, I), p, rtol=1e-12)

    net.accumulate(ids(), ids(seed=1))
    d = p - truth
    dca = d @ w[5][0]
    db = dca[:, :3] * (1 - c * c)  # before tanh, of b and of a
    daa = db @ w[2][0]
    da = dca[:, 3:] + db + daa[:, :3] + daa[:, 3:]
    dv = da * (1 - a * a)
    wanted = {
        "0.connected.biases": dv.sum(axis=0), "0.connected.weights": dv.T @ x,
        "2.connected.biases": db.sum(axis=0), "2.connected.weights": db.T @ aa,
        "5.connected.biases": d.sum(axis=0), "5.connected.weights": d.T @ ca,
    }  # fmt: skip
    for name, gradient in gradients(net).items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=1e-10, atol=1e-13, err_msg=name)


def test_a_tied_layer_is_the_embedding_transposed() -> None:
    net = network(
        NET, "connected output=3 activation=linear", "activation activation=tanh",
        "connected tied=-2 activation=linear", "softmax",
    )  # fmt: skip
    randomize(net.layers)
    assert [p.name for p in net.parameters()] == [
        "0.connected.biases", "0.connected.weights", "2.connected.biases",
    ]  # fmt: skip
    assert net.layers[2].work() == 3 * I
    symbols, truth = ids().reshape(-1), one_hot(ids(seed=1), I).reshape(-1, I)
    w, b, scores = (p.value for p in (net.parameters()[i] for i in (1, 0, 2)))
    h = np.tanh(w.T[symbols] + b)
    p = softmax(h @ w + scores)
    np.testing.assert_allclose(net.predict(ids()).reshape(-1, I), p, rtol=1e-12)
    net.accumulate(ids(), ids(seed=1))
    d = p - truth
    dv = (d @ w.T) * (1 - h * h)
    dw = h.T @ d  # of the scores
    for row, symbol in zip(dv, symbols, strict=True):  # and of the rows that were picked
        dw[:, symbol] += row
    found = gradients(net)
    np.testing.assert_allclose(found["0.connected.weights"], dw, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found["2.connected.biases"], d.sum(axis=0), rtol=1e-10)


@pytest.mark.parametrize("adam", [0, 1])
def test_shared_weights_take_one_step(adam: int) -> None:
    keys = f"{NET} adam={adam} learning_rate=.1 decay=.01 momentum=.5 clip_norm=.01 average=.9"
    net, alone = made("tied", keys), made("tied", keys)
    net.train_batch(ids(), ids(seed=1))
    alone.accumulate(ids(), ids(seed=1))
    norm = alone.learner.gradient_norm()
    squares = sum(float((p.grad**2).sum()) for p in alone.parameters())
    assert norm == pytest.approx(squares**0.5 / (T * S))  # each array counts once
    w, grad = of(alone, "0.connected.weights"), gradients(alone)["0.connected.weights"]
    rows = T * S
    grad = grad * min(1, 0.01 / norm)
    rate = net.learning_rate()
    step = grad + 0.01 * rows * w
    wanted = w - rate / rows * step
    if adam:
        wanted = w - rate * step / (np.abs(step) + net.options.eps)
    np.testing.assert_allclose(of(net, "0.connected.weights"), wanted, rtol=1e-6, atol=1e-9)
    seen: Any = net.layers[5]
    np.testing.assert_array_equal(seen.sublayers[""].weights, of(net, "0.connected.weights").T)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_gradient_is_the_derivative(name: str) -> None:
    rows = list(check_gradients(planned(NET, *GRAPHS[name])))
    assert [row.name for row in rows if not row.passed] == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GRAPHS)
def test_single_steps_and_traces_are_the_pass(name: str, dtype: str) -> None:
    net, symbols = made(name, dtype=dtype), ids(12)
    wanted = net.twin(S).forward(symbols)
    frozen = net.frozen(S)
    found = np.stack([frozen(row).copy() for row in symbols])
    tolerance = {"float32": 2e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    y, traces = net.twin(S).traced(symbols)
    np.testing.assert_array_equal(y, wanted)
    assert [bool(values) for values in traces] == [bool(layer.states) for layer in net.layers]
    parts = net.twin(S)
    cut = np.concatenate([parts.forward(symbols[:5]), parts.forward(symbols[5:])])
    np.testing.assert_allclose(cut, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", GRAPHS)
def test_layers_may_overwrite_the_gradient_they_get(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, spoilt = made(name), made(name)
    kept.accumulate(ids(), ids(seed=1))
    for layer in spoilt.layers[:-1]:
        backward = type(layer).backward

        def spoiling(
            self: Any, dy: Array, *, need_dx: bool = True, original: Any = backward
        ) -> Any:
            dx = original(self, dy.copy(), need_dx=need_dx)
            dy[...] = np.nan
            return dx

        monkeypatch.setattr(layer, "backward", spoiling.__get__(layer))
    spoilt.accumulate(ids(), ids(seed=1))
    for (n, a), b in zip(gradients(kept).items(), gradients(spoilt).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=n)


def test_outputs_are_freed_after_their_last_reader() -> None:
    net = made("nested")
    alive: list[int] = []
    outputs: dict[int, Any] = {}

    def step(i: int, x: Array) -> Array:
        alive.append(sum(ref() is not None for ref in outputs.values()))
        y = net.layers[i].forward(x).copy()
        outputs[i] = weakref.ref(y)
        return y

    net.graph.forward(ids(), step)
    # Before each layer, those exist that it or a later one reads, and no others.
    needed = [{j for reads in net.graph.reads[i:] for j in reads if 0 <= j < i}
              for i in range(len(net.layers))]  # fmt: skip
    assert alive == [len(n) for n in needed]


@pytest.mark.parametrize("stop", range(6))
def test_no_gradient_passes_below_stopbackward(stop: int) -> None:
    layers = list(GRAPHS["nested"])
    layers[stop] += " stopbackward=1"
    net, whole = network(NET, *layers), made("nested")
    randomize(net.layers)
    for one in (net, whole):
        one.accumulate(ids(), ids(seed=1))
    assert net.frozen_layers == stop + 1
    for (name, found), wanted in zip(
        gradients(net).items(), gradients(whole).values(), strict=True
    ):
        if int(name.partition(".")[0]) <= stop:
            assert not found.any(), name
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=name)
    assert all(layer.saved is None for layer in net.layers)
    x = one_hot(ids(), I)
    assert net.input_gradient(x, ids(seed=1)) is None
    assert whole.input_gradient(x, ids(seed=1)) is not None


@pytest.mark.parametrize("stop", [0, 1, 4, 5])
def test_weights_below_stopbackward_get_nothing_from_a_tied_layer(stop: int) -> None:
    layers = list(GRAPHS["tied"])
    layers[stop] += " stopbackward=1"
    net = network(NET, *layers)
    randomize(net.layers)
    net.accumulate(ids(), ids(seed=1))
    found = gradients(net)
    assert not found["0.connected.weights"].any()
    assert found["5.connected.biases"].any() == (stop < 5)


def test_an_unread_layer_gets_no_gradient_and_moves_no_other() -> None:
    net = made("unread")
    done: list[int] = []
    net.accumulate(ids(), ids(seed=1), done=done.append)
    assert done == [3, 2, 1, 0]
    found = gradients(net)
    assert not any(g.any() for name, g in found.items() if name.startswith("1.gru"))
    assert all(g.any() for name, g in found.items() if not name.startswith("1.gru"))
    assert net.layers[1].saved is None


@pytest.mark.parametrize("name", GRAPHS)
def test_shards_add_up_to_the_whole(name: str) -> None:
    net, parts = made(name), made(name)
    cost = net.accumulate(ids(), ids(seed=1))
    pieces = [slice(0, 1), slice(1, 3)]
    costs = [parts.shard(p).accumulate(ids()[:, p], ids(seed=1)[:, p]) for p in pieces]
    assert sum(costs) == pytest.approx(cost, rel=1e-12)
    for (n, a), b in zip(gradients(net).items(), gradients(parts).values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=n)


def test_compiled_kernels_compute_a_graph_as_numpys_do() -> None:
    wide, narrow = made("tied"), made("tied", dtype="float32")
    for a, b in zip(narrow.parameters(), wide.parameters(), strict=True):
        a.value[...] = b.value
    symbols, truth = ids(20), ids(20, seed=1)
    cost = wide.accumulate(symbols, truth)
    assert narrow.accumulate(symbols, truth) == pytest.approx(cost, rel=1e-5)
    wanted = gradients(wide)
    for name, gradient in gradients(narrow).items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=0, atol=2e-5, err_msg=name)


# --- plans and files ----------------------------------------------------------------------


def test_a_plan_has_the_widths_and_the_memory_of_its_links() -> None:
    plan = planned(NET, *GRAPHS["nested"])
    assert [layer.inputs for layer in plan.layers] == [I, 4, 8, 4, 8, 12, 12, 3, I]
    assert [layer.reads for layer in plan.layers[2:6]] == [(1, 0), (2,), (3, 2), (0, 4, 3)]
    tied = planned(NET, *GRAPHS["tied"])
    assert tied.layers[5].tied == 0
    assert tied.layers[5].size.outputs == I
    assert tied.layers[5].size.held == I
    net = made("tied")
    assert tied.trained == sum(p.value.size for p in net.parameters())


def test_nested_routes_cannot_make_numbers_that_no_machine_has() -> None:
    wide = f"route layers={','.join(['-1'] * 1000)}"
    plan = planned(NET, GRU, *[wide] * 2, *READ_OUT)
    assert plan.layers[2].size.outputs == 4_000_000
    with pytest.raises(CfgError, match="beyond 2147483647"):
        planned(NET, GRU, *[wide] * 4, *READ_OUT)
    check_memory(plan, None, 4)
    assert plan_network(plan.sections, None, lambda *_: None).trained == plan.trained


def test_gradients_of_a_large_graph_are_checked_on_a_small_one() -> None:
    plan = planned("net inputs=3072 batch=64 time_steps=60", "bytepairs",
                   "connected output=256 activation=linear", "gru output=256 reset_after=1 tanh=1",
                   "route layers=-1,-2", "connected output=256 activation=tanh",
                   GRU.replace("4", "256"), "shortcut from=-2",
                   "connected tied=1 activation=linear", "softmax")  # fmt: skip
    small = shrunk(plan)
    assert [layer.size.outputs for layer in small.layers] == [304, 48, 48, 96, 48, 48, 48, 304, 304]
    odd = planned(NET, "gru output=60", "route layers=0,0", "connected output=120",
                  "shortcut from=1", *READ_OUT)  # fmt: skip
    assert [layer.size.outputs for layer in shrunk(odd).layers][:4] == [60, 120, 120, 120]


def test_a_file_has_only_the_biases_of_a_tied_layer(tmp_path: Any) -> None:
    net = made("tied", dtype="float32")
    net.save_weights(tmp_path / "x.weights")
    data = (tmp_path / "x.weights").read_bytes()
    arrays = [
        a.value.astype("<f4").tobytes() for layer in net.layers for a in layer.stored_arrays()
    ]
    assert data[20:] == b"".join(arrays)
    assert arrays[-1] == of(net, "5.connected.biases").astype("<f4").tobytes()
    for path in ("x.weights", "x.safetensors"):
        net.save_weights(tmp_path / path)
        other = network(NET, *GRAPHS["tied"], dtype="float32", seed=9)
        load_weights(other, tmp_path / path)
        np.testing.assert_array_equal(other.predict(ids()), net.twin(S).predict(ids()))


@pytest.mark.parametrize(
    ("name", "cut", "said"),
    [
        ("residual", 1, "a cut at layer 1 parts 2.shortcut from 0.gru, which it reads; cut below "
         "or above both"),
        ("residual", 2, "a cut at layer 2 parts 2.shortcut from 0.gru, which it reads"),
        ("tied", 4, "a cut at layer 4 parts 4.shortcut from 1.gru, which it reads"),
        ("tied", 5, "a cut at layer 5 parts 5.connected from 0.connected, which it shares weights "
         "with"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".weights", ".npz"])
def test_a_cut_through_a_link_is_refused(
    tmp_path: Any, name: str, cut: int, said: str, suffix: str
) -> None:
    net, path = made(name, dtype="float32"), tmp_path / f"x{suffix}"
    net.save_weights(path)
    before = [p.value.copy() for p in net.parameters()]
    for call in (
        lambda: load_weights(net, path, cutoff=cut),
        lambda: load_weights(net, path, start=cut),
        lambda: save_weights(net, tmp_path / f"y{suffix}", cutoff=cut),
    ):
        with pytest.raises(WeightsError) as error:
            call()
        assert said in str(error.value)
    assert not (tmp_path / f"y{suffix}").exists()
    for a, b in zip(before, net.parameters(), strict=True):
        np.testing.assert_array_equal(a, b.value)


@pytest.mark.parametrize(("name", "cut"), [("residual", 3), ("residual", 4), ("tied", 6)])
def test_a_cut_beside_all_links_is_allowed(tmp_path: Any, name: str, cut: int) -> None:
    net = made(name, dtype="float32")
    net.save_weights(tmp_path / "x.weights")
    load_weights(net, tmp_path / "x.weights", cutoff=cut)


# --- rows without a truth ---------------------------------------------------------------------

HEADS: dict[str, tuple[int, tuple[str, ...]]] = {  # the first layer that computes only the others
    "connected": (1, (GRU, *READ_OUT)),
    "two, and an activation": (1, (GRU, "connected output=3 activation=tanh",
                                   "activation activation=relu", *READ_OUT)),
    "of ids": (0, (f"connected output={I} activation=linear", "softmax")),
    "normalized": (2, (GRU, f"{READ_OUT[0]} batch_normalize=1", "softmax")),
    "behind a residual": (3, GRAPHS["residual"]),
    "tied": (5, GRAPHS["tied"]),
    "with two costs": (1, (GRU, *READ_OUT, "cost")),
    "stopped": (2, (f"{GRU} stopbackward=1", GRU, *READ_OUT)),
}  # fmt: skip


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_without_a_truth_are_not_computed_where_rows_are_alone(name: str, dtype: str) -> None:
    """The other way round, they are computed and then left out."""
    head, layers = HEADS[name]
    truth = np.where(np.arange(T * S).reshape(T, S) % 3 == 1, ids(seed=1), -1)
    nets = [network(NET, *layers, dtype=dtype) for _ in range(2)]
    for net in nets:
        randomize(net.layers)
    net, other = nets
    assert net.graph.head == head
    rows = []

    def noticed(self: Layer, x: Array, *, train: bool = False) -> Array:
        if self.name == net.layers[head].name:
            rows.append(x.shape[:2])
        return forward(self, x, train=train)

    kind: Any = type(
        getattr(net.layers[head], "thing", net.layers[head])
    )  # the stand-in wraps layers
    forward = kind.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", noticed)
        cost = float(net.accumulate(ids(), truth))
    assert rows == [(4, 1)]
    other.forward(ids(), train=True)
    assert cost == pytest.approx(float(other.backward(truth)), rel=1e-5)
    assert net.accumulated == other.accumulated == 4
    for parameter, expected in zip(net.parameters(), gradients(other).values(), strict=True):
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-4, atol=1e-5)
    for state, wanted in zip(states(net), states(other), strict=True):
        np.testing.assert_allclose(state, wanted, rtol=1e-5)
    measured, y = other.measured(ids(seed=2), truth)
    assert y.shape == (4, 1, I)
    assert float(net.cost(net.forward(ids(seed=2)), truth)) == pytest.approx(float(measured))
