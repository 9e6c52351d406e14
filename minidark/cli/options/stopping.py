"""Signals that ask a run to stop: the first lets the batch end and saves, the second does not.

Before the first batch there is nothing to save, and the first signal ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupts:
    """Whether Ctrl-C was pressed. A library that is being imported may turn KeyboardInterrupt into
    an error of its own, which would then be shown as if it were the reason."""

    heard = False

    @classmethod
    @contextlib.contextmanager
    def noted(cls) -> Iterator[None]:
        """Note each; it raises KeyboardInterrupt as usual. Nothing where a caller chose otherwise,
        or in another thread than the main one."""
        cls.heard = False
        usual = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if usual is not signal.default_int_handler or not main:
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            cls.heard = True
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)


class Stop:
    """`signal` is the number of the one that came, 0 before; `agreed` that of all ranks, where
    there are several."""

    signals = SIGNALS
    signal: int = 0
    agreed: int | None = None
    speaks: bool = True
    idle: bool = False  # no batch has begun

    @property
    def due(self) -> int:
        """The signal that the run is to end by, at this batch; 0 for none."""
        return self.signal if self.agreed is None else self.agreed

    @contextlib.contextmanager
    def before_batches(self) -> Iterator[None]:
        """While this lasts, a signal ends the process at once."""
        self.idle = True
        try:
            yield
        finally:
            self.idle = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.idle and not self.signal:
            self._say("minidark: stopped before the first batch\n")
            sys.exit(128 + number)
        if self.signal:
            self._say("minidark: stopped at once; what was saved before is whole\n")
            sys.exit(128 + number)
        self.signal = number
        self._say("minidark: finishing this batch, then saving; once more to stop at once\n")

    def _say(self, text: str) -> None:
        """Not through Python's buffers, which a signal may have interrupted."""
        if not self.speaks:
            return
        with contextlib.suppress(OSError):
            os.write(2, text.encode())


@contextlib.contextmanager
def stoppable(speaks: bool = True) -> Iterator[Stop]:
    """One within another, as a run in a sweep, shares its signal with the outer. speaks: whether it
    says that it heard one."""
    stop = Stop()
    stop.speaks = speaks
    heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup's SIGHUP
    before = {number: signal.signal(number, stop.ask) for number in heard}
    around = [getattr(handler, "__self__", None) for handler in before.values()]
    outer = next((one for one in around if isinstance(one, Stop)), Stop())
    stop.signal = outer.signal
    try:
        yield stop
    finally:
        outer.signal = stop.signal
        for number, handler in before.items():
            signal.signal(number, handler)
