"""A command that all ranks of an `mpiexec` run together: rank 0 alone prints and writes, and what
ends one ends all.

A plain exit of one would leave the others waiting, so an error goes through `MpiRanks.end`. Where
it is every rank's, as a cfg that is missing is, rank 0 tells it and ends the others before they do.
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

Command = TypeVar("Command", bound=Callable[..., Any])

HEAD_START = 2.0  # seconds that rank 0 has, to tell first what all have to tell


class Finished(SystemExit):
    """The end that all ranks have come to, with its exit code."""


def ranks_option(command: Command) -> Command:
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
        with _told(ranks), _met(ranks):
            yield
    except Finished:
        raise
    except click.ClickException as error:
        if isinstance(error, click.UsageError):
            error.ctx = error.ctx or click.get_current_context()
        with contextlib.suppress(OSError):  # nobody may hear it
            error.show()
        ranks.end(error.exit_code)
    except SystemExit as ended:
        ranks.end(ended.code if isinstance(ended.code, int) else ended.code is not None)
    except BaseException:
        traceback.print_exc()
        ranks.end(1)


@contextlib.contextmanager
def _met(ranks: Ranks) -> Iterator[None]:
    """All end together, when rank 0 has saved: MPI's own end waits for all, without a deadline."""
    try:
        yield
    except Finished:
        ranks.barrier()
        raise
    ranks.barrier()


@contextlib.contextmanager
def _told(ranks: MpiRanks) -> Iterator[None]:
    """An error as its line, and which rank's it is, where it is another's than rank 0's."""
    with report_errors(click.get_current_context(), "" if ranks.leads else f"rank {ranks.rank}: "):
        try:
            yield
        except SystemExit:
            raise
        except DivergedError:
            if not ranks.leads:  # all have come to the same cost; rank 0 writes it down, then ends
                time.sleep(ranks.timeout)
            raise
        except BaseException:
            if not ranks.leads:  # it may be all ranks', and rank 0's line is enough
                time.sleep(HEAD_START)
            raise
