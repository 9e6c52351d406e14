"""Runs a command on all ranks of `mpiexec`. Only rank 0 prints and writes.

If one rank exits, the others would wait for it, so an error ends all ranks through `MpiRanks.end`.
If all ranks have the same error, such as a missing cfg, rank 0 reports it and ends the others.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from minidark.cli.exits import report_errors
from minidark.cli.options.numbers import Number
from minidark.errors import DivergedError
from minidark.training.parallel.mpi import MpiRanks, find_ranks
from minidark.training.parallel.ranks import TIMEOUT, Ranks

Callback = TypeVar("Callback", bound=Callable[..., Any])

HEAD_START = 2.0  # seconds for rank 0 to report an error that all ranks have


class Finished(SystemExit):
    """A regular end that all ranks reach, with the exit code."""


def ranks_option(command: Callback) -> Callback:
    """Adds --rank-timeout; the command gets `ranks`."""

    @click.option(
        "--rank-timeout",
        type=Number(0, min_open=True),
        default=TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="With mpiexec: time to wait for a rank that does not respond.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, rank_timeout: float, **kwargs: Any) -> Any:
        ranks = find_ranks(rank_timeout)
        with _together(ranks):
            return command(*args, ranks=ranks, **kwargs)

    return wrapped  # type: ignore[return-value]


@contextlib.contextmanager
def _together(ranks: Ranks) -> Iterator[None]:
    if not isinstance(ranks, MpiRanks):
        yield
        return
    if not ranks.leads:
        logging.getLogger("minidark").setLevel(logging.ERROR)
    try:
        with _errors_reported(ranks), _ending_together(ranks):
            yield
    except Finished:
        raise
    except click.ClickException as error:
        if isinstance(error, click.UsageError):
            error.ctx = error.ctx or click.get_current_context()
        with contextlib.suppress(OSError):  # standard error may be closed
            error.show()
        ranks.end(error.exit_code)
    except SystemExit as exit_:
        ranks.end(exit_.code if isinstance(exit_.code, int) else exit_.code is not None)
    except BaseException:
        traceback.print_exc()
        ranks.end(1)


@contextlib.contextmanager
def _ending_together(ranks: Ranks) -> Iterator[None]:
    """Wait until rank 0 has saved. MPI's own end waits for all ranks too, but without a timeout."""
    try:
        yield
    except Finished:
        ranks.barrier()
        raise
    ranks.barrier()


@contextlib.contextmanager
def _errors_reported(ranks: MpiRanks) -> Iterator[None]:
    """Report an error as one line, with the rank unless it is rank 0."""
    with report_errors(click.get_current_context(), "" if ranks.leads else f"rank {ranks.rank}: "):
        try:
            yield
        except SystemExit:
            raise
        except DivergedError:
            if not ranks.leads:  # all have the same cost; rank 0 records it and ends all
                time.sleep(ranks.timeout)
            raise
        except BaseException:
            if not ranks.leads:  # all ranks may have this error; rank 0's line is enough
                time.sleep(HEAD_START)
            raise
