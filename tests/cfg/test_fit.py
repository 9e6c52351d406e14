"""Which change of a cfg would make a weight file fit."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidark import WeightsError, load_network
from minidark.cfg.fit import changes_that_fit, stored_bytes
from minidark.cfg.options import LAYER_TYPES
from minidark.cfg.sections import Section, parse_sections
from minidark.weights.darknet import load_weights
from tests.helpers import cfg, network
from tests.selection import examples

ABSENT = ("dontload", "dontloadscales")
FAST = settings(
    max_examples=examples(40),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def ignore(message: str, line: int) -> None:
    del message, line


def sections(*lines: str) -> list[Section]:
    return parse_sections(cfg(*lines).encode(), None, ignore)


PLACED = {"bytepairs", "route", "shortcut"}  # possible in some places only


@st.composite
def layer(draw: st.DrawFn) -> str:
    """A section with some of its options."""
    kinds = {*LAYER_TYPES, "rnn elman=1"} - PLACED
    kind = draw(st.sampled_from(sorted(kinds)))
    width = f"output={draw(st.integers(1, 9))}"
    flags = [f"{key}={draw(st.integers(0, 1))}" for key in ("stopbackward", *ABSENT)]
    norm = f"batch_normalize={draw(st.integers(0, 1))}"
    own = {
        "gru": [width, norm, "tanh=1", "update_bias=.5"],
        "lstm": [width, norm, "forget_bias=1"],
        "rnn": [width, norm, f"hidden={draw(st.integers(1, 9))}", "shortcut=0", "logistic=1"],
        "rnn elman=1": [width, norm, "activation=tanh"],
        "connected": [width, norm, "activation=leaky"],
        "conn": [width, norm],
        "softmax": ["temperature=2"],
        "dropout": ["probability=.1"],
        "activation": ["activation=relu"],
        "cost": ["type=L1"],
    }.get(kind, [])
    chosen = draw(st.lists(st.sampled_from([*own, *flags]), unique=True))
    return " ".join([kind, *chosen])


NET = st.sampled_from(["net inputs=7", "network height=2 width=3 channels=2", "net inputs=1"])
LAYERS = st.lists(layer(), min_size=1, max_size=5)


@FAST
@given(NET, LAYERS)
def test_stored_bytes_are_those_of_the_file_that_is_saved(
    tmp_path: Path, net: str, layers: list[str]
) -> None:
    """A layer's own dontload is of the file that is read, not of the one that is saved."""
    plain = [re.sub(" dontload(scales)?=1", "", text) for text in layers]
    made = network(net, *plain, dtype="float32")
    made.save_weights(tmp_path / "x.weights")
    assert stored_bytes(sections(net, *plain)) == (tmp_path / "x.weights").stat().st_size - 20


@FAST
@given(NET, LAYERS)
def test_a_file_of_stored_bytes_is_read(tmp_path: Path, net: str, layers: list[str]) -> None:
    header = struct.pack("<3iQ", 0, 2, 0, 7)
    (tmp_path / "x.weights").write_bytes(header + bytes(stored_bytes(sections(net, *layers))))
    load_weights(network(net, *layers), tmp_path / "x.weights")  # refuses any other length


ORIGINAL = ("net inputs=20", "gru output=8", "gru output=8", "connected output=20", "softmax")
CHANGES: list[tuple[tuple[str, ...], tuple[str, ...], str]] = [
    # what the weights were made with, what stands in the cfg, the change back
    (ORIGINAL, (ORIGINAL[0], "gru output=9", "gru output=9", *ORIGINAL[3:]), "output=8 in [gru]"),
    (ORIGINAL, (*ORIGINAL[:2], "gru output=5", *ORIGINAL[3:]), "output=8 in [gru]"),
    (ORIGINAL, (*ORIGINAL[:2], "gru", *ORIGINAL[3:]), "output=8 in [gru]"),
    (
        ("net inputs=20", "gru output=8", "gru output=6", *ORIGINAL[3:]),
        ("net inputs=20", "gru output=8", "gru output=7", *ORIGINAL[3:]),
        "output=6 in [gru] on line 7",
    ),
    (
        ("net inputs=20", "gru output=8", "gru output=6", *ORIGINAL[3:]),
        ("net inputs=20", "gru output=3", "gru output=6", *ORIGINAL[3:]),
        "output=8 in [gru] on line 4",
    ),
    (ORIGINAL, (*ORIGINAL[:2], *ORIGINAL[3:]), "1 more of [gru]"),
    (ORIGINAL, (*ORIGINAL[:3], *3 * ORIGINAL[2:3], *ORIGINAL[3:]), "3 fewer of [gru]"),
    (ORIGINAL, (*ORIGINAL[:3], "connected output=30", "softmax"), "output=20 in [connected]"),
    (
        (*ORIGINAL[:3], "conn output=20", "soft"),
        (*ORIGINAL[:3], "conn output=21", "soft"),
        "output=20 in [conn]",
    ),
    (
        ("net inputs=20", *2 * ("gru output=8 batch_normalize=1",), *ORIGINAL[3:]),
        ORIGINAL,
        "batch_normalize=1 in [gru]",
    ),
    (
        ORIGINAL,
        ("net inputs=20", *2 * ("gru output=8 batch_normalize=1",), *ORIGINAL[3:]),
        "batch_normalize=0 in [gru]",
    ),
    (
        ("net inputs=20", "lstm output=8", "lstm output=8 batch_normalize=1"),
        ("net inputs=20", "lstm output=8", "lstm output=8"),
        "batch_normalize=1 in [lstm] on line 7",
    ),
    (
        ("net inputs=256", "rnn output=64 hidden=32", "connected output=256"),
        ("net inputs=256", "rnn output=48 hidden=32", "connected output=256"),
        "output=64 in [rnn]",
    ),
    (
        ("net inputs=256", "lstm output=1024", "connected output=256"),
        ("net inputs=256", "lstm output=512", "connected output=256"),
        "output=1024 in [lstm]",
    ),
]


@pytest.mark.parametrize(("made_with", "stands", "back"), CHANGES, ids=[c[2] for c in CHANGES])
def test_the_change_that_was_made_is_among_those_that_fit(
    made_with: tuple[str, ...], stands: tuple[str, ...], back: str
) -> None:
    assert back in changes_that_fit(sections(*stands), stored_bytes(sections(*made_with)))


@FAST
@given(
    st.sampled_from(["gru", "lstm", "rnn"]), st.integers(2, 300), st.integers(1, 300),
    st.integers(1, 300), st.integers(1, 4),
)  # fmt: skip
def test_any_width_is_found_again(
    cell: str, inputs: int, width: int, other: int, count: int
) -> None:
    def stack(output: int) -> list[Section]:
        return sections(f"net inputs={inputs}", *count * (f"{cell} output={output}",))

    wanted = stored_bytes(stack(width))
    if width != other:
        assert f"output={width} in [{cell}]" in changes_that_fit(stack(other), wanted)


@FAST
@given(NET, LAYERS, st.integers(1, 3000))
def test_every_change_that_is_told_fits(net: str, layers: list[str], floats: int) -> None:
    """Whatever the file's length: what is told is made, and its size is the file's."""
    stand = sections(net, *layers)
    for told in changes_that_fit(stand, 4 * floats):
        matched = re.fullmatch(r"(\w+)=(\d+) in \[(\w+)\](?: on line (\d+))?", told)
        if matched is None:
            continue  # layers more or fewer: the table above
        key, value, kind, line = matched.groups()
        texts = [s.line for s in stand if s.type == kind and line in (None, str(s.line))]
        again = sections(net, *layers)
        for section in again:
            if section.line in texts:
                section.pairs.pop(key, None)
        changed = [
            f"{s.type} " + " ".join(f"{p.key}={p.value}" for p in s.pairs.values())
            + (f" {key}={value}" if s.line in texts else "")
            for s in again
        ]  # fmt: skip
        assert stored_bytes(sections(*changed)) == 4 * floats


def test_what_cannot_be_reached_by_one_change_has_no_hint() -> None:
    assert changes_that_fit(sections(*ORIGINAL), 4) == []
    assert changes_that_fit(sections(*ORIGINAL), 4 * 10**9) == []
    assert changes_that_fit(sections(*ORIGINAL), stored_bytes(sections(*ORIGINAL)) - 2) == []


def test_the_sections_are_left_as_they_were() -> None:
    stand = sections(*ORIGINAL)
    changes_that_fit(stand, 4000)
    assert stand == sections(*ORIGINAL)


# --- as load_network tells it -------------------------------------------------------------


def refused(folder: Path, made_with: tuple[str, ...], stands: tuple[str, ...]) -> WeightsError:
    network(*made_with, dtype="float32").save_weights(folder / "x.weights")
    (folder / "x.cfg").write_text(cfg(*stands))
    with pytest.raises(WeightsError) as error:
        load_network(folder / "x.cfg", folder / "x.weights")
    return error.value


@pytest.mark.parametrize(("made_with", "stands", "back"), CHANGES, ids=[c[2] for c in CHANGES])
def test_an_error_of_length_ends_in_what_would_fit(
    tmp_path: Path, made_with: tuple[str, ...], stands: tuple[str, ...], back: str
) -> None:
    error = refused(tmp_path, made_with, stands)
    _, _, hint = str(error).partition("; this would fit: ")
    assert back in hint.split(", or ")
    assert error.payload == (tmp_path / "x.weights").stat().st_size - 20


def test_an_error_without_such_a_change_asks_for_the_cfg(tmp_path: Path) -> None:
    stands = ("net inputs=9", "lstm output=4", "connected output=3")
    assert str(refused(tmp_path, ORIGINAL, stands)).endswith("; is it the cfg they were made with?")


def test_an_error_of_another_kind_has_no_hint(tmp_path: Path) -> None:
    (tmp_path / "x.cfg").write_text(cfg(*ORIGINAL))
    with pytest.raises(WeightsError) as error:
        load_network(tmp_path / "x.cfg", tmp_path / "none")
    assert str(error.value) == f"{tmp_path / 'none'}: cannot read: No such file or directory"
    assert error.value.payload is None
