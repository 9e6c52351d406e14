"""State dicts of PyTorch, held by torch's own modules."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import WeightsError
from minidark.convert.torch_state import from_state, read

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def char_lstm(**keys: Any) -> Any:
    torch.manual_seed(1)
    return torch.nn.ModuleDict({
        "embedding": torch.nn.Embedding(9, 5),
        "lstm": torch.nn.LSTM(5, 4, num_layers=2, **keys),
        "decoder": torch.nn.Linear(4, 9),
    })  # fmt: skip


def test_an_lstm_is_the_same_network() -> None:
    module = char_lstm()
    net = from_state(numpy_state(module), "a.pt").network()
    assert [la.type for la in net.layers] == ["connected", "lstm", "lstm", "connected", "softmax"]
    ids = np.random.default_rng(0).integers(0, 9, (7, 1))
    with torch.no_grad():
        hidden, _ = module["lstm"](module["embedding"](torch.from_numpy(ids)))
        wanted = torch.softmax(module["decoder"](hidden), -1).numpy()
    np.testing.assert_allclose(net.predict(ids), wanted, rtol=0, atol=1e-6)


@pytest.mark.long
def test_a_file_is_what_it_was_saved_from(tmp_path: Path) -> None:
    torch.save(char_lstm().state_dict(), tmp_path / "a.pt")
    found, wanted = read(tmp_path / "a.pt"), from_state(numpy_state(char_lstm()), "a.pt")
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def numpy_state(module: Any) -> dict[str, Any]:
    return {name: array.numpy() for name, array in module.state_dict().items()}


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "GRU": (
        lambda: torch.nn.GRU(3, 4),
        "weight_hh_l0 cannot be taken over: nn.GRU resets after the product, darknet's GRU before "
        "it: no weights of the one are weights of the other",
    ),
    "RNN": (
        lambda: torch.nn.RNN(3, 4),
        "weight_hh_l0 cannot be taken over: nn.RNN is act(W x + W s), darknet's [rnn] "
        "act(W x) + act(W s)",
    ),
    "both ways": (
        lambda: char_lstm(bidirectional=True),
        "lstm.weight_hh_l0 cannot be taken over: it runs both ways, or projects",
    ),
    "convolution": (
        lambda: torch.nn.Conv1d(3, 4, 2),
        "weight is none of nn.LSTM's and nn.Linear's arrays",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(WeightsError) as error:
        from_state(numpy_state(make()), "a.pt")
    assert str(error.value) == f"a.pt: {said}"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("evil").write_text, ("done",))


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pt").write_bytes(pickle.dumps({"a": Evil()}))
    said = "a.pt: not a state dict, or one that holds more than tensors; save net.state_dict()"
    with pytest.raises(WeightsError) as error:
        read("a.pt")
    assert str(error.value) == said
    assert not Path("evil").exists()


SAVED: dict[str, tuple[Callable[[], Any], str]] = {
    "an array that is expanded": (
        lambda: {"weight": torch.zeros(1).expand(1000, 1000)},
        "its arrays take more than 8 times its size; save them with clone()",
    ),
    "complex numbers": (
        lambda: {"weight": torch.zeros(2, 2, dtype=torch.complex64)},
        "an array of torch.complex64; darknet has none",
    ),
    "a name of numpy's": (
        lambda: {"file": torch.zeros(2, 2)},
        "file is none of nn.LSTM's and nn.Linear's arrays",
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_dict_that_is_none_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    make, said = SAVED[name]
    path = tmp_path / "a.pt"
    torch.save(make(), path)
    with pytest.raises(WeightsError) as error:
        read(path)
    assert str(error.value) == f"{path}: {said}"


def test_a_packed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000, 1000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as whole,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in whole.namelist():
            packed.writestr(member, whole.read(member))
    with pytest.raises(WeightsError, match=r"b\.pt: its arrays are packed; save net\.state_dict"):
        read(tmp_path / "b.pt")


def test_a_worker_that_takes_too_long_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minidark.convert.torch_state.LONGEST", 0.01)
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(
        WeightsError, match=r"torch_state_worker\.py took longer than 0\.01 seconds"
    ):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("shape", [(0, 0), (), (4,)])
def test_arrays_without_numbers_or_axes_are_one_line(shape: tuple[int, ...]) -> None:
    nothing = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match=r"^a\.pt: its arrays are no chain of LSTM and Linear$"):
        from_state({"weight_ih_l0": nothing, "weight_hh_l0": nothing}, "a.pt")
