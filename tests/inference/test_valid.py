"""Measuring a network on a text: against one symbol at a time, and against darknet's records."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from minidark import DataError, Network, Text, load_network
from minidark.backend import Array
from minidark.data.text import Ids
from minidark.inference.valid import Measure, Pieces, evaluate, measure, readings
from tests.conftest import WriteText
from tests.golden_cases import GOLDEN, TEXT_CASES, record
from tests.helpers import network, randomize, states

SYMBOLS = 12
LAYERS = ("gru output=6 tanh=1", f"connected output={SYMBOLS} activation=linear", "softmax")


@pytest.fixture
def net() -> Network:
    made = network(f"net inputs={SYMBOLS} batch=2", *LAYERS)
    randomize(made.layers)
    return made


@pytest.fixture(scope="module")
def data() -> bytes:
    return np.random.default_rng(0).integers(0, SYMBOLS, 3000).astype(np.uint8).tobytes()


def costs(net: Network, symbols: Iterable[int]) -> list[float]:
    """Of each symbol but the first, from those before it, one at a time from zero state."""
    one = net.twin(1)
    return [
        -math.log(float(one.predict(np.array([a]))[0, b])) for a, b in itertools.pairwise(symbols)
    ]


@pytest.mark.parametrize(
    ("begin", "pieces", "length", "warm"),
    [
        (0, 1, 300, 0),
        (0, 2, 450, 0),  # 449 predicted in each: the first symbol of a piece has nothing before it
        (1000, 1, 350, 100),
        (30, 2, 420, 30),
        (100, 3, 450, 100),
        (129, 2, 404, 100),
    ],
)
def test_evaluate_is_the_mean_over_pieces_that_read_some_text_before_them(
    net: Network,
    data: bytes,
    write_text: WriteText,
    begin: int,
    pieces: int,
    length: int,
    warm: int,
) -> None:
    wanted: list[float] = []
    for piece in range(pieces):
        start = begin + piece * length
        scored = length if warm else length - 1
        wanted += costs(net, data[start - warm : start + length])[-scored:]
    with Text([write_text(data)], SYMBOLS) as text:
        found = evaluate(net, text.part(begin, begin + pieces * length))
    assert found == pytest.approx(sum(wanted) / len(wanted), rel=1e-12)


def test_evaluate_takes_no_more_streams_than_are_asked_for(
    net: Network, data: bytes, write_text: WriteText
) -> None:
    with Text([write_text(data)], SYMBOLS) as text:
        found = evaluate(net, text.part(500, 2500), streams=1)
    assert found == pytest.approx(np.mean(costs(net, data[400:2500])[-2000:]), rel=1e-12)


@pytest.mark.parametrize("begin", [0, 30, 1000])
def test_of_much_text_some_is_scored_from_all_over_it(
    net: Network, data: bytes, write_text: WriteText, begin: int
) -> None:
    """1,900 symbols and at most 450: the first 150 of each third."""
    third, warm = 633, min(begin, 100)
    wanted: list[float] = []
    for start in (begin, begin + third, begin + 2 * third):
        scored = 150 if warm else 149
        wanted += costs(net, data[start - warm : start + 150])[-scored:]
    with Text([write_text(data)], SYMBOLS) as text:
        part = text.part(begin, begin + 1900)
        assert Pieces.of(part, 3, 450).scored == len(wanted)
        assert evaluate(net, part, 3, 450) == pytest.approx(sum(wanted) / len(wanted), rel=1e-12)


def test_of_a_held_out_half_gigabyte_half_a_million_symbols_are_scored(
    write_text: WriteText,
) -> None:
    with Text([write_text(b"x")], 256) as text:
        pieces = Pieces.of(text.part(95 * 10**8, 10**10))
        again = Pieces.of(text.part(95 * 10**8, 10**10))
    assert pieces.scored == 2**19
    begins = pieces.starts + pieces.warm
    assert begins.tolist() == [95 * 10**8 + n * 15_625_000 for n in range(32)]
    np.testing.assert_array_equal(pieces.starts, again.starts)


@pytest.mark.parametrize(("begin", "size"), [(0, 0), (0, 1), (200, 0)])
def test_a_part_with_nothing_to_predict_is_refused(
    net: Network, data: bytes, write_text: WriteText, begin: int, size: int
) -> None:
    with Text([write_text(data)], SYMBOLS) as text, pytest.raises(DataError) as error:
        evaluate(net, text.part(begin, begin + size))
    assert str(error.value) == f"{size} symbols are too few for a validation"


@pytest.mark.parametrize("seed", [b"", b"\x03", b"\x01\x02\x0b\x00"])
@pytest.mark.parametrize("size", [2, 128, 129, 130, 400])
def test_measure_reads_the_seed_and_scores_every_symbol_but_the_first(
    net: Network, data: bytes, seed: bytes, size: int
) -> None:
    symbols = np.frombuffer(data[:size], np.uint8).astype(np.intp)
    found = measure(net, symbols, seed)
    wanted = costs(net, seed + data[:size])[len(seed) :]
    assert found.nats == pytest.approx(sum(wanted), rel=1e-12)
    assert found.characters == size - 1 == len(wanted)


@pytest.mark.parametrize("size", [1, 2, 100, 128, 129, 500])
def test_readings_are_of_every_symbol_however_the_text_comes(
    net: Network, data: bytes, size: int
) -> None:
    symbols = np.frombuffer(data[:500], np.uint8).astype(np.intp)
    blocks = [symbols[at : at + size] for at in range(0, 500, size)]
    found = list(readings(net, blocks, b"\x03"))
    wanted = np.array(costs(net, b"\x03" + data[:500])[1:])
    np.testing.assert_allclose(np.concatenate([r.bits for r in found]), wanted / math.log(2))
    np.testing.assert_array_equal(np.concatenate([r.symbols for r in found]), symbols[1:])
    assert sum(r.nats for r in found) == pytest.approx(wanted.sum(), rel=1e-12)
    np.testing.assert_array_equal(np.concatenate([r.offsets for r in found]), np.arange(1, 500))
    assert [r.last for r in found] == [symbols[r.offsets[0] - 1] for r in found]


def test_readings_take_no_more_of_a_text_than_they_need(net: Network, data: bytes) -> None:
    taken = 0

    def blocks() -> Iterator[Ids]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield np.frombuffer(data[:100], np.uint8).astype(np.intp)

    next(readings(net, blocks(), b""))
    assert taken == 1


def test_words_end_at_spaces_newlines_and_tabs(net: Network) -> None:
    symbols = np.array([10, 1, 9, 10, 2, 9, 3])  # the first symbol is given, not predicted
    assert measure(net, symbols, b"").words == 1 + 3


def test_figures_are_of_the_mean() -> None:
    found = Measure(characters=4, words=2, nats=8 * math.log(2))
    assert found.bits_per_character == pytest.approx(2)
    assert found.perplexity == pytest.approx(4)
    assert found.word_perplexity == pytest.approx(16)
    assert Measure(1, 1, 1e4).word_perplexity == math.inf


@pytest.mark.parametrize("size", [0, 1])
def test_measure_of_less_than_two_characters_is_refused(net: Network, size: int) -> None:
    with pytest.raises(DataError) as error:
        measure(net, np.zeros(size, np.intp))
    counted = "1 character" if size == 1 else f"{size} characters"
    assert str(error.value) == f"{counted}; at least two are needed"


def test_neither_leaves_a_trace(data: bytes, write_text: WriteText) -> None:
    layers = ("dropout", "gru output=6 batch_normalize=1", *LAYERS[1:])
    net, untouched = (network(f"net inputs={SYMBOLS} batch=2", *layers) for _ in range(2))
    for one in (net, untouched):
        randomize(one.layers)
        one.predict(np.array([[1, 2], [3, 4]]))
    with Text([write_text(data)], SYMBOLS) as text:
        evaluate(net, text.part(0, 900))
    measure(net, np.arange(10), b"\x00")
    for a, b in zip(states(net), states(untouched), strict=True):
        np.testing.assert_array_equal(a, b)
    x, truth = np.array([[5, 6]]), np.array([[7, 8]])
    assert net.train_batch(x, truth) == untouched.train_batch(x, truth)
    for layer, like in zip(net.layers, untouched.layers, strict=True):
        for array, wanted in zip(layer.stored_arrays(), like.stored_arrays(), strict=True):
            np.testing.assert_array_equal(array.value, wanted.value, err_msg=array.name)


# --- darknet's `rnn valid` ----------------------------------------------------------------


def lines(name: str) -> list[tuple[str, Array, bytes]]:
    """Lines that darknet printed, the symbols it had read by then, and its seed."""
    valid = record(name)["valid"]
    symbols = np.frombuffer(valid["stdin"].encode(), np.uint8).astype(np.intp)
    first = [(line, symbols[: n + 2]) for n, line in enumerate(valid["lines"])]
    seed = valid["seed"].encode()
    return [(line, read, seed) for line, read in [*first, (valid["last_line"], symbols)]]


def trained(name: str, dtype: str, kernels: str = "auto") -> Network:
    folder = Path(GOLDEN / name)
    return load_network(folder / "net.cfg", folder / "net.weights", dtype=dtype, kernels=kernels)


@pytest.mark.parametrize("name", TEXT_CASES)
def test_measure_in_float64_prints_darknets_digits(name: str) -> None:
    """float32 rounds in the seventh digit, as the machine's BLAS does, which may tip the fourth
    digit behind the point; to have darknet's digits from it is what `exact` is for."""
    net = trained(name, "float64")
    for line, symbols, seed in lines(name):
        found = measure(net, symbols, seed)
        matched = re.fullmatch(r"(\d+) BPC: (\S+) +Perplexity: (\S+) +Word Perplexity: (\S+)", line)
        assert matched
        characters, bits, perplexity, word_perplexity = matched.groups()
        assert str(found.characters) == characters
        assert f"{found.bits_per_character:.4f}" == bits
        # darknet sums in float32, which moves the sum of 599 costs by a few millionths; the
        # powers of two that are printed move by that times their exponents.
        assert found.perplexity == pytest.approx(float(perplexity), rel=2e-5, abs=5e-5)
        assert found.word_perplexity == pytest.approx(float(word_perplexity), rel=1e-4)


@pytest.mark.parametrize("name", TEXT_CASES)
@pytest.mark.parametrize("kernels", ["numpy", "auto"])
def test_measure_in_float32_is_that_in_float64(name: str, kernels: str) -> None:
    net, wide = trained(name, "float32", kernels), trained(name, "float64")
    for _, symbols, seed in lines(name):
        found, wanted = (measure(one, symbols, seed) for one in (net, wide))
        assert found.nats == pytest.approx(wanted.nats, rel=1e-6)
