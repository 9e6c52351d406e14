"""Files of named arrays: what numpy and safetensors read of them, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from minidark import WeightsError
from minidark.files.archives import SUFFIXES, Array, open_archive, packed

ARRAYS: dict[str, Array] = {
    "0.gru.uz.weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "0.gru.uz.biases": np.array([1.5, -2], dtype=np.float32),
}
NOTES = {"cfg": "[net]\ninputs=3\n# ☃\n", "seen": "7"}
forms = pytest.mark.parametrize("suffix", SUFFIXES)


def made(suffix: str) -> bytes:
    return packed(f"a{suffix}", ARRAYS, NOTES)


@forms
def test_what_was_packed_is_opened_again(suffix: str) -> None:
    archive = open_archive(io.BytesIO(made(suffix)), f"a{suffix}")
    assert archive.notes == NOTES
    assert archive.shapes == {name: array.shape for name, array in ARRAYS.items()}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(archive.read(name), array, strict=True)


@forms
def test_the_same_is_the_same_bytes(suffix: str) -> None:
    assert len({made(suffix) for _ in range(10)}) == 1


def test_the_libraries_own_readers_read_them(tmp_path: Path) -> None:
    loaded = safetensors.numpy.load(made(".safetensors"))
    (tmp_path / "a.safetensors").write_bytes(made(".safetensors"))
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == NOTES
    with np.load(io.BytesIO(made(".npz")), allow_pickle=False) as arrays:
        assert {name: str(arrays[name]) for name in NOTES} == NOTES
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)
            np.testing.assert_array_equal(loaded[name], array, strict=True)


def test_an_npz_may_be_compressed_and_in_fortrans_order() -> None:
    data = io.BytesIO()
    np.savez_compressed(data, **{"m.x": np.asfortranarray(ARRAYS["0.gru.uz.weights"])})  # type: ignore[arg-type]
    archive = open_archive(data, "a.npz")
    np.testing.assert_array_equal(archive.read("m.x"), ARRAYS["0.gru.uz.weights"])


def test_a_header_that_python_2_wrote_is_read_in_silence() -> None:
    """numpy warns of its long integers."""
    archive = open_archive(io.BytesIO(npz(a=npy("(2L, 1L)", bytes(8)))), "a.npz")
    assert archive.shapes == {"a": (2, 1)}


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }",
        "{'shape': (2, 1), 'fortran_order': True, 'descr': '<f4'}",
        "{'descr':'<f4','fortran_order':True,'shape':(2,1)}" + " " * 60,
    ],
)
def test_headers_of_other_programs_are_read(header: str) -> None:
    text = header.encode() + b"\n"
    member = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text
    archive = open_archive(
        io.BytesIO(npz(a=member + np.array([3, 4], np.float32).tobytes())), "a.npz"
    )
    np.testing.assert_array_equal(archive.read("a"), [[3], [4]])


@pytest.mark.parametrize("text", ["'\\d'", "0or 1", "(1 (2))"])
def test_a_header_of_odd_python_is_refused_in_silence(text: str) -> None:
    """Python's parser warns of it."""
    with pytest.raises(WeightsError, match="damaged"):
        open_archive(io.BytesIO(npz(a=npy(text))), "a.npz")


# --- what is wrong --------------------------------------------------------------------------


def tensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def npz(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return data.getvalue()


def npy(shape: str, data: bytes = b"", descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path("evil").write_text, ("done",))


def objects() -> bytes:
    return npy("(1,)", pickle.dumps([Evil()]), "'|O'")


def entry(shape: list[int], end: int, kind: str = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [0, end]}


DAMAGED = "not a {}, or damaged"
WRONG = {
    "empty.safetensors": (b"", DAMAGED.format(".safetensors file")),
    "length beyond the file.safetensors": (
        struct.pack("<Q", 2**63) + b"{}",
        DAMAGED.format(".safetensors file"),
    ),
    "no JSON.safetensors": (tensors(b"{x"), DAMAGED.format(".safetensors file")),
    "a list.safetensors": (tensors([1]), DAMAGED.format(".safetensors file")),
    "nested.safetensors": (tensors(b"[" * 100_000), DAMAGED.format(".safetensors file")),
    "a shape beyond the file.safetensors": (
        tensors({"a": entry([2**39, 1], 8)}, bytes(8)),
        DAMAGED.format(".safetensors file"),
    ),
    "negative.safetensors": (
        tensors({"a": entry([-1, -2], 8)}, bytes(8)),
        DAMAGED.format(".safetensors file"),
    ),
    "half floats.safetensors": (
        tensors({"a": entry([2], 4, "F16")}, bytes(4)),
        "a is 'F16'; expected F32 (float32)",
    ),
    "one byte too many.safetensors": (
        made(".safetensors") + b"\0",
        DAMAGED.format(".safetensors file"),
    ),
    "cut.safetensors": (made(".safetensors")[:-1], DAMAGED.format(".safetensors file")),
    "empty.npz": (b"", DAMAGED.format(".npz file")),
    "cut.npz": (made(".npz")[:-30], DAMAGED.format(".npz file")),
    "objects.npz": (npz(a=objects()), "a is Python objects; expected float32"),
    "doubles.npz": (npz(a=npy("(1,)", bytes(8), "'<f8'")), "a is 'float64'; expected float32"),
    "no npy.npz": (npz(a=b"hello"), DAMAGED.format(".npz file")),
    "a long header.npz": (
        npz(a=npy("(" + "1," * 20_000 + ")")),
        DAMAGED.format(".npz file"),
    ),
    "code in the header.npz": (
        npz(a=npy("__import__('os')")),
        DAMAGED.format(".npz file"),
    ),
    "a huge note.npz": (
        npz(cfg=npy("()", b"", "'<U9999999'")),
        "cfg is 'str319999968'; expected float32",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_and_nothing_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, said = WRONG[name]
    with pytest.raises(WeightsError) as error:
        open_archive(io.BytesIO(data), name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("shape", "data"),
    [("(4,)", bytes(15)), ("(4,)", bytes(17)), ("(1000000, 250)", bytes(16))],
)
def test_a_member_that_is_not_as_long_as_it_says_is_damaged(shape: str, data: bytes) -> None:
    with pytest.raises(WeightsError, match=r"^a\.npz: a is damaged$"):
        open_archive(io.BytesIO(npz(a=npy(shape, data))), "a.npz")


def test_offsets_that_overlap_are_refused_by_the_library() -> None:
    header = {"a": entry([1], 4), "b": entry([1], 4)}
    archive = open_archive(io.BytesIO(tensors(header, bytes(8))), "a.safetensors")
    with pytest.raises(WeightsError, match="damaged"):
        archive.read("a")


@pytest.mark.slow
def test_many_long_notes_are_refused_before_they_are_unpacked() -> None:
    letters = np.random.default_rng(0).integers(1, 0xD000, 1 << 20, dtype="<u4")
    note = npy("()", letters.tobytes(), f"'<U{1 << 20}'")
    data = npz(**{f"n{i}": note for i in range(5)})
    with pytest.raises(
        WeightsError, match=r"^a\.npz: its notes have more than 4,194,304 characters$"
    ):
        open_archive(io.BytesIO(data), "a.npz")
    four = npz(**{f"n{i}": note for i in range(4)})
    assert len(open_archive(io.BytesIO(four), "a.npz").notes) == 4
