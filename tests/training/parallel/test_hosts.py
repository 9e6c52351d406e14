"""Ranks on several hosts, for which network namespaces stand: what goes between them goes by TCP
through a link that can be cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidark.training.checkpoint import Checkpoint
from tests.training.parallel.test_mpi import (
    ALIKE,
    ENDLESS,
    MPIEXEC,
    Run,
    alone,
    left,
    needs_mpi,
    trained,
)
from tests.training.parallel.test_mpi import there as there

pytestmark = pytest.mark.slow

IP = shutil.which("ip")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
LAUNCHER = """#!/bin/sh
# What mpiexec calls in the place of ssh: [-x] HOST COMMAND...
[ "$1" = -x ] && shift
host=$1; shift
case $host in {first}) host=1;; *) host=2;; esac
exec {ip} netns exec {name}-$host sh -c "$*"
"""


def ip(*words: str) -> str:
    command = [IP or "", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Hosts:
    """Two, with a link between them, and the `mpiexec` of the first that starts a rank on each."""

    def __init__(self, folder: Path):
        self.name = f"minidark-{os.getpid()}"
        self.links = {number: f"md{os.getpid()}-{number}" for number in (1, 2)}
        launcher = folder / "launcher"
        launcher.write_text(LAUNCHER.format(first=ADDRESSES[0], ip=IP, name=self.name))
        launcher.chmod(0o700)
        self.mpiexec = [
            *(IP or "", "netns", "exec", f"{self.name}-1", "env", "UCX_TLS=tcp", str(MPIEXEC)),
            *("-launcher", "ssh", "-launcher-exec", str(launcher), "-hosts", ",".join(ADDRESSES)),
        ]

    def make(self) -> None:
        for number in (1, 2):
            ip("netns", "add", f"{self.name}-{number}")
        one, two = self.links.values()
        ip("link", "add", one, "type", "veth", "peer", "name", two)
        for number, link in self.links.items():
            ip("link", "set", link, "netns", f"{self.name}-{number}")
            self.on(number, "addr", "add", f"{ADDRESSES[number - 1]}/24", "dev", link)
            for name in ("lo", link):
                self.on(number, "link", "set", name, "up")

    def on(self, number: int, *words: str) -> str:
        return ip("-n", f"{self.name}-{number}", *words)

    def sent(self) -> int:
        """The bytes that went from the first to the second."""
        words = self.on(1, "-s", "link", "show", self.links[1]).split("TX:")[1].split()
        return int(next(word for word in words if word.isdigit()))

    def cut(self) -> None:
        self.on(2, "link", "set", self.links[2], "down")

    def remove(self) -> None:
        listed = ip("netns", "list").split()
        there = [name for name in listed if name.startswith(f"{self.name}-")]
        for name in there:
            for pid in ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if not IP:
        pytest.skip("ip is missing: it makes network namespaces")
    made = Hosts(tmp_path)
    try:
        made.make()
        yield made
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"network namespaces are not permitted here: {said.strip()}")
    finally:
        made.remove()


@needs_mpi
def test_two_hosts_leave_the_same_bytes_as_one_process(
    there: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(there)
    alone(*ALIKE, "--backup", "one")
    before = hosts.sent()
    trained(there, 2, *ALIKE, "--backup", "two", mpiexec=hosts.mpiexec)
    gradients = (there / "two" / "a_final.weights").stat().st_size  # about, of each of 6 batches
    assert hosts.sent() - before > 5 * gradients  # they went by the link
    assert left(there / "two") == left(there / "one")


@needs_mpi
@pytest.mark.long
def test_a_link_that_is_cut_ends_all_in_one_line_and_the_checkpoint_is_whole(
    there: Path, hosts: Hosts
) -> None:
    options = (*ENDLESS, "--quiet", "--rank-timeout", "3")
    with Run(there, 2, *options, mpiexec=hosts.mpiexec) as running:
        running.until("backup/endless.ckpt")
        hosts.cut()
        code, said = running.end()
        assert code == 1
        assert said == [
            "minidark: error: no answer from rank 1 for 3 seconds (--rank-timeout): it hangs or "
            "is cut off, or waits for another rank that does"
        ]
        running.until_gone(1)  # it notices by itself, and nobody hears it
    assert Checkpoint.read(there / "backup" / "endless.ckpt").batch >= 2
