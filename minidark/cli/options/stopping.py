"""Signals that stop a run. At the first one, the run finishes its batch and saves; the second one
ends the process at once.

Before the first batch there is nothing to save, so the first signal ends the process at once.
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
    """Records whether Ctrl-C was pressed. A library that is interrupted during its import may raise
    its own error, which would hide the reason."""

    received = False

    @classmethod
    @contextlib.contextmanager
    def recorded(cls) -> Iterator[None]:
        """Record SIGINT, which still raises KeyboardInterrupt. Does nothing if the caller has its
        own handler, or outside the main thread."""
        cls.received = False
        usual = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if usual is not signal.default_int_handler or not main:
            yield
            return

        def record(number: int, frame: FrameType | None) -> None:
            cls.received = True
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, record)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)


class Stop:
    """`signal` is the number of the received signal, or 0; `agreed` is the signal on which all
    ranks have agreed, None with a single process."""

    signals = SIGNALS
    signal: int = 0
    agreed: int | None = None
    speaks: bool = True  # print a line for each signal
    idle: bool = False  # before the first batch

    @property
    def due(self) -> int:
        """The signal that ends the run after this batch, or 0."""
        return self.signal if self.agreed is None else self.agreed

    @contextlib.contextmanager
    def before_batches(self) -> Iterator[None]:
        """Inside this context, a signal ends the process at once."""
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
            self._say("minidark: stopped at once; earlier saves are intact\n")
            sys.exit(128 + number)
        self.signal = number
        self._say("minidark: finishing this batch, then saving; interrupt again to stop at once\n")

    def _say(self, text: str) -> None:
        """Write without Python's buffers: the signal may have interrupted a write to them."""
        if not self.speaks:
            return
        with contextlib.suppress(OSError):
            os.write(2, text.encode())


@contextlib.contextmanager
def stoppable(speaks: bool = True) -> Iterator[Stop]:
    """Handle signals until the run ends. Nested uses, such as a run in a sweep, share one signal.
    speaks: print a line for each signal."""
    stop = Stop()
    stop.speaks = speaks
    handled = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup: no SIGHUP
    before = {number: signal.signal(number, stop.ask) for number in handled}
    around = [getattr(handler, "__self__", None) for handler in before.values()]
    outer = next((one for one in around if isinstance(one, Stop)), Stop())
    stop.signal = outer.signal
    try:
        yield stop
    finally:
        outer.signal = stop.signal
        for number, handler in before.items():
            signal.signal(number, handler)
