"""The grammar of a cfg: bytes to sections, and sections to text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minidark.cfg.sections import (
    LARGEST_CFG,
    Section,
    cfg_comments,
    format_sections,
    parse_sections,
    read_cfg,
)
from minidark.errors import CfgError

Doubts = list[tuple[str, int]]


def parse(data: bytes | str) -> tuple[list[Section], Doubts]:
    doubts: Doubts = []
    raw = data.encode() if isinstance(data, str) else data
    return parse_sections(raw, "a.cfg", lambda *doubt: doubts.append(doubt)), doubts


def plain(sections: list[Section]) -> list[tuple[str, dict[str, str]]]:
    return [(s.type, {k: p.value for k, p in s.pairs.items()}) for s in sections]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[net]\nbatch=4\n\n[gru]\noutput=8\n", id="as usual"),
        pytest.param(b"[net]\nbatch=4\n[gru]\noutput=8", id="no newline at the end"),
        pytest.param(b"\xef\xbb\xbf[net]\nbatch=4\n[gru]\noutput=8\n", id="byte order mark"),
        pytest.param(b"[net]\r\nbatch=4\r\n\r\n[gru]\r\noutput=8\r\n", id="CRLF"),
        pytest.param(b"[net]\rbatch=4\r\r[gru]\routput=8\r", id="lone CR"),
        pytest.param(b"\t[ net ]\n b a t c h \t= 4 \n[gru]\t\noutput\t=\t8\t\n", id="blanks"),
        pytest.param(b"# a\n[net] ; b\n;c\n#[rnn]\nbatch=4 # d=e\n[gru]#\noutput=8;9\n", id="#;"),
        pytest.param("[net]\nbatch=4\n# a\u2028[rnn]\n[gru]\noutput=8\n".encode(), id="U+2028"),
        pytest.param(b"[net]\nbatch=4\n# a\x0b[rnn]\x0c[rnn]\x1c[rnn]\n[gru]\noutput=8\n", id="VT"),
        pytest.param("[net]\nbatch=4 # \u00fc\u4e2d\n[gru]\noutput=8\n".encode(), id="UTF-8"),
    ],
)
def test_all_these_spell_the_same_sections(data: bytes) -> None:
    sections, doubts = parse(data)
    assert plain(sections) == [("net", {"batch": "4"}), ("gru", {"output": "8"})]
    assert doubts == []


def test_every_section_and_key_knows_its_line() -> None:
    sections, _ = parse("# first\n\n[net]\nbatch=4\r\n\rinputs=9\r[gru]\n\noutput=8\n")
    assert [s.line for s in sections] == [3, 7]
    assert [p.line for s in sections for p in s.pairs.values()] == [4, 6, 9]


def test_a_value_may_hold_an_equals_sign() -> None:
    assert plain(parse("[net]\na=b=c\n")[0]) == [("net", {"a": "b=c"})]


def test_sections_of_one_name_stay_apart_in_the_order_of_the_file() -> None:
    sections, _ = parse("[net]\n[gru]\noutput=1\n[rnn]\n[gru]\noutput=2\n")
    assert plain(sections) == [
        ("net", {}), ("gru", {"output": "1"}), ("rnn", {}), ("gru", {"output": "2"}),
    ]  # fmt: skip


def test_of_two_equal_keys_the_first_wins_and_a_doubt_is_told() -> None:
    sections, doubts = parse("[net]\nbatch=4\ninputs=9\nbatch=5\n[gru]\nbatch=6\n")
    assert plain(sections) == [("net", {"batch": "4", "inputs": "9"}), ("gru", {"batch": "6"})]
    assert doubts == [("batch is already set on line 2; the first one counts", 4)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[net]\n[gru\n", "a.cfg:2: '[gru' is not a section; expected [name]"),
        (b"[]\n", "a.cfg:1: '[]' is not a section; expected [name]"),
        (b"\n[gru]x\n", "a.cfg:2: '[gru]x' is not a section; expected [name]"),
        (b"[[gru]]\n", "a.cfg:1: '[[gru]]' is not a section; expected [name]"),
        (b"[gru]=8\n", "a.cfg:1: '[gru]=8' is not a section; expected [name]"),
        (b"[net]\nbatch\n", "a.cfg:2: 'batch' is not key=value"),
        (b"[net]\n  two words # no\n", "a.cfg:2: 'two words' is not key=value"),
        (b"two words = 3\n", "a.cfg:1: 'two words = 3' is before the first [section]"),
        (b"[net]\n=64\n", "a.cfg:2: '=64' is not key=value"),
        (b"[net]\n\nbatch= # 64\n", "a.cfg:3: 'batch=' is not key=value"),
        (b"[net]\n=\n", "a.cfg:2: '=' is not key=value"),
        (b"gru]\n", "a.cfg:1: 'gru]' is not key=value"),
        (b"batch=4\n[net]\n", "a.cfg:1: 'batch=4' is before the first [section]"),
        (b"", "a.cfg: no [section] in this cfg; it begins with [net]"),
        (b"\xef\xbb\xbf", "a.cfg: no [section] in this cfg; it begins with [net]"),
        (b"# one\n; two\n \t\n", "a.cfg: no [section] in this cfg; it begins with [net]"),
        (
            b"[net]\nbatch=4\0\n",
            "a.cfg:2: a NUL byte; a cfg is UTF-8 text (is this UTF-16 or binary?)",
        ),
        (
            "[net]\n".encode("utf-16-le"),
            "a.cfg:1: a NUL byte; a cfg is UTF-8 text (is this UTF-16 or binary?)",
        ),
        (b"[net]\n# \xe9\ncaf\xe9=1\n", "a.cfg:3: byte 0xe9 is not UTF-8; save the cfg as UTF-8"),
        (
            b"[net]\n" + b"x" * 99 + b"\n",
            f"a.cfg:2: '{'x' * 36}... is not key=value",
        ),
    ],
)
def test_what_is_no_cfg_is_refused_at_its_line(data: bytes, message: str) -> None:
    with pytest.raises(CfgError) as error:
        parse(data)
    assert str(error.value) == message


def test_a_comment_may_be_in_any_encoding() -> None:
    data = b"[net]\nbatch=4 # caf\xe9 = 1\n; na\xefve\n[gru]\noutput=2\n"
    assert plain(parse(data)[0]) == [("net", {"batch": "4"}), ("gru", {"output": "2"})]
    comments = cfg_comments(data)
    assert [comments.at(2), *comments.before(9)] == ["  # caf\ufffd = 1", "# na\ufffdve"]


def test_a_wrong_byte_is_named_rightly_behind_a_byte_order_mark() -> None:
    with pytest.raises(CfgError) as error:
        parse(b"\xef\xbb\xbf[net]\n\n\xe9\n")
    assert str(error.value) == "a.cfg:3: byte 0xe9 is not UTF-8; save the cfg as UTF-8"


@pytest.mark.parametrize(("byte", "said"), [(b"\0", "a NUL byte"), (b"\xff", "byte 0xff")])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_wrong_byte_is_named_with_its_line_whatever_ends_a_line(
    end: bytes, byte: bytes, said: str
) -> None:
    with pytest.raises(CfgError, match=f"^a.cfg:3: {said}"):
        parse(b"[net]" + end + b"batch=4" + end + byte + end)


def test_an_error_carries_its_path_and_line() -> None:
    with pytest.raises(CfgError) as error:
        parse("[net]\nbatch\n")
    assert (error.value.path, error.value.line) == ("a.cfg", 2)


def test_what_is_too_large_for_a_cfg_is_refused() -> None:
    fits = b"[net]\n".ljust(LARGEST_CFG, b"#")
    assert plain(parse(fits)[0]) == [("net", {})]
    with pytest.raises(CfgError) as error:
        parse(fits + b"#")
    assert str(error.value) == "a.cfg: larger than 1,048,576 bytes; this is not a cfg"


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_bytes(b"[net]\nbatch=4\n")
    for path in (tmp_path / "a.cfg", str(tmp_path / "a.cfg")):
        assert read_cfg(path) == b"[net]\nbatch=4\n"


def test_a_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "a.cfg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # holds no blocks
    with pytest.raises(CfgError, match="larger than 1,048,576 bytes; this is not a cfg"):
        parse(read_cfg(path))


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(CfgError) as error:
        read_cfg(tmp_path / "no.cfg")
    assert str(error.value) == f"{tmp_path / 'no.cfg'}: cannot read: No such file or directory"


def test_a_folder_is_not_a_cfg(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"a folder; pass the files in it|cannot read"):
        read_cfg(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CfgError) as error:
        read_cfg(tmp_path / "pipe")
    assert str(error.value) == f"{tmp_path / 'pipe'}: not a regular file"


def test_sections_as_text_read_back_as_they_were() -> None:
    sections, _ = parse(" [net] # x\nbatch = 4\nsteps=1,2\n\n[gru]\n[gru]\noutput=8\n")
    text = format_sections(sections)
    assert text == "[net]\nbatch=4\nsteps=1,2\n\n[gru]\n\n[gru]\noutput=8\n"
    assert plain(parse(text)[0]) == plain(sections)
