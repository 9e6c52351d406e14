"""That a run goes on from a checkpoint to the bytes of one that was never stopped, and that a file
which is not what was written is refused."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from minidark import (
    BackendError,
    CfgError,
    DataError,
    MinidarkError,
    Network,
    Pairs,
    Text,
    WeightsError,
    load_network,
    train,
)
from minidark.backend import threads as backend_threads
from minidark.data.text import Symbols
from minidark.data.tokens import TokenText
from minidark.files import disk
from minidark.training import checkpoint as checkpoints
from minidark.training import same_run
from minidark.training.checkpoint import Checkpoint, newest_sound, previous
from minidark.training.report import StepReport
from minidark.training.train import Training
from tests.conftest import WriteText
from tests.faults import watched
from tests.helpers import cfg, network

SYMBOLS = 8
NET = f"net inputs={SYMBOLS} batch=4 time_steps=9 learning_rate=.05"
OUT = (f"connected output={SYMBOLS} activation=linear", "softmax")
TANH = "gru output=5 tanh=1"
CASES = {  # what a network may hang on from batch to batch
    "gru, adam, dropout": (f"{NET} adam=1", "dropout probability=.3", TANH, *OUT),
    "gru, sgd, subdivisions": (f"{NET} subdivisions=2 clip_norm=.01", TANH, TANH, *OUT),
    "gru, batch_normalize": (f"{NET} decay=.01", f"{TANH} batch_normalize=1", *OUT),
    "lstm, two dropouts": (NET, "lstm output=5", "dropout", "lstm output=4", "dropout", *OUT),
    "rnn, policy=random": (f"{NET} policy=random", "rnn output=5 shortcut=1", *OUT),
    "rnn, fewer hidden": (f"{NET} adam=1", "rnn output=5 hidden=3 activation=tanh", *OUT),
    "attention": (f"{NET} adam=1", TANH, "attention memory=12 output=6", *OUT),
    "[batchnorm]": (f"{NET} adam=1", TANH, "batchnorm", *OUT),
    "a graph, tied": (
        f"{NET} adam=1 average=.9",
        "connected output=5 activation=linear",
        TANH,
        "shortcut from=0",
        "connected tied=0 activation=linear",
        "softmax",
    ),
    "burn_in, cosine": (f"{NET} burn_in=9 policy=cosine max_batches=60", TANH, *OUT),
    "stopbackward, dontsave": (NET, TANH, "lstm output=3 stopbackward=1 dontsave=1", *OUT),
    "several steps": (f"{NET} policy=steps steps=20,45 scales=.1,.1", TANH, *OUT),
}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams restart and validations come often, so that both are between any two moments."""
    module = importlib.import_module("minidark.training.validation")
    monkeypatch.setattr(module, "VALIDATE_EVERY", 3)
    monkeypatch.setattr(module, "VALIDATE_SHARE", 1)
    monkeypatch.setattr("minidark.data.text.RESTART", 0.2)


def make(case: str = "gru, adam, dropout", kernels: str = "numpy", seed: int = 3) -> Network:
    net = network(*CASES[case], dtype="float32", seed=seed)
    net.backend.use_kernels(kernels)
    return net


def figures(report: StepReport) -> StepReport:
    return dataclasses.replace(report, seconds=0)


def everything(training: Training) -> dict[str, Any]:
    """All of a run but for its times, arrays as bytes."""
    values = dataclasses.asdict(dataclasses.replace(training.checkpoint(), seconds=0, began=""))
    values["arrays"] = {name: (a.dtype, a.tobytes()) for name, a in values["arrays"].items()}
    return values


def assert_goes_on(
    make_net: Any,
    text: Symbols | Pairs,
    path: Path,
    batches: int = 60,
    at: int = 23,
    **keywords: Any,
) -> None:
    """Stop at batch `at`, go on from the file with a network of another seed: the reports and all
    of the state at the end are those of one run."""
    whole = train(make_net(3), text, batches, seed=7, **keywords)
    reports = []
    for report in whole:
        reports.append(report)
        if report.batch == at:
            whole.checkpoint().write(path)
    again = train(
        make_net(4), text, batches, patience=keywords.get("patience"), resume=Checkpoint.read(path)
    )
    rest = list(again)
    assert [figures(r) for r in rest] == [figures(r) for r in reports[at:]]
    assert everything(again) == everything(whole)
    assert rest[0].seconds > reports[at - 1].seconds


# --- the same bytes -----------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["numpy", "fast"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_to_the_same_bytes(
    text: Text, tmp_path: Path, case: str, kernels: str
) -> None:
    if kernels == "fast":
        pytest.importorskip("numba", reason="the fast kernels need numba")
    assert_goes_on(lambda seed: make(case, kernels, seed), text, tmp_path / "a.ckpt")


@pytest.mark.parametrize("case", ["gru, adam, dropout", "gru, batch_normalize", "[batchnorm]"])
def test_it_does_in_shards(text: Text, tmp_path: Path, case: str) -> None:
    """How many is the checkpoint's to say."""
    assert_goes_on(lambda seed: make(case, seed=seed), text, tmp_path / "a.ckpt", shards=2)


def test_a_checkpoint_of_before_there_were_shards_is_of_one(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(make(), text, 60, seed=7)
    next(training)
    taken, dumps = training.checkpoint(), json.dumps

    def before(values: dict[str, Any], **how: Any) -> str:
        return dumps({key: values[key] for key in values if key != "shards"}, **how)

    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", before)
        taken.write(tmp_path / "a.ckpt")
    assert b"shards" not in (tmp_path / "a.ckpt").read_bytes()
    assert Checkpoint.read(tmp_path / "a.ckpt").shards == 1


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("case", ["gru, adam, dropout", "lstm, two dropouts"])
def test_it_does_on_a_gpu_too(text: Text, tmp_path: Path, case: str) -> None:
    def on_device(seed: int) -> Network:
        net = make(case, seed=seed)
        return getattr(net, "thing", net)  # not as tests hold it, with numpy's arrays

    assert_goes_on(on_device, text, tmp_path / "a.ckpt", 8, 4)


@pytest.mark.parametrize("at", [1, 2, 3, 29, 59])
def test_it_does_from_any_batch_with_a_patience(text: Text, tmp_path: Path, at: int) -> None:
    keywords: dict[str, Any] = {"patience": 50, "valid_fraction": 0.2}
    assert_goes_on(lambda seed: make(seed=seed), text, tmp_path / "a.ckpt", at=at, **keywords)


def test_it_does_with_a_clip_norm_that_was_set_from_outside(text: Text, tmp_path: Path) -> None:
    def clipped(seed: int) -> Network:
        net = make("gru, batch_normalize", seed=seed)
        net.learner.clip_norm = 0.001 if seed == 3 else 0
        return net

    assert_goes_on(clipped, text, tmp_path / "a.ckpt")


def test_it_does_on_a_tokenized_text_and_in_float64(write_text: WriteText, tmp_path: Path) -> None:
    tokens = TokenText(write_text(b" ".join(b"%d" % (n * n % 7) for n in range(3000))), SYMBOLS)

    def wide(seed: int) -> Network:
        return network(*CASES["gru, adam, dropout"], seed=seed)

    assert_goes_on(wide, tokens, tmp_path / "a.ckpt")


def test_a_network_that_was_used_is_made_what_it_was(text: Text, tmp_path: Path) -> None:
    def used(seed: int) -> Network:
        net = make(seed=seed)
        if seed == 4:
            list(train(net, text, 5, seed=1))
            net.accumulate(*np.ones((2, 3, 4), int))
        return net

    assert_goes_on(used, text, tmp_path / "a.ckpt")


def test_several_stops_are_as_none(text: Text, tmp_path: Path) -> None:
    whole = train(make(), text, 40, seed=7)
    list(whole)
    training = train(make(), text, 40, seed=7)
    for n, _ in enumerate(training, start=1):
        training.checkpoint().write(tmp_path / "a.ckpt")
        if n == 8:
            break
    for _ in range(4):
        training = train(make(seed=9), text, 40, resume=Checkpoint.read(tmp_path / "a.ckpt"))
        for n, _ in enumerate(training, start=1):
            if n == 8:
                training.checkpoint().write(tmp_path / "a.ckpt")
                break
    assert everything(training) == everything(whole)


def test_a_finished_run_goes_on_where_its_rate_does_not_hang_on_the_end(text: Text) -> None:
    whole, short = train(make(), text, 45, seed=7), train(make(), text, 30, seed=7)
    list(whole), list(short)
    longer = train(make(), text, 45, resume=short.checkpoint())
    list(longer)
    assert everything(longer) == everything(whole)


def test_patience_lasts_over_a_stop_and_may_grow(text: Text) -> None:
    net = network(NET.replace(".05", "0"), TANH, *OUT)  # a rate of zero: it never falls
    whole = train(net, text, 100, valid_fraction=0.2, patience=3)
    *_, last = whole
    assert last.last
    resumed = whole.checkpoint()
    ended = train(net, text, 100, patience=3, resume=resumed)
    assert ended.over
    assert list(ended) == []
    assert next(train(net, text, 100, patience=5, resume=resumed)).batch == last.batch + 1


STATE: dict[
    str, Callable[[Checkpoint], Any]
] = {  # each field that says where a run is, and another value of it
    "seen": lambda c: c.seen + 1,
    "updates": lambda c: c.updates + 1,
    "symbols": lambda c: c.symbols + 1,
    "average": lambda c: c.average + 1e-9,
    "offsets": lambda c: [*c.offsets[:3], c.offsets[3] + 1],
    "lowest": lambda c: (c.lowest or 0) - 1,
    "fruitless": lambda c: c.fruitless + 1,
    "unvalidated": lambda c: c.unvalidated - 1000,
    "validated": lambda c: c.validated + 1,
    "seed": lambda c: c.seed,  # of no use any more: what it began is in the generators
}


def test_a_checkpoint_with_an_old_name_in_it_is_read(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(make(), text, 60, seed=7)
    next(training)
    taken, path, dumps = training.checkpoint(), tmp_path / "a.ckpt", json.dumps

    def before(values: dict[str, Any], **how: Any) -> str:
        named = {"since" if key == "unvalidated" else key: values[key] for key in values}
        return dumps(named, **how)

    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", before)
        taken.write(path)
    assert b"unvalidated" not in path.read_bytes()
    assert Checkpoint.read(path).unvalidated == taken.unvalidated > 0


@pytest.mark.parametrize("name", STATE)
def test_nothing_of_the_state_goes_unused(text: Text, name: str) -> None:
    training = train(make(), text, 60, seed=7)
    for report in training:
        if report.batch == 20:
            break
    since = training.checkpoint()
    if name == "fruitless":  # the next new lowest would make it zero
        since = dataclasses.replace(since, lowest=0.0)
    other = dataclasses.replace(since, **{name: STATE[name](since)})
    assert (other == since) == (name == "seed")
    right, wrong = (train(make(), text, 60, resume=c) for c in (since, other))
    reports = [[figures(r) for r in run] for run in (right, wrong)]
    same = reports[0] == reports[1] and everything(right) == everything(wrong)
    assert same == (name == "seed")


def test_nor_any_generator(text: Text) -> None:
    since, training = begun(text)
    assert {*since.generators} == {"streams", "network"}
    for name in since.generators:
        others = {**since.generators, name: np.random.default_rng(5).bit_generator.state}
        other = dataclasses.replace(since, generators=others)
        assert everything(resumed(text, other)) != everything(training), name


def test_nor_any_array(text: Text) -> None:
    since, training = begun(text)
    assert len(since.arrays) > 15
    for name, array in since.arrays.items():
        changed = {**since.arrays, name: array + np.float32(0.1)}
        other = dataclasses.replace(since, arrays=changed)
        assert everything(resumed(text, other)) != everything(training), name


def begun(text: Text) -> tuple[Checkpoint, Training]:
    """A checkpoint after the first batch, and its run at its end."""
    training = train(make("rnn, policy=random"), text, 30, seed=7)
    next(training)
    since = training.checkpoint()
    list(training)
    return since, training


def resumed(text: Text, since: Checkpoint) -> Training:
    training = train(make("rnn, policy=random"), text, 30, resume=since)
    list(training)
    return training


def test_a_checkpoint_stays_what_it_was_while_training_goes_on(text: Text, tmp_path: Path) -> None:
    training = train(make(), text, 20, seed=7)
    next(training)
    taken = training.checkpoint()
    taken.write(tmp_path / "before")
    list(training)
    taken.write(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


def test_none_is_taken_before_the_first_batch_or_within_one(
    text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(make("gru, sgd, subdivisions"), text, 20, seed=7)
    with pytest.raises(MinidarkError, match="made after a complete batch"):
        training.checkpoint()
    next(training)
    training.checkpoint()
    passes = []

    def gone(start: int, stop: int) -> Any:
        passes.append(start)
        if len(passes) > 2:  # two streams' windows: the first pass
            raise DataError("gone")
        return np.zeros(stop - start, int)

    monkeypatch.setattr(text, "read", gone)
    with pytest.raises(DataError, match="gone"):
        next(training)
    with pytest.raises(MinidarkError, match="made after a complete batch"):
        training.checkpoint()


# --- another run --------------------------------------------------------------------------


@pytest.fixture
def since(text: Text) -> Checkpoint:
    training = train(make(), text, 60, seed=7)
    next(training)
    return training.checkpoint()


OTHERS = {
    "[net] learning_rate=0.01, and learning_rate=0.05 in the checkpoint": (
        NET.replace(".05", ".01") + " adam=1", "dropout probability=.3", TANH, *OUT),
    "[net] adam=0, and adam=1 in the checkpoint": (NET, "dropout probability=.3", TANH, *OUT),
    "layer 0 [dropout] probability=0.5, and probability=0.3 in the checkpoint": (
        f"{NET} adam=1", "dropout", TANH, *OUT),
    "layer 1 [lstm] is [gru] in the checkpoint": (
        f"{NET} adam=1", "dropout probability=.3", "lstm output=5", *OUT),
    "layer 1 [gru] output=6, and output=5 in the checkpoint": (
        f"{NET} adam=1", "dropout probability=.3", "gru output=6 tanh=1", *OUT),
    "layer 1 [gru] reset_after=1, and no reset_after in the checkpoint": (
        f"{NET} adam=1", "dropout probability=.3", f"{TANH} reset_after=1", *OUT),
    "layer 1 [rnn] is [gru] in the checkpoint": (
        f"{NET} adam=1", "dropout probability=.3", "rnn output=5 elman=1", *OUT),
    "3 layers, and 4 in the checkpoint": (f"{NET} adam=1", TANH, *OUT),
}  # fmt: skip


@pytest.mark.parametrize("said", OTHERS)
def test_another_cfg_is_an_error_that_names_the_difference(
    text: Text, since: Checkpoint, said: str
) -> None:
    net = network(*OTHERS[said], dtype="float32")
    with pytest.raises(CfgError) as error:
        train(net, text, 60, resume=since)
    assert str(error.value).startswith(said + "; a run resumes only with its own cfg")


@pytest.mark.parametrize("changed", [{"section": "\x1b[2J"}, {"\x1b[2J": 1}])
def test_names_that_a_terminal_would_obey_are_escaped(
    since: Checkpoint, changed: dict[str, Any]
) -> None:
    cfg = [since.cfg[0], {**since.cfg[1], **changed}, *since.cfg[2:]]
    with pytest.raises(CfgError) as error:
        same_run.check_cfg(make(), dataclasses.replace(since, cfg=cfg))
    assert str(error.value).isprintable()


def test_max_batches_is_part_of_the_cfg_where_the_rate_falls_towards_it(text: Text) -> None:
    for policy, refused in {"cosine": True, "poly": True, "exp gamma=.9": False}.items():
        nets = [network(f"{NET} policy={policy} max_batches={n}", TANH, *OUT) for n in (9, 10)]
        training = train(nets[0], text, 9)
        next(training)
        if refused:
            with pytest.raises(CfgError, match="max_batches=10, and max_batches=9 in the"):
                train(nets[1], text, 10, resume=training.checkpoint())
        else:
            train(nets[1], text, 10, resume=training.checkpoint())


def test_another_text_is_an_error_that_names_the_file(
    text: Text, since: Checkpoint, tmp_path: Path
) -> None:
    data = text.read(0, text.size).astype(np.uint8).tobytes()
    for name, other, said in [
        ("longer", data + b"\x01", "1 bytes longer than before"),
        ("other", data[:-1] + b"\x07", "same size as before, but different bytes"),
    ]:
        path = tmp_path / name
        path.write_bytes(other)
        with Text(path, SYMBOLS) as there, pytest.raises(DataError) as error:
            train(make(), there, 60, resume=since)
        assert str(error.value).startswith(f"{path}: {said}; a run resumes only with its own text")


def test_a_copy_of_the_text_is_the_text_and_a_time_that_differs_is_told(
    text: Text, since: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "elsewhere.txt"
    shutil.copy2(text.files[0].path, copy)
    with Text(copy, SYMBOLS) as there, caplog.at_level(logging.INFO):
        assert next(train(make(), there, 60, resume=since)).batch == 2
        assert caplog.messages == []
        os.utime(copy, (1, 1))
    with Text(copy, SYMBOLS) as there, caplog.at_level(logging.INFO):
        assert next(train(make(), there, 60, resume=since)).batch == 2
    assert caplog.messages == [
        f"{copy}: modified since, although its size and the sampled bytes are the same; "
        "treated as the same text"
    ]


def test_bytes_do_not_go_on_as_tokens(text: Text, since: Checkpoint) -> None:
    other = dataclasses.replace(since, tokenized=True)
    with pytest.raises(DataError, match="tokenized=False, and True in the checkpoint"):
        train(make(), text, 60, resume=other)


def test_other_kernels_and_dtypes_are_refused(text: Text, since: Checkpoint) -> None:
    wide = network(*CASES["gru, adam, dropout"])
    with pytest.raises(BackendError, match="dtype float64, and 'float32' in the checkpoint"):
        train(wide, text, 60, resume=since)
    for computed in ({"kernels": "fast"}, {"device": "cuda"}, {}):
        other = dataclasses.replace(since, computing=since.computing | computed)
        if computed:
            with pytest.raises(BackendError, match="an exact resume needs the same"):
                train(make(), text, 60, resume=other)
        else:
            train(make(), text, 60, resume=other)


def test_another_numpy_is_told(
    text: Text, since: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    other = dataclasses.replace(since, surroundings=since.surroundings | {"numpy": "1.0"})
    train(make(), text, 60, resume=other)
    (said,) = caplog.messages
    assert said == (
        f"numpy {np.__version__}, '1.0' in the checkpoint: results may differ in the last digits"
    )


# --- the file -----------------------------------------------------------------------------


@pytest.fixture
def file(since: Checkpoint, tmp_path: Path) -> Path:
    since.write(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_it_is_a_safetensors_file_that_others_read(file: Path, since: Checkpoint) -> None:
    arrays = safetensors.numpy.load_file(file)
    assert {n: a.tobytes() for n, a in arrays.items()} == {
        n: a.tobytes() for n, a in since.arrays.items()
    }
    assert {"1.gru.uz.weights", "1.gru.uz.weights.m", "1.gru.uz.weights.v", "1.gru.state"} <= {
        *arrays
    }
    with safetensors.safe_open(file, "np") as opened:
        metadata = opened.metadata()
    run = json.loads(metadata["minidark"])["run"]
    assert (run["batch"], run["seen"], run["seed"]) == (1, 36, 7)
    assert [section["section"] for section in run["cfg"]] == [
        "net", "dropout", "gru", "connected", "softmax",
    ]  # fmt: skip


def test_what_is_read_is_what_was_written(file: Path, since: Checkpoint, tmp_path: Path) -> None:
    read = Checkpoint.read(file)
    read.write(tmp_path / "b.ckpt")
    assert file.read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    for field in dataclasses.fields(since):
        if field.name != "arrays":
            assert getattr(read, field.name) == getattr(since, field.name)


def test_every_length_but_its_own_is_refused(file: Path) -> None:
    data = file.read_bytes()
    lengths = {*range(200), *range(0, len(data), 97), len(data) - 1}
    for length in sorted(lengths):
        file.write_bytes(data[:length])
        assert_refused(file)
    file.write_bytes(data + b"\0")
    assert_refused(file)


def test_every_changed_bit_is_refused(file: Path) -> None:
    data = file.read_bytes()
    rng = random.Random(0)
    places = [*range(8), *(rng.randrange(len(data)) for _ in range(400))]
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        assert_refused(file)


def assert_refused(path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        Checkpoint.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_other_files_are_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse
    assert_refused(path)
    for data in [b"", b"short", b"[net]\nbatch=1\n" * 99, struct.pack("<Q", 2**63), b"\0" * 99]:
        path.write_bytes(data)
        with pytest.raises(
            WeightsError, match=r"not a checkpoint \(`train` writes checkpoints as BASE"
        ):
            Checkpoint.read(path)
    with pytest.raises(WeightsError, match="a folder; pass the files in it"):
        Checkpoint.read(tmp_path)
    with pytest.raises(WeightsError, match="cannot read: No such file"):
        Checkpoint.read(tmp_path / "none")


ODD: tuple[Any, ...] = (  # of a kind, or in a range, that some field cannot have
    None, True, 5, 0, -1, 2**64, 0.5, -1e300, 1e999, "many", "a\x1b[2J", "\ud800", [], [1], [{}],
    [{"path": 1}], {}, {"device": "cpu"}, {"streams": {}, "network": 5},
)  # fmt: skip
REFUSED_BY_TABLE = r"a\.ckpt: damaged, or a checkpoint of another version: "


def forge(path: Path, since: Checkpoint, run: dict[str, Any]) -> None:
    """A checkpoint of these arrays and this JSON, with a hash that is right."""
    digest = checkpoints._sha256(json.dumps(run, sort_keys=True), since.arrays)
    metadata = json.dumps({"sha256": digest, "run": run})
    path.write_bytes(safetensors.numpy.save(since.arrays, {checkpoints.KEY: metadata}))


def values_of(since: Checkpoint) -> dict[str, Any]:
    return {name: getattr(since, name) for name in checkpoints.FIELDS}


def test_the_table_has_every_field() -> None:
    fields = {f.name for f in dataclasses.fields(Checkpoint)} - {"arrays"}
    assert set(checkpoints.FIELDS) == fields


@pytest.mark.parametrize("name", checkpoints.FIELDS)
def test_a_forged_one_is_one_error_or_a_run(
    text: Text, since: Checkpoint, tmp_path: Path, name: str
) -> None:
    """Whatever a field holds: it is refused when the file is read, or the run goes on with it."""
    path, errors = tmp_path / "a.ckpt", []
    for odd in ODD:
        forge(path, since, {**values_of(since), name: odd})
        try:
            next(train(make(), text, 60, resume=Checkpoint.read(path)), None)
        except MinidarkError as error:
            errors.append(error)
    assert not any("\n" in str(error) for error in errors)
    assert sum(isinstance(error, WeightsError) for error in errors) >= len(ODD) / 2


@pytest.mark.parametrize("name", sorted({*checkpoints.FIELDS} - {*checkpoints.ADDED}))
def test_one_without_a_field_is_of_another_version(
    since: Checkpoint, tmp_path: Path, name: str
) -> None:
    run = values_of(since)
    del run[name]
    forge(tmp_path / "a.ckpt", since, run)
    with pytest.raises(WeightsError, match=f"{REFUSED_BY_TABLE}{name} is missing"):
        Checkpoint.read(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("name", "inside", "said"),
    [
        ("updates", 0, "updates is 0; expected a whole number from 1"),
        ("cfg", 5, "cfg is 5; expected a list of 2 or more"),
        ("offsets", [0, -1], r"offsets\[1\] is -1; expected a whole number from 0"),
        ("lowest", "low", "lowest is 'low'; expected a finite number, or null"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(
    since: Checkpoint, tmp_path: Path, name: str, inside: Any, said: str
) -> None:
    forge(tmp_path / "a.ckpt", since, {**values_of(since), name: inside})
    with pytest.raises(WeightsError, match=REFUSED_BY_TABLE + said):
        Checkpoint.read(tmp_path / "a.ckpt")


def test_arrays_that_are_no_floats_are_refused(since: Checkpoint, tmp_path: Path) -> None:
    name = next(iter(since.arrays))
    since.arrays[name] = since.arrays[name].astype(np.int32)
    forge(tmp_path / "a.ckpt", since, values_of(since))
    with pytest.raises(WeightsError, match=f"{name} has dtype int32; expected floats"):
        Checkpoint.read(tmp_path / "a.ckpt")


def test_a_batch_that_is_not_where_seen_is_is_refused(
    text: Text, since: Checkpoint, tmp_path: Path
) -> None:
    forge(tmp_path / "a.ckpt", since, {**values_of(since), "batch": since.batch + 1})
    with pytest.raises(WeightsError, match="the checkpoint contradicts itself"):
        train(make(), text, 60, resume=Checkpoint.read(tmp_path / "a.ckpt"))


def test_a_checkpoint_of_before_there_were_pairs_is_of_a_text(
    since: Checkpoint, tmp_path: Path
) -> None:
    run = values_of(since)
    del run["separator"]
    forge(tmp_path / "a.ckpt", since, run)
    assert Checkpoint.read(tmp_path / "a.ckpt").separator is None


@pytest.mark.parametrize("name", ["1.gru.state", "2.connected.biases.m"])
def test_arrays_of_another_network_change_nothing(text: Text, since: Checkpoint, name: str) -> None:
    del since.arrays[name]
    net = make()
    before = {p.name: p.value.tobytes() for p in net.parameters()}
    with pytest.raises(WeightsError, match="arrays do not fit this network"):
        train(net, text, 60, resume=since)
    assert {p.name: p.value.tobytes() for p in net.parameters()} == before


# --- the one before -----------------------------------------------------------------------


def numbered(since: Checkpoint, batch: int) -> Checkpoint:
    return dataclasses.replace(since, batch=batch)


def test_the_one_before_is_kept(since: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    for batch in (1, 2, 3):
        numbered(since, batch).write(path)
    assert (Checkpoint.read(path).batch, Checkpoint.read(previous(path)).batch) == (3, 2)
    assert sorted(p.name for p in tmp_path.iterdir() if "ckpt" in p.name) == [
        "a.ckpt", "a.ckpt.prev",
    ]  # fmt: skip


@pytest.mark.parametrize("links", [True, False])
def test_at_no_moment_is_there_no_whole_one(
    since: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path = tmp_path / "a.ckpt"
    numbered(since, 1).write(path)
    numbered(since, 2).write(path)
    sound: list[int] = []

    calls: list[str] = []

    def before(number: int, name: str) -> None:
        calls.append(name)
        sound.append(newest_sound(path)[1].batch)
        if name == "link" and not links:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(disk, "SYSTEM", watched(before))
    numbered(since, 3).write(path)
    assert [c for c in calls if c in ("link", "replace")] == ["link", "replace", "replace"]
    assert calls.count("fsync") >= 1
    assert set(sound) == {2, 3}
    monkeypatch.undo()
    assert (Checkpoint.read(path).batch, Checkpoint.read(previous(path)).batch) == (3, 2)


def test_a_write_that_fails_leaves_both(
    since: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    numbered(since, 1).write(path)

    def full(*args: object) -> None:
        raise MinidarkError("No space left on device")

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    with pytest.raises(MinidarkError, match="No space"):
        numbered(since, 2).write(path)
    assert newest_sound(path)[1].batch == 1


def test_the_newest_sound_one_is_taken_and_a_damaged_one_told(
    since: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(WeightsError, match=r"a\.ckpt: no checkpoint to resume from"):
        newest_sound(path)
    numbered(since, 1).write(path)
    numbered(since, 2).write(path)
    assert newest_sound(path)[0] == path
    assert caplog.messages == []
    path.write_bytes(path.read_bytes()[:-5])
    there, checkpoint = newest_sound(path)
    assert (there, checkpoint.batch) == (previous(path), 1)
    assert caplog.messages == [f"{path}: damaged: the checksum does not match"]
    previous(path).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"a\.ckpt: no valid checkpoint to resume from"):
        newest_sound(path)


def test_a_symlink_stays_one(since: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "a.ckpt"
    link.symlink_to(tmp_path / "far" / "real")
    numbered(since, 1).write(link)
    numbered(since, 2).write(link)
    assert link.is_symlink()
    assert Checkpoint.read(link).batch == 2
    assert Checkpoint.read(tmp_path / "far" / "real.prev").batch == 1


def test_a_checkpoint_of_a_cfg_file_is_for_the_network_of_that_file(
    text: Text, tmp_path: Path
) -> None:
    (tmp_path / "a.cfg").write_text(cfg(*CASES["[batchnorm]"]))

    def made(seed: int) -> Network:
        return load_network(tmp_path / "a.cfg", seed=seed, kernels="numpy")

    assert_goes_on(made, text, tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("told", "threads"),
    [
        ({}, 4),
        ({"OPENBLAS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}, 3),
        ({"OPENBLAS_NUM_THREADS": "64"}, 4),
        ({"OPENBLAS_NUM_THREADS": "many"}, 4),
    ],
)
def test_the_threads_that_the_environment_gives_numpys_products_are_kept(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], threads: int
) -> None:
    for name in backend_threads.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(backend_threads, "processors", lambda: 4)
    assert same_run.surroundings()["threads"] == threads
    monkeypatch.setattr(backend_threads, "_count", 2)
    assert same_run.surroundings()["threads"] == 2
