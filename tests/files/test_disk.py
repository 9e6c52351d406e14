"""Files are read only where they are regular, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidark.errors import DataError, MinidarkError
from minidark.files import disk
from minidark.files.disk import open_regular, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_regular_file_is_opened_for_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\r\n\x1ab\0")
    with open_regular(tmp_path / "a", DataError) as file:
        assert file.read() == b"a\r\n\x1ab\0"


@pytest.mark.parametrize(
    ("name", "said"),
    [("none", "cannot read: No such file or directory"), ("a/b", "cannot read: Not a directory")],
)
def test_what_cannot_be_opened_raises_the_callers_error(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(DataError) as error:
        open_regular(tmp_path / name, DataError)
    assert str(error.value) == said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_folders_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    other = "not a regular file"
    said = {
        tmp_path: "a folder; pass the files in it",
        tmp_path / "pipe": other,
        Path(os.devnull): other,
    }
    for path, message in said.items():
        with pytest.raises(DataError) as error:
            open_regular(path, DataError)
        assert str(error.value) == message


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_refusing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(DataError):
            open_regular(tmp_path, DataError)
    assert len(os.listdir("/proc/self/fd")) == before


def test_parts_are_written_one_after_another(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", [b"one ", memoryview(b"two"), b""])
    assert (tmp_path / "a").read_bytes() == b"one two"
    assert names(tmp_path) == ["a"]


def test_an_old_file_is_replaced_by_a_shorter_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"long and old")
    write_atomically(tmp_path / "a", [b"new"])
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_name_without_a_folder_is_written_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("a", [b"new"])
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a", [b"new"])
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o755])
def test_an_old_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    write_atomically(tmp_path / "a", [b"new"])
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target"
    if exists:
        target.write_bytes(b"old")
    (tmp_path / "link").symlink_to(Path("folder") / "target")
    write_atomically(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert names(tmp_path / "folder") == ["target"]


def failing() -> Iterator[bytes]:
    yield b"half"
    raise OSError(28, "No space left on device")


def test_a_failure_half_way_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(MinidarkError) as error:
        write_atomically(tmp_path / "a", failing())
    assert str(error.value) == (
        f"{tmp_path / 'a'}: cannot write: No space left on device; the previous file is unchanged"
    )
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def interrupted() -> Iterator[bytes]:
    yield b"half"
    raise KeyboardInterrupt


def test_an_interrupt_half_way_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", interrupted())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "Is a directory"),
        ("none/a", "No such file or directory"),
        ("file/a", "Not a directory"),
    ],
)
def test_where_nothing_can_be_written_the_reason_is_told(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(MinidarkError) as error:
        write_atomically(tmp_path / name, [b"new"])
    assert str(error.value) == f"{tmp_path / name}: cannot write: {said}"
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_cannot_be_synced_is_told_once_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)

    monkeypatch.setattr(disk, "SYSTEM", disk.System(fsync=files_only))
    with pytest.raises(MinidarkError) as error:
        write_atomically(tmp_path / "a", [b"new"])
    assert str(error.value) == (
        f"{tmp_path / 'a'}: the new file is in place, but may be lost in a power cut: "
        "Input/output error"
    )
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


# --- reading at a place -------------------------------------------------------------------


system_pread = disk._pread


def three_at_most(descriptor: int, size: int, offset: int) -> bytes:
    """As the system does for reads beyond two gigabytes: less than was asked for."""
    return system_pread(descriptor, min(size, 3), offset)


@pytest.mark.parametrize("pread", [disk._pread, disk._seek_and_read, three_at_most])
def test_a_stretch_of_a_file_is_read_whole_by_whatever_the_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pread: Callable[[int, int, int], bytes]
) -> None:
    monkeypatch.setattr(disk, "_pread", pread)
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        for offset in (7, 0, 3, 10, 12):
            for size in range(12):
                assert disk.read_at(file, size, offset) == b"0123456789"[offset : offset + size]


def test_trying_a_file_leaves_it_and_its_folder_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    disk.check_writable(tmp_path / "a")
    disk.check_writable(tmp_path / "b")
    assert (names(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"old")
