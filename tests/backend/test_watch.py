"""Fewer threads beside busy processes: the rules with made-up shares, and real threads that have
to share one processor."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from minidark.backend import threads
from minidark.backend.watch import FIRST_WAIT, WINDOW, Watch

FREE = 0.6


def watched(most: int, fixed: bool = False) -> tuple[Watch, list[int]]:
    limits: list[int] = []
    return Watch(most, FREE, fixed, limits.append), limits


def test_one_bad_window_changes_nothing_and_two_in_a_row_do() -> None:
    watch, limits = watched(2)
    for now, share in enumerate([1.0, 0.2, 1.0, 0.2, 1.0]):
        watch.judge(share, float(now))
    assert (watch.count, limits) == (2, [])
    watch.judge(0.3, 5.0)
    watch.judge(0.3, 6.0)
    assert (watch.count, limits) == (1, [1])


@pytest.mark.parametrize(("most", "share", "left"), [(8, 0.5, 4), (8, 0.55, 4), (3, 0.59, 1),
                                                     (16, 0.1, 1), (4, 0.5, 2)])  # fmt: skip
def test_as_many_threads_are_left_as_the_processor_time_was_for(
    most: int, share: float, left: int
) -> None:
    watch, _ = watched(most)
    watch.judge(share, 0.0)
    watch.judge(share, 0.1)
    assert watch.count == left


def test_more_threads_are_tried_later_and_later_while_they_fail() -> None:
    watch, limits = watched(2)
    watch.judge(0.3, 0.0)
    watch.judge(0.3, 0.0)
    trials = []
    for tick in range(200):
        now = 0.5 * tick
        before = watch.count
        watch.judge(0.3 if watch.count == 2 else 1.0, now)
        if watch.count > before:
            trials.append(now)
    assert trials[0] == FIRST_WAIT
    waits = [b - a for a, b in itertools.pairwise(trials)]
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(2 * FIRST_WAIT, abs=1.5)
    assert waits[1] == pytest.approx(4 * FIRST_WAIT, abs=1.5)
    assert limits[:3] == [1, 2, 1]


def test_all_threads_are_back_once_the_processors_are_free() -> None:
    watch, limits = watched(8)
    watch.judge(0.3, 0.0)
    watch.judge(0.3, 0.0)
    assert watch.count == 2
    for tick in range(100):
        watch.judge(1.0, 0.5 * tick)
    assert watch.count == 8
    assert limits == [2, 5, 7, 8]


def test_no_more_threads_are_tried_while_one_is_not_served_well() -> None:
    watch, limits = watched(2)
    for tick in range(100):
        watch.judge(0.2, float(tick))
    assert limits == [1]


def test_a_number_that_the_user_chose_stays(caplog: pytest.LogCaptureFixture) -> None:
    watch, limits = watched(2, fixed=True)
    for tick in range(10):
        watch.judge(0.2, float(tick))
    assert (watch.count, limits) == (2, [])
    assert [record.getMessage() for record in caplog.records] == [
        "other programs are using the processors, and threads that wait for one another are slow: "
        "fewer than 2 --threads may be faster"
    ]


def test_each_note_is_written_once(caplog: pytest.LogCaptureFixture) -> None:
    watch, _ = watched(2)
    with caplog.at_level(logging.WARNING):
        for tick in range(50):
            watch.judge(0.25, float(tick))
    assert [record.getMessage() for record in caplog.records] == [
        "other programs are using the processors: computing on 1 thread instead of 2 until they "
        "are free",
        "this process gets only 25 % of a processor, because other programs are running; it will "
        "be faster when they end",
    ]


def test_the_share_is_of_the_time_that_free_processors_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three parts on two threads keep 1.5 processors busy: 1.5 of 1.5 is all there is to get."""
    now = 0.0
    monkeypatch.setattr("minidark.backend.watch.time.perf_counter", lambda: now)
    watch, _ = watched(2)
    shares: list[float] = []
    monkeypatch.setattr(watch, "judge", lambda share, now: shares.append(share))
    processor = 0.0

    def clock() -> float:
        return processor

    for got in (1.5, 0.75):
        began = watch.begin(clock)
        assert began is not None
        now += WINDOW
        processor += got * WINDOW
        watch.end(began, clock, 1.5)
    assert shares == pytest.approx([1.0, 0.5])


@pytest.fixture
def two_of_blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads of BLAS, which nobody chose in the environment, and a watch of its own."""
    for name in (*threads.BLAS_VARIABLES, threads.WATCH_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "processors", lambda: 2)
    monkeypatch.setattr(threads, "BLAS_FREE", FREE)
    threads.forget_watches()
    yield
    threads.forget_watches()


def test_a_limit_set_with_threadpoolctl_is_never_raised(two_of_blas: None) -> None:
    control = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")

    def limits() -> set[int]:
        return {
            lib["num_threads"] for lib in control.threadpool_info() if lib["user_api"] == "blas"
        }

    with control.threadpool_limits(1, user_api="blas"):
        watch = threads.blas_watch()
        for tick in range(50):
            watch.judge(0.2 if tick < 5 else 1.0, float(tick))
        assert limits() <= {1}


def test_without_threadpoolctl_one_note_claims_nothing_that_is_not_so(
    two_of_blas: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    watch = threads.blas_watch()
    for tick in range(200):
        watch.judge(0.3, float(tick))
    assert watch.count == 2
    (record,) = caplog.records
    assert "may be faster" in record.getMessage()


class Noted:
    """In place of a watch: what it was told of each piece of work."""

    def __init__(self, count: int):
        self.count = count
        self.cores: list[float] = []

    def begin(self, clock: object) -> tuple[float, float]:
        return 0.0, 0.0

    def end(self, began: object, clock: object, cores: float) -> None:
        self.cores.append(cores)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Kernels on 8 threads, as a user may choose on any machine."""
    pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
    watch = Noted(8)
    threads.set_threads(8)
    monkeypatch.setattr("minidark.backend.compiled.threads.kernels_watch", lambda: watch)
    return watch


@pytest.mark.parametrize("few", ["minidark.backend.compiled.threads.processors", "numba's threads"])
def test_no_more_processors_are_due_than_there_are_or_than_numba_has_threads_for(
    few: str, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an idle machine would look busy with --threads 8, or with NUMBA_NUM_THREADS=1."""
    numba = importlib.import_module("numba")
    compiled = importlib.import_module("minidark.backend.compiled.threads")
    monkeypatch.setattr(compiled, "processors", lambda: 1 if few.endswith("processors") else 8)
    if few == "numba's threads":
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    compiled.spread(lambda *args: None, 80, 1 << 24)
    assert noted.cores == [1]


def test_the_call_that_compiles_a_kernel_is_not_watched(noted: Noted) -> None:
    """numba compiles on one thread, which on an idle machine is half of two processors."""
    numba = importlib.import_module("numba")
    compiled = importlib.import_module("minidark.backend.compiled.threads")
    kernel = numba.njit(lambda shares: None)
    compiled.spread(kernel, 80, 1 << 24)
    assert noted.cores == []
    compiled.spread(kernel, 80, 1 << 24)
    assert len(noted.cores) == 1


ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before any library starts threads
import logging, sys, time
import numpy as np
import threadpoolctl
from minidark.backend import threads
from tests.helpers import network

kernels = sys.argv[1]
logging.basicConfig(format="%(message)s")
threads.processors = lambda: 2
threadpoolctl.threadpool_limits(2, user_api="blas")  # it counted one processor when it was loaded
blas = [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
if kernels == "numpy" and 2 not in blas:
    sys.exit("this BLAS has no threads")
net = network("net inputs=64 batch=32 time_steps=32 adam=1 learning_rate=.01",
              "gru output=128 tanh=1", "connected output=64 activation=linear", "softmax",
              dtype="float32")
net.backend.use_kernels(kernels)
watch = threads.kernels_watch() if kernels == "fast" else threads.blas_watch()
ids = np.random.default_rng(0).integers(0, 64, (33, 32))
net.train_batch(ids[:-1], ids[1:])  # compiles the kernels, if nobody has
deadline = time.monotonic() + 40
while watch.count > 1 and time.monotonic() < deadline:
    net.train_batch(ids[:-1], ids[1:])
print(watch.count)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be pinned here")
@pytest.mark.parametrize("kernels", ["fast", "numpy"])
def test_threads_that_share_one_processor_become_one(kernels: str) -> None:
    pytest.importorskip("numba", reason="numba is not installed; the extra 'fast' has it")
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != threads.WATCH_VARIABLE and not name.endswith("_NUM_THREADS")
    }
    environment["NUMBA_NUM_THREADS"] = "2"  # which counts one processor, too
    result = subprocess.run(
        [sys.executable, "-c", ONE_PROCESSOR, kernels],
        env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    if "this BLAS has no threads" in result.stderr:
        pytest.skip("this BLAS has no threads")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1\n"
    assert result.stderr.count("computing on 1 thread instead of 2") == 1


@pytest.mark.parametrize(("value", "free"), [("off", 0.0), ("on", threads.BLAS_FREE)])
def test_a_variable_of_the_environment_ends_the_watch(
    value: str, free: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(threads.WATCH_VARIABLE, value)
    threads.forget_watches()
    assert threads.blas_watch().free == free
    threads.forget_watches()


def test_a_number_of_threads_with_thousands_of_digits_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in threads.BLAS_VARIABLES:
        monkeypatch.setenv(name, "9" * 5000)
    assert threads.blas_threads() >= 1
