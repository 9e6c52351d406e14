"""State dicts of PyTorch, held by torch's own modules. `test_torch_models` has whole models."""

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

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("reverse", [False, True])
def test_arrays_sorted_by_name_are_the_same_network(reverse: bool) -> None:
    state = numpy_state(char_lstm())
    wanted = from_state(state, "a.pt")
    found = from_state(dict(sorted(state.items(), reverse=reverse)), "a.pt")
    assert [s.type for s in found.sections] == [s.type for s in wanted.sections]
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_names_that_were_sorted_decide_no_order() -> None:
    state = state_of({"rnn": lstm(4, 4), "fc": linear(4, 4)})
    sorted_layers = [section.type for section in from_state(state, "a.pt").sections]
    assert sorted_layers == ["net", "lstm", "connected", "softmax"]
    found = from_state(dict(sorted(state.items())), "a.pt")
    assert [section.type for section in found.sections] == sorted_layers
    equal = {"b": lstm(4, 4), "a": lstm(4, 4), "head": linear(4, 9)}
    with pytest.raises(WeightsError, match="fit in more than one order"):
        from_state(dict(sorted(state_of(equal).items())), "a.pt")


@pytest.mark.long
def test_a_file_is_what_it_was_saved_from(tmp_path: Path) -> None:
    torch.save(char_lstm().state_dict(), tmp_path / "a.pt")
    found, wanted = read(tmp_path / "a.pt"), from_state(numpy_state(char_lstm()), "a.pt")
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def numpy_state(module: Any) -> dict[str, Any]:
    return {name: array.numpy() for name, array in module.state_dict().items()}


Parts = dict[str, Any]  # modules by their names, in the order of registration


def state_of(parts: Parts) -> dict[str, Any]:
    torch.manual_seed(1)
    made = {name: make() for name, make in parts.items()}
    return numpy_state(torch.nn.ModuleDict(made))


def lstm(inputs: int, outputs: int, layers: int = 1) -> Callable[[], Any]:
    return lambda: torch.nn.LSTM(inputs, outputs, layers)


def linear(inputs: int, outputs: int, bias: bool = True) -> Callable[[], Any]:
    return lambda: torch.nn.Linear(inputs, outputs, bias=bias)


def embedding(inputs: int, outputs: int) -> Callable[[], Any]:
    return lambda: torch.nn.Embedding(inputs, outputs)


IN_ORDER: dict[str, tuple[Parts, list[str]]] = {  # the names in the order of use
    "head registered first": (
        {"head": linear(4, 9), "emb": embedding(9, 5), "rnn": lstm(5, 4)}, ["emb", "rnn", "head"],
    ),
    "layers registered in another order": (
        {"b": lstm(4, 6), "a": lstm(9, 4), "head": linear(6, 9)}, ["a", "b", "head"],
    ),
    "numbers": (
        {"emb": embedding(9, 4), "rnn1": lstm(4, 4), "rnn2": lstm(4, 4), "head": linear(4, 9)},
        ["emb", "rnn1", "rnn2", "head"],
    ),
    "numbers past nine": (
        {**{f"{i}_rnn": lstm(4, 4) for i in range(11)}, "11_head": linear(4, 4)},
        [*(f"{i}_rnn" for i in range(11)), "11_head"],
    ),
    "a square embedding that says so": (
        {"embed": embedding(5, 5), "rnn": lstm(5, 4), "head": linear(4, 5)},
        ["embed", "rnn", "head"],
    ),
    "a linear layer first": (
        {"0in": linear(9, 5), "1rnn": lstm(5, 4, 2), "2head": linear(4, 9, bias=False)},
        ["0in", "1rnn", "2head"],
    ),
    "a word that begins with emb": (
        {"charEmb": embedding(5, 5), "rnn": lstm(5, 4), "head": linear(4, 5)},
        ["charEmb", "rnn", "head"],
    ),
    "no symbols": ({"rnn": lstm(3, 4), "head": linear(4, 1)}, ["rnn", "head"]),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_ORDER)
def test_one_order_that_fits_is_the_same_network(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts, order = IN_ORDER[name]
    torch.manual_seed(1)
    modules = torch.nn.ModuleDict({name: make() for name, make in parts.items()})
    caplog.set_level("INFO")
    net = from_state(numpy_state(modules), "a.pt").network()
    assert caplog.messages[0].startswith("a.pt: assumed nn.")
    said = caplog.messages[0]
    assert [said.index(f" {part!r}") for part in order] == sorted(
        said.index(f" {p!r}") for p in order
    )
    ids = torch.arange(7)[:, None] % net.inputs
    with torch.no_grad():
        y = torch.nn.functional.one_hot(ids, net.inputs).float()
        for part in order:
            module = modules[part]
            y = module(ids if isinstance(module, torch.nn.Embedding) else y)
            y = y[0] if isinstance(y, tuple) else y
        wanted = torch.softmax(y, -1) if net.outputs == net.inputs else y
    np.testing.assert_allclose(net.predict(ids.numpy()), wanted.numpy(), rtol=0, atol=1e-6)


MORE_ORDERS = "fit in more than one order, and a state dict does not record the order of use; "
GRAPH = "save the model as .pt2 (torch.export) or .onnx"
ROUND = (
    f"{GRAPH}, or save its arrays in the order of use, with names that begin with 0., 1. and so on"
)
SWAPPED = (
    "may be nn.Embedding or nn.Linear, with rows and columns swapped, and a state dict does not "
    f"record which; {GRAPH}, or, if it is an embedding, name it embedding.weight"
)
IN_A_ROW = (
    f"are two matrices in a row; a state dict does not record the activation between them; {GRAPH}"
)
NO_CHAIN = "its arrays do not form a chain of recurrent layers and nn.Linear"
KNOWN = "nn.Embedding, nn.Linear, nn.GRU, nn.LSTM or nn.RNN"
DOUBTS: dict[str, tuple[Parts, str]] = {
    "head registered first": (
        {"head": linear(4, 9), "rnn": lstm(9, 4)}, f"'head' and 'rnn' {MORE_ORDERS}{ROUND}",
    ),
    "equal layers": (
        {"emb": embedding(9, 4), "b": lstm(4, 4), "a": lstm(4, 4), "head": linear(4, 9)},
        f"'b' and 'a' {MORE_ORDERS}{ROUND}",
    ),
    "numbers against the registration": (
        {"emb": embedding(9, 4), "rnn2": lstm(4, 4), "rnn1": lstm(4, 4), "head": linear(4, 9)},
        f"'rnn2' and 'rnn1' {MORE_ORDERS}{ROUND}",
    ),
    "two matrices behind": (
        {"rnn": lstm(9, 4), "a": linear(4, 4), "b": linear(4, 9)}, f"'a' and 'b' {IN_A_ROW}",
    ),
    "two matrices, and numbers": (
        {"0": lstm(4, 4), "1": linear(4, 4), "3": linear(4, 4)}, f"'1' and '3' {IN_A_ROW}",
    ),
    "a square matrix first": (
        {"first": linear(5, 5, bias=False), "rnn": lstm(5, 4), "head": linear(4, 5)},
        f"'first' {SWAPPED}",
    ),
    "a word with emb in it": (
        {"ensemble": linear(5, 5, bias=False), "rnn": lstm(5, 4), "head": linear(4, 5)},
        f"'ensemble' {SWAPPED}",
    ),
    "a matrix alone": ({"first": linear(9, 5, bias=False)}, f"'first' {SWAPPED}"),
    "a second head": (
        {"rnn": lstm(9, 4), "actor": linear(4, 9), "critic": linear(4, 1)},
        "its modules do not fit together in the order of the file, and the position of an "
        "nn.Linear is unclear; "
        f"{ROUND}",
    ),
    "nothing fits": (
        {"rnn": lstm(9, 4), "head": linear(5, 8)},
        NO_CHAIN,
    ),
    "equal layers without end": (
        {**{c: lstm(4, 4) for c in "abcdefghijkl"}, "head": linear(3, 4), "y": linear(5, 7)},
        f"its modules fit in too many ways; {ROUND}",
    ),
    "many modules": ({str(i): lstm(4, 4) for i in range(101)}, "101 modules; more than 100"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTS)
def test_a_second_order_that_fits_is_a_doubt_and_refused(name: str) -> None:
    parts, said = DOUBTS[name]
    with pytest.raises(WeightsError) as error:
        from_state(state_of(parts), "a.pt")
    assert str(error.value) == f"a.pt: {said}"


def test_what_was_assumed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    from_state(numpy_state(char_lstm()), "a.pt")
    assert caplog.messages == [
        "a.pt: assumed nn.Embedding(9, 5) 'embedding', nn.LSTM(5, 4, 2) 'lstm', nn.Linear(4, 9) "
        "'decoder', in this order; a state dict does not record activations and residual "
        "connections"
    ]


def with_arrays(**changes: Any) -> Callable[[], dict[str, Any]]:
    """The arrays of an nn.GRU with some changed; None removes one."""

    def made() -> dict[str, Any]:
        arrays = numpy_state(torch.nn.GRU(3, 4)) | changes
        return {name: array for name, array in arrays.items() if array is not None}

    return made


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "both ways": (
        lambda: numpy_state(char_lstm(bidirectional=True)),
        "'lstm' is bidirectional: minidark's layers read only forward",
    ),
    "a projection": (
        lambda: numpy_state(torch.nn.LSTM(3, 4, proj_size=2)),
        "'weight_ih_l0' has a projection (proj_size), and minidark's layers have none",
    ),
    "convolution": (
        lambda: numpy_state(torch.nn.Conv1d(3, 4, 2)),
        "'weight' is a convolution (nn.Conv), and minidark has none for sequences",
    ),
    "layer norm": (
        lambda: state_of({"norm": lambda: torch.nn.LayerNorm(3)}),
        "'norm' normalizes each row (nn.LayerNorm or the like), and minidark has no such layer",
    ),
    "batch norm": (
        lambda: state_of({"norm": lambda: torch.nn.BatchNorm1d(3)}),
        "'norm' normalizes (nn.BatchNorm), and a state dict does not record over which axis and "
        "how",
    ),
    "attention": (
        lambda: state_of({"a": lambda: torch.nn.MultiheadAttention(4, 2)}),
        f"a.in_proj_weight is not an array of {KNOWN}, but of attention",
    ),
    "weight norm": (
        lambda: {"fc.weight_g": np.ones((3, 1)), "fc.weight_v": np.ones((3, 2))},
        f"fc.weight_g is not an array of {KNOWN}",
    ),
    "a tied head that was saved once": (
        lambda: {"emb.weight": np.ones((3, 2)), "head.bias": np.ones(3)},
        "head.weight is missing; if it is tied to another array, save a copy of that under its "
        "name",
    ),
    "an array too many": (
        with_arrays(weight_xx_l0=np.ones(3)), f"weight_xx_l0 is not an array of {KNOWN}",
    ),
    "an array too few": (with_arrays(bias_hh_l0=None), "bias_hh_l0 is missing"),
    "other rows": (
        with_arrays(weight_hh_l0=np.ones((8, 4), np.float32)),
        "weight_hh_l0 is 8 x 4; nn.RNN has H x H, nn.GRU 3 H x H and nn.LSTM 4 H x H",
    ),
    "other biases": (
        with_arrays(bias_ih_l0=np.ones(8, np.float32)),
        "bias_ih_l0 does not fit weight_hh_l0; expected 12",
    ),
    "biases of a Linear": (
        lambda: {"fc.weight": np.ones((3, 2)), "fc.bias": np.ones(2)},
        "fc.bias does not fit fc.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_with_the_reason(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(WeightsError) as error:
        from_state(make(), "a.pt")
    assert str(error.value) == f"a.pt: {said}"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("evil").write_text, ("done",))


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pt").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError, match=r"^a\.pt: .*; save "):
        read("a.pt")
    assert not Path("evil").exists()


SAVED: dict[str, tuple[Callable[[], Any], str]] = {
    "an array that is expanded": (
        lambda: {"weight": torch.zeros(1).expand(1000, 1000)},
        "its arrays take more than 8 times the file's size; save clones of them",
    ),
    "complex numbers": (
        lambda: {"weight": torch.zeros(2, 2, dtype=torch.complex64)},
        "an array is torch.complex64, which darknet does not support",
    ),
    "a name of numpy's": (
        lambda: {"file": torch.zeros(2, 2)},
        f"file is not an array of {KNOWN}",
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
    with pytest.raises(WeightsError, match=r"b\.pt: its arrays are compressed; save net\.state"):
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


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((0, 0), "weight_hh_l0 is 0 x 0; nn.RNN has"),
        ((), "weight_hh_l0 is not a matrix"),
        ((4,), "weight_hh_l0 is not a matrix"),
    ],
)
def test_arrays_without_numbers_or_axes_are_one_line(shape: tuple[int, ...], said: str) -> None:
    nothing = np.zeros(shape, np.float32)
    with pytest.raises(WeightsError, match=f"^a\\.pt: {said}"):
        from_state({"weight_ih_l0": nothing, "weight_hh_l0": nothing}, "a.pt")


def test_the_prefixes_of_wrappers_are_no_part_of_the_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = {f"module._orig_mod.{name}": a for name, a in numpy_state(char_lstm()).items()}
    caplog.set_level("INFO")
    found, wanted = from_state(state, "a.pt"), from_state(numpy_state(char_lstm()), "a.pt")
    assert caplog.messages[0] == caplog.messages[1]
    assert found.arrays.keys() == wanted.arrays.keys()


def test_the_activation_of_an_rnn_is_assumed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = from_state(state_of({"rnn": lambda: torch.nn.RNN(3, 4)}), "a.pt")
    assert caplog.messages[0].endswith(
        "; nor does it record the activation of nn.RNN: assumed tanh, for relu give --cfg with "
        "[rnn] activation=relu"
    )
    assert found.sections[1].pairs["activation"].value == "tanh"


def test_tied_weights_put_the_head_last() -> None:
    """Without biases either of the equal matrices may be the embedding."""
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    state = {"a.weight": weights, **state_of({"rnn": lstm(4, 4)}), "b.weight": weights}
    found = from_state(state, "a.pt")
    assert [section.type for section in found.sections[1:]] == [
        "connected", "lstm", "connected", "softmax",
    ]  # fmt: skip
    np.testing.assert_array_equal(found.arrays["0.connected.weights"], weights.T)
    np.testing.assert_array_equal(found.arrays["2.connected.weights"], weights)


# --- what training scripts save ---------------------------------------------------------------


def optimizer_state() -> Any:
    module = char_lstm()
    optimizer = torch.optim.Adam(module.parameters())
    module["decoder"](torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def char_state() -> Any:
    return char_lstm().state_dict()


TAKEN: dict[str, Callable[[], Any]] = {
    "model": lambda: {"model": char_state(), "optimizer": optimizer_state(), "epoch": 3},
    "the optimizer first": lambda: {"opt": optimizer_state(), "state_dict": char_state()},
    "model_state_dict": lambda: {"model_state_dict": char_state(), "loss": torch.tensor(0.5)},
    "another name": lambda: {"generator": char_state(), "vocabulary": ["a", "b"]},
    "an average beside it": lambda: {"ema": char_state(), "model": char_state()},
    "two deep": lambda: {"checkpoint": {"net": char_state()}, "stoi": {"a": 0}},
    "numbers among the tensors": lambda: {**char_state(), "epoch": 3, "name": "it"},
    "half precision": lambda: {k: v.bfloat16() for k, v in char_state().items()},
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_state_dict_in_a_checkpoint_is_read(name: str, tmp_path: Path) -> None:
    torch.save(TAKEN[name](), tmp_path / "a.pt")
    assert state_worker_arrays(tmp_path / "a.pt").keys() == char_state().keys()


def state_worker_arrays(path: Path) -> dict[str, Any]:
    """What the worker reads, without a process of its own."""
    from minidark.convert import torch_state_worker

    def refuse(why: str) -> None:
        raise WeightsError(why)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_state_worker, "refuse", refuse)
        return dict(torch_state_worker.arrays(path, 1 << 20))


class Settings:
    """An object of a class that is not torch's."""


NOT_TAKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "two networks": (
        lambda: {"encoder": char_state(), "decoder": char_state()},
        "it has several dicts of tensors: encoder, decoder; save the one of the network alone",
    ),
    "two usual names": (
        lambda: {"model": char_state(), "net": char_state()},
        "it has several dicts of tensors: model, net; save the one of the network alone",
    ),
    "only an optimizer": (
        lambda: {"optimizer": optimizer_state()},
        "not a dict of tensors; save net.state_dict()",
    ),
    "a list": (lambda: [1], "not a dict of tensors; save net.state_dict()"),
    "an object beside it": (
        lambda: {"model": char_state(), "args": Settings()},
        f"it contains an object of {Settings.__module__}.Settings, and unpickling that would run "
        "code from the file; save only net.state_dict()",
    ),
    "a whole module": (
        lambda: torch.nn.LSTM(2, 3),
        "a whole module, and unpickling it would run code from the file; save net.state_dict(), "
        "or torch.export.save(torch.export.export(net.eval(), inputs), 'net.pt2')",
    ),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_checkpoint_without_one_state_dict_is_refused_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    make, said = NOT_TAKEN[name]
    torch.save(make(), tmp_path / "a.pt")
    with pytest.raises(WeightsError) as error:
        state_worker_arrays(tmp_path / "a.pt")
    assert str(error.value) == said


def test_other_programs_of_torch_are_refused_before_torch_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as script:
        script.writestr("a/code/__torch__.py", "")
    with pytest.raises(WeightsError, match=r"a TorchScript program; save net\.state_dict\(\), or "):
        read(path)
    with zipfile.ZipFile(path, "w") as program:
        program.writestr("a/models/model.json", "{}")
    with pytest.raises(WeightsError, match=r"a program of torch\.export; name it \.pt2"):
        read(path)
