"""darknet's weight files: what is read, what is written, what is refused."""

from __future__ import annotations

import logging
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidark import MinidarkError, Network, WeightsError, load_network, load_weights
from minidark.files import disk
from minidark.layers.base import ALEXEY
from minidark.weights.darknet import save_weights
from minidark.weights.header import Header
from tests.golden_cases import GOLDEN, names
from tests.helpers import assert_same, cfg, network, randomize, snapshot
from tests.selection import examples

HEADER = struct.pack("<3iQ", 0, 2, 0, 7)
NAMES = ("net.weights", "start.weights", "end.weights", "seed42.weights")
FILES = [f"{name}/{file}" for file in NAMES for name in names("*", file)]
NEWEST_FILES = [f for f in FILES if (GOLDEN / f).read_bytes()[:12] == HEADER[:12]]
SEEN = {
    "header_v01_int32_seen": 777,
    "header_v10_int64_seen": 2**33 + 5,
    "header_transposed": 777,
    "alexey_gru_header_v01": 4321,
}


def golden(name: str) -> Network:
    """The network of a golden case, its weights as they were drawn."""
    return load_network(GOLDEN / name / "net.cfg")


def floats(count: int, start: int = 1) -> bytes:
    """start, start + 1, ... as float32."""
    return np.arange(start, start + count, dtype="<f4").tobytes()


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.weights"
    path.write_bytes(data)
    return path


# --- round trips --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEWEST_FILES)
def test_a_file_loaded_and_saved_is_the_same_bytes(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name
    net = load_network(path.parent / "net.cfg", path)
    net.save_weights(tmp_path / "ours.weights")
    assert (tmp_path / "ours.weights").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", [n for n in names("alexey_*", "net.weights") if n not in SEEN])
def test_an_alexey_file_saved_in_that_order_is_the_same_bytes(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "net.weights"
    net = load_network(path.parent / "net.cfg", path)
    save_weights(net, tmp_path / "ours.weights", ALEXEY)
    assert (tmp_path / "ours.weights").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", [*SEEN, "alexey_gru", "alexey_lstm_batchnorm"])
def test_an_old_or_foreign_file_comes_back_the_same_through_the_newest_format(
    name: str, tmp_path: Path
) -> None:
    net = golden(name)
    load_weights(net, GOLDEN / name / "net.weights")
    net.save_weights(tmp_path / "new.weights")
    again = golden(name)
    header = load_weights(again, tmp_path / "new.weights")
    assert (str(header), header.order) == ("0.2.0", "pjreddie")
    assert_same(snapshot(again), snapshot(net))


def test_a_float64_network_saves_float32(tmp_path: Path) -> None:
    net = network("net inputs=3", "gru output=2 batch_normalize=1", dtype="float64")
    randomize(net.layers)
    net.save_weights(tmp_path / "wide.weights")
    values = [a.value.astype("<f4").tobytes() for a in net.layers[0].stored_arrays()]
    assert (tmp_path / "wide.weights").read_bytes() == struct.pack("<3iQ", 0, 2, 0, 0) + b"".join(
        values
    )


# --- headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seen"), SEEN.items())
def test_seen_is_read_at_its_headers_width(name: str, seen: int) -> None:
    net = golden(name)
    assert load_weights(net, GOLDEN / name / "net.weights").seen == net.seen == seen


@pytest.mark.parametrize(
    ("version", "wide", "transposed", "order"),
    [
        ((0, 1, 0), False, False, "alexey"),
        ((0, 0, 0), False, False, "alexey"),
        ((0, 2, 0), True, False, "pjreddie"),
        ((0, 2, 3), True, False, "pjreddie"),
        ((0, 2, 4), True, False, "alexey"),
        ((0, 2, 5), True, False, "alexey"),
        ((0, 3, 0), True, False, "pjreddie"),
        ((1, 0, 0), True, False, "pjreddie"),
        ((0, 999, 0), True, False, "pjreddie"),
        ((0, 1000, 0), False, False, "pjreddie"),
        ((1000, 0, 0), False, False, "pjreddie"),
        ((0, 1001, 0), False, True, "alexey"),
        ((0, 1002, 0), True, True, "alexey"),
        ((0, 1002, 0), False, True, "alexey"),
        ((1001, 0, 0), False, True, "alexey"),
    ],
)
def test_a_header_tells_the_width_of_seen_the_layout_and_the_order(
    tmp_path: Path, version: tuple[int, int, int], wide: bool, transposed: bool, order: str
) -> None:
    net = network("net inputs=3", "connected output=2")
    header = struct.pack("<3iq" if wide else "<3ii", *version, 9)
    told = load_weights(net, file(tmp_path, header + floats(8)))
    assert isinstance(told, Header)
    assert (told.transposed, told.order, told.seen, told.size) == (
        transposed, order, 9, len(header),
    )  # fmt: skip
    assert str(told) == ".".join(map(str, version))
    weights = [[3, 5, 7], [4, 6, 8]] if transposed else [[3, 4, 5], [6, 7, 8]]
    np.testing.assert_array_equal(net.parameters()[0].value, [1, 2])
    np.testing.assert_array_equal(net.parameters()[1].value, weights)


ORDERS = {
    ("gru", "pjreddie"): "wz wr wh uz ur uh",
    ("gru", "alexey"): "uz ur uh wz wr wh",
    ("lstm", "pjreddie"): "wi wf wo wg ui uf uo ug",
    ("lstm", "alexey"): "wf wi wg wo uf ui ug uo",
    ("rnn", "pjreddie"): "input self output",
    ("rnn", "alexey"): "input self output",
    ("rnn elman=1", "pjreddie"): "input self",
    ("rnn elman=1", "alexey"): "input self",
}


@pytest.mark.parametrize(("cell", "order"), ORDERS)
@pytest.mark.parametrize("overruled", [False, True])
def test_the_header_or_the_caller_settles_the_order_of_the_arrays(
    tmp_path: Path, cell: str, order: str, overruled: bool
) -> None:
    """Square, so that every sublayer takes the same six numbers and nothing else tells."""
    net = network("net inputs=2", f"{cell} output=2")
    by_header = (order == "alexey") != overruled
    sublayers = ORDERS[cell, order].split()
    data = struct.pack("<3iQ", 0, 2, 5 if by_header else 0, 7) + floats(6 * len(sublayers))
    load_weights(net, file(tmp_path, data), weights_order=order if overruled else None)
    values = {p.name.removeprefix(f"0.{cell.split()[0]}."): p.value for p in net.parameters()}
    for at, name in enumerate(sublayers):
        biases, weights = 6 * at + np.arange(1, 3), 6 * at + np.arange(3, 7).reshape(2, 2)
        np.testing.assert_array_equal(values[f"{name}.biases"], biases)
        np.testing.assert_array_equal(values[f"{name}.weights"], weights)


def test_batch_norm_arrays_follow_the_weights(tmp_path: Path) -> None:
    net = network("net inputs=1", "connected output=2 batch_normalize=1")
    load_weights(net, file(tmp_path, HEADER + floats(10)))
    assert [(a.kind, a.value.reshape(-1).tolist()) for a in net.layers[0].stored_arrays()] == [
        ("biases", [1, 2]),
        ("weights", [3, 4]),
        ("scales", [5, 6]),
        ("rolling_mean", [7, 8]),
        ("rolling_variance", [9, 10]),
    ]


def test_an_unknown_order_is_refused(tmp_path: Path) -> None:
    net = network("net inputs=2", "gru output=2")
    with pytest.raises(WeightsError) as error:
        load_weights(net, file(tmp_path, HEADER + floats(36)), weights_order="keras")
    assert str(error.value) == "weights order 'keras' is not one of pjreddie, alexey"


def test_which_order_was_taken_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "minidark")
    ours = file(tmp_path, HEADER + floats(36))
    load_weights(network("net inputs=2", "gru output=2"), ours)
    assert caplog.messages == []  # that goes without saying
    theirs = file(tmp_path, struct.pack("<3iQ", 0, 2, 5, 7) + floats(36))
    load_weights(network("net inputs=2", "gru output=2"), theirs)
    assert caplog.messages == [f"{theirs}: header 0.2.5, alexey's order of arrays"]


# --- what is refused ----------------------------------------------------------------------

CELLS = ["gru", "lstm", "rnn"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_file_cut_anywhere_is_refused_and_changes_nothing(cell: str, tmp_path: Path) -> None:
    net = network("net inputs=2", f"{cell} output=1 batch_normalize=1", "connected output=1")
    randomize(net.layers)
    net.seen = 5
    net.save_weights(tmp_path / "whole.weights")
    whole = (tmp_path / "whole.weights").read_bytes()
    randomize(net.layers, seed=1)
    before = snapshot(net)
    arrays = [a for layer in net.layers for a in layer.stored_arrays()]
    ends = 20 + np.cumsum([4 * a.value.size for a in arrays])
    for length in range(len(whole)):
        path = file(tmp_path, whole[:length])
        with pytest.raises(WeightsError) as error:
            load_weights(net, path)
        if length < 16:
            wanted = f"{length} bytes; the header of a weight file has at least 16"
        elif length < 20:
            wanted = f"{length} bytes; its header alone needs 20"
        else:
            at = int(np.searchsorted(ends, length, side="right"))
            wanted = (
                f"layer {arrays[at].name} is {ends[at] - length} bytes short: the file has "
                f"{length}, this cfg needs {len(whole)}"
            )
        assert str(error.value) == f"{path}: {wanted}"
        assert_same(snapshot(net), before)
    load_weights(net, file(tmp_path, whole))
    assert net.seen == 5


@pytest.mark.parametrize("extra", [1, 3, 4, 4000])
def test_a_file_too_long_is_refused_and_changes_nothing(tmp_path: Path, extra: int) -> None:
    net = network("net inputs=2", "gru output=2")
    before = snapshot(net)
    path = file(tmp_path, HEADER + floats(36) + b"\0" * extra)
    with pytest.raises(WeightsError) as error:
        load_weights(net, path)
    assert str(error.value) == (
        f"{path}: {extra:,} bytes too many: the file has {164 + extra:,}, this cfg needs 164"
    )
    assert_same(snapshot(net), before)


@pytest.mark.parametrize(
    "magic",
    [b"PK\x03\x04", b"GGUF\x03\0\0\0", b"\x89PNG\r\n\x1a\n", b"[net]\ninputs=2\n", b"\xff" * 12,
     struct.pack("<3i", -1, 2, 0), struct.pack("<3i", 0, -2, 0), struct.pack("<3i", 0, 2, -1),
     struct.pack("<3i", 2000, 0, 0)],
)  # fmt: skip
def test_another_programs_file_is_told_by_its_first_bytes(tmp_path: Path, magic: bytes) -> None:
    net = network("net inputs=2", "gru output=2")
    before = snapshot(net)
    data = magic.ljust(164, b"\0")
    with pytest.raises(WeightsError) as error:
        load_weights(net, file(tmp_path, data))
    begin, _, shown = str(error.value).partition(": not a darknet weight file (it begins with ")
    assert begin == str(tmp_path / "x.weights")
    assert shown.startswith(repr(data[:12])[:37])
    assert_same(snapshot(net), before)


@given(st.binary(max_size=80))
@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_random_bytes_are_refused_and_change_nothing(tmp_path: Path, data: bytes) -> None:
    net = network("net inputs=2", "gru output=2")
    before = snapshot(net)
    with pytest.raises(WeightsError, match=r"x\.weights: "):
        load_weights(net, file(tmp_path, data))
    assert_same(snapshot(net), before)


@pytest.mark.parametrize(("form", "version"), [("<3iq", (0, 2, 0)), ("<3ii", (0, 1, 0))])
def test_a_negative_seen_is_refused(tmp_path: Path, form: str, version: tuple[int, ...]) -> None:
    net = network("net inputs=2", "gru output=2")
    path = file(tmp_path, struct.pack(form, *version, -5) + floats(36))
    with pytest.raises(WeightsError) as error:
        load_weights(net, path)
    assert str(error.value) == f"{path}: `seen` is negative (-5); the header is damaged"


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    net = network("net inputs=2", "gru output=2")
    with pytest.raises(WeightsError) as error:
        load_weights(net, tmp_path / "no.weights")
    missing = f"{tmp_path / 'no.weights'}: cannot read: No such file or directory"
    assert str(error.value) == missing
    with pytest.raises(WeightsError, match=r"a folder; pass the files in it|cannot read"):
        load_weights(net, tmp_path)
    with pytest.raises(WeightsError, match="cannot read: embedded null byte"):
        load_weights(net, "a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe: not a regular file"):
        load_weights(network("net inputs=2", "gru output=2"), tmp_path / "pipe")


# --- parts of a network -------------------------------------------------------------------

THREE = ("connected output=1", "connected output=1", "connected output=1")  # two floats each


def numbers(net: Network) -> list[list[float]]:
    """Layer by layer, its numbers in file order; [] where all are still zero."""
    per_layer = [[a.value.reshape(-1) for a in layer.stored_arrays()] for layer in net.layers]
    lists = [np.concatenate(arrays).tolist() if arrays else [] for arrays in per_layer]
    return [values if any(values) else [] for values in lists]


def three(*sections: str) -> Network:
    net = network("net inputs=1", *(sections or THREE))
    for p in net.parameters():
        p.value[...] = 0
    return net


@pytest.mark.parametrize(
    ("start", "cutoff", "count", "loaded"),
    [
        (0, None, 6, [[1, 2], [3, 4], [5, 6]]),
        (1, None, 4, [[], [1, 2], [3, 4]]),
        (2, None, 2, [[], [], [1, 2]]),
        (3, None, 0, [[], [], []]),
        (0, 2, 4, [[1, 2], [3, 4], []]),
        (0, 2, 5, [[1, 2], [3, 4], []]),
        (0, 2, 6, [[1, 2], [3, 4], []]),
        (1, 2, 2, [[], [1, 2], []]),
        (0, 3, 9, [[1, 2], [3, 4], [5, 6]]),
        (0, 0, 1, [[], [], []]),
    ],
)
def test_start_and_cutoff_choose_layers_of_a_file_that_begins_with_start(
    tmp_path: Path, start: int, cutoff: int | None, count: int, loaded: list[list[float]]
) -> None:
    net = three()
    load_weights(net, file(tmp_path, HEADER + floats(count)), start=start, cutoff=cutoff)
    assert numbers(net) == loaded
    assert net.seen == 7


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("count", [4, 6])  # a file of the layers that are read, or of all
def test_a_cutoff_does_not_hide_how_wide_seen_is_in_a_transposed_file(
    tmp_path: Path, wide: bool, count: int
) -> None:
    net = three()
    header = struct.pack("<3iq" if wide else "<3ii", 0, 1001, 0, 9)
    load_weights(net, file(tmp_path, header + floats(count)), cutoff=2)
    assert (numbers(net), net.seen) == ([[1, 2], [3, 4], []], 9)


@pytest.mark.parametrize(("start", "cutoff"), [(-1, None), (4, None), (2, 1), (0, 4), (0, -1)])
def test_layers_that_are_not_there_cannot_be_loaded(
    tmp_path: Path, start: int, cutoff: int | None
) -> None:
    path = file(tmp_path, HEADER + floats(6))
    with pytest.raises(WeightsError) as error:
        load_weights(three(), path, start=start, cutoff=cutoff)
    last = 3 if cutoff is None else cutoff
    assert str(error.value) == (
        f"{path}: requested layers {start} to {last}, but the network has 3"
    )


def test_too_little_before_the_cutoff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"layer 1\.connected\.weights is 4 bytes short"):
        load_weights(three(), file(tmp_path, HEADER + floats(3)), cutoff=2)


def test_a_layer_with_dontload_is_absent_from_the_file_that_is_read(tmp_path: Path) -> None:
    net = three("connected", "connected dontload=1", "connected")
    load_weights(net, file(tmp_path, HEADER + floats(4)))
    assert numbers(net) == [[1, 2], [], [3, 4]]
    net.save_weights(tmp_path / "all.weights")
    assert (tmp_path / "all.weights").stat().st_size == 20 + 6 * 4


def test_a_layer_with_dontsave_is_absent_from_the_file_that_is_written(tmp_path: Path) -> None:
    net = three("connected", "connected dontsave=1", "connected")
    load_weights(net, file(tmp_path, HEADER + floats(6)))
    net.save_weights(tmp_path / "two.weights")
    wanted = HEADER + floats(2) + floats(2, start=5)
    assert (tmp_path / "two.weights").read_bytes() == wanted


def test_a_layer_that_no_file_fills_has_the_draws_that_it_has_without_one(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(cfg("net inputs=3", "gru output=4 init=orthogonal",
                        "connected output=5 dontload=1", "connected output=2"))  # fmt: skip
    fresh = load_network(path, seed=7)
    donor = load_network(path, seed=8)
    kept = [a for layer in (donor.layers[0], donor.layers[2]) for a in layer.stored_arrays()]
    weights = tmp_path / "net.weights"
    weights.write_bytes(struct.pack("<3iQ", 0, 2, 0, 0) + b"".join(a.value.tobytes() for a in kept))
    loaded = load_network(path, weights, seed=7)
    for p, drawn, stored in zip(*(n.parameters() for n in (loaded, fresh, donor)), strict=True):
        wanted = drawn if p.name.startswith("1.") else stored
        np.testing.assert_array_equal(p.value, wanted.value, err_msg=p.name)


def test_with_dontloadscales_the_batch_norm_arrays_are_absent(tmp_path: Path) -> None:
    net = three("connected batch_normalize=1 dontloadscales=1", "connected batch_normalize=1")
    load_weights(net, file(tmp_path, HEADER + floats(2 + 5)))
    assert numbers(net) == [[1, 2, 0, 0, 0], [3, 4, 5, 6, 7]]


def test_dontloadscales_leaves_the_scales_of_a_recurrent_layer_as_they_were(tmp_path: Path) -> None:
    net = network("net inputs=2", "gru output=2 batch_normalize=1 dontloadscales=1")
    load_weights(net, file(tmp_path, HEADER + floats(36)))
    for array in net.layers[0].stored_arrays():
        kept = {"scales": 1, "rolling_mean": 0, "rolling_variance": 0}.get(array.kind)
        assert (array.value == kept).all() if kept is not None else (array.value > 0).all()


# --- [batchnorm] in two dialects ----------------------------------------------------------


def test_batchnorm_has_its_biases_in_alexeys_order_only(tmp_path: Path) -> None:
    net = network("net inputs=2", "batchnorm")
    load_weights(net, file(tmp_path, struct.pack("<3iQ", 0, 2, 5, 7) + floats(8)))
    names_and_values = [(a.kind, a.value.tolist()) for a in net.layers[0].arrays()]
    assert names_and_values == [
        ("biases", [1, 2]), ("scales", [3, 4]), ("rolling_mean", [5, 6]),
        ("rolling_variance", [7, 8]),
    ]  # fmt: skip
    save_weights(net, tmp_path / "a.weights", ALEXEY)
    assert (tmp_path / "a.weights").read_bytes()[20:] == floats(8)
    net.save_weights(tmp_path / "p.weights")
    assert (tmp_path / "p.weights").read_bytes()[20:] == floats(6, start=3)


def test_batchnorm_biases_that_are_not_saved_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "minidark")
    net = network("net inputs=2", "batchnorm", "batchnorm dontsave=1")
    net.save_weights(tmp_path / "zero.weights")
    assert caplog.messages == []
    for p in net.parameters():
        p.value[...] = 3
    save_weights(net, tmp_path / "alexey.weights", ALEXEY)
    assert caplog.messages == []
    net.save_weights(tmp_path / "lost.weights")
    assert caplog.messages == [
        f"{tmp_path / 'lost.weights'}: pjreddie's format cannot store 0.batchnorm.biases; not saved"
    ]


# --- saving atomically --------------------------------------------------------------------


def test_saving_replaces_a_file_and_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    target = tmp_path / "real.weights"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "link.weights").symlink_to("real.weights")
    net = three()
    net.save_weights(tmp_path / "link.weights")
    assert (tmp_path / "link.weights").is_symlink()
    assert target.read_bytes()[:12] == HEADER[:12]
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.weights", "real.weights"]


def test_saving_over_a_folder_fails_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "x.weights").mkdir()
    with pytest.raises(MinidarkError) as error:
        three().save_weights(tmp_path / "x.weights")
    assert str(error.value) == f"{tmp_path / 'x.weights'}: cannot write: Is a directory"
    assert [p.name for p in tmp_path.iterdir()] == ["x.weights"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.weights"
    shutil.copy(GOLDEN / "gru_tanh" / "net.weights", path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "SYSTEM", disk.System(fsync=full))
    with pytest.raises(MinidarkError) as error:
        three().save_weights(path)
    assert str(error.value) == (
        f"{path}: cannot write: No space left on device; the previous file is unchanged"
    )
    assert path.read_bytes() == (GOLDEN / "gru_tanh" / "net.weights").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["x.weights"]
