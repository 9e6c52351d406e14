"""Links between the pages as they stand in the repository, without the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, prose

LINK = re.compile(r"\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)\s]*))?\)")


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_anchors_are_githubs() -> None:
    assert anchors("# What a run's left, `so`\n```\n# no\n```\n") == {"what-a-runs-left-so"}


@pytest.mark.parametrize("row", [r"\| 143 \|", r"\| `BASE\.ckpt`"])
def test_the_tables_of_exit_codes_and_of_a_runs_files_stand_in_one_place(row: str) -> None:
    pages = [page.name for page in PAGES if re.search(f"^{row}", page.read_text("utf-8"), re.M)]
    assert len(pages) == 1, pages


def test_a_link_leads_to_a_file_and_a_heading() -> None:
    links = [
        (page, link) for page in PAGES for link in LINK.finditer(prose(page.read_text("utf-8")))
    ]
    assert [(page.name, link[0]) for page, link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: re.Match[str]) -> bool:
    target = page.parent / link["path"] if link["path"] else page
    if not link["anchor"]:
        return target.exists()
    return target.exists() and link["anchor"] in anchors(target.read_text("utf-8"))
