"""Tokenized texts, and the names that tokens print as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import DataError, train
from minidark.data.text import Ids
from minidark.data.tokens import TokenText, byte_names, read_token_names
from tests.conftest import WriteText
from tests.golden_cases import GOLDEN
from tests.helpers import network


@pytest.mark.parametrize(
    "data",
    [b"0 5 12 5", b"0\n5\r\n12\t5\n", b"  000 5   12\n\n5 ", b"0 05 012 000005", b"+0 5 +12 +05"],
)
def test_tokens_stand_between_blanks_of_any_kind(write_text: WriteText, data: bytes) -> None:
    with TokenText(write_text(data), 13) as text:
        assert text.size == 4
        assert text.inputs == 13
        assert text.read(0, 4).tolist() == [0, 5, 12, 5]
        assert text.read(1, 3).tolist() == [5, 12]
        assert np.issubdtype(text.read(0, 1).dtype, np.integer)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 16, 10**6])
def test_a_text_is_read_piece_by_piece_wherever_words_are_cut(
    write_text: WriteText, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.data.tokens.PIECE", piece)
    data = b" 7 299   12\n\n0\t0000012 1  100\n4"
    text = TokenText(write_text(data), 300)
    assert text.read(0, text.size).tolist() == [7, 299, 12, 0, 12, 1, 100, 4]
    with pytest.raises(DataError, match=r": token 7 is '4x', not an integer$"):
        TokenText(write_text(data + b"x"), 300)
    with pytest.raises(DataError, match=r": token 1 is 'x+('|\.\.\.), not an integer$"):
        TokenText(write_text(b"1 " + b"x" * 99 + b" 2"), 300)


@pytest.mark.parametrize(("inputs", "width"), [(256, 1), (257, 2), (2**16, 2), (2**16 + 1, 4)])
def test_a_token_takes_as_many_bytes_as_it_needs(
    write_text: WriteText, inputs: int, width: int
) -> None:
    text = TokenText(write_text(b"%d 0 1" % (inputs - 1)), inputs)
    assert text.ids.nbytes == 3 * width
    assert text.read(0, 3).tolist() == [inputs - 1, 0, 1]


def test_a_part_and_its_windows_are_those_of_any_text(write_text: WriteText) -> None:
    with TokenText(write_text(b"0 1 2 3 4 5 6 7 8 9"), 10) as text:
        kept, held_out = text.split(0.3)
    assert (kept.size, held_out.size) == (7, 3)
    windows: list[Ids] = [kept.window(5, 4), held_out.window(0, 3)]
    assert [w.tolist() for w in windows] == [[5, 6, 0, 1], [7, 8, 9]]


def test_a_network_learns_from_tokens(write_text: WriteText) -> None:
    net = network(
        "net inputs=300 batch=4 time_steps=5 learning_rate=.1 adam=1",
        "gru output=8 tanh=1",
        "connected output=300 activation=linear",
        "softmax",
    )
    with TokenText(write_text(b"7 299 12\n" * 50), net.inputs) as text:
        losses = [step.loss for step in train(net, text, 60, valid_fraction=0)]
    assert losses[0] > 5
    assert losses[-1] < 0.5


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty; a tokenized text is integers separated by spaces"),
        (b" \n\t", "empty; a tokenized text is integers separated by spaces"),
        (b"1 2 x", "token 2 is 'x', not an integer"),
        (b"1 -2", "token 1 is -2; this network's are 0 to 19"),
        (b"1 + 2", "token 1 is '+', not an integer"),
        (b"1.0", "token 0 is '1.0', not an integer"),
        (b"1_0", "token 0 is '1_0', not an integer"),
        ("\u0663".encode(), "token 0 is '\u0663', not an integer"),
        (b"1 \xff\xfe", "token 1 is '\ufffd\ufffd', not an integer"),
        (b"1234567890", "token 0 is '1234567890', not an integer"),
        (b"9" * 5000, f"token 0 is '{'9' * 36}..., not an integer"),
        (b"1 2 20 3 99", "token 2 is 20; this network's are 0 to 19"),
        (b"999999999", "token 0 is 999999999; this network's are 0 to 19"),
    ],
)
def test_what_is_no_token_is_named_with_its_position(
    write_text: WriteText, data: bytes, said: str
) -> None:
    path = write_text(data)
    with pytest.raises(DataError) as error:
        TokenText(path, 20)
    assert str(error.value) == f"{path}: {said}"


@pytest.mark.parametrize("make", [lambda p: TokenText(p, 9), lambda p: read_token_names(p, 9)])
def test_a_file_that_is_not_there_is_refused(make: WriteText, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        make(tmp_path / "none")  # type: ignore[arg-type]
    assert str(error.value) == f"{tmp_path / 'none'}: cannot read: No such file or directory"


@pytest.mark.parametrize(
    "data", [b"a\n<NEWLINE>\nto be\n\nlast\n", b"a\r\n<NEWLINE>\r\nto be\r\n\r\nx"]
)
def test_a_name_prints_with_a_blank_and_newline_as_a_line_break(
    write_text: WriteText, data: bytes
) -> None:
    names = read_token_names(write_text(data), 4)
    assert names[:4] == [b"a ", b"\n ", b"to be ", b" "]
    assert len(names) == 5


def test_a_name_may_be_any_bytes(write_text: WriteText) -> None:
    data = "\u00fc".encode() + b"\n\xff\xfe\nx<NEWLINE>\n"
    assert read_token_names(write_text(data), 3) == [
        "\u00fc ".encode(),
        b"\xff\xfe ",
        b"x<NEWLINE> ",
    ]


def test_more_names_than_tokens_are_no_harm_and_fewer_are_refused(write_text: WriteText) -> None:
    path = write_text(b"a\nb\nc\n")
    assert len(read_token_names(path, 2)) == 3
    assert len(read_token_names(path, 3)) == 3
    with pytest.raises(DataError) as error:
        read_token_names(path, 4)
    assert str(error.value) == f"{path}: 3 names; this network has 4 tokens"


def test_the_recorded_names_are_read() -> None:
    names = read_token_names(GOLDEN / "text_gru" / "tokens.txt", 256)
    assert names[:11] == [*(f"t{n} ".encode() for n in range(10)), b"\n "]


def test_without_names_a_byte_prints_as_itself() -> None:
    assert b"".join(byte_names()) == bytes(range(256))
