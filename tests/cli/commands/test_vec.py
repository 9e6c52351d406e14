"""`minidark vec`: a line in, a vector out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from tests.cli.running import TWO_CELLS, assert_refused, assert_wrong_usage, lay_out, output, run
from tests.golden_cases import GOLDEN, TEXT_CASES
from tests.helpers import cfg


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(TWO_CELLS)


def vectors(stdin: bytes, *args: str) -> list[tuple[bytes, list[float]]]:
    """(text, numbers) of each line."""
    out = output("vec", "a.cfg", "a.weights", *args, stdin=stdin)
    assert out == b"" or out.endswith(b"\n")
    lines = [line.rsplit(b",", 6) for line in out.split(b"\n")[:-1]]
    return [(text, [float(number) for number in numbers]) for text, *numbers in lines]


@pytest.mark.parametrize("seed", [None, "\n", "x\u00fc"])
def test_a_vector_is_the_first_layers_output_after_seed_line_and_a_blank(seed: str | None) -> None:
    primer = "\n\n" if seed is None else seed
    net = load_network("a.cfg", "a.weights", batch=1)
    found = vectors(b"hello world\n\tx\n", *([] if seed is None else ["--seed", seed]))
    for (text, numbers), line in zip(found, (b"hello world", b"\tx"), strict=True):
        assert text == line
        net.reset_state()
        states = net.layers[0].forward(np.array([*(primer.encode() + line + b" ")])[:, None])
        np.testing.assert_allclose(numbers, states[-1, 0], rtol=1e-5, atol=1e-6)


def test_blanks_in_a_line_count() -> None:
    (_, with_blank), (_, without) = vectors(b"ab cd\nabcd\n")
    assert with_blank != without


def test_each_line_begins_anew() -> None:
    one, between, again = vectors(b"hello\nsomething else\nhello\n")
    assert one == again != between
    assert vectors(b"hello\n") == [one]


@pytest.mark.parametrize("name", TEXT_CASES)
def test_the_first_line_without_blanks_is_the_one_darknet_prints(name: str) -> None:
    files = [str(GOLDEN / name / "net.cfg"), str(GOLDEN / name / "net.weights")]
    lines = b"hello\nhello\n"
    ours = output("vec", *files, stdin=lines).splitlines()
    theirs = output("rnn", "vec", *files, stdin=lines).splitlines()
    assert ours[0] == theirs[0]
    assert ours[1] == ours[0], "begins anew"
    assert theirs[1] != theirs[0], "runs on"


@pytest.mark.parametrize(
    ("stdin", "texts"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a,b\n", [b"a,b"]),
        (b"\xff\xfe\x80\n", [b"\xff\xfe\x80"]),
    ],
)
def test_a_line_comes_out_for_a_line_that_goes_in(stdin: bytes, texts: list[bytes]) -> None:
    assert [text for text, _ in vectors(stdin)] == texts


def test_numbers_are_of_six_digits() -> None:
    line = output("vec", "a.cfg", "a.weights", stdin=b"a\n").decode().strip()
    numbers = line.split(",")[1:]
    assert numbers == [f"{float(number):g}" for number in numbers]
    assert len(numbers) == 6


def test_what_is_missing_or_does_not_fit_is_told() -> None:
    assert_wrong_usage(run("vec", "a.cfg", stdin=b"a\n"), "Missing argument 'WEIGHTS'.")
    missing = "none: cannot read: No such file or directory"
    assert_refused(run("vec", "a.cfg", "none", stdin=b"a\n"), 4, missing)
    Path("b.cfg").write_text(TWO_CELLS.replace("output=6", "output=7"))
    wrong = run("vec", "b.cfg", "a.weights", stdin=b"a\n")
    assert (wrong.exit_code, wrong.stdout) == (4, "")
    assert wrong.stderr.endswith("; this would fit: output=6 in [gru]\n")


@pytest.mark.parametrize(("seed", "stdin"), [("A", b"\x01\n"), ("\x01", b"\x02A\n")])
def test_a_byte_that_the_network_does_not_have_is_named(seed: str, stdin: bytes) -> None:
    Path("small.cfg").write_text(cfg("net inputs=40", "gru output=6", "softmax"))
    load_network("small.cfg").save_weights("small.weights")
    result = run("vec", "small.cfg", "small.weights", "--seed", seed, stdin=stdin)
    assert result.exit_code == 4, result.exception
    assert "65" in result.stderr
    assert "0 to 39" in result.stderr


def test_a_carriage_return_stays_in_darknets_lines_alone() -> None:
    """fgetl of C takes the line feed away, and strip blanks, tabs and line feeds."""
    typed = ["rnn", "vec", "a.cfg", "a.weights"]
    with_return, without = (output(*typed, stdin=line) for line in (b"a b\r\n", b"a b\n"))
    assert with_return.startswith(b"ab\r,")
    assert without.startswith(b"ab,")
    assert with_return.partition(b",")[2] != without.partition(b",")[2]
    native = [output("vec", "a.cfg", "a.weights", stdin=line) for line in (b"a b\r\n", b"a b\n")]
    assert native[0] == native[1]
