"""Pairs against a learner that counts everything anew each time; symbols against their bytes; and
what a network with a [bytepairs] says in characters against sums by hand."""

import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidark
from minidark.backend import Array, get_backend
from minidark.cfg.fit import stored_bytes
from minidark.cfg.plan import plan_cfg
from minidark.convert.fold import average
from minidark.data.bytepairs import LONGEST, PIECES, BytePairs, BytePairText, byte_pairs, learn
from minidark.data.text import Text
from minidark.errors import CfgError, DataError, MinidarkError, WeightsError
from minidark.inference.generate import generate, sample, sample_many
from minidark.inference.valid import evaluate, measure
from minidark.layers.base import Stored
from minidark.network import Network
from minidark.network.parser import build_network
from minidark.training.feeds import Feed, feed
from minidark.training.gradcheck import check_gradients
from minidark.weights.header import HEADER_BYTES
from tests import stand_in

TEXT = (
    b"the cat sat on the mat.\n\nThe hat that the cat had sat on the mat too:\n"
    b"that was the cat's hat, and the mat had that cat on it.\n"
) * 8
PAIRS = 24
CFG = """[net]
inputs={inputs}
batch=4
time_steps=12
adam=1
decay=0
learning_rate=.02
max_batches=30
[bytepairs]
[gru]
output=16
tanh=1
[connected]
output={inputs}
activation=linear
[softmax]
"""


def network(pairs: int = PAIRS, seed: int = 1, device: str = "cpu") -> Network:
    plan = plan_cfg(CFG.format(inputs=256 + pairs).encode(), None)
    return build_network(plan, seed, get_backend(device, "float32", "numpy"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT)
    return file


@pytest.fixture
def trained(path: Path) -> Network:
    net = network()
    with Text(path, net.inputs) as text:
        for _ in minidark.train(net, text, 30, seed=1):
            pass
    return net


def fed(path: Path, net: Network, seed: int = 1, valid_fraction: float = 0.05) -> Feed:
    with Text(path, net.inputs) as text:
        return feed(text, net, seed, valid_fraction)


def symbols_of(path: Path, net: Network) -> BytePairText:
    with Text(path, net.inputs) as text:
        return BytePairText(text, net, 0.05)


def pairs_of(net: Network) -> Array:
    """The live array."""
    array = net["0.bytepairs.pairs"]
    assert isinstance(array, Stored)
    return array.value


def pieces(data: bytes) -> list[bytes]:
    """Words with a blank before them, blanks, and what else there is, character by character."""
    found: list[bytes] = []
    last = ""
    for byte in data:
        letter = bool(re.match(rb"[0-9A-Za-z_'\x80-\xff]", bytes([byte])))
        kind = "letter" if letter else "blank" if byte == 32 else "other"
        if found and kind == last:
            found[-1] += bytes([byte])
        elif found and kind == "letter" and last == "blank":
            blanks = found.pop()
            found += [blanks[:-1], b" " + bytes([byte])] if blanks[:-1] else [b" " + bytes([byte])]
        else:
            found.append(bytes([byte]))
        last = kind
    return found


def learned_slowly(data: bytes, count: int) -> list[tuple[int, int]]:
    return learned_from_words([[*piece] for piece in pieces(data)], count)


def learned_from_words(words: list[list[int]], count: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for number in range(256, 256 + count):
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = max(counts, key=lambda pair: (counts[pair], pair))
        pairs.append(best)
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = [number]
                at += 1
    return pairs


def test_the_pairs_are_the_most_frequent_ones() -> None:
    assert learn(TEXT, PAIRS) == learned_slowly(TEXT, PAIRS)


@given(st.text("ab c\n.", min_size=30, max_size=60))
def test_the_pairs_of_any_text(text: str) -> None:
    try:
        found = learn(text.encode(), 4)
    except DataError:
        return
    assert found == learned_slowly(text.encode(), 4)


@given(st.binary(max_size=200))
def test_every_text_has_symbols_and_comes_back_from_them(data: bytes) -> None:
    pairs = BytePairs(learn(TEXT, PAIRS))
    symbols = pairs.encode(data)
    assert pairs.decode(symbols) == data
    assert bytes(pairs.spell(symbols).astype(np.uint8)) == data
    offsets = pairs.offsets(symbols, 7).tolist()
    assert offsets == [7 + len(pairs.decode(symbols[:at])) for at in range(symbols.size)]


def test_symbols_are_put_together_in_the_order_in_which_they_were_learned() -> None:
    h_a, t_h, ha_t = (ord("h"), ord("a")), (ord("t"), ord("h")), (256, ord("t"))
    assert BytePairs([h_a, t_h, ha_t]).encode(b"that").tolist() == [ord("t"), 258]
    assert BytePairs([t_h, h_a, ha_t]).encode(b"that").tolist() == [256, ord("a"), ord("t")]


def test_no_symbol_is_of_two_words() -> None:
    names = BytePairs(learn(TEXT, 36)).names
    assert b" the" in names
    assert not [name for name in names if re.search(rb"\w ", name)]


def test_a_text_with_too_few_pairs_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"has only 1 pairs .* asks for 5; .* inputs=257"):
        learn(b"ab ab", 5)


def test_without_pairs_each_byte_is_a_symbol() -> None:
    none = BytePairs(())
    assert none.encode(b"the").tolist() == [*b"the"]
    assert none.offsets(np.arange(3), 5).tolist() == [5, 6, 7]


def test_a_run_learns_them_from_what_it_trains_on(path: Path) -> None:
    net = network()
    fed(path, net, valid_fraction=0.25)
    at = len(TEXT) - len(TEXT) // 4
    assert list(byte_pairs(net).pairs) == learn(TEXT[:at], PAIRS)


def test_what_is_learned_already_stays(path: Path, tmp_path: Path) -> None:
    net = network()
    fed(path, net)
    before = byte_pairs(net).pairs
    other = tmp_path / "other.txt"
    other.write_bytes(b"other words, other pairs " * 40)
    fed(other, net)
    assert byte_pairs(net).pairs == before


def test_a_text_is_split_by_its_characters(path: Path) -> None:
    net = network()
    text = symbols_of(path, net)
    part, held_out = text.split(0.1)
    names = byte_pairs(net).names
    spelled = b"".join(names[s] for s in text.read(held_out.begin, held_out.end))
    assert abs(len(spelled) - len(TEXT) // 10) < max(map(len, names))
    assert TEXT.endswith(spelled)
    assert part.characters + held_out.characters == len(TEXT) == text.characters(0, text.size)


def test_a_pass_counts_the_characters_of_its_truth(path: Path) -> None:
    net = network()
    given = fed(path, net).next()
    names = byte_pairs(net).names
    assert given.symbols == sum(len(names[s]) for s in given.truth.flatten())
    assert given.symbols > given.truth.size


def test_the_loss_is_of_a_character(path: Path) -> None:
    net, again = network(), network()
    with Text(path, net.inputs) as text:
        report = next(minidark.train(net, text, 1, seed=3))
    given = fed(path, again, seed=3).next()
    cost = float(again.train_batch(given.x, given.truth))
    assert report.loss == pytest.approx(cost / given.symbols, rel=1e-5)
    assert report.symbols == given.symbols


def test_a_validation_is_of_characters(path: Path, trained: Network) -> None:
    text = symbols_of(path, trained)
    _, held_out = text.split(0.3)
    found = evaluate(trained, held_out, streams=1)
    one, nats, characters = trained.twin(1), 0.0, 0
    names = byte_pairs(trained).names
    y = None
    for at in range(held_out.begin - 100, held_out.end):
        symbol = int(text.read(at, at + 1)[0])
        if at >= held_out.begin:
            assert y is not None
            nats -= math.log(y[0, symbol])
            characters += len(names[symbol])
        y = one.predict(np.array([symbol]))
    assert found == pytest.approx(nats / characters, rel=1e-4)


def test_bits_per_character_are_those_of_the_symbols(trained: Network) -> None:
    pairs = byte_pairs(trained)
    data = b"the hat on that cat.\n" * 5
    symbols = pairs.encode(data)
    found = measure(trained, symbols, b"\n")
    one = trained.twin(1)
    y = one.predict(np.concatenate([pairs.encode(b"\n"), symbols]))
    nats = -sum(math.log(y[at, s]) for at, s in enumerate(symbols) if at)
    assert found.characters == len(data) - len(pairs.names[symbols[0]])
    assert found.nats == pytest.approx(nats, rel=1e-4)
    assert found.words == 1 + sum(byte in b" \n\t" for byte in data[-found.characters :])


def test_a_sample_has_so_many_characters(trained: Network) -> None:
    for length in (0, 1, 50):
        text = generate(trained, b"the ", length, srand=3)
        assert text[:4] == b"the "
        assert len(text) == 4 + length
    pairs = byte_pairs(trained)
    symbols = [*sample(trained, pairs.encode(b"the ").tolist(), 50, 0.7, 3)]
    assert b"the " + pairs.decode(symbols)[:50] == text


def test_many_samples_are_drawn_until_the_shortest_is_long_enough(trained: Network) -> None:
    pairs = byte_pairs(trained)
    primer = pairs.encode(b"\n").tolist()
    texts = sample_many(trained, primer, 40, 1.0, range(4), lengths=pairs.lengths)
    lengths = [len(pairs.decode(text)) for text in texts]
    without_last = [len(pairs.decode(text[:-1])) for text in texts]
    assert min(lengths) >= 40 > min(without_last)


def test_a_file_is_as_long_as_its_cfg_says(trained: Network, tmp_path: Path) -> None:
    trained.save_weights(tmp_path / "net.weights")
    size = (tmp_path / "net.weights").stat().st_size
    assert stored_bytes(trained.sections) == size - HEADER_BYTES


@pytest.mark.parametrize("suffix", ["weights", "safetensors", "npz"])
def test_they_go_where_the_weights_go(trained: Network, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"net.{suffix}"
    trained.save_weights(file)
    net = network(seed=5)
    minidark.load_weights(net, file)
    assert byte_pairs(net).pairs == byte_pairs(trained).pairs
    assert generate(net, b"the", 60, srand=1) == generate(trained, b"the", 60, srand=1)


def test_a_run_goes_on_to_the_same_bytes(path: Path, trained: Network) -> None:
    net = network()
    other = network(seed=9)
    with Text(path, net.inputs) as text:
        run = minidark.train(net, text, 30, seed=1)
        for _ in range(11):
            next(run)
        for _ in minidark.train(other, text, 30, resume=run.checkpoint()):
            pass
    for a, b in zip(trained.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.slow
def test_they_are_learned_and_read_on_a_gpu(
    path: Path, trained: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.put_in_place(monkeypatch, "float32")
    net = network(device="cuda")
    with Text(path, net.inputs) as text:
        for _ in minidark.train(net, text, 30, seed=1):
            pass
    assert byte_pairs(net).pairs == byte_pairs(trained).pairs
    found, wanted = (measure(each, symbols_of(path, trained).ids[:50]) for each in (net, trained))
    assert found.characters == wanted.characters
    assert found.nats == pytest.approx(wanted.nats, rel=1e-3)
    assert generate(net, b"the", 60, srand=1) == generate(trained, b"the", 60, srand=1)


def test_gradients_behind_them() -> None:
    rows = [*check_gradients(plan_cfg(CFG.format(inputs=300).encode(), None))]
    assert all(row.passed for row in rows)
    assert {"1.gru.uz.weights", "3.softmax"} & {row.name for row in rows}


def test_unlearned_and_damaged_ones_are_told() -> None:
    net = network()
    with pytest.raises(WeightsError, match="has no pairs yet"):
        generate(net, b"a", 1)
    values = pairs_of(net)
    values[...] = 97
    for wrong in (-1, 258, 0.5, np.nan):
        values[2, 1] = wrong
        with pytest.raises(WeightsError, match=r"0\.bytepairs\.pairs\[2\] .* damaged"):
            byte_pairs(net)


def test_pairs_that_double_again_and_again_are_refused_at_once() -> None:
    net = network()
    values = pairs_of(net)
    values[...] = 97
    values[1:] = np.arange(256, 256 + PAIRS - 1)[:, None]
    with pytest.raises(WeightsError, match=r"pairs\[6\] is longer than 65 bytes"):
        byte_pairs(net)


@pytest.mark.parametrize("endless", [b"thecatsat", b" ", b"=", b"\xea\xb0\x80"])
def test_a_word_without_an_end_is_read_in_short_pieces(endless: bytes) -> None:
    """What a piece takes grows with its square."""
    data = endless * 1000 + b"word"
    assert max(map(len, PIECES.findall(data))) <= LONGEST
    pairs = BytePairs(learn(TEXT, PAIRS))
    assert pairs.decode(pairs.encode(data)) == data


def test_files_of_other_pairs_have_no_average(trained: Network, tmp_path: Path) -> None:
    a, b = tmp_path / "a.weights", tmp_path / "b.weights"
    trained.save_weights(a)
    pairs = pairs_of(trained)
    same = pairs.copy()
    average(trained, [a, a, a])
    np.testing.assert_array_equal(pairs, same)
    pairs[0, 0] = 0
    trained.save_weights(b)
    with pytest.raises(WeightsError, match=r"b\.weights: its byte pairs differ from .*a\.weights"):
        average(trained, [a, b])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[net]\ninputs=256\n[bytepairs]\n[gru]\noutput=256\n[softmax]", "leaves no symbols"),
        (
            "[net]\ninputs=300\n[gru]\noutput=300\n[bytepairs]\n[softmax]",
            "5: .*must be the first layer",
        ),
        (
            "[net]\ninputs=300\n[gru]\noutput=8\n[bytepairs]\n[softmax]",
            "5: .*must be the first layer",  # and not that 8 outputs leave no symbols
        ),
        (
            "[net]\ninputs=300\n[bytepairs]\n[dropout]\n[softmax]",
            r"4: \[dropout\] does not read symbols",
        ),
    ],
)
def test_where_they_may_stand(text: str, error: str) -> None:
    with pytest.raises(CfgError, match=error):
        build_network(plan_cfg(text.encode(), "a.cfg"), 0, get_backend())


def test_models_have_no_place_for_them(trained: Network) -> None:
    from minidark.convert.proof import written

    with pytest.raises(MinidarkError, match="cannot be stored in this format"):
        written(trained, lambda net, calls: (b"", []), np.arange(3))
