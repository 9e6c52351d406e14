"""Ranks on GPUs, on the stand-in for them: by pinned memory and MPI, and by NCCL."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import tests.fakecp as fakecp
from minidark import DataError, MinidarkError, train
from minidark.backend import Array, get_backend
from minidark.data.text import Text
from minidark.network.parser import build_network
from minidark.training.checkpoint import copied_arrays
from minidark.training.parallel import gpus
from minidark.training.parallel.gpus import NcclRanks, PinnedRanks, reaching, see_own
from minidark.training.parallel.ranks import Ranks
from tests.conftest import WriteText, dependent
from tests.helpers import planned
from tests.stand_in import needs_compiler, put_in_place
from tests.training.parallel.threads import in_threads

pytestmark = pytest.mark.slow

SYMBOLS, BATCHES = 8, 4
NET = f"net inputs={SYMBOLS} batch=8 time_steps=5 adam=1 learning_rate=.05 clip_norm=1"
LAYERS = ("gru output=5 tanh=1", "dropout probability=.2", "lstm output=4 batch_normalize=1",
          f"connected output={SYMBOLS} activation=linear", "softmax")  # fmt: skip
WAYS = {False: PinnedRanks, True: NcclRanks}


@pytest.fixture(params=WAYS, ids=["pinned", "nccl"])
def nccl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    put_in_place(monkeypatch)
    monkeypatch.setattr(fakecp.cuda.nccl, "available", request.param)
    return bool(request.param)


@pytest.fixture
def text(write_text: WriteText) -> Path:
    return write_text(dependent(2000))


def trained(text: Path, ranks: Ranks) -> dict[str, bytes]:
    """All that a run of four shards leaves on this rank."""
    made = build_network(planned(NET, *LAYERS), 3, get_backend("cuda"))
    with Text([text], SYMBOLS) as opened:
        run = train(made, opened, BATCHES, seed=7, valid_fraction=0.25, shards=4, ranks=ranks)
        losses = [report.loss for report in run]
        run.gather()
    arrays = {name: array.tobytes() for name, array in copied_arrays(made).items()}
    return {**arrays, "losses": repr(losses).encode()}


@needs_compiler
@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_ranks_leaves_the_same_bytes(text: Path, size: int, nccl: bool) -> None:
    one = trained(text, Ranks())
    for found in in_threads(size, lambda ranks: trained(text, ranks)):
        assert found == one


def test_sums_and_broadcasts_are_of_whatever_memory(nccl: bool) -> None:
    def job(ranks: Ranks) -> list[Any]:
        made = reaching(ranks, get_backend("cuda"))
        assert type(made) is WAYS[nccl]
        assert (made.rank, made.size) == (ranks.rank, ranks.size)
        found = []
        for kind in (np.float32, np.uint8):
            here = (np.arange(5) * (ranks.rank + 1)).astype(kind)
            for call in (made.sum, made.broadcast):
                for buffer in (here.copy(), fakecp.asarray(here)):
                    call(cast("Array", buffer))
                    found.append(fakecp.asnumpy(buffer).tolist())
        made.barrier()
        return found

    sums, first = [10 * n for n in range(5)], [*range(5)]
    for found in in_threads(4, job):
        assert found == [sums, sums, first, first] * 2


def test_one_rank_or_a_cpu_needs_neither(nccl: bool) -> None:
    assert type(reaching(Ranks(), get_backend("cuda"))) is Ranks
    two = Ranks()
    two.size = 2
    assert reaching(two, get_backend("cpu")) is two


def refused(ranks: Ranks) -> str:
    """What is said where others are not heard of."""
    ranks.timeout = 0.1
    with pytest.raises(MinidarkError) as caught:
        reaching(ranks, get_backend("cuda")).sum(fakecp.ones(3, dtype=np.float32))
    return str(caught.value)


def test_what_a_gpu_is_never_done_with_is_noticed(
    nccl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    aborted = []
    monkeypatch.setattr(fakecp.cuda.Stream, "done", property(lambda self: False))
    monkeypatch.setattr(
        fakecp.cuda.NcclCommunicator, "abort", lambda self: aborted.append(self.rank)
    )
    for rank, said in enumerate(in_threads(2, refused)):
        whom = f"rank {1 - rank}" if nccl else "its GPU"
        assert said.startswith(f"no answer from {whom} for 0.1 seconds")
    assert sorted(aborted) == ([0, 1] if nccl else [])


@pytest.mark.parametrize("where", ["__init__", "_take"])
def test_so_is_a_rank_that_nccl_waits_for_on_the_host(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    put_in_place(monkeypatch)
    monkeypatch.setattr(fakecp.cuda.nccl, "available", True)
    monkeypatch.setattr(fakecp.cuda.NcclCommunicator, where, lambda *_: time.sleep(1))
    for rank, said in enumerate(in_threads(2, refused)):
        whom = "some rank" if where == "__init__" else f"rank {1 - rank}"
        assert said.startswith(f"no answer from {whom} for 0.1 seconds")


def test_what_nccl_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise fakecp.cuda.NcclError("invalid usage")

    put_in_place(monkeypatch)
    monkeypatch.setattr(fakecp.cuda.nccl, "available", True)
    monkeypatch.setattr(fakecp.cuda.NcclCommunicator, "__init__", refuse)
    said = "invalid usage; each rank needs a GPU of its own"
    assert in_threads(2, refused) == [said, said]


@pytest.mark.parametrize(("machines", "kind"), [("one", PinnedRanks), ("several", NcclRanks)])
def test_ranks_that_share_a_gpu_go_by_the_host(
    machines: str, kind: type[Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(monkeypatch)
    monkeypatch.setattr(fakecp.cuda.nccl, "available", True)
    monkeypatch.setattr(fakecp.cuda.Device, "pci_bus_id", "0000:00:01.0")
    if machines == "several":
        monkeypatch.setattr(gpus, "machine", lambda: threading.current_thread().name)
    found = in_threads(4, lambda ranks: type(reaching(ranks, get_backend("cuda"))))
    assert found == [kind] * 4


def test_a_machine_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if gpus.BOOT.exists():
        assert gpus.machine() == gpus.BOOT.read_text()
    monkeypatch.setattr(gpus, "BOOT", tmp_path / "none")
    assert gpus.machine() == socket.gethostname()


@needs_compiler
def test_a_sum_waits_for_the_thread_that_computes_it(
    text: Path, nccl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is begun, and not where it is carried out."""
    waited: list[str] = []
    plain = fakecp.cuda.Stream.wait_event

    def note(self: Any, event: Any) -> None:
        waited.append(event.thread)
        plain(self, event)

    monkeypatch.setattr(fakecp.cuda.Stream, "wait_event", note)
    in_threads(2, lambda ranks: trained(text, ranks))
    layers = sum(layer.startswith(("gru", "lstm", "connected")) for layer in LAYERS)
    computing = [name for name in waited if name.startswith("ThreadPoolExecutor")]
    assert len(computing) >= 2 * BATCHES * layers


@needs_compiler
@pytest.mark.parametrize("odd", ["device", "nccl"])
def test_ranks_with_other_gpus_are_told_before_they_wait_for_one_another(
    text: Path, nccl: bool, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    if odd == "nccl":
        module = sys.modules["minidark.training.train"]  # the name is its function's, too
        monkeypatch.setattr(module, "transport", lambda backend: threading.current_thread().name)

    def said(ranks: Ranks) -> str:
        device = "cpu" if odd == "device" and ranks.rank else "cuda"
        made = build_network(planned(NET, *LAYERS), 3, get_backend(device, kernels="numpy"))
        with Text([text], SYMBOLS) as opened, pytest.raises(DataError) as caught:
            train(made, opened, BATCHES, seed=7, valid_fraction=0.25, ranks=ranks)
        return str(caught.value)

    wanted = "rank 1 has a device or kernels different from rank 0's; all ranks of a run need the "
    assert in_threads(2, said) == [f"{wanted}same"] * 2


@pytest.mark.parametrize(
    ("given", "local", "seen"),
    [
        (None, 0, "0"),
        (None, 3, "3"),
        ("4,5", 1, "5"),
        ("GPU-a, GPU-b", 1, "GPU-b"),
        ("4,5", 2, ""),  # none is left: --device cuda says so
        ("7", 1, "7"),  # dealt by whoever started the ranks
        ("", 1, ""),
    ],
)
def test_each_rank_sees_a_gpu_of_its_own(given: str | None, local: int, seen: str) -> None:
    environment = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    see_own(environment, local)
    assert environment == {"CUDA_VISIBLE_DEVICES": seen}
