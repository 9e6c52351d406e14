"""Training on pairs: what goes into the network, validations, and that a run goes on exactly."""

from __future__ import annotations

import dataclasses
import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import CfgError, DataError, MinidarkError, Network, Pairs, Text, predict, train
from minidark.backend import Array
from minidark.inference.valid import Pieces, evaluate, evaluate_pairs
from minidark.training.checkpoint import Checkpoint
from minidark.training.feeds import PairsFeed
from minidark.training.records import log_line
from tests.conftest import WriteText
from tests.helpers import network
from tests.training.test_checkpoint import assert_goes_on, everything, figures

SYMBOLS = 12
NET = f"net inputs={SYMBOLS} batch=4 time_steps=9 adam=1 learning_rate=.02 decay=0"
LAYERS = ("gru output=8 tanh=1", f"connected output={SYMBOLS} activation=linear", "softmax")


def make(*keys: str, layers: tuple[str, ...] = LAYERS, seed: int = 3) -> Network:
    net = network(" ".join([NET, *keys]), *layers, dtype="float32", seed=seed)
    net.backend.use_kernels("numpy")
    return net


def lines(count: int = 90) -> bytes:
    """Distinct sources of one to four symbols, and the same backwards."""
    drawn: dict[bytes, None] = {}
    rng = np.random.default_rng(0)
    while len(drawn) < count:
        drawn[bytes(rng.integers(1, 6, rng.integers(1, 5)).tolist())] = None
    return b"".join(source + b"\t" + source[::-1] + b"\n" for source in drawn)


@pytest.fixture
def pairs(write_text: WriteText) -> Pairs:
    return Pairs(write_text(lines()))


# --- passes -------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("subdivisions", [1, 2])
def test_an_epoch_shows_each_pair_once_from_zero_states(
    write_text: WriteText, subdivisions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = lines(86)  # the last pass has two pairs
    pairs = Pairs(write_text(data))
    keys = f"batch={4 * subdivisions} subdivisions={subdivisions}"
    net = network(NET.replace("batch=4", keys), *LAYERS, dtype="float32")
    shown: list[bytes] = []
    costs: list[float] = []
    original = net.train_batch

    def watched(x: Array, truth: Array, **keywords: Any) -> float:
        assert not any(s.any() for layer in net.layers for s in layer.states.values())
        for ids, wanted in zip(x.T, truth.T, strict=True):
            if (wanted >= 0).any():
                begin = int(np.argmax(wanted >= 0))
                end = begin + int((wanted >= 0).sum())
                shown.append(bytes(ids[:end].tolist()) + b"\n")
                assert ids[begin] == ord("\t")
                assert [*ids[begin + 1 : end], ord("\n")] == wanted[begin:end].tolist()
        costs.append(float(original(x, truth, **keywords)))
        return costs[-1]

    monkeypatch.setattr(net, "train_batch", watched)
    reports = []
    for report in train(net, pairs, 200, seed=1, valid_fraction=0):
        reports.append(report)
        if report.epochs >= 1:
            break
    assert sorted(shown) == sorted(data.splitlines(keepends=True))
    assert net.batches_seen == len(reports) == 22 // subdivisions
    assert reports[-1].symbols == sum(len(t) + 1 for t in pairs.targets)
    assert reports[-1].epochs == 1
    first = reports[0]
    assert first.loss == pytest.approx(sum(costs[:subdivisions]) / first.symbols)


def test_batches_are_counted_whatever_the_lengths(pairs: Pairs) -> None:
    net = make()
    assert [r.batch for r in train(net, pairs, 5, valid_fraction=0)] == [1, 2, 3, 4, 5]
    assert net.seen == 5 * 4 * 9


def test_held_out_pairs_are_not_trained_on(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidark.training.feeds.LEAST_VALIDATION", 10)
    _, held_out = pairs.split(0.5)
    used: set[int] = set()
    original = pairs.batch

    def watched(numbers: Any, streams: int) -> Any:
        used.update(map(int, numbers))
        return original(numbers, streams)

    monkeypatch.setattr(pairs, "batch", watched)
    for report in train(make(), pairs, 40, valid_fraction=0.5):
        assert used.isdisjoint(held_out.tolist()) != report.last


def test_a_network_learns_to_turn_round(pairs: Pairs) -> None:
    net = network(NET.replace("batch=4", "batch=16"), "gru output=32 tanh=1", *LAYERS[1:],
                  dtype="float32")  # fmt: skip
    *_, last = train(net, pairs, 250, seed=1, valid_fraction=0)
    assert last.average < 0.15
    wrong = [p for p, t in zip(predict(net, pairs.sources), pairs.targets, strict=True)
             if p.encode() != t]  # fmt: skip
    assert len(wrong) < 0.05 * len(pairs)


# --- validation ---------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("minidark.training.validation")
    monkeypatch.setattr(module, "VALIDATE_EVERY", 3)
    monkeypatch.setattr(module, "VALIDATE_SHARE", 0)
    monkeypatch.setattr("minidark.training.feeds.LEAST_VALIDATION", 10)


@pytest.mark.usefixtures("often", "each_backend")
def test_a_validation_tells_nats_of_a_symbol_and_exact_pairs(pairs: Pairs) -> None:
    net = make()
    _, held_out = pairs.split(0.3)
    lowest = math.inf
    for report in train(net, pairs, 12, valid_fraction=0.3):
        if report.batch % 3:
            assert report.valid_exact is None
            continue
        nats, exact, symbols = 0.0, 0, 0
        for n in held_out:
            source, target = pairs.sources[n], pairs.targets[n]
            y = net.twin(1).predict(np.array([*source, ord("\t"), *target]))[len(source) :]
            wanted = [*target, ord("\n")]
            nats -= sum(math.log(p[symbol]) for p, symbol in zip(y, wanted, strict=True))
            exact += bool((y.argmax(axis=1) == wanted).all())
            symbols += len(wanted)
        assert report.valid_loss is not None
        assert report.valid_loss == pytest.approx(nats / symbols, rel=1e-4)
        assert report.valid_exact == exact / len(held_out)
        assert report.valid_symbols == symbols
        assert report.best == (report.valid_loss < lowest)
        lowest = min(lowest, report.valid_loss)
        assert log_line(report)["valid_exact"] == report.valid_exact


def test_many_held_out_pairs_are_validated_on_in_part(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.training.feeds.MOST", 60)
    monkeypatch.setattr("minidark.training.feeds.LEAST_VALIDATION", 10)
    feed = PairsFeed(pairs, make(), 1, 0.5)
    _, held_out = pairs.split(0.5)
    assert feed.held_out.tolist() == held_out[: len(feed.held_out)].tolist()
    assert 50 < feed.validated <= 60
    assert evaluate_pairs(make(), pairs, feed.held_out).symbols == feed.validated


def test_too_few_pairs_are_never_validated_on(pairs: Pairs) -> None:
    reports = list(train(make(), pairs, 5, valid_fraction=0.1))
    assert all(r.valid_loss is None for r in reports)
    with pytest.raises(DataError) as error:
        train(make(), pairs, 5, valid_fraction=0.1, patience=1)
    kept_out = [pairs.targets[n] for n in pairs.split(0.1)[1]]
    symbols = sum(len(target) + 1 for target in kept_out)
    assert str(error.value) == (
        f"patience needs a validation, but only {symbols} characters of 9 pairs are held "
        "out; it needs 200"
    )


def test_a_sample_is_of_held_out_pairs(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidark.training.feeds.LEAST_VALIDATION", 10)
    net = make()
    feed = PairsFeed(pairs, net, 1, 0.3)
    shown = feed.sample(net, 7).split("\n")
    assert len(shown) == 5
    for line, n in zip(shown, feed.held_out, strict=False):
        (predicted,) = predict(net, [pairs.sources[n]])
        assert line.startswith(f"{pairs.sources[n].decode()} -> {predicted}")
        assert line.endswith(f" (not {pairs.targets[n].decode()})")


# --- other data to validate on ----------------------------------------------------------------


def others(count: int = 40) -> bytes:
    return b"".join(
        b"%s\t%s\n" % (bytes([1 + n % 5, 1 + n % 4, 6]), bytes([6])) for n in range(count)
    )


@pytest.mark.usefixtures("often")
def test_other_pairs_are_validated_on_and_none_is_held_out(
    pairs: Pairs, write_text: WriteText
) -> None:
    valid = Pairs(write_text(others()))
    net = make()
    training = train(net, pairs, 12, valid=valid, valid_fraction=0.5)
    assert isinstance(training.feed, PairsFeed)
    assert training.feed.numbers.tolist() == [*range(len(pairs))]
    assert training.feed.amounts() == "90 pairs to train on, 40 to validate on"
    *_, last = training
    nats = 0.0
    for source, target in zip(valid.sources, valid.targets, strict=True):
        y = net.twin(1).predict(np.array([*source, ord("\t"), *target]))
        nats -= sum(math.log(y[len(source) + n, s]) for n, s in enumerate([*target, 10]))
    assert last.valid_loss == pytest.approx(nats / (2 * len(valid)), rel=1e-4)
    assert last.valid_symbols == 2 * len(valid)
    shown = training.feed.sample(net, 0).splitlines()
    assert {line[0] for line in shown} <= {source.decode()[0] for source in valid.sources}
    assert all("\x06" in line for line in shown)


def test_those_to_validate_on_may_be_longer_but_in_the_networks_symbols(
    pairs: Pairs, write_text: WriteText
) -> None:
    train(make(), pairs, 1, valid=Pairs(write_text(b"\x01" * 50 + b"\t\x02\n")))
    with pytest.raises(DataError, match="line 1 contains byte 99; this network's symbols are"):
        train(make(), pairs, 1, valid=Pairs(write_text(b"c\t\x01\n")))
    with pytest.raises(DataError, match=r"read with the separator '\\x0b', and .* with '\\t'"):
        train(make(), pairs, 1, valid=Pairs(write_text(b"\x01\x0b\x01\n"), "\x0b"))
    with Text(write_text(b"\x01" * 300), SYMBOLS) as text:
        with pytest.raises(DataError, match="valid is not pairs"):
            train(make(), pairs, 1, valid=text)
        with pytest.raises(DataError, match="a Pairs is not a text"):
            train(make(), text, 1, valid=pairs)


@pytest.mark.usefixtures("often")
def test_another_text_is_validated_on(write_text: WriteText) -> None:
    rng = np.random.default_rng(1)
    a, b = (write_text(rng.integers(1, 6, 600).astype(np.uint8).tobytes()) for _ in range(2))
    net = make()
    with Text(a, SYMBOLS) as text, Text(b, SYMBOLS) as valid:
        training = train(net, text, 6, valid=valid)
        assert training.feed.size == 600
        assert training.feed.amounts() == "600 characters to train on, 600 to validate on"
        *_, last = training
        whole = evaluate(net, valid.split(0)[0])
        assert last.valid_loss == pytest.approx(whole, rel=1e-6)
        assert last.valid_symbols == Pieces.of(valid.split(0)[0]).scored


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("kind", ["pairs", "text"])
def test_a_run_goes_on_with_the_same_data_to_validate_on(
    pairs: Pairs, write_text: WriteText, tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(1)
    a, b, c = (write_text(rng.integers(1, 6, 600).astype(np.uint8).tobytes()) for _ in range(3))
    data: Any = pairs if kind == "pairs" else Text(a, SYMBOLS)
    same, other = (
        (Pairs(write_text(others(30))), Pairs(write_text(others(31))))
        if kind == "pairs"
        else (Text(b, SYMBOLS), Text(c, SYMBOLS))
    )
    whole = train(make(seed=3), data, 30, seed=7, valid=same)
    reports = []
    for report in whole:
        reports.append(figures(report))
        if report.batch == 11:
            whole.checkpoint().write(tmp_path / "a.ckpt")
    since = Checkpoint.read(tmp_path / "a.ckpt")
    assert since.valid_fraction == 0
    again = train(make(seed=4), data, 30, resume=since, valid=same)
    assert [figures(report) for report in again] == reports[11:]
    assert everything(again) == everything(whole)
    message = "a run resumes only with the same data to validate on"
    for wrong in (None, other):
        with pytest.raises(DataError, match=message):
            train(make(), data, 30, resume=since, valid=wrong)
    training = train(make(), data, 30)
    next(training)
    with pytest.raises(DataError, match="other data to validate on, and held-out data in the che"):
        train(make(), data, 30, resume=training.checkpoint(), valid=same)
    for opened in (data, same, other):
        if isinstance(opened, Text):
            opened.close()


# --- going on -----------------------------------------------------------------------------


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("keys", "layers"),
    [
        ("", ("dropout probability=.3", *LAYERS)),
        ("policy=random clip_norm=.1", ("lstm output=5", *LAYERS[1:])),
        ("momentum=.5", ("gru output=4 batch_normalize=1", *LAYERS[1:])),
    ],
)
@pytest.mark.parametrize("at", [1, 23, 41])  # an epoch has 23 passes, or 21
def test_a_run_goes_on_to_the_same_bytes(
    pairs: Pairs, tmp_path: Path, keys: str, layers: tuple[str, ...], at: int
) -> None:
    def made(seed: int) -> Network:
        return make(keys, layers=layers, seed=seed)

    keywords: dict[str, Any] = {"valid_fraction": 0.1, "patience": 50}
    assert_goes_on(made, pairs, tmp_path / "a.ckpt", 50, at, **keywords)


@pytest.mark.usefixtures("each_backend", "often")
def test_it_does_on_a_gpu_and_with_subdivisions(pairs: Pairs, tmp_path: Path) -> None:
    def made(seed: int) -> Network:
        net = network(NET.replace("batch=4", "batch=8 subdivisions=2"), *LAYERS, seed=seed,
                      dtype="float32")  # fmt: skip
        return getattr(net, "thing", net)  # not as tests hold it, with numpy's arrays

    assert_goes_on(made, pairs, tmp_path / "a.ckpt", 14, 11)


def test_the_place_is_an_epoch_and_its_passes(pairs: Pairs) -> None:
    training = train(make(), pairs, 60, seed=7, valid_fraction=0)
    for report in training:
        if report.batch == 30:
            break
    since = training.checkpoint()
    assert (since.offsets, since.separator, since.pairs) == ([1, 7], "\t", True)
    assert "streams" not in since.generators
    whole = [figures(r) for r in training]
    for offsets in ([1, 8], [2, 7]):
        other = train(make(), pairs, 60, resume=dataclasses.replace(since, offsets=offsets))
        assert [figures(r) for r in other] != whole
        assert everything(other) != everything(training)
    wrong: list[Any] = [[1, 24], [-1, 0], [1, -1], [1], [1, 2, 3], ["a", 0]]
    for offsets in wrong:
        with pytest.raises(MinidarkError, match="the checkpoint does not fit"):
            train(make(), pairs, 60, resume=dataclasses.replace(since, offsets=offsets))


def test_another_file_or_separator_is_an_error(pairs: Pairs, write_text: WriteText) -> None:
    training = train(make(), pairs, 60, seed=7)
    next(training)
    since = training.checkpoint()
    assert Checkpoint(**{f.name: getattr(since, f.name) for f in dataclasses.fields(since)})
    longer = Pairs(write_text(lines() + b"\x01\x01\x01\x01\t\x01\n"))
    with pytest.raises(DataError, match="7 bytes longer than before; a run resumes only with"):
        train(make(), longer, 60, resume=since)
    other = Pairs(write_text(lines().replace(b"\t", b"\x0b")), "\x0b")
    with pytest.raises(DataError, match=r"separator='\\x0b', and '\\t' in the checkpoint; a"):
        train(make(), other, 60, resume=since)
    with (
        Text(write_text(lines()), SYMBOLS) as text,
        pytest.raises(DataError, match=r"separator=none \(a text\), and '\\t' in"),
    ):
        train(make(), text, 60, resume=since)


# --- what cannot be trained ---------------------------------------------------------------


def test_a_pair_longer_than_time_steps_is_named(write_text: WriteText) -> None:
    read = Pairs(write_text(b"\x01\t\x01\n\x01\x01\x01\x01\x01\t\x01\x01\x01\x01\n"))
    with pytest.raises(DataError, match="line 2 has 10 symbols, which is the longest pair"):
        train(make(), read, 1)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ((f"connected output={SYMBOLS}", "logistic"), "does not end in a plain"),
        (("connected output=8 activation=linear", "softmax"), "8 outputs and 12 inputs"),
    ],
)
def test_a_network_that_cannot_predict_is_refused(
    pairs: Pairs, end: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CfgError, match=message):
        train(make(layers=(LAYERS[0], *end)), pairs, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("data.txt", "'data.txt' is a file name, not a text; use minidark.Text('data.txt')"),
        (Path("data.txt"), "'data.txt' is a file name, not a text; use minidark.Text('data.txt')"),
        (["data.txt"], "a list is not a text; use minidark.Text(PATH)"),
        (b"bytes", "a bytes is not a text; use minidark.Text(PATH)"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_told_what_is_one(given: Any, message: str) -> None:
    net = network("net inputs=4", "gru output=4", "softmax")
    with pytest.raises(DataError) as error:
        train(net, given, 3)
    assert str(error.value) == message


def test_bytes_become_ids_as_the_error_says() -> None:
    net = network("net inputs=256", "gru output=4", "softmax")
    assert net.predict(np.frombuffer(b"abc", np.uint8)).shape == (3, 4)
