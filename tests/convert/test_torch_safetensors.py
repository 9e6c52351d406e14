"""State dicts of PyTorch as .safetensors, which other programs write without a cfg."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from minidark import WeightsError
from minidark.backend import Array
from minidark.convert.torch_names import is_state
from minidark.convert.torch_safetensors import read, read_state

rng = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


GRU = {
    "rnn.weight_ih_l0": normal(12, 5), "rnn.weight_hh_l0": normal(12, 4),
    "rnn.bias_ih_l0": normal(12), "rnn.bias_hh_l0": normal(12),
    "encoder.weight": normal(9, 5), "decoder.weight": normal(9, 4), "decoder.bias": normal(9),
}  # fmt: skip


def kinds(data: bytes) -> list[str]:
    return [section.type for section in read_state(data, "a.safetensors").sections[1:]]


def test_the_modules_are_put_in_the_only_order_that_fits() -> None:
    data = safetensors.numpy.save(GRU)
    assert kinds(data) == ["connected", "gru", "connected", "softmax"]
    found = read_state(data, "a.safetensors")
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], GRU["encoder.weight"].T)
    np.testing.assert_array_equal(found.arrays["1.gru.ur.weights"], GRU["rnn.weight_ih_l0"][:4])


def test_the_order_in_the_file_decides_nothing() -> None:
    """The format sorts arrays, so it is not that of the registration."""
    cell = {"weight_ih_l0": normal(4, 4), "weight_hh_l0": normal(4, 4)}
    arrays = {f"{rnn}.{name}": a for rnn in ("one", "two") for name, a in cell.items()}
    data = safetensors.numpy.save(arrays | {"z.weight": normal(9, 4), "z.bias": normal(9)})
    with pytest.raises(WeightsError, match="fit in more than one order"):
        read_state(data, "a.safetensors")


def test_an_array_that_two_modules_share_is_stored_once() -> None:
    """As safetensors.torch.save_model writes tied weights."""
    tied = {"emb.weight": normal(9, 4), "decoder.bias": normal(9)}
    rnn = {"rnn.weight_ih_l0": normal(4, 4), "rnn.weight_hh_l0": normal(4, 4)}
    notes = {"decoder.weight": "emb.weight"}
    assert kinds(safetensors.numpy.save(tied | rnn, notes)) == [
        "connected", "rnn", "connected", "softmax",
    ]  # fmt: skip
    with pytest.raises(WeightsError, match=r"decoder\.weight is missing; if it is tied"):
        read_state(safetensors.numpy.save(tied | rnn), "a.safetensors")


def header(entries: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_other_precisions_become_float32(dtype: str) -> None:
    values = np.array([[1.5, -2.0, 0.25]], np.float32)
    stored = {
        "F64": values.astype("<f8"), "F32": values, "F16": values.astype("<f2"),
        "BF16": (values.view(np.uint32) >> 16).astype("<u2"),
    }[dtype].tobytes()  # fmt: skip
    entries = {"b": entry("F32", [1], 0, 4), "w": entry(dtype, [1, 3], 4, 4 + len(stored))}
    names = {"fc.bias": entries["b"], "fc.weight": entries["w"]}
    found = read_state(header(names, bytes(4) + stored), "a.safetensors")
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], values)
    assert found.arrays["0.connected.weights"].dtype == np.float32


def test_counters_are_passed_over() -> None:
    names = {
        "fc.bias": entry("F32", [1], 0, 4), "fc.weight": entry("F32", [1, 1], 4, 8),
        "steps": entry("I64", [], 8, 16),
    }  # fmt: skip
    found = read_state(header(names, bytes(16)), "a.safetensors")
    assert found.arrays.keys() == {"0.connected.weights", "0.connected.biases"}


DAMAGED = "not a .safetensors file, or damaged"
WRONG = {
    "nothing": (b"", DAMAGED),
    "a header longer than the file": (struct.pack("<Q", 1 << 20) + b"{}", DAMAGED),
    "no JSON": (struct.pack("<Q", 2) + b"[[", DAMAGED),
    "short": (header({"fc.weight": entry("F32", [1, 2], 0, 8)}, bytes(7)), DAMAGED),
    "long": (header({"fc.weight": entry("F32", [1, 2], 0, 8)}, bytes(9)), DAMAGED),
    "a gap": (header({"fc.weight": entry("F32", [1, 1], 4, 8)}, bytes(8)), DAMAGED),
    "the same bytes twice": (
        header({"a.weight": entry("F32", [1, 1], 0, 4), "b.weight": entry("F32", [1, 1], 0, 4)},
               bytes(4)),
        DAMAGED,
    ),
    "a huge shape": (header({"w": entry("F32", [2**39, 2**39], 0, 4)}, bytes(4)), DAMAGED),
    "eight bits": (
        header({"fc.weight": entry("F8_E4M3", [1, 1], 0, 1)}, bytes(1)),
        "fc.weight is 'F8_E4M3'; expected one of F64, F32, F16, BF16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_damaged_file_is_refused_in_one_line(name: str) -> None:
    data, said = WRONG[name]
    with pytest.raises(WeightsError) as error:
        read_state(data, "a.safetensors")
    assert str(error.value) == f"a.safetensors: {said}"


def test_files_of_minidark_are_told_apart(tmp_path: Path) -> None:
    mine, theirs, other = (tmp_path / f"{name}.safetensors" for name in ("mine", "theirs", "other"))
    mine.write_bytes(safetensors.numpy.save({"0.gru.uz.weights": normal(2, 3)}, {"cfg": "[net]"}))
    theirs.write_bytes(safetensors.numpy.save(GRU))
    other.write_bytes(b"no file")
    assert [is_state(path) for path in (mine, theirs, other)] == [False, True, False]
    assert not is_state(tmp_path / "missing.weights")
    assert read(theirs).names == ["0.connected", "1.gru", "2.connected", "3.softmax"]
