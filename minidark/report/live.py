"""Rewrites a run's page while the run goes on. The page reloads itself; nothing serves it.

The run holds the lock of its folder, so this process notices when it ends, even if it is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from minidark.files.locks import is_held
from minidark.report.run import Run, read_run_folder
from minidark.report.training import Live, write_run_page

LOOK_EVERY = 1.0  # seconds between looks at the log
RELOAD_EVERY = 5  # seconds between reloads of the page
WRITE_EVERY = 30  # seconds after which the page is written even if the log has not grown
SILENT = 3 * WRITE_EVERY  # seconds without a new page that mean that nobody writes it


def is_running(run: Run) -> bool:
    """Whether a process still trains the run. Without file locks: whether its log has no end."""
    return run.state == "not finished" and is_held(run.folder) is not False


def follow_run(
    path: Path | str, folder: Path, began: Callable[[], None], pause: float = LOOK_EVERY
) -> Run:
    """Rewrite the page atomically whenever the log has grown, until the run ends. The last page no
    longer reloads. Returns the run at its end. began: called after the first page of a run that
    goes on. Ctrl-C also writes a last page, and is raised again.

    Raises DataError, BackendError and SaveError.
    """
    shown, written = -1, 0.0
    try:
        while is_running(run := read_run_folder(folder)):
            now = time.time()
            if len(run.lines) != shown or not 0 <= now - written < WRITE_EVERY:
                write_run_page(path, run, running=True, live=Live(now, RELOAD_EVERY, SILENT))
                if shown < 0:
                    began()
                shown, written = len(run.lines), now
            time.sleep(pause)
    except KeyboardInterrupt:
        write_run_page(path, run, running=is_running(run))
        raise
    run = read_run_folder(folder)  # the lock is released after the last line
    write_run_page(path, run, running=False)
    return run
