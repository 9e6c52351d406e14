"""A save that fails or is killed at any of its system calls leaves the old file or the new one.

As SQLite is tested: the k-th call fails, for k = 1, 2, 3, ... until a save goes through, once and
from there on for ever. In this process by a layer over the system's calls, and by strace under a
real one; `tests/cli/commands/test_saving_run.py` does it to whole training runs.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from minidark import Text, train
from minidark.errors import SaveError
from minidark.files import disk
from minidark.files.disk import append, write_atomically
from minidark.files.locks import lock
from minidark.training.checkpoint import Checkpoint, newest_sound, previous
from tests.faults import ERRNOS, failing, temporaries, watched
from tests.helpers import network

PARTS = [b"the new one, ", b"in parts", b"."]
NEW, OLD = b"".join(PARTS), b"the old one, which is longer than the new one"
ROOT = Path(__file__).parents[2]


@dataclass
class Place:
    """A link to an old file, beside which a killed process left a temporary file."""

    folder: Path

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.file.write_bytes(OLD)
        (self.folder / ".minidark.0123456789abcdef.77.tmp").write_bytes(b"half")
        self.link.symlink_to("file")

    @property
    def file(self) -> Path:
        return self.folder / "file"

    @property
    def link(self) -> Path:
        return self.folder / "link"

    def check(self, new: bool | None) -> None:
        """The new file is there, or the old one (None: either); then the next save goes through."""
        assert self.file.read_bytes() in ([NEW, OLD] if new is None else [NEW if new else OLD])
        assert self.link.is_symlink()
        assert len(temporaries(self.folder)) <= 1
        write_atomically(self.link, PARTS)
        assert self.file.read_bytes() == NEW
        assert temporaries(self.folder) == []


def calls_of_a_save(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    place = Place(folder)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "SYSTEM", watched(lambda number, name: names.append(name)))
        write_atomically(place.link, PARTS)
    place.check(new=True)
    return names


def test_a_save_takes_these_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = ["open", "fsync", "close"] if hasattr(os, "O_DIRECTORY") else []
    assert calls_of_a_save(tmp_path / "a", monkeypatch) == [
        "realpath", "stat",
        "listdir", "open", "lock", "close", "unlink",  # what was left over
        "open", "lock", "write", "write", "write", "chmod", "fsync", "close",
        "replace", *sync,
    ]  # fmt: skip


HARMLESS = {3, 4, 5, 6, 7, 9}  # tidying up, and the lock of the temporary file


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", ERRNOS)
def test_each_call_may_fail(
    name: str, for_ever: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = getattr(errno, name)
    calls = calls_of_a_save(tmp_path / "a", monkeypatch)
    renames = calls.index("replace") + 1
    for k in range(1, len(calls) + 1):
        place = Place(tmp_path / "a")
        with monkeypatch.context() as patch:
            fails = (lambda n, _, k=k: n >= k) if for_ever else (lambda n, _, k=k: n == k)
            patch.setattr(disk, "SYSTEM", failing(fails, code))
            if k in HARMLESS and not for_ever:
                write_atomically(place.link, PARTS)
                said = None
            else:
                with pytest.raises(SaveError) as error:
                    write_atomically(place.link, PARTS)
                said = str(error.value)
        in_place = said is None or k > renames
        if said is not None:
            reason = os.strerror(code)
            kept = "; the previous file is unchanged" if k > 2 else ""  # else: nobody knows yet
            assert said == (
                f"{place.link}: the new file is in place, but may be lost in a power cut: {reason}"
                if in_place
                else f"{place.link}: cannot write: {reason}{kept}"
            )
        place.check(new=in_place)


def test_what_cannot_be_removed_does_not_become_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(
            disk, "SYSTEM", failing(lambda n, name: name in ("write", "unlink"), errno.EIO)
        )
        for _ in range(5):
            with pytest.raises(SaveError):
                write_atomically(place.link, PARTS)
    assert len(temporaries(place.folder)) == 2  # the one from before, and one of this process
    place.file.unlink()
    place.file.write_bytes(OLD)
    write_atomically(place.link, PARTS)
    assert temporaries(place.folder) == []


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = disk.System(write=lambda descriptor, part: os.write(descriptor, part[:3]))
    monkeypatch.setattr(disk, "SYSTEM", few)
    write_atomically(tmp_path / "a", PARTS)
    assert (tmp_path / "a").read_bytes() == NEW


def test_a_disk_that_gets_full_in_the_middle_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, room = Place(tmp_path / "a"), [10]

    def write(descriptor: int, part: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(descriptor, part[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(disk, "SYSTEM", disk.System(write=write))
        with pytest.raises(SaveError, match="No space left on device; the previous file is"):
            write_atomically(place.link, PARTS)
    assert temporaries(place.folder) == []
    place.check(new=False)


def test_a_file_system_without_locks_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SYSTEM", failing(lambda n, name: name == "lock", errno.ENOLCK))
    place = Place(tmp_path / "a")
    write_atomically(place.link, PARTS)
    assert temporaries(place.folder) == []
    place.check(new=True)


@pytest.mark.skipif(os.name == "nt", reason="needs a lock beside an open file")
def test_what_another_process_is_writing_is_not_left_over(tmp_path: Path) -> None:
    (tmp_path / ".minidark.ab.1.tmp").write_bytes(b"being written")
    with (tmp_path / ".minidark.ab.1.tmp").open() as held:
        assert lock(held.fileno())
        write_atomically(tmp_path / "a", PARTS)
        assert temporaries(tmp_path) == [".minidark.ab.1.tmp"]
    write_atomically(tmp_path / "a", PARTS)
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("kind", ["/dev/null", "pipe", "loop"])
@pytest.mark.skipif(os.name == "nt", reason="Windows has neither")
def test_what_is_no_file_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else kind)
    said = "Too many levels of symbolic links" if kind == "loop" else "not a regular file"
    with pytest.raises(SaveError) as error:
        write_atomically(path, PARTS)
    assert str(error.value) == f"{path}: cannot write: {said}"
    assert not path.is_file()


# --- a log, and a checkpoint beside the one before ---------------------------------------------

LINES, MORE = b"one line\nanother\n", b"a third\n"


def calls_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(disk, "SYSTEM", watched(lambda number, name: names.append(name)))
        work()
    return names


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", ERRNOS)
def test_each_call_of_adding_to_a_file_may_fail(
    name: str, for_ever: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind whole lines lies a torn one, from a failure before."""
    path, code = tmp_path / "log", getattr(errno, name)

    def add() -> int:
        return append(path, len(LINES), MORE, sync=True)

    def torn() -> None:
        path.write_bytes(LINES + b"a th")

    torn()
    calls = calls_of(add, monkeypatch)
    assert calls == ["open", "truncate", "write", "fsync", "close"]
    for k in range(1, len(calls) + 1):
        torn()
        with monkeypatch.context() as patch:
            fails = (lambda n, _, k=k: n >= k) if for_ever else (lambda n, _, k=k: n == k)
            patch.setattr(disk, "SYSTEM", failing(fails, code))
            with pytest.raises(SaveError) as error:
                add()
        there, written = path.read_bytes(), k > 3
        said = "written, but may be lost in a power cut" if written else "cannot write"
        assert str(error.value) == f"{path}: {said}: {os.strerror(code)}"
        assert there.startswith(LINES)
        assert (there == LINES + MORE) == written
        assert add() == len(LINES + MORE)
        assert path.read_bytes() == LINES + MORE


def test_of_what_does_not_fit_behind_a_file_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, room = tmp_path / "log", [3]
    path.write_bytes(LINES)

    def write(descriptor: int, part: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= (written := os.write(descriptor, part[: room[0]]))
        return written

    monkeypatch.setattr(disk, "SYSTEM", disk.System(write=write))
    with pytest.raises(SaveError, match=r"cannot write: No space left on device$"):
        append(path, len(LINES), MORE)
    assert path.read_bytes() == LINES


def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    assert append(tmp_path / "log", len(LINES), MORE) == len(MORE)
    assert (tmp_path / "log").read_bytes() == MORE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_adding_to_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(SaveError, match=r"cannot write: not a regular file$"):
        append(tmp_path / "log", 0, MORE)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_each_call_of_a_checkpoint_may_fail(
    for_ever: bool, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always a whole one that `newest_sound` finds; a success leaves two."""
    path = tmp_path / "a.ckpt"

    def write(batch: int) -> None:
        dataclasses.replace(checkpoint, batch=batch).write(path)

    def begin() -> None:
        for old in tmp_path.iterdir():
            old.unlink()
        write(1)
        write(2)

    begin()
    calls = calls_of(lambda: write(3), monkeypatch)
    assert {"unlink", "link", "replace", "fsync"} <= {*calls}
    for k in range(1, len(calls) + 1):
        begin()
        told = False
        with monkeypatch.context() as patch:
            fails = (lambda n, _, k=k: n >= k) if for_ever else (lambda n, _, k=k: n == k)
            patch.setattr(disk, "SYSTEM", failing(fails, errno.EIO))
            try:
                write(3)
            except SaveError as error:
                told = "the new file is in place" not in str(error)
        assert newest_sound(path)[1].batch == (2 if told else 3), (k, calls[k - 1])
        assert Checkpoint.read(path).batch == (2 if told else 3)
        write(4)
        assert Checkpoint.read(path).batch == 4
        assert Checkpoint.read(previous(path)).batch == (2 if told else 3)


@pytest.fixture
def checkpoint() -> Checkpoint:
    net = network("net inputs=4 batch=1 time_steps=5", "connected output=4", "softmax")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_bytes(bytes([0, 1, 2, 3] * 50))
        with Text(Path(folder, "text"), 4) as text:
            training = train(net, text, 1, valid_fraction=0)
            next(training)
            return training.checkpoint()


# --- killed ---------------------------------------------------------------------------------

EXITS = """
import os, sys
from minidark.files import disk
from tests.faults import watched

path, when, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
die = lambda number, name: number == last and os._exit(9)
disk.SYSTEM = watched(**{"before": lambda *_: None, when: die})
disk.write_atomically(path, [b"the new one, ", b"in parts", b"."])
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_may_end_at_each_call(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of_a_save(tmp_path / "a", monkeypatch)
    renames = calls.index("replace") + (when == "before")
    for last in range(1, len(calls) + 1):
        place = Place(tmp_path / "a")
        done = subprocess.run(
            [sys.executable, "-c", EXITS, place.link, when, str(last)], cwd=ROOT, timeout=60
        )
        assert done.returncode == 9
        place.check(new=last > renames)


# --- strace ---------------------------------------------------------------------------------

# Tells by its exit code alone, since writing may be what fails.
SAVES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from minidark.errors import SaveError
from minidark.files.disk import append, write_atomically
from minidark.files.locks import lock

code = 0
try:
    os.access("/begin", 0)
    write_atomically(sys.argv[2], [b"the new one, ", b"in parts", b"."])
except SaveError as error:
    code = 11 if "the new file is in place" in str(error) else 10
except BaseException:
    code = 12
os.access("/end", 0)
os._exit(code)
"""
PYTHON = os.path.realpath(sys.executable)  # not a script that starts it


def traced(place: Place, *options: str) -> int:
    script = [PYTHON, "-I", "-S", "-c", SAVES, str(ROOT), str(place.link)]
    command = ["strace", "-qq", *options, *script]
    done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=60)  # fmt: skip
    return done.returncode


@pytest.fixture
def system_calls(tmp_path: Path) -> list[tuple[str, int]]:
    """Each system call of a save under strace, with how often it was called by then."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    for _ in range(2):  # the second time with what Python compiled
        if traced(Place(tmp_path / "a"), "-o", str(log)) != 0:
            pytest.skip("strace may not trace here")
    names = [re.match(r"\w+", line) for line in log.read_text().splitlines()]
    lines = log.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if f'"/{at}"' in line)
                  for at in ("begin", "end"))  # fmt: skip
    seen: Counter[str] = Counter()
    calls = []
    for at, name in enumerate(names[:end]):
        if name is not None:
            seen[name[0]] += 1
            if at > begin:
                calls.append((name[0], seen[name[0]]))
    assert {"openat", "flock", "write", "fsync", "close", "unlink"} <= {name for name, _ in calls}
    return [call for call in calls if call[0] not in ("brk", "mmap", "munmap")]


@pytest.mark.slow
def test_a_real_process_killed_at_each_system_call(
    system_calls: list[tuple[str, int]], tmp_path: Path
) -> None:
    for name, number in system_calls:
        place = Place(tmp_path / "a")
        inject = f"inject={name}:signal=KILL:when={number}"
        assert traced(place, "-o", os.devnull, "-e", inject) == -signal.SIGKILL
        place.check(new=None)


@pytest.mark.slow
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", [pytest.param(name, marks=pytest.mark.long if name != "ENOSPC"
                                               else ()) for name in ERRNOS])  # fmt: skip
def test_each_system_call_of_a_real_process_may_fail(
    code: str, for_ever: bool, system_calls: list[tuple[str, int]], tmp_path: Path
) -> None:
    for name, number in system_calls:
        place = Place(tmp_path / "a")
        inject = f"inject={name}:error={code}:when={number}{'+' if for_ever else ''}"
        ended = traced(place, "-o", os.devnull, "-e", inject)
        assert ended in (0, 10, 11), (name, number)
        place.check(new=ended != 10)
