"""Every kind of wrong weight file: bytes in, one exact line out, and a network left as it was."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from minidark import Network, WeightsError, load_weights
from minidark.weights import darknet
from minidark.weights.darknet import read_weights
from tests.cli.running import assert_refused, output, run
from tests.helpers import assert_same, cfg, network, randomize, snapshot

CFG = ("net inputs=3", "gru output=2 tanh=1", "connected output=3 activation=linear", "softmax")
FLOATS = 3 * 2 * (3 + 2 + 2) + 3 * (2 + 1)
LENGTH = 20 + 4 * FLOATS
HINT = "; is it the cfg they were made with?"
NAN, INF = struct.pack("<f", np.nan), struct.pack("<f", -np.inf)


def header(form: str = "<3iq", version: tuple[int, ...] = (0, 2, 0), seen: int = 7) -> bytes:
    return struct.pack(form, *version, seen)


def floats(count: int = FLOATS, **at: bytes) -> bytes:
    """1, 2, ... as float32, with some replaced: `_5` is the sixth."""
    data = bytearray(np.arange(1, count + 1, dtype="<f4").tobytes())
    for place, number in at.items():
        index = 4 * int(place[1:])
        data[index : index + 4] = number
    return bytes(data)


@dataclass(frozen=True)
class Wrong:
    name: str
    data: bytes
    message: str  # behind "x.weights: "
    hint: str = ""  # of the command, which knows the cfg

    @property
    def said(self) -> str:
        return f"x.weights: {self.message}"


def other(name: str, magic: bytes) -> Wrong:
    data = magic.ljust(LENGTH, b"\0")
    shown = repr(data[:12])
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return Wrong(name, data, f"not a darknet weight file (it begins with {shown})")


def not_finite(count: int) -> str:
    return f"one of {count} that are NaN or infinite; --allow-nonfinite loads them anyway"


NEGATIVE = "`seen` is negative (-5); the header is damaged"
SHORT = f"the file has {{}}, this cfg needs {LENGTH}"
WRONG = [
    Wrong("zero length", b"", "0 bytes; the header of a weight file has at least 16"),
    Wrong("a version only", header()[:12],
          "12 bytes; the header of a weight file has at least 16"),
    Wrong("a header cut short", header()[:18], "18 bytes; its header alone needs 20"),
    Wrong("a header only", header(),
          "layer 0.gru.wz.biases is 8 bytes short: " + SHORT.format(20), HINT),
    Wrong("cut after the first layer", header() + floats(42),
          "layer 1.connected.biases is 12 bytes short: " + SHORT.format(188), HINT),
    Wrong("cut in a number", header() + floats()[:-1],
          "layer 1.connected.weights is 1 bytes short: " + SHORT.format(LENGTH - 1), HINT),
    Wrong("one byte too many", header() + floats() + b"\n",
          f"1 bytes too many: the file has {LENGTH + 1}, this cfg needs {LENGTH}", HINT),
    Wrong("twice as long", 2 * (header() + floats()),
          f"{LENGTH} bytes too many: the file has {2 * LENGTH}, this cfg needs {LENGTH}", HINT),
    Wrong("a 32-bit `seen` under a 64-bit header", header("<3ii") + floats(),
          f"layer 1.connected.weights is 4 bytes short: {SHORT.format(LENGTH - 4)}", HINT),
    Wrong("a 64-bit `seen` under a 32-bit header", header(version=(0, 1, 0)) + floats(),
          f"4 bytes too many: the file has {LENGTH}, this cfg needs {LENGTH - 4}", HINT),
    other("PyTorch, npz or another zip", b"PK\x03\x04"),
    other("GGUF", b"GGUF\x03\0\0\0"),
    other("npy", b"\x93NUMPY\x01\0v\0{'descr'"),
    Wrong("safetensors", b"\x40\0\0\0\0\0\0\0{\"__meta",
          "its content is .safetensors; rename it"),
    other("pickle", b"\x80\x04\x95\x0c\0\0\0\0\0\0\0"),
    other("HDF5", b"\x89HDF\r\n\x1a\n"),
    other("gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
    other("a cfg", b"[net]\ninputs=3\n"),
    other("byte-swapped", struct.pack(">3iq", 0, 2, 0, 7)),
    other("negative major", struct.pack("<3i", -1, 2, 0)),
    other("version 2000", struct.pack("<3i", 0, 2000, 0)),
    Wrong("negative seen", header(seen=-5) + floats(), NEGATIVE),
    Wrong("negative seen of 32 bits", header("<3ii", (0, 1, 0), -5) + floats(), NEGATIVE),
    Wrong("NaN at the beginning", header() + floats(_0=NAN),
          f"0.gru.wz.biases[0] is nan, {not_finite(1)}"),
    Wrong("infinity in a matrix", header() + floats(_5=INF),
          f"0.gru.wz.weights[1, 1] is -inf, {not_finite(1)}"),
    Wrong("NaN twice, and infinity", header() + floats(_50=NAN, _47=INF, _49=NAN),
          f"1.connected.weights[1, 0] is -inf, {not_finite(3)}"),
    Wrong("NaN in a transposed file", header(version=(0, 1002, 0)) + floats(_3=NAN),
          f"0.gru.uz.weights[1, 0] is nan, {not_finite(1)}"),
]  # fmt: skip
wrong = pytest.mark.parametrize("case", WRONG, ids=[case.name for case in WRONG])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_text(cfg(*CFG))


@pytest.fixture
def net() -> Network:
    """A network with numbers of its own."""
    made = network(*CFG, dtype="float32")
    randomize(made.layers)
    made.seen = 5
    return made


@wrong
def test_a_wrong_file_is_refused_in_one_line_and_changes_nothing(case: Wrong, net: Network) -> None:
    before = snapshot(net)
    Path("x.weights").write_bytes(case.data)
    with pytest.raises(WeightsError) as from_file:
        load_weights(net, "x.weights")
    with pytest.raises(WeightsError) as from_bytes:
        read_weights(net, case.data, "x.weights")
    assert str(from_file.value) == str(from_bytes.value) == case.said
    assert_same(snapshot(net), before)


@wrong
def test_the_command_line_says_so_and_ends_with_4(case: Wrong) -> None:
    Path("x.weights").write_bytes(case.data)
    words = ["generate", "a.cfg", "x.weights", "--srand", "1", "--quiet"]
    assert_refused(run(*words), 4, case.said + case.hint)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("norm", [0, 1])
def test_every_truncation_and_every_byte_too_many_is_refused(cell: str, norm: int) -> None:
    lines = ("net inputs=2", f"{cell} output=2 batch_normalize={norm}", "connected output=2")
    net = network(*lines)
    net.save_weights("whole.weights")
    whole = Path("whole.weights").read_bytes()
    before = snapshot(net)
    for length in [*range(len(whole)), *range(len(whole) + 1, len(whole) + 9)]:
        data = whole.ljust(length, b"\0")[:length]
        with pytest.raises(WeightsError, match=r"^x: .*[0-9] bytes"):
            read_weights(net, data, "x")
        assert_same(snapshot(net), before)
    assert read_weights(net, whole, "x").seen == 0


# --- NaN and infinity -----------------------------------------------------------------------


def test_with_allow_nonfinite_all_numbers_are_taken_as_they_are(net: Network) -> None:
    data = header() + floats(_0=NAN, _5=INF)
    Path("x.weights").write_bytes(data)
    load_weights(net, "x.weights", allow_nonfinite=True)
    net.save_weights("again.weights")
    assert Path("again.weights").read_bytes() == data


def test_subnormal_numbers_and_minus_zero_are_kept_bit_for_bit(net: Network) -> None:
    data = header() + floats(_1=b"\1\0\0\0", _2=b"\0\0\0\x80")
    read_weights(net, data, "x")
    net.save_weights("again.weights")
    assert Path("again.weights").read_bytes() == data


LOADING: list[list[str]] = [
    ["generate", "a.cfg", "x.weights", "--seed", "\1", "--srand", "1"],
    ["valid", "a.cfg", "x.weights", "text.txt"],
    ["vec", "a.cfg", "x.weights"],
    ["train", "a.cfg", "text.txt", "--weights", "x.weights", "--batches", "9", "--quiet"],
    ["average", "a.cfg", "out.weights", "x.weights"],
    ["partial", "a.cfg", "x.weights", "out.weights", "1"],
    ["denormalize", "a.cfg", "x.weights", "out.weights"],
    ["convert", "x.weights", "out.weights", "--cfg", "a.cfg"],
    ["rnn", "valid", "a.cfg", "x.weights"],
]


@pytest.mark.parametrize("words", LOADING, ids=[words[0] for words in LOADING])
def test_every_command_that_loads_weights_refuses_nan_unless_told(words: list[str]) -> None:
    Path("x.weights").write_bytes(header() + floats(_0=NAN))
    Path("text.txt").write_bytes(b"\0\1\2" * 40)
    said = f"x.weights: 0.gru.wz.biases[0] is nan, {not_finite(1)}"
    assert_refused(run(*words), 4, said)
    assert not Path("out.weights").exists()
    allowed = run(*words, "--allow-nonfinite", stdin=b"\0\1\2")
    assert said not in allowed.stderr
    if "out.weights" in words:
        assert Path("out.weights").read_bytes()[20:24] == NAN


@pytest.mark.parametrize("command", ["info", "statistics"])
def test_what_only_shows_a_file_shows_it_with_its_nan(command: str) -> None:
    Path("x.weights").write_bytes(header() + floats(_0=NAN, _1=INF))
    lines = output(command, "a.cfg", "x.weights").decode().splitlines()
    (line,) = (line for line in lines if line.startswith("0.gru.wz.biases "))
    assert line.split()[-1] == "2"


# --- files that are none, or change ---------------------------------------------------------


def make_pipe() -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this platform has no named pipes")
    os.mkfifo("x.weights")


def make_device() -> None:
    if not Path("/dev/zero").is_char_device():
        pytest.skip("this platform has no /dev/zero")
    Path("x.weights").symlink_to("/dev/zero")


NO_FILES: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "cannot read: No such file or directory"),
    "directory": (lambda: Path("x.weights").mkdir(), "a folder; pass the files in it"),
    "named pipe": (make_pipe, "not a regular file"),
    "device": (make_device, "not a regular file"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows words its errors otherwise")
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_regular_file_is_refused_without_waiting(name: str) -> None:
    make, said = NO_FILES[name]
    make()
    assert_refused(run("info", "a.cfg", "x.weights"), 4, f"x.weights: {said}")


def test_a_terabyte_of_nothing_is_refused_by_its_length(net: Network) -> None:
    with Path("x.weights").open("wb") as file:
        file.write(header())
        file.truncate(1 << 40)  # holds no blocks
    with pytest.raises(WeightsError) as error:
        load_weights(net, "x.weights")
    assert str(error.value) == (
        f"x.weights: {2**40 - LENGTH:,} bytes too many: the file has {2**40:,}, this cfg needs "
        f"{LENGTH}"
    )


def grown() -> None:
    with Path("x.weights").open("ab") as file:
        file.write(b"more")


def shrunk() -> None:
    os.truncate("x.weights", LENGTH - 8)


def rewritten() -> None:
    with Path("x.weights").open("r+b") as file:
        file.write(header(seen=8))
    stamp = Path("x.weights").stat().st_mtime_ns + 1  # whatever the clock's grain
    os.utime("x.weights", ns=(stamp, stamp))


@pytest.mark.parametrize("change", [grown, shrunk, rewritten])
def test_a_file_that_changes_while_it_is_read_is_refused(
    net: Network, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes when its length has been checked, and before its numbers are read."""
    Path("x.weights").write_bytes(header() + floats())
    measure = darknet._check_length

    def measure_then_change(*args: object, **kwargs: object) -> None:
        measure(*args, **kwargs)  # type: ignore[arg-type]
        change()

    monkeypatch.setattr(darknet, "_check_length", measure_then_change)
    before = snapshot(net)
    with pytest.raises(WeightsError) as error:
        load_weights(net, "x.weights")
    assert str(error.value) == "x.weights: changed during reading; try again"
    assert_same(snapshot(net), before)


@pytest.fixture
def writer() -> Iterator[list[bytes]]:
    """Another thread that saves whole files, one of ones and one of twos, over each other."""
    files = [header(seen=n) + floats(0) + struct.pack("<f", n) * FLOATS for n in (1, 2)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for data in files:
                Path("x.weights").write_bytes(data)  # in place, as darknet does
                stop.wait(0.005)

    Path("x.weights").write_bytes(files[0])
    thread = threading.Thread(target=write)
    thread.start()
    yield files
    stop.set()
    thread.join()


def test_what_is_read_beside_a_writer_is_one_file_or_an_error(
    net: Network, writer: list[bytes]
) -> None:
    refused = read = 0
    while read < 10 and refused < 2000:
        try:
            load_weights(net, "x.weights")
        except WeightsError:
            refused += 1
            continue
        read += 1
        values = {net.seen, *(float(v) for p in net.parameters() for v in p.value.reshape(-1))}
        assert values in ({1}, {2})
    assert read
