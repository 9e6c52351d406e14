"""Every kind of wrong cfg, and of odd ones that are none: bytes in, one exact line out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from minidark import CfgError, parse_network_cfg
from minidark.cfg.plan import plan_cfg
from minidark.cfg.sections import LARGEST_CFG
from tests.cli.running import assert_refused, run
from tests.helpers import forbidden

NET = b"[net]\ninputs=4\n"
GRU = b"[gru]\noutput=3\n"
NO_SECTION = "no [section] in this cfg; it begins with [net]"
SOURCE = "a NUL byte; a cfg is UTF-8 text (is this UTF-16 or binary?)"


@dataclass(frozen=True)
class Wrong:
    name: str
    data: bytes
    message: str  # behind "a.cfg"

    @property
    def said(self) -> str:
        return f"a.cfg{self.message}"


def net(*pairs: str) -> bytes:
    """A cfg whose [net] has these pairs from line 3 on."""
    return NET + "".join(f"{pair}\n" for pair in pairs).encode() + GRU


def gru(*pairs: str) -> bytes:
    """A cfg whose [gru] has these pairs from line 4 on."""
    return NET + b"[gru]\n" + "".join(f"{pair}\n" for pair in pairs).encode()


WRONG = [
    # --- sections
    Wrong("empty", b"", f": {NO_SECTION}"),
    Wrong("blanks only", b"\n \t\r\n\n", f": {NO_SECTION}"),
    Wrong("comments only", b"# [net]\n; inputs=4\n", f": {NO_SECTION}"),
    Wrong("a byte order mark only", b"\xef\xbb\xbf", f": {NO_SECTION}"),
    Wrong("no [net]", GRU, ":1: the first section is [gru]; expected [net]"),
    Wrong("[net] not first", b"#\n" + GRU + NET, ":2: the first section is [gru]; expected [net]"),
    Wrong("[net] twice", NET + GRU + NET, ":5: a second [net]"),
    Wrong("[network] after [net]", NET + GRU + b"[network]\n", ":5: a second [network]"),
    Wrong("[net] only", NET, ": no layers: this cfg has only [net]"),
    Wrong("key before any section", b"inputs=4\n" + GRU,
          ":1: 'inputs=4' is before the first [section]"),
    Wrong("[gru", NET + b"[gru\n", ":3: '[gru' is not a section; expected [name]"),
    Wrong("[]", NET + b"[]\n", ":3: '[]' is not a section; expected [name]"),
    Wrong("[ ]", NET + b"[ ]\n", ":3: '[ ]' is not a section; expected [name]"),
    Wrong("[gru] x", NET + b"[gru] x\n", ":3: '[gru] x' is not a section; expected [name]"),
    Wrong("[[gru]]", NET + b"[[gru]]\n", ":3: '[[gru]]' is not a section; expected [name]"),
    Wrong("[gruu]", NET + b"[gruu]\n", ":3: unknown section [gruu] (did you mean 'gru'?)"),
    Wrong("a section that cannot be printed", NET + b"[g\x1b\x07]\n",
          ":3: unknown section [g\\x1b\\x07]"),
    Wrong("a section for images", NET + b"[yolo]\n",
          ":3: [yolo] works on images; minidark is for recurrent networks (gru, lstm, rnn, "
          "connected, softmax, dropout, activation, batchnorm, logistic, cost, route, shortcut, "
          "attention, bytepairs)"),
    # --- pairs
    Wrong("batch", net("batch"), ":3: 'batch' is not key=value"),
    Wrong("=64", net("=64"), ":3: '=64' is not key=value"),
    Wrong("batch=", net("batch="), ":3: 'batch=' is not key=value"),
    Wrong("batch= and a comment", net("batch = # 64"), ":3: 'batch =' is not key=value"),
    # --- numbers
    Wrong("abc", net("batch=abc"), ":3: batch='abc' is not an integer"),
    Wrong("64x", net("batch=64x"), ":3: batch='64x' is not an integer"),
    Wrong("1e3 for an integer", net("batch=1e3"), ":3: batch='1e3' is not an integer"),
    Wrong("1_000", net("batch=1_000"), ":3: batch='1_000' is not an integer"),
    Wrong("Arabic digits", net("batch=٦٤"), ":3: batch='٦٤' is not an integer"),
    Wrong("full-width digits", net("decay=１"), ":3: decay='１' is not a number"),  # noqa: RUF001
    Wrong("64.0 for an integer", net("batch=64.0"), ":3: batch='64.0' is not an integer"),
    Wrong("0x40", net("batch=0x40"), ":3: batch='0x40' is not an integer"),
    Wrong("zero", net("batch=0"), ":3: batch='0' is less than 1"),
    Wrong("minus zero", gru("output=-0"), ":4: output='-0' is less than 1"),
    Wrong("negative", gru("output=-4"), ":4: output='-4' is less than 1"),
    Wrong("beyond C's int", net("batch=2147483648"),
          ":3: batch='2147483648' is beyond 2147483647, darknet's largest int"),
    Wrong("4400 digits", net(f"batch={'9' * 4400}"),
          f":3: batch='{'9' * 36}... is beyond 2147483647, darknet's largest int"),
    Wrong("4400 digits for a number", net(f"decay={'9' * 4400}"),
          f":3: decay='{'9' * 36}... is not a number"),
    Wrong("nan", net("learning_rate=nan"), ":3: learning_rate='nan' is not a number"),
    Wrong("inf", net("learning_rate=inf"), ":3: learning_rate='inf' is not a number"),
    Wrong("-Infinity", net("gamma=-Infinity"), ":3: gamma='-Infinity' is not a number"),
    Wrong("1e999", net("learning_rate=1e999"), ":3: learning_rate='1e999' is not a number"),
    Wrong("a flag of 2", gru("tanh=2"), ":4: tanh='2' is not 0 or 1"),
    Wrong("a name that is none", net("policy=stepz"),
          ":3: policy='stepz' is not one of constant, step, steps, exp, poly, sigmoid, random, "
          "cosine (did you mean 'step'?)"),
    # --- lists
    Wrong("steps and scales of different length", net("policy=steps", "steps=1,2", "scales=.1"),
          ":4: policy=steps has 2 steps and 1 scales; it needs the same number of both, "
          "at least one"),
    Wrong("steps without scales", net("policy=steps", "steps=1,2"),
          ":4: policy=steps has 2 steps and 0 scales; it needs the same number of both, "
          "at least one"),
    Wrong("unsorted", net("steps=20,10"), ":3: steps='20,10' is not in ascending order"),
    Wrong("twice the same", net("steps=10,10"), ":3: steps='10,10' is not in ascending order"),
    Wrong("empty item", net("steps=1,,2"), ":3: steps='' is not an integer"),
    Wrong("a comma at the end", net("scales=.1,"), ":3: scales='' is not a number"),
    # --- one value beside another
    Wrong("batch not divisible by subdivisions", net("subdivisions=3", "batch=4"),
          ":3: batch=4 is not divisible by subdivisions=3"),
    Wrong("no inputs", b"[net]\nbatch=1\n" + GRU,
          ":1: [net] needs inputs=N, the number of symbols (256 for bytes)"),
    Wrong("softmax over a wrong size", NET + b"[softmax]\ngroups=3\n",
          ":4: groups=3 does not divide 4 inputs"),
    Wrong("poly without an end", net("policy=poly"), ":3: policy=poly needs max_batches"),
    # --- bytes
    Wrong("NUL byte", net("batch=4\0"), f":3: {SOURCE}"),
    Wrong("UTF-16", (NET + GRU).decode().encode("utf-16-le"), f":1: {SOURCE}"),
    Wrong("UTF-16 with a mark", (NET + GRU).decode().encode("utf-16"), f":1: {SOURCE}"),
    Wrong("invalid UTF-8", NET + b"caf\xe9=1\n" + GRU,
          ":3: byte 0xe9 is not UTF-8; save the cfg as UTF-8"),
    Wrong("UTF-8 cut short", NET + GRU + b"\xe4\xb8",
          ":5: byte 0xe4 is not UTF-8; save the cfg as UTF-8"),
    # --- too much
    Wrong("a megabyte and a line", NET + b"#" * LARGEST_CFG,
          ": larger than 1,048,576 bytes; this is not a cfg"),
    Wrong("a key of a megabyte", NET + b"k" * 1_000_000 + b"\n",
          f":3: '{'k' * 36}... is not key=value"),
    Wrong("a section of a megabyte", NET + b"[" + b"k" * 1_000_000 + b"]",
          f":3: unknown section [{'k' * 37}...]"),
    Wrong("a number of a megabyte", NET + b"decay=" + b"9" * 1_000_000 + b"x",
          f":3: decay='{'9' * 36}... is not a number"),
    Wrong("a list of a megabyte", NET + b"steps=" + b"1," * 500_000,
          f":3: steps='{'1,' * 18}... has more than 1,000 items"),
    Wrong("100,000 sections", NET + b"[gru]\n" * 100_000,
          ":1002: more than 1,000 sections; not a cfg"),
    Wrong("100,000 unknown keys", NET + b"".join(b"k%d=1\n" % i for i in range(100_000)),
          ":103: more than 100 warnings; not a cfg"),
    Wrong("a megabyte of line breaks", b"\n" * 1_000_000, f": {NO_SECTION}"),
]  # fmt: skip
wrong = pytest.mark.parametrize("case", WRONG, ids=[case.name for case in WRONG])


@wrong
def test_a_wrong_cfg_is_refused_in_one_line(case: Wrong, tmp_path: Path) -> None:
    """Soon, and in the function on bytes wherever no layer has to be made for it. Work that grows
    with the square of these files would take minutes, so a slow machine has ten seconds."""
    path = tmp_path / "a.cfg"
    path.write_bytes(case.data)
    began = time.process_time()
    with pytest.raises(CfgError) as error:
        parse_network_cfg(path)
    assert time.process_time() - began < 10
    assert str(error.value) == f"{tmp_path}/{case.said}"
    assert "\n" not in case.said
    if case.name != "softmax over a wrong size":
        with pytest.raises(CfgError) as from_bytes:
            plan_cfg(case.data, "a.cfg")
        assert str(from_bytes.value) == case.said


@wrong
def test_the_command_line_says_so_and_ends_with_3(
    case: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_bytes(case.data)
    assert_refused(run("info", "a.cfg", "--quiet"), 3, case.said)


# --- what is accepted, though it may look odd -----------------------------------------------

PLAIN = NET + b"batch=6\n" + GRU + b"tanh=1\n"
SAME = {
    "BOM": b"\xef\xbb\xbf" + PLAIN,
    "CRLF": PLAIN.replace(b"\n", b"\r\n"),
    "lone CR": PLAIN.replace(b"\n", b"\r"),
    "no last newline": PLAIN.removesuffix(b"\n"),
    "U+2028": PLAIN.replace(b"batch", "# \u2028[rnn]\u2029[rnn]\u0085[rnn]\nbatch".encode()),
    "blanks": PLAIN.replace(b"=", b" \t= "),
    "a comment of a megabyte": PLAIN + b"#" * 1_000_000,
}


@pytest.mark.parametrize("name", SAME)
def test_these_are_the_same_cfg(name: str) -> None:
    """Lines aside: the same values in the same sections."""
    plan, plain = plan_cfg(SAME[name]), plan_cfg(PLAIN)
    assert plan.net == plain.net
    assert plan.net.batch == 6
    assert [(la.options, la.size) for la in plan.layers] == [
        (la.options, la.size) for la in plain.layers
    ]
    assert [s.type for s in plan.sections] == ["net", "gru"]


DOUBTFUL = {
    "duplicate key": (net("batch=2", "batch=3"),
                      "a.cfg:4: batch is already set on line 3; the first one counts"),
    "unknown key": (net("bacth=2", "batch=2"),
                    "a.cfg:3: unknown key 'bacth' in [net] (did you mean 'batch'?)"),
    "unknown key that cannot be printed": (net("batch=2", "\x1b[2J=2"),
                                           "a.cfg:4: unknown key '\\x1b[2J' in [net]"),
    "an unknown key of a megabyte": (net("batch=2", "k" * 1_000_000 + "=2"),
                                     f"a.cfg:4: unknown key '{'k' * 36}... in [net]"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubt_is_a_warning_and_with_strict_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, said = DOUBTFUL[name]
    monkeypatch.chdir(tmp_path)
    Path("a.cfg").write_bytes(data)
    result = run("info", "a.cfg", "--json")
    assert (result.exit_code, result.stderr) == (0, f"minidark: warning: {said}\n")
    assert '"streams": 2' in result.stdout
    assert_refused(run("info", "a.cfg", "--strict"), 3, said)


# --- files that are none --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_loop() -> None:
    Path("a.cfg").symlink_to("a.cfg")


def make_pipe() -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this platform has no named pipes")
    os.mkfifo("a.cfg")


def make_device() -> None:
    if not Path("/dev/zero").is_char_device():
        pytest.skip("this platform has no /dev/zero")
    Path("a.cfg").symlink_to("/dev/zero")


NO_FILES: dict[str, tuple[Callable[[], object], str]] = {
    "missing": (lambda: None, "cannot read: No such file or directory"),
    "directory": (lambda: Path("a.cfg").mkdir(), "a folder; pass the files in it"),
    "named pipe": (make_pipe, "not a regular file"),
    "device": (make_device, "not a regular file"),
    "link to itself": (make_loop, "cannot read: Too many levels of symbolic links"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows words its errors otherwise")
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_regular_file_is_refused_without_waiting(name: str) -> None:
    make, said = NO_FILES[name]
    make()
    assert_refused(run("info", "a.cfg"), 3, f"a.cfg: {said}")


def test_no_permission_is_told() -> None:
    with forbidden("a.cfg", NET + GRU) as path:
        assert_refused(run("info", str(path)), 3, f"{path}: cannot read: Permission denied")


# --- memory ---------------------------------------------------------------------------------


def test_a_network_larger_than_the_machine_is_told_how_large_before_it_is_made() -> None:
    """All layers together; each alone would take 6 GiB."""
    data = NET + b"adam=1\n" + b"[gru]\noutput=8000\n" * 900
    with pytest.raises(CfgError) as error:
        plan_cfg(data, "a.cfg")
    parameters = 3 * 8000 * (4 + 8000 + 2) + 899 * 3 * 8000 * (8000 + 8000 + 2)
    gib = 4 * 4 * parameters / 2**30  # value, gradient, two moments
    one_pass = 4 * 900 * 8000 * (1 + 5) / 2**30  # the state; three gates, r * h and h'
    said = str(error.value)
    total = gib + one_pass
    assert said.startswith(
        f"a.cfg:7: this network needs {total:,.1f} GiB to train; this machine has "
    )
    assert said.endswith(
        f" GiB ({gib:,.1f} GiB for {parameters:,} parameters, their gradients and updates; "
        f"{one_pass:,.1f} GiB for a pass of 1 rows)"
    )


def test_rows_count_too() -> None:
    with pytest.raises(CfgError) as error:
        plan_cfg(net("time_steps=100000", "batch=1000000"), "a.cfg")
    rows = 4 * (10**11 * 5 * 3 + 10**6 * 3) / 2**30
    assert str(error.value).startswith(f"a.cfg:4: this network needs {rows:,.1f} GiB to train;")
    assert str(error.value).endswith(
        "(0.0 GiB for 81 parameters, their gradients and updates; "
        f"{rows:,.1f} GiB for a pass of 100,000,000,000 rows)"
    )


@pytest.mark.usefixtures("folder")
def test_output_99999999_is_refused_by_the_command() -> None:
    Path("a.cfg").write_bytes(gru("output=99999999"))
    result = run("train", "a.cfg", "a.cfg")
    assert result.exit_code == 3
    gib = 4 * 99999999 * (3 * 3 * (4 + 99999999 + 2) + 6) / 2**30
    assert result.stderr.startswith(
        f"minidark: error: a.cfg:4: this network needs {gib:,.1f} GiB to train; this machine has "
    )
