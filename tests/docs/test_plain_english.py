"""Pages, help, messages, docstrings and comments avoid the calques that cost readers most."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

PLAIN = {  # a calque, as a regular expression: the plain word
    r"g(o|oes|oing|one|oing) on with": "resume, continue",
    r"(what|as) there was": "existing, previous",
    r"by heart": "memorise, overfit",
    r"(is|are|was|were) told": "prints, reports, warns",
    r"at the least": "at least",
    r"as if nothing had": "byte-identical",
    r"\bhears? of\b": "receives, logs",
    r"of middling": "median",
    r"nobody (asks|hears|reads)": "name what happens",
    r"for whoever": "for the caller",
    r"that there (is|are) not": "missing",
    r"in the place of": "in place of, instead of",
    r"on the whole": "on average, in total",
    r"whatever for": "for every use",
    r"what is not given": "omitted options",
    r"there is none (that|of)": "no, none",
    r"(what|who|that) stands in\b": "contains",
    r"is there in \d": "takes",
    r"learn(s|ed|t)? by heart": "memorise",
    r"\ba run of before\b": "an earlier run",
}
TEXT = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
SOURCES = sorted((ROOT / "minidark").rglob("*.py"))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a page; of a module its strings and comments, each with its line."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text("utf-8").splitlines(), start=1)
        return
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in TEXT:
                yield token.start[0], " ".join(token.string.split())


@pytest.mark.parametrize("paths", [PAGES, SOURCES], ids=["pages", "sources"])
def test_no_calque_comes_back(paths: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r}; say {plain}"
        for path in paths
        for line, text in prose(path)
        for pattern, plain in PLAIN.items()
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]
    assert not found, "\n".join(found)
