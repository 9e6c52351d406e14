"""The `minidark` command, and `python -m minidark`.

Ctrl-C while modules are still being imported would end in a traceback through them; so this comes
before all imports but two.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    usual = signal.getsignal(signal.SIGINT)
    if usual == signal.default_int_handler:  # not where the caller had it ignored
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
    from minidark.cli import main as run

    run(imported=lambda: signal.signal(signal.SIGINT, usual))


if __name__ == "__main__":
    main()
