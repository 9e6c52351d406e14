"""Which weight files a run leaves, when, and under which names."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from minidark import DataError, DivergedError, MinidarkError, Network, load_weights
from minidark.errors import SaveError
from minidark.files import disk
from minidark.training.backups import Backups
from minidark.training.report import StepReport
from tests.faults import failing
from tests.helpers import network


@pytest.fixture
def net() -> Network:
    return network("net inputs=2", "connected output=2", "softmax")


def report(batch: int, *, best: bool = False, last: bool = False) -> StepReport:
    return StepReport(
        batch=batch, last=last, loss=1, average=1, rate=1, symbols=1, seconds=1, epochs=1, best=best
    )


def written(folder: Path) -> list[str]:
    """The weight files in the folder, each with its record beside it; then it is emptied."""
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        (folder / name).unlink()
    files = [name for name in names if not name.endswith(".json")]
    assert names == sorted([*files, *(f"{name}.json" for name in files)])
    return files


@pytest.mark.parametrize(
    ("of", "names"),
    [
        (report(1), []),
        (report(99), []),
        (report(100), ["rnn.backup"]),
        (report(1000), ["rnn.backup"]),
        (report(10_000), ["rnn.backup", "rnn_10000.weights"]),
        (report(20_000), ["rnn.backup", "rnn_20000.weights"]),
        (report(7, best=True), ["rnn_best.weights"]),
        (report(7, last=True), ["rnn_final.weights"]),
        (report(7, best=True, last=True), ["rnn_best.weights", "rnn_final.weights"]),
        (report(200, last=True), ["rnn.backup", "rnn_final.weights"]),
    ],
)
def test_after_a_batch_what_is_due_is_written(
    net: Network, tmp_path: Path, of: StepReport, names: list[str]
) -> None:
    backups = Backups(net, tmp_path / "runs" / "one", "cfg/rnn.cfg")
    assert written(tmp_path / "runs" / "one") == []
    backups.after(of)
    assert written(tmp_path / "runs" / "one") == names


def test_save_every_is_for_the_backup_only(net: Network, tmp_path: Path) -> None:
    backups = Backups(net, tmp_path / "b", "rnn.cfg", save_every=3)
    saved = []
    for batch in range(1, 8):
        backups.after(report(batch))
        saved.append(written(tmp_path / "b"))
    assert saved == [[], [], ["rnn.backup"], [], [], ["rnn.backup"], []]
    backups.after(report(10_000))
    assert written(tmp_path / "b") == ["rnn_10000.weights"]


@pytest.mark.parametrize(
    ("cfg", "base"),
    [("rnn.cfg", "rnn"), ("a/b.c/rnn.v2.cfg", "rnn"), ("rnn", "rnn"), (".cfg", "net")],
)
def test_files_are_named_by_the_cfgs_name_up_to_its_first_dot(
    net: Network, tmp_path: Path, cfg: str, base: str
) -> None:
    backups = Backups(net, tmp_path, cfg)
    assert backups.save(".backup") == tmp_path / f"{base}.backup"
    assert written(tmp_path) == [f"{base}.backup"]


def test_what_is_written_is_the_network_at_that_batch(net: Network, tmp_path: Path) -> None:
    backups = Backups(net, tmp_path, "rnn.cfg", save_every=1)
    net.parameters()[0].value[...] = 5
    net.seen = 99
    backups.after(report(1))
    other = network("net inputs=2", "connected output=2", "softmax", seed=1)
    load_weights(other, tmp_path / "rnn.backup")
    assert other.seen == 99
    assert other.parameters()[0].value.tolist() == [5, 5]


@pytest.mark.parametrize(
    ("folder", "said"), [("file", "File exists"), ("file/b", "Not a directory")]
)
def test_a_folder_that_cannot_be_made_is_found_out_at_once(
    net: Network, tmp_path: Path, folder: str, said: str
) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(MinidarkError) as error:
        Backups(net, tmp_path / folder, "rnn.cfg")
    assert str(error.value) == f"{tmp_path / folder}: cannot write: {said}"
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_folder_that_cannot_be_written_into_is_found_out_at_once(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SYSTEM", failing(lambda n, name: name == "open", errno.EACCES))
    with pytest.raises(MinidarkError, match="cannot write: Permission denied"):
        Backups(net, tmp_path / "b", "rnn.cfg")


# --- files that cannot be written -----------------------------------------------------------


def broken(path: Path) -> None:
    raise SaveError(f"{path}: no")


def whole(path: Path) -> None:
    path.write_bytes(b"whole")


def test_the_last_attempt_at_each_file_counts(
    net: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "minidark")
    a, b, c = (tmp_path / name for name in "abc")
    backups = Backups(net, tmp_path, "rnn.cfg").__enter__()
    for path, write in [(a, broken), (b, whole), (c, broken), (a, whole), (b, broken)]:
        backups.attempt(path, write)
    with pytest.raises(SaveError) as error:
        backups.__exit__(None, None, None)
    assert str(error.value) == f"{c}: no; {b}: no"
    assert caplog.messages == [f"{path}: no; the run continues" for path in (a, c, b)]


def test_what_else_goes_wrong_is_what_the_run_ends_in(net: Network, tmp_path: Path) -> None:
    def run() -> None:
        with Backups(net, tmp_path, "rnn.cfg") as backups:
            backups.attempt(tmp_path / "a", broken)
            raise KeyError

    with pytest.raises(KeyError):
        run()
    with Backups(net, tmp_path, "rnn.cfg") as backups:  # the folder is free again
        net.parameters()[0].value[...] = float("nan")
        with pytest.raises(DivergedError):
            backups.save(".backup")


def test_one_run_at_a_time_has_the_folder(net: Network, tmp_path: Path) -> None:
    with (
        Backups(net, tmp_path, "rnn.cfg"),
        pytest.raises(MinidarkError, match=r"in use by another run, process [0-9]+; use another"),
        Backups(net, tmp_path, "other.cfg"),
    ):
        pass
    with Backups(net, tmp_path, "other.cfg"):
        pass


@pytest.mark.parametrize("updates", [0, 3])
def test_a_text_that_goes_wrong_is_an_error_after_saving_what_was_learned(
    net: Network, tmp_path: Path, updates: int
) -> None:
    net.learner.optimizer.updates = updates
    with pytest.raises(DataError), Backups(net, tmp_path, "rnn.cfg"):
        raise DataError("the text has changed")
    assert (tmp_path / "rnn.backup").exists() == bool(updates)


@pytest.mark.parametrize(("length", "fits"), [(200, True), (236, False), (251, False)])
def test_a_cfg_whose_files_would_have_too_long_names_is_refused(
    net: Network, tmp_path: Path, length: int, fits: bool
) -> None:
    cfg = f"{'n' * length}.cfg"
    if fits:
        Backups(net, tmp_path, cfg)
    else:
        with pytest.raises(MinidarkError, match=r"names such as n{37}\.\.\._\d+\.weig"):
            Backups(net, tmp_path, cfg)
    assert not [*tmp_path.iterdir()]
