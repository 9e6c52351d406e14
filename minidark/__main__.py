"""The `minidark` command, and `python -m minidark`.

Without this module, Ctrl-C during the imports would print a traceback. So it imports as little as
possible before it sets a signal handler.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    usual = signal.getsignal(signal.SIGINT)
    if usual == signal.default_int_handler:  # the caller does not ignore SIGINT
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    from minidark.cli import main as run

    run(imported=lambda: signal.signal(signal.SIGINT, usual))


if __name__ == "__main__":
    main()
