"""docs/reliability.md: the tests that it names by file and name exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import missing_tests

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[a-z_/0-9]+\.py::test_[a-z_0-9]+)`", DOC)))


def test_it_names_tests() -> None:
    assert len(NAMED) > 40


def test_a_test_that_is_named_exists() -> None:
    assert missing_tests(NAMED) == []
