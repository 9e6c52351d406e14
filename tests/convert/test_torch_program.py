"""Programs of torch.export by hand: graphs that torch would not write, and hostile files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import WeightsError
from minidark.convert.torch_axes import FEATURES, Length, MixedError, reshaped
from minidark.convert.torch_program import HANDLERS, read, read_program
from tests.convert import pt2
from tests.convert.pt2 import linear, node
from tests.opened import audited


def said(data: bytes) -> str:
    """The line with which a program is refused."""
    with pytest.raises(WeightsError) as error:
        read_program(data, "a.pt2")
    line = str(error.value)
    assert line.startswith("a.pt2: ")
    assert line.isprintable()
    return line.removeprefix("a.pt2: ")


def test_a_program_is_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(pt2.gru())
    read(tmp_path / "a.pt2")  # imports what it needs
    with audited() as events:
        found = read(tmp_path / "a.pt2")
    assert events == {("open", str(tmp_path / "a.pt2"))}
    assert found.understood() == (
        "3 inputs, connected 2 (nn.Embedding), gru 2 tanh=1 reset_after=1 (nn.GRU), connected 3 "
        "(nn.Linear), softmax (the model gives its logarithm)"
    )


# --- graphs -----------------------------------------------------------------------------------

WHOLE = 2**63 - 1
ACCEPTED: dict[str, tuple[bytes, list[str]]] = {  # and the layers
    "the same": (linear(node("clone.default", "z", self_="$y"), output="z"), ["connected"]),
    "a slice of everything": (
        linear(node("slice.Tensor", "z", self_="$y", dim=0, start=0, end=WHOLE), output="z"),
        ["connected"],
    ),
    "rows": (
        linear(node("view.default", "z", self_="$y", size=[-1, 2]), output="z"), ["connected"],
    ),
    "an axis of one": (
        linear(node("unsqueeze.default", "z", self_="$y", dim=0), output="z"), ["connected"],
    ),
    "an axis that is split": (
        linear(node("view.default", "j", self_="$y", size=[-1, 2]),
               node("view.default", "z", self_="$j", size=[4, 1, 2]), output="z"),
        ["connected"],
    ),
    "two activations": (
        linear(node("tanh.default", "h", self_="$y"), node("elu.default", "z", self_="$h"),
               output="z"),
        ["connected", "activation"],
    ),
    "hardtanh": (linear(node("hardtanh.default", "z", self_="$y"), output="z"), ["connected"]),
    "what nothing reads": (linear(node("sort.stable", "z", self_="$y")), ["connected"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_views_leave_the_network_as_it_is(name: str) -> None:
    data, layers = ACCEPTED[name]
    found = read_program(data, "a.pt2")
    assert [section.type for section in found.sections[1:]] == layers
    found.network()


REFUSED: dict[str, tuple[bytes, str]] = {
    "an operator without a counterpart": (
        linear(node("sort.stable", "z", self_="$y"), output="z"),
        "z (sort) cannot be converted: it has no counterpart in minidark",
    ),
    "another library's operator": (
        linear(node("x", "z", self_="$y") | {"target": "os.system"}, output="z"),
        "z (os) cannot be converted: it has no counterpart in minidark",
    ),
    "parted paths": (
        linear(node("tanh_.default", "h", self_="$y"), node("relu.default", "z", self_="$y"),
               output="z"),
        "z (relu) cannot be converted: the model is no chain: its paths part",
    ),
    "joined paths": (
        linear(node("tanh.default", "h", self_="$y"),
               node("add.Tensor", "z", self_="$y", other="$h"), output="z"),
        "z (add) cannot be converted: the model is no chain: it joins two paths, as a residual "
        "connection does",
    ),
    "a path that is left": (
        linear(node("tanh.default", "h", self_="$y"),
               node("add.Tensor", "z", self_="$h", other="$b"), output="z"),
        "z (add) cannot be converted: it has no counterpart in minidark",
    ),
    "biases twice": (
        linear(node("add.Tensor", "z", self_="$y", other="$b"), output="z"),
        "z (add) cannot be converted: it has no counterpart in minidark",
    ),
    "a softmax over the rows": (
        linear(node("softmax.int", "z", self_="$y", dim=0), output="z"),
        "z (softmax) cannot be converted: it is not over the features alone",
    ),
    "features that are parted": (
        linear(node("view.default", "z", self_="$y", size=[8]), output="z"),
        "its output's last axis is not that of the features",
    ),
    "a view of other sizes": (
        linear(node("view.default", "z", self_="$y", size=[3, -1]), output="z"),
        "z (view) cannot be converted: it takes an axis apart, or mixes it with another",
    ),
    "a step in between": (
        linear(node("select.int", "z", self_="$y", dim=0, index=2), output="z"),
        "z (select) cannot be converted: it takes an axis apart, or mixes it with another",
    ),
    "a part of the steps": (
        linear(node("slice.Tensor", "z", self_="$y", dim=0, start=1, end=3), output="z"),
        "z (slice) cannot be converted: it takes a part of an axis",
    ),
    "a change in place that nothing reads": (
        linear(node("mul_.Tensor", "z", self_="$y", other="$y")),
        "z (mul_) cannot be converted: it changes a tensor in place, such as a state that the "
        "module keeps in a buffer",
    ),
    "zeros as inputs": (
        linear(node("zeros.default", "o", size=[4, 1, 2]),
               node("linear.default", "z", input="$o", weight="$w", bias="$b"), output="z"),
        "z (linear) cannot be converted: its input is not what comes before it",
    ),
    "too many zeros": (
        linear(node("zeros.default", "z", size=[2**40, 2]), output="z"),
        "z (zeros) cannot be converted: there are more than 16,777,216 zeros",
    ),
    "too many rows": (
        linear(x=pt2.meta(2**30, 1, 3)),
        "its first input is [1073741824, 1]; expected at most 262,144 rows",
    ),
    "numbers as inputs": (
        linear(x=pt2.meta(4, 1, 3, dtype=1)),
        "its first input is of dtype 1; expected ids, or rows of float32",
    ),
    "ids where rows are read": (
        linear(x=pt2.meta(4, 1, dtype=5)),
        "y (linear) cannot be converted: its input's last axis is not that of the features",
    ),
    "thousands of operators": (
        linear(*(node("clone.default", f"n{i}", self_=f"${'y' if not i else f'n{i - 1}'}")
                 for i in range(1500)), output="n1499"),
        "more than 1,000 operators",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_without_a_counterpart_is_refused_with_the_reason(name: str) -> None:
    data, reason = REFUSED[name]
    assert said(data) == reason


# --- archives ---------------------------------------------------------------------------------


def changed(**members: str | bytes | None) -> bytes:
    """A program with members of its archive changed, by the end of their names; None removes."""
    data = BytesIO()
    with zipfile.ZipFile(BytesIO(linear())) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():
            key = name.rpartition("/")[2].partition(".")[0]
            content = members.get(key, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return data.getvalue()


def table(**changes: Any) -> str:
    """The table of the weights, with another entry for w."""
    entries = pt2.config(pt2.LINEAR)
    entries["w"] = entries["w"] | changes
    return json.dumps({"config": entries})


def with_meta(**changes: Any) -> str:
    return table(tensor_meta=pt2.meta(2, 3) | changes)


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"as_int": value} for value in values]


CONFIG = "model_weights_config"
DAMAGED = "not a program of torch.export.save, or damaged"
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "bytes": (lambda: b"PK" * 100, DAMAGED),
    "no graph": (lambda: changed(model=None), "it has 0 programs; expected one"),
    "a graph that is no JSON": (lambda: changed(model="{"), DAMAGED),
    "a graph that nests deep": (lambda: changed(model="[" * 100_000), DAMAGED),
    "a graph of another version": (
        lambda: changed(model='{"schema_version": {"major": 9}}'),
        "its schema version is 9; minidark reads 8",
    ),
    "a large graph": (
        lambda: changed(model=" " * (5 << 20)),
        "a graph of more than 4,194,304 bytes, as of a loop that is unrolled",
    ),
    "no weights": (lambda: changed(w=None), DAMAGED),
    "short weights": (lambda: changed(w=bytes(23)), DAMAGED),
    "weights of too few bytes": (lambda: changed(w=bytes(20)), "w is longer than its bytes"),
    "a pickle": (
        lambda: changed(**{CONFIG: table(use_pickle=True)}), "w is not a plain tensor of floats",
    ),
    "integers": (
        lambda: changed(**{CONFIG: with_meta(dtype=5)}), "w is not a plain tensor of floats",
    ),
    "half precision": (
        lambda: changed(**{CONFIG: with_meta(dtype=13)}),
        "w is bfloat16; call net.float() before torch.export.export",
    ),
    "strides beyond the end": (
        lambda: changed(**{CONFIG: with_meta(strides=numbers(3, 9))}), "w is longer than its bytes",
    ),
    "negative strides": (
        lambda: changed(**{CONFIG: with_meta(strides=numbers(-3, 1))}), DAMAGED,
    ),
    "an offset beyond the end": (
        lambda: changed(**{CONFIG: with_meta(storage_offset={"as_int": 1})}),
        "w is longer than its bytes",
    ),
    "one number, many times": (
        lambda: changed(**{CONFIG: with_meta(sizes=numbers(2**30, 3), strides=numbers(0, 0))}),
        "its weights take more than 8 times its size",
    ),
    "a path out of the archive": (
        lambda: changed(**{CONFIG: table(path_name="../../../etc/passwd")}), DAMAGED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_is_refused_in_one_line(name: str) -> None:
    make, reason = ARCHIVES[name]
    assert said(make()) == reason


def test_transposed_weights_are_read_by_their_strides() -> None:
    stored = np.arange(6, dtype="<f4")
    data = changed(model_weights_config=with_meta(strides=numbers(1, 2)), w=stored.tobytes())
    found = read_program(data, "a.pt2")
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], stored.reshape(3, 2).T)


def test_an_archive_of_an_older_torch_is_refused_with_the_way_round() -> None:
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert said(data.getvalue()) == (
        "in the layout of an older PyTorch; load it with torch.export.load, only if you trust it, "
        "and save it with a current PyTorch"
    )


def test_a_packed_archive_is_refused_before_it_is_unpacked() -> None:
    data = BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/weights/w", bytes(100 << 20))
    assert said(data.getvalue()) == "its weights are compressed"


# --- axes -------------------------------------------------------------------------------------

TIME, STREAMS = (0,), (1,)
LENGTHS = {0: 7, 1: 2, FEATURES: 4}
VIEWS = {
    (14, 4): ((0, 1), (FEATURES,)),
    (-1, 4): ((0, 1), (FEATURES,)),
    (7, -1, 4): (TIME, STREAMS, (FEATURES,)),
    (7, 2, -1): (TIME, STREAMS, (FEATURES,)),
    (1, 7, 1, 2, 4): ((), TIME, (), STREAMS, (FEATURES,)),
    (7, 8): (TIME, (1, FEATURES)),
    (-1,): ((0, 1, FEATURES),),
}


@pytest.mark.parametrize("sizes", VIEWS)
def test_a_view_joins_axes_and_splits_them(sizes: tuple[int, ...]) -> None:
    axes = (TIME, STREAMS, (FEATURES,))
    assert reshaped(axes, sizes, LENGTHS) == VIEWS[sizes]
    assert reshaped(VIEWS[sizes], (7, 2, 4), LENGTHS) == axes


@pytest.mark.parametrize("sizes", [(2, 7, 4), (7, 4, 2), (7, 2), (3, -1), (0, -1), (7, 2, 4, 2)])
def test_a_view_that_mixes_axes_is_an_error(sizes: tuple[int, ...]) -> None:
    with pytest.raises(MixedError):
        reshaped((TIME, STREAMS, (FEATURES,)), sizes, LENGTHS)


def test_a_length_that_is_not_fixed_keeps_its_axis() -> None:
    axes, free = (TIME, STREAMS, (FEATURES,)), LENGTHS | {1: None}
    assert reshaped(axes, [7, Length(STREAMS), 4], free) == axes
    assert reshaped(axes, [-1, 4], free) == ((0, 1), (FEATURES,))
    with pytest.raises(MixedError):
        reshaped(axes, [Length(STREAMS), 7, 4], free)


# --- the operators that torch runs ------------------------------------------------------------


@pytest.mark.slow
def test_torch_may_run_what_is_read_and_nothing_else() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from minidark.convert.torch_program_worker import ALLOWED, call

    allowed = {f"{name}.{overload}" for overload, names in ALLOWED.items() for name in names}
    assert allowed | {"_operator.mul"} == {*HANDLERS}
    for name in allowed:  # each is an operator that torch has
        packet, _, overload = name.partition(".")
        assert getattr(getattr(torch.ops.aten, packet), overload)
    for target in ("os.system", "torch.ops.aten.save.default", "torch.ops.aten.from_file.default"):
        with pytest.raises(ValueError, match="is not allowed"):
            call({"target": target, "inputs": [], "outputs": []}, {})


@pytest.mark.slow
def test_a_program_by_hand_computes_the_same_in_torch() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from minidark.convert.proof import compared

    found = read_program(pt2.gru(), "a.pt2")
    difference = compared(found.network(), found)
    assert difference is not None
    assert difference < 1e-6
