"""One run at a time has a folder, and it is known which."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidark import MinidarkError
from minidark.files import locks
from minidark.files.locks import NAME, holding

HOLDS = """
import sys
from pathlib import Path
from minidark.files.locks import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds the folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline().split() == [b"held"]
    return process


def refusal(folder: Path) -> str:
    with pytest.raises(MinidarkError) as error, holding(folder):
        pass
    return str(error.value)


def test_the_second_process_is_told_which_has_the_folder(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        for _ in range(2):
            assert refusal(tmp_path) == (
                f"{tmp_path}: in use by another run, process {process.pid}; "
                "use another folder for this one"
            )
        process.communicate(timeout=30)
    with holding(tmp_path):
        assert str(os.getpid()) in refusal(tmp_path)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        process.kill()
        process.wait(timeout=30)
    assert (tmp_path / NAME).exists()
    with holding(tmp_path):
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    with holding(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
    with pytest.raises(KeyError), holding(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_a_lock_on_a_file_that_was_removed_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who held it before removes it between our opening and our locking."""
    lock, removed = locks.lock, False

    def later(descriptor: int) -> bool:
        nonlocal removed
        if not removed:
            (tmp_path / NAME).unlink()
            removed = True
        return lock(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(locks, "lock", later)
        with holding(tmp_path):
            patch.undo()
            assert str(os.getpid()) in refusal(tmp_path)


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    caplog.set_level(logging.INFO, "minidark")
    monkeypatch.setattr(locks, "lock", refused)
    with holding(tmp_path), holding(tmp_path):
        pass
    assert caplog.messages == [
        f"{tmp_path}: cannot be locked: No locks available; "
        "another run in it would not be detected"
    ] * 2  # fmt: skip


def test_the_holder_may_not_have_told_its_number_yet(tmp_path: Path) -> None:
    with holding(tmp_path):
        (tmp_path / NAME).write_bytes(b"")
        assert "in use by another run, process unknown;" in refusal(tmp_path)
