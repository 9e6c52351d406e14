"""Which tests this run takes: those of `make test`, or the slow ones as well."""

from __future__ import annotations

short = False  # try a tenth of the mutated files of `make test-long`, as CI does
full = True  # False without the tests that are marked slow; set before test modules are imported


def examples(count: int) -> int:
    """How many random examples or steps to try: `count` in `make test-all`, a fifth of it in
    `make test`."""
    return count if full else count // 5
