"""Every kind of text to train on: what is refused, in which words, and what is read as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from minidark import Text, load_network
from minidark.data.tokens import TokenText
from minidark.errors import number_of
from tests.cli.running import Started, assert_refused, run
from tests.helpers import cfg, forbidden

STEPS = 8  # a window takes 9 characters
WINDOW = bytes(range(97, 97 + STEPS + 1))
ALL = bytes(range(256))
TRAIN = ["train", "a.cfg", "--seed", "1"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows words its errors otherwise")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(network(256))


def network(symbols: int) -> str:
    return cfg(
        f"net inputs={symbols} batch=2 time_steps={STEPS} max_batches=2 learning_rate=.01 adam=1",
        "gru output=4 tanh=1",
        f"connected output={symbols} activation=linear",
        "softmax",
    )


@dataclass(frozen=True)
class Wrong:
    name: str
    files: tuple[bytes, ...]
    message: str
    symbols: int = 256
    options: tuple[str, ...] = ()


EMPTY = "empty"
WHOLE = ("--valid-fraction", "0")
TOKENS = ("--tokenized",)
SOON = (*WHOLE, "--batches", "50")  # streams begin anywhere, and come upon it


def few(characters: int) -> str:
    return (
        f"{number_of(characters, 'character')} to train on; a window of time_steps={STEPS} needs "
        f"{STEPS + 1}: use more text or a smaller time_steps"
    )


def outside(name: str, byte: int, offset: int, symbols: int) -> str:
    return (
        f"{name}: byte {byte} at offset {offset}; this network's symbols are 0 to {symbols - 1}, "
        "bytes need inputs=256"
    )


WRONG = [
    # --- bytes
    Wrong("empty", (b"",), f"0.txt: {EMPTY}"),
    Wrong("three empty files", (b"", b"", b""), f"0.txt, 1.txt, 2.txt: {EMPTY}"),
    Wrong("one byte", (b"x",), few(1)),
    Wrong("one NUL", (b"\0",), few(1)),
    Wrong("a window less one", (WINDOW[:-1],), few(STEPS), options=WHOLE),
    Wrong("files that are a window less one together", (b"abc", b"", b"defgh"), few(STEPS)),
    Wrong("a window, half of it kept out", (WINDOW,), few(5),
          options=("--valid-fraction", ".5")),
    Wrong("too few kept out for patience", (WINDOW * 9,),
          "patience needs a validation, but only 4 characters are held out; "
          "it needs 200", options=("--patience", "1")),
    Wrong("a symbol outside", (bytes(10) + b"\4" + bytes(10),), outside("0.txt", 4, 10, 4), 4,
          SOON),
    Wrong("the last symbol is outside", (b"\0\1\2\3" * 4 + b"a",), outside("0.txt", 97, 16, 4), 4,
          SOON),
    Wrong("a symbol outside, in another file", (b"\0\1" * 9, b"\1\2\3\xff\1"),
          outside("1.txt", 255, 3, 4), 4, SOON),
    # --- tokens
    Wrong("no token", (b"",), "0.txt: empty; a tokenized text is integers separated by spaces", 4,
          TOKENS),
    Wrong("blanks", (b" \n\t \r\n",), "0.txt: empty; a tokenized text is integers separated by "
          "spaces", 4, TOKENS),
    Wrong("too few tokens", (b"1 2 3",), few(3), 4, TOKENS),
    Wrong("a word", (b"1 2 x 3",), "0.txt: token 2 is 'x', not an integer", 4, TOKENS),
    Wrong("a negative number", (b"1 -2",), "0.txt: token 1 is -2; this network's are 0 to 3", 4,
          TOKENS),
    Wrong("a fraction", (b"1.0",), "0.txt: token 0 is '1.0', not an integer", 4, TOKENS),
    Wrong("hexadecimal", (b"0x1",), "0.txt: token 0 is '0x1', not an integer", 4, TOKENS),
    Wrong("an underscore", (b"1_0",), "0.txt: token 0 is '1_0', not an integer", 4, TOKENS),
    Wrong("Arabic digits", ("1 ٣".encode(),), "0.txt: token 1 is '٣', not an integer", 4, TOKENS),
    Wrong("NUL between tokens", (b"1\0002",), "0.txt: token 0 is '1\\x002', not an integer", 4,
          TOKENS),
    Wrong("a byte order mark", (b"\xef\xbb\xbf1 2",), "0.txt: token 0 is '\\ufeff1', not an "
          "integer", 4, TOKENS),
    Wrong("invalid UTF-8", (b"1 \xff",), "0.txt: token 1 is '�', not an integer", 4, TOKENS),
    Wrong("one token too large", (b"0 1 2 3 4",),
          "0.txt: token 4 is 4; this network's are 0 to 3", 4, TOKENS),
    Wrong("a token of a megabyte", (b"9" * 2**20,),
          f"0.txt: token 0 is '{'9' * 36}..., not an integer", 4, TOKENS),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=[case.name for case in WRONG])
def test_a_wrong_text_is_refused_in_one_line(case: Wrong) -> None:
    Path("a.cfg").write_text(network(case.symbols))
    names = [f"{number}.txt" for number in range(len(case.files))]
    for name, data in zip(names, case.files, strict=True):
        Path(name).write_bytes(data)
    result = run(*TRAIN, *names, *case.options)
    assert (result.exit_code, result.stdout) == (4, "")
    *notes, said = result.stderr.splitlines()
    assert said == f"minidark: error: {case.message}"
    assert not any("minidark:" in line or "Traceback" in line for line in notes)
    assert not any(Path("backup").glob("*.weights"))


@pytest.mark.parametrize("command", ["train", "valid"])
@pytest.mark.parametrize(
    ("symbols", "offset"), [(11, 11), (128, 128), (255, 255)], ids=["11", "ASCII", "255"]
)
def test_each_command_names_the_first_symbol_outside(
    command: str, symbols: int, offset: int
) -> None:
    Path("a.cfg").write_text(network(symbols))
    Path("0.txt").write_bytes(ALL)
    load_network("a.cfg").save_weights("a.weights")
    words = {"train": [*TRAIN, "0.txt", *WHOLE, "--batches", "200"],
             "valid": ["valid", "a.cfg", "a.weights", "0.txt"]}  # fmt: skip
    result = run(*words[command])
    assert result.exit_code == 4
    if command == "valid":
        assert_refused(result, 4, outside("0.txt", offset, offset, symbols))
    else:  # whichever of them a stream comes upon first
        assert "this network's symbols are 0 to" in result.stderr


# --- bytes that are read as they are --------------------------------------------------------

READ = {
    "exactly a window": WINDOW,
    "NUL bytes only": bytes(100),
    "all bytes": ALL,
    "high bytes only": bytes(range(128, 256)),
    "CRLF": b"a line\r\nanother\r\n",
    "lone CR": b"a line\ranother\r",
    "a byte order mark": b"\xef\xbb\xbfa text of bytes",
    "UTF-16": "a text of words".encode("utf-16"),
    "invalid UTF-8": b"caf\xe9 \xc3\x28 \xff\xfe " * 3,
    "^Z in the middle": b"before \x1a after, and more",
    "no last line break": b"the last line",
    "line breaks only": b"\n" * 50,
    "one line of a megabyte": b"x" * 2**20,
}


@pytest.mark.parametrize("name", READ)
def test_bytes_are_read_unchanged_and_trained_on(name: str) -> None:
    data = READ[name]
    Path("0.txt").write_bytes(data)
    with Text("0.txt", 256) as text:
        assert text.read(0, text.size).astype(np.uint8).tobytes() == data
    result = run(*TRAIN, "0.txt", *WHOLE)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert load_network("a.cfg", "backup/a_final.weights").seen == 2 * 2 * STEPS


def test_tokens_of_any_blanks_are_trained_on() -> None:
    Path("a.cfg").write_text(network(4))
    Path("0.txt").write_bytes(b"0 1\t2\r\n3\x0b0\x0c 0001\n\n2" + b" 3" * 20)
    text = TokenText("0.txt", 4)
    assert text.read(0, 7).tolist() == [0, 1, 2, 3, 0, 1, 2]
    result = run(*TRAIN, "0.txt", *TOKENS)
    assert result.exit_code == 0, result.stderr


@pytest.mark.slow
@POSIX
def test_ten_gigabytes_are_begun_with_at_once() -> None:
    with Path("0.txt").open("wb") as file:
        file.truncate(10 * 2**30)
    began = time.process_time()
    result = run(*TRAIN, "0.txt")
    assert result.exit_code == 0, result.stderr
    assert time.process_time() - began < 20


# --- what is no file ------------------------------------------------------------------------


def make_device() -> None:
    if not Path("/dev/zero").is_char_device():
        pytest.skip("this platform has no /dev/zero")
    Path("0.txt").symlink_to("/dev/zero")


NO_FILES: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "cannot read: No such file or directory"),
    "a link to nothing": (
        lambda: Path("0.txt").symlink_to("nothing"),
        "cannot read: No such file or directory",
    ),
    "a link to itself": (
        lambda: Path("0.txt").symlink_to("0.txt"),
        "cannot read: Too many levels of symbolic links",
    ),
    "a folder": (lambda: Path("0.txt").mkdir(), "a folder; pass the files in it"),
    "a named pipe": (lambda: os.mkfifo("0.txt"), "not a regular file"),
    "a device": (make_device, "not a regular file"),
}


@POSIX
@pytest.mark.parametrize("options", [(), TOKENS], ids=["bytes", "tokens"])
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_regular_file_is_refused_without_waiting(
    name: str, options: tuple[str, ...]
) -> None:
    make, said = NO_FILES[name]
    make()
    assert_refused(run(*TRAIN, "0.txt", *options), 4, f"0.txt: {said}")


def test_no_permission_is_told() -> None:
    with (
        forbidden("0.txt", WINDOW) as path,
        pytest.raises(Exception, match="cannot read: Permission denied"),
    ):
        Text(path, 256)


# --- what changes while it is trained on ----------------------------------------------------

TEXT = np.random.default_rng(0).integers(0, 256, 300_000).astype(np.uint8).tobytes()
SHRUNK = "became shorter since the start"
OTHER = "its bytes have changed since the start"
ANOTHER = "replaced by another file since the start"


def overwrite(data: bytes, mode: str = "r+b") -> None:
    with Path("0.txt").open(mode) as file:
        file.write(data)


def replace(data: bytes) -> None:
    Path("new").write_bytes(data)
    os.replace("new", "0.txt")


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "truncated to nothing": (lambda: os.truncate("0.txt", 0), SHRUNK),
    "truncated to half": (lambda: os.truncate("0.txt", len(TEXT) // 2), SHRUNK),
    "written anew, shorter": (lambda: Path("0.txt").write_bytes(b"short"), SHRUNK),
    "written anew, as long": (lambda: overwrite(bytes(len(TEXT))), OTHER),
    "written anew, longer": (lambda: overwrite(bytes(2 * len(TEXT))), OTHER),
    "replaced by a shorter one": (lambda: replace(b"short"), ANOTHER),
    "replaced by one that is as long": (lambda: replace(TEXT[::-1]), ANOTHER),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows changes no file that is open")
@pytest.mark.parametrize("name", CHANGES)
def test_a_text_that_changes_is_an_error_after_saving(name: str) -> None:
    change, said = CHANGES[name]
    with training("--save-every", "1000000000") as process:
        change()
        told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 4
    assert told.splitlines()[-1] == f"minidark: error: 0.txt: {said}"
    assert load_network("a.cfg", "backup/a.backup").seen >= 20 * 2 * STEPS


NO_CHANGES: dict[str, Callable[[], object]] = {
    "grown": lambda: overwrite(b"more", "ab"),
    "removed": lambda: Path("0.txt").unlink(),
    "touched": lambda: Path("0.txt").touch(),
    "written anew, the same": lambda: overwrite(TEXT),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows changes no file that is open")
@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_was_there_at_the_start_is_read_on(name: str) -> None:
    with training("--batches", "400") as process:
        NO_CHANGES[name]()
        told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0
    assert "minidark: wrote backup/a_final.weights" in told.splitlines()


def training(*args: str) -> Started:
    """A run that has told of batch 20."""
    Path("0.txt").write_bytes(TEXT)
    command = [sys.executable, "-m", "minidark", *TRAIN, "0.txt", *WHOLE,
               "--batches", "10000000", *args]  # fmt: skip
    process = Started(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    next(line for line in process.stderr if line.startswith(b"20: "))
    return process


@pytest.mark.skipif(not hasattr(os, "pread"), reason="Windows has no pread")
def test_a_disk_that_cannot_be_read_is_an_error_after_saving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from minidark.files import disk

    Path("0.txt").write_bytes(TEXT)
    pread, reads = os.pread, [0]

    def fails(descriptor: int, size: int, offset: int) -> bytes:
        reads[0] += 1
        if reads[0] > 100:
            raise OSError(5, "Input/output error")
        return pread(descriptor, size, offset)

    monkeypatch.setattr(disk, "_pread", fails)
    result = run(*TRAIN, "0.txt", *WHOLE, "--batches", "1000")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == (
        "minidark: error: 0.txt: cannot read: Input/output error"
    )
    assert load_network("a.cfg", "backup/a.backup").seen > 0
