"""Pairs in byte pairs: what is learned from them, what the network reads, and what a run reports,
against loops over its predictions."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidark
from minidark import DataError, Network, Pairs, Predictor, Text, predict, score, train
from minidark.data.bytepairs import BytePairs, byte_pairs, learn
from minidark.data.pairs import END, in_symbols
from minidark.inference.valid import evaluate_pairs
from minidark.layers.base import Stored
from minidark.training.checkpoint import Checkpoint
from minidark.training.feeds import PairsFeed
from tests.conftest import WriteText
from tests.data.test_bytepairs import learned_from_words, pieces
from tests.helpers import network, values
from tests.training.test_checkpoint import assert_goes_on

TAB = ord("\t")
LEARNED = 12  # pairs
OUTPUTS = 256 + LEARNED
NUMBERS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def lines(mark: str = "\t") -> bytes:
    """Sources with and without blanks at their ends; the separator follows a letter, a blank, a
    point."""
    drawn = np.random.default_rng(0).integers(0, 10, (150, 3))
    ends = ("", ".", " ", " .")
    return "".join(
        f"{' '.join(NUMBERS[n] for n in row)}{ends[row[0] % 4]}{mark}"
        f"{' '.join(WORDS[n] for n in row)}{ends[row[1] % 4]}\n"
        for row in drawn
    ).encode()


def make(seed: int = 1, *, kernels: str = "numpy", learned: int = LEARNED, steps: int = 60) -> Any:
    inputs = 256 + learned
    net = network(
        f"net inputs={inputs} batch=8 time_steps={steps} adam=1 learning_rate=.02 decay=0",
        "bytepairs", "gru output=16 tanh=1", f"connected output={inputs} activation=linear",
        "softmax", dtype="float32", seed=seed,
    )  # fmt: skip
    if net.backend.name == "cpu":
        net.backend.use_kernels(kernels)
    return net


@pytest.fixture
def pairs(write_text: WriteText) -> Pairs:
    return Pairs(write_text(lines()))


# --- what is learned ----------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["\t", "|", "x"])
def test_symbols_are_learned_within_sources_and_targets(write_text: WriteText, mark: str) -> None:
    data = lines(mark).replace(b"sechs", b"sess").replace(b"six", b"sis")
    read = Pairs(write_text(data), mark)
    net = make(learned=40)
    feed = PairsFeed(read, net, 1, 0.2)
    words = [
        [*piece]
        for n in feed.numbers
        for part in (read.sources[n], read.targets[n])
        for piece in pieces(part)
    ]
    learned = byte_pairs(net)
    assert learned.pairs == learned_from_words(words, 40)
    assert not any({ord(mark), END} & {*name} for name in learned.names[256:])
    for data_too in (b"\n".join(read.sources), data):  # not only sources, and not the file
        assert learned.pairs != learn(data_too, 40)


def test_held_out_pairs_teach_no_symbols(write_text: WriteText) -> None:
    read = Pairs(write_text(lines()))
    held_out = read.split(0.2)[1]
    changed = list(zip(read.sources, read.targets, strict=True))
    for n in held_out:
        changed[n] = (changed[n][0], b"qqqqqqqqqqqqqqqqqqqqqqqq")
    other = Pairs(write_text(b"".join(b"\t".join(pair) + b"\n" for pair in changed)))
    one, two = make(), make()
    PairsFeed(read, one, 1, 0.2)
    PairsFeed(other, two, 1, 0.2)
    assert byte_pairs(one).pairs == byte_pairs(two).pairs
    PairsFeed(other, three := make(), 1, 0)
    assert byte_pairs(three).pairs != byte_pairs(two).pairs


def test_of_many_pairs_evenly_spread_ones_are_read(
    write_text: WriteText, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = Pairs(write_text(lines()))
    size = sum(map(len, (*read.sources, *read.targets)))
    monkeypatch.setattr("minidark.data.bytepairs.LEARNED_FROM", -(-size // 2))
    with caplog.at_level(logging.INFO):
        in_symbols(net := make(), read, np.arange(len(read)))
    chosen = range(0, 150, 2)
    words = [[*p] for n in chosen for part in (read.sources[n], read.targets[n])
             for p in pieces(part)]  # fmt: skip
    assert byte_pairs(net).pairs == learned_from_words(words, LEARNED)
    characters = sum(len(read.sources[n]) + len(read.targets[n]) for n in chosen)
    assert caplog.messages == [f"learning {LEARNED} byte pairs from {characters:,} characters"]


def test_a_symbol_of_a_text_with_a_line_feed_is_refused(
    write_text: WriteText, pairs: Pairs
) -> None:
    net = make(learned=1)
    with Text(write_text(b"a.\nb.\n" * 40), net.inputs) as text:
        train(net, text, 1)
    message = r"symbol 256 of \[bytepairs\] is '.\\n', which contains the separator or a line feed"
    for call in (lambda: train(net, pairs, 1), lambda: predict(net, ["a"]),
                 lambda: score(net, pairs)):  # fmt: skip
        with pytest.raises(DataError, match=message):
            call()


def test_too_few_pairs_of_symbols_are_an_error(write_text: WriteText) -> None:
    with pytest.raises(DataError, match="this text has only 0 pairs of symbols that occur twice"):
        train(make(), Pairs(write_text(b"a\tb\nc\td\n")), 1)


# --- what the network reads ---------------------------------------------------------------


def test_symbols_side_by_side_spell_the_pairs(pairs: Pairs) -> None:
    net = make()
    read = in_symbols(net, pairs, np.arange(len(pairs)))
    learned = byte_pairs(net)
    assert in_symbols(net, read, np.arange(3)) is read
    batch = read.batch([0, 1, 2], 4)
    shorter = 0
    for stream in range(3):
        source, target = (learned.encode(p[stream]) for p in (pairs.sources, pairs.targets))
        end = len(source) + 1 + len(target)
        assert batch.x[:end, stream].tolist() == [*source, TAB, *target]
        assert batch.truth[len(source) : end, stream].tolist() == [*target, END]
        assert (batch.truth[: len(source), stream] == -1).all()
        assert (batch.truth[end:, stream] == -1).all()
        assert learned.decode(source) == pairs.sources[stream]
        assert read.lengths()[stream] == end
        assert read.counted()[stream] == len(target) + 1
        shorter += len(pairs.sources[stream]) + len(pairs.targets[stream]) + 1 - end
        assert len({*source, *target} - {*range(256)}) > 0
    assert shorter > 20
    assert batch.x[:, 3].tolist() == [END] * len(batch.x)
    assert read.characters_of(batch.truth) == sum(len(t) + 1 for t in pairs.targets[:3])
    assert pairs.lengths()[0] == len(pairs.sources[0]) + len(pairs.targets[0]) + 1


def test_time_steps_count_symbols(pairs: Pairs) -> None:
    learned = in_symbols(make(), pairs, np.arange(len(pairs)))
    longest = int(learned.lengths().max())
    assert longest < pairs.lengths().max() - 5
    train(make(steps=longest), pairs, 1, valid_fraction=0)
    message = f"has {longest} symbols, which is the longest pair"
    with pytest.raises(DataError, match=message):
        train(make(steps=longest - 1), pairs, 1, valid_fraction=0)
    epoch = PairsFeed(pairs, make(), 1, 0)
    each = [learned.lengths()[numbers] for numbers in epoch.order]
    padded = sum(8 * lengths.max() for lengths in each) / learned.lengths().sum()
    assert padded < 1.15  # similar lengths in symbols


# --- what a run reports -------------------------------------------------------------------


def by_hand(net: Network, pairs: Pairs, numbers: Any) -> tuple[float, int, int, int]:
    """Nats, symbols, bytes and exact pairs of these pairs, one symbol after another."""
    learned, nats, symbols, size, exact = byte_pairs(net), 0.0, 0, 0, 0
    for n in numbers:
        source, target = learned.encode(pairs.sources[n]), learned.encode(pairs.targets[n])
        y = net.twin(1).predict(np.array([*source, TAB, *target]))[len(source) :]
        wanted = [*target, END]
        nats -= sum(math.log(p[symbol]) for p, symbol in zip(y, wanted, strict=True))
        exact += bool((y.argmax(axis=1) == wanted).all())
        symbols += len(wanted)
        size += len(pairs.targets[n]) + 1
    return nats, symbols, size, exact


@pytest.mark.usefixtures("each_backend")
def test_costs_are_of_characters(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minidark.training.validation.VALIDATE_EVERY", 5)
    monkeypatch.setattr("minidark.training.validation.VALIDATE_SHARE", 0)
    net = make()
    real = getattr(net, "thing", net)  # not as tests hold it, with numpy's arrays
    held_out = pairs.split(0.2)[1]
    *_, last = train(real, pairs, 10, valid_fraction=0.2)
    nats, symbols, size, exact = by_hand(net, pairs, held_out)
    assert symbols < size
    assert last.valid_loss == pytest.approx(nats / size, rel=1e-4)
    assert (last.valid_symbols, last.valid_exact) == (size, exact / len(held_out))
    assert last.valid_loss is not None
    assert 1 / 20 < last.loss / last.valid_loss < 20
    feed = PairsFeed(pairs, real, 1, 0.2)
    assert feed.size == sum(len(pairs.targets[n]) + 1 for n in feed.numbers)
    measured = evaluate_pairs(real, pairs, held_out)
    assert (measured.symbols, measured.characters, measured.exact) == (symbols, size, exact)
    passes = [feed.next() for _ in feed.order]
    assert sum(p.symbols for p in passes) == feed.size


def test_a_training_loss_is_of_characters(pairs: Pairs) -> None:
    net = make()
    feed = PairsFeed(pairs, net, 5, 0)
    first = feed.order[0]
    nats, _, size, _ = by_hand(net, pairs, first)
    report = next(train(net, pairs, 1, seed=5, valid_fraction=0))
    assert report.loss == pytest.approx(nats / size, rel=1e-5)
    assert report.symbols == size


def test_a_score_has_both_means(pairs: Pairs) -> None:
    net = make()
    list(train(net, pairs, 30))
    found = score(net, pairs)
    nats, symbols, size, exact = by_hand(net, pairs, range(len(pairs)))
    assert found.nats == pytest.approx(nats / symbols, rel=1e-4)
    assert found.nats_per_character == pytest.approx(nats / size, rel=1e-4)
    assert found.exact == exact / len(pairs)


# --- predictions --------------------------------------------------------------------------


def test_a_target_is_spelled_from_its_symbols(pairs: Pairs) -> None:
    net = make()
    list(train(net, pairs, 60, valid_fraction=0))
    learned = byte_pairs(net)
    found = [best for best, *_ in Predictor(net, max_length=30).search(pairs.sources[:40])]
    longer = 0
    for source, best in zip(pairs.sources, found, strict=False):
        one, written = net.twin(1), list[int]()
        p = one.predict(np.array([*learned.encode(source), TAB]))[-1]
        while (symbol := int(p.argmax())) != END and len(written) < 30:
            written.append(symbol)
            p = one.predict(np.array([symbol]))[-1]
        assert best.target == learned.decode(written)
        longer += len(best.target) > len(written)
    assert longer
    feed = PairsFeed(pairs, net, 1, 0.3)
    assert f"{pairs.sources[feed.held_out[0]].decode()} -> " in feed.sample(net, 0)


def test_symbols_that_are_no_utf8_together_are_replaced(write_text: WriteText) -> None:
    read = Pairs(write_text("é\té\n".encode() * 20 + b"ab\tab\n" * 20))
    net = make(learned=1)
    in_symbols(net, read, np.arange(len(read)))
    assert byte_pairs(net).names[256] == "é".encode()
    biases = net.parameters()[-2].value
    net.parameters()[-1].value[...] = 0
    biases[256], biases[0xC3] = 20, 50
    assert predict(net, ["ab"], max_length=2) == ["\ufffd\ufffd"]
    biases[256] = 60
    assert predict(net, ["ab"], max_length=2) == ["éé"]


# --- files and going on -------------------------------------------------------------------


def test_the_weight_file_holds_the_symbols(pairs: Pairs, tmp_path: Path) -> None:
    net = make()
    list(train(net, pairs, 20))
    net.save_weights(tmp_path / "a.weights")
    other = make(seed=2)
    minidark.load_weights(other, tmp_path / "a.weights")
    array = other["0.bytepairs.pairs"]
    assert isinstance(array, Stored)
    assert array.value.shape == (LEARNED, 2)
    assert predict(other, pairs.sources, beam=2) == predict(net, pairs.sources, beam=2)


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("at", [1, 17, 40])
def test_a_run_goes_on_to_the_same_bytes(
    pairs: Pairs, tmp_path: Path, kernels: str, at: int
) -> None:
    if kernels == "fast":
        pytest.importorskip("numba", reason="the fast kernels need numba")
    path = tmp_path / "a.ckpt"
    assert_goes_on(lambda seed: make(seed, kernels=kernels), pairs, path, 45, at)


@pytest.mark.parametrize("is_text", [True, False])
def test_it_does_in_the_symbols_that_it_began_with(
    write_text: WriteText, tmp_path: Path, is_text: bool
) -> None:
    """Those of the weights that it began from, which are not what its own data would give."""
    first = Pairs(write_text(lines()))
    net = make()
    list(train(net, first, 3))
    changed = lines().replace(b"ei", b"oo").replace(b"n", b"mu")
    again = write_text(changed.replace(b"\t", b" ").replace(b"\n", b" ") if is_text else changed)
    data: Any = Text(again, OUTPUTS) if is_text else Pairs(again)
    in_symbols(other := make(), Pairs(write_text(changed)), np.arange(150))
    assert byte_pairs(other).pairs != byte_pairs(net).pairs

    training = train(net, data, 40, seed=7)
    for report in training:
        if report.batch == 20:
            training.checkpoint().write(tmp_path / "a.ckpt")
    since = Checkpoint.read(tmp_path / "a.ckpt")
    went_on = make(seed=9)
    *_, last = train(went_on, data, 40, resume=since)
    assert last.loss == report.loss
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, values(went_on)[name])
    if is_text:
        data.close()


def test_pairs_of_bytes_are_as_they_were() -> None:
    none = BytePairs(())
    read = Pairs.__new__(Pairs)
    read.byte_pairs = none
    assert read.encoded(BytePairs(())) is read
