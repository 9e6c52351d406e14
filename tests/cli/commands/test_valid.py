"""`minidark valid`: the tinted text, the worst characters, and texts of any length."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from minidark import load_network
from minidark.cli.output.tint import STEPS
from minidark.data.text import Ids
from minidark.inference.valid import Reading, readings
from minidark.network import Network
from tests.cli.running import assert_wrong_usage, output, run
from tests.cli.terminal import NO_TERMINALS, on_terminal
from tests.helpers import cfg, randomize

LIKELY = {" ": 0.6, "e": 0.35, "i": 0.1, "n": 0.02, "c": 0.01}
CFG = cfg("net inputs=256", "gru output=6", "connected output=256 activation=linear", "softmax")
TEXT = (
    "Größe zählt:\n\n\tdie Zahl 日本 und ein langer Rest, in dem vieles sich wiederholt\n".encode()
)
valid = import_module("minidark.cli.commands.valid")  # the package has the command under that name
CALL = ("valid", "a.cfg", "a.weights")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    (folder / "a.cfg").write_text(CFG)
    (folder / "text.txt").write_bytes(TEXT)
    net = load_network("a.cfg", seed=1)
    randomize(net.layers)
    biases, weights = (p.value for p in net.parameters()[-2:])
    weights *= 0.3
    biases[...] = -9.0
    for character, share in LIKELY.items():
        biases[ord(character)] = np.log(share)
    biases["ö".encode()[1]] = np.log(0.1)  # likelier than the byte before it
    net.save_weights("a.weights")


def bits(text: bytes = TEXT) -> list[float]:
    """Of each byte, the first of which nobody was asked for."""
    symbols = np.frombuffer(text, np.uint8).astype(np.intp)
    net = load_network("a.cfg", "a.weights", batch=1, time_steps=1, kernels="numpy")
    return [0.0, *np.concatenate([r.bits for r in readings(net, [symbols])]).tolist()]


def steps() -> list[tuple[str, int]]:
    """Each character and how many of STEPS its bits reach."""
    by_byte, at, found = bits(), 0, []
    for character in TEXT.decode():
        size = len(character.encode())
        found.append((character, sum(sum(by_byte[at : at + size]) >= step for step in STEPS)))
        at += size
    return found


def test_there_is_something_of_each_step() -> None:
    assert {step for _, step in steps()} == {0, 1, 2, 3, 4}


CONSOLE = Console()
BACKGROUNDS = {None: 0, "#fde0c5": 1, "#f8b37f": 2, "#d9772b": 3, "#8f3d05": 4}


@NO_TERMINALS
def test_on_a_terminal_each_character_has_the_tint_of_its_bits() -> None:
    seen = on_terminal(*CALL, "text.txt", "--color", COLORTERM="truecolor")
    assert seen.code == 0
    legend, _, rest = seen.screen.partition("\n\n")
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", legend).split())
    assert said == "below 1 bit 1 and more 2 and more 4 and more 8 and more"
    shown = Text.from_ansi(rest)  # rich's own reader of escape codes
    found = []
    for at, character in enumerate(shown.plain):
        style = shown.get_style_at_offset(CONSOLE, at)
        background = style.bgcolor.name if style.bgcolor else None
        step = BACKGROUNDS[background]
        assert bool(style.bold) == bool(style.underline) == (step == 4)
        found.append((character, step))
    text = [(c, s) for c, s in found[: len(found)] if c != "↵"]
    wanted = [(c, 0 if c == "\n" else s) for c, s in steps()]
    assert text[: len(wanted)] == wanted
    signs = [s for c, s in found if c == "↵"]
    assert signs == [s for c, s in steps() if c == "\n" and s]


@NO_TERMINALS
@pytest.mark.parametrize(
    ("variables", "codes"),
    [
        ({"COLORTERM": "truecolor"}, {"48;2"}),
        ({}, {"48;5"}),
        ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, {"4", "1;4", "1;4;7"}),
        ({"TERM": "xterm-16color"}, {"4", "1;4", "1;4;7"}),
        ({"TERM": "dumb"}, set()),
    ],
)
def test_the_terminal_and_no_color_say_which_codes_there_are(
    variables: dict[str, str], codes: set[str]
) -> None:
    seen = on_terminal(*CALL, "text.txt", "--color", **variables)  # type: ignore[arg-type]
    found = {code for code in re.findall(r"\x1b\[([0-9;]*)m", seen.screen) if code != "0"}
    if any(code.startswith("48") for code in codes):
        assert {re.findall(r"48;\d", code)[0] for code in found} == codes
    else:
        assert found == codes


def test_in_a_pipe_the_text_is_as_it_is() -> None:
    figures = output(*CALL, "text.txt")
    assert output(*CALL, "text.txt", "--color") == TEXT + b"\n\n" + figures
    odd = b"\xff\x1b[31m\x00x"
    assert output(*CALL, "--color", stdin=odd).startswith(odd + b"\n\n")


@pytest.mark.slow
@NO_TERMINALS
def test_in_a_pipe_that_is_to_have_colours_it_has() -> None:
    seen = on_terminal(*CALL, "text.txt", "--color", stdout=False, FORCE_COLOR="1")
    assert "\x1b[" in seen.stdout
    assert "\x1b[" not in on_terminal(*CALL, "text.txt", "--color", stdout=False).stdout


@NO_TERMINALS
def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    Path("text.txt").write_bytes(b"a\x1b[2Jb\x07\xc2\x9b\xff\x00 end")
    seen = on_terminal(*CALL, "text.txt", "--color")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.screen)
    assert r"a\x1b[2Jb\x07\x9b\xff\x00 end" in plain
    assert "\x1b[2J" not in seen.screen


@pytest.mark.slow
@NO_TERMINALS
def test_a_text_that_ends_within_a_character_is_shown_to_its_end() -> None:
    Path("text.txt").write_bytes(b"ab\xe2\x82")
    seen = on_terminal(*CALL, "text.txt", "--color")
    assert r"ab\xe2\x82" in re.sub(r"\x1b\[[0-9;]*m", "", seen.screen)
    assert output(*CALL, "text.txt", "--color").startswith(b"ab\xe2\x82\n\n")


@NO_TERMINALS
def test_nobody_waits_for_standard_input_without_knowing() -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "minidark", *CALL]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        assert process.stderr.readline() == (b"minidark: reading standard input; Ctrl-D ends it\n")
        os.write(ours, b"abc\n\x04")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"characters                        3\n")


def test_of_characters_of_several_bytes_the_bytes_are_counted_and_named() -> None:
    korean = "그 영화, 하하".encode()
    lines = output(*CALL, stdin=korean).decode().splitlines()
    assert [line.rpartition(" ")[0].strip() for line in lines[:3]] == [
        "bytes", "nats per byte", "bits per byte",
    ]  # fmt: skip
    assert lines[0].split() == ["bytes", str(len(korean) - 1)]
    assert output(*CALL, stdin=b"plain text").startswith(b"characters ")
    assert "bits_per_character" in json.loads(output(*CALL, "--json", stdin=korean))


def test_color_is_not_json() -> None:
    message = "use either --color or --json, not both"
    assert_wrong_usage(run(*CALL, "text.txt", "--color", "--json"), message)


def test_worst_are_those_with_most_bits() -> None:
    facts = json.loads(output(*CALL, "text.txt", "--worst", "3", "--json"))
    wanted = sorted(enumerate(bits()), key=lambda pair: -pair[1])[:3]
    assert [w["offset"] for w in facts["worst"]] == [offset for offset, _ in wanted]
    assert [w["bits"] for w in facts["worst"]] == pytest.approx([b for _, b in wanted])
    for w in facts["worst"]:
        at = w["offset"]
        assert w["symbol"] == TEXT[at]
        assert w["before"] == TEXT[max(0, at - 40) : at].decode(errors="ignore")
        assert w["after"] == TEXT[at + 1 : at + 13].decode(errors="ignore")
        assert w["character"].encode() in TEXT
    assert "worst" not in json.loads(output(*CALL, "text.txt", "--json"))


def test_worst_are_whole_characters_with_their_bytes() -> None:
    text = "그 영화, it\N{RIGHT SINGLE QUOTATION MARK}s 하하".encode() + b" don\x92t"
    Path("text.txt").write_bytes(text)
    call = (*CALL, "text.txt", "--worst", "100")
    facts = {w["offset"]: w for w in json.loads(output(*call, "--json"))["worst"]}
    assert len(facts) == len(text) - 1
    rows = {
        int(line.split()[1]): line for line in output(*call).decode().splitlines()[-len(facts) :]
    }
    for character in ("영", "\N{RIGHT SINGLE QUOTATION MARK}", "화"):
        begin = text.index(character.encode())
        for n, byte in enumerate(character.encode()):
            fact = facts[begin + n]
            assert (fact["character"], fact["symbol"]) == (character, byte)
            assert fact["byte"] == f"0x{byte:02x} {n + 1}/3"
            assert fact["before"] == text[max(0, begin + n - 40) : begin].decode()
            after = text[begin + 3 : begin + n + 13]
            assert fact["after"] == after.decode(errors="ignore")
            assert character in rows[begin + n]
            assert fact["byte"] in rows[begin + n]
    at = text.index(b"\x92")
    assert (facts[at]["character"], facts[at]["byte"]) == ("\\x92", "0x92")
    assert (facts[at]["before"][-3:], facts[at]["after"]) == ("don", "t")
    assert all(cell_len(row) <= 80 for row in rows.values())
    assert "�" not in "".join(rows.values())


def test_the_likeliest_byte_is_shown_with_the_character_that_it_completes() -> None:
    net = load_network("a.cfg", "a.weights")
    net.parameters()[-2].value["ö".encode()[1]] = 20.0
    net.save_weights("a.weights")
    facts = json.loads(output(*CALL, "text.txt", "--worst", "100", "--json"))["worst"]
    shown = {w["offset"]: w["likeliest_character"] for w in facts}
    at = TEXT.index("ß".encode())
    assert (shown[at], shown[at + 1]) == ("\\xb6", "ö")


def test_worst_stand_under_each_other_in_a_table() -> None:
    Path("text.txt").write_bytes(b"[b]\x1b[/b]\n" * 5)
    facts = json.loads(output(*CALL, "text.txt", "--worst", "4", "--json"))["worst"]
    lines = output(*CALL, "text.txt", "--worst", "4").decode().splitlines()
    head, *rows = lines[lines.index("") + 1 :]
    assert head.split() == ["bits", "offset", "before", "after", "byte", "most", "likely"]
    assert len(rows) == 4
    for row, fact in zip(rows, facts, strict=True):
        assert row.split()[:2] == [f"{fact['bits']:.2f}", f"{fact['offset']:,}"]
        before = fact["before"].replace("\n", "\\n").replace("\x1b", "\\x1b")[-22:]
        assert before in row
        it = chr(fact["symbol"])
        assert row.index(before) + len(before) + 2 == row.index(
            repr(it)[1:-1], row.index(before) + len(before) + 1
        )


def test_worst_of_weights_that_give_nan_are_dashes() -> None:
    net = load_network("a.cfg", "a.weights")
    net.parameters()[-1].value[...] = np.nan
    net.save_weights("nan.weights")
    call = ("valid", "a.cfg", "nan.weights", "text.txt", "--allow-nonfinite", "--worst", "3")
    lines = output(*call, "--color").decode().splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["-"] * 3
    assert all(line.endswith("(-)") for line in lines[-3:])
    facts = json.loads(output(*call, "--json"))["worst"]
    assert [(w["bits"], w["likeliest_probability"]) for w in facts] == [(None, None)] * 3


def test_a_long_text_is_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(net: Network, blocks: Iterable[Ids], seed: bytes, cache: int) -> Iterator[Reading]:
        assert not cache
        for block in blocks:
            sizes.append(block.size)
            yield from readings(net, [block[:2]], seed)

    monkeypatch.setattr(valid, "readings", counted)
    with open("zeros", "wb") as file:
        file.truncate(1_000_000)
    assert output(*CALL, "zeros", "--seed", "")
    assert sizes == [2**16] * 15 + [1_000_000 - 15 * 2**16]


@pytest.mark.parametrize("size", [99, 100, 101, 200])
def test_standard_input_is_read_in_blocks_to_its_end(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valid, "BLOCK", 100)
    assert json.loads(output(*CALL, "--json", stdin=b"x" * size))["characters"] == size - 1
