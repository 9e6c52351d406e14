"""What the pages say of the project around the package: extras, targets of make, versions."""

from __future__ import annotations

import re
import tomllib

import yaml

import minidark
from tests.docs.pages import PAGES, ROOT

TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def named(pattern: str) -> set[str]:
    return {found for text in TEXTS.values() for found in re.findall(pattern, text)}


def test_every_extra_that_a_page_names_is_one() -> None:
    lists = named(r"(?:minidark|\.)\[([a-z][a-z0-9,-]*)\]")
    extras = {extra for names in lists for extra in names.split(",")}
    assert {"fast", "cuda12"} <= extras <= {*PROJECT["optional-dependencies"]}


def test_every_target_of_make_that_a_page_names_is_one() -> None:
    targets = {*re.findall(r"^([a-z.][\w./-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M)}
    assert {"demo", "docs", "test"} <= named(r"`make ([a-z.-]+)") <= targets


def test_every_dependency_is_named_in_the_readme() -> None:
    names = {re.split(r"[><=]", dependency)[0] for dependency in PROJECT["dependencies"]}
    assert [name for name in names if name not in TEXTS["README.md"]] == []


def test_the_citation_is_of_this_version_and_cites_the_gru() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (minidark.__version__, PROJECT["license"])
    assert citation["authors"] == [{"name": "minidark contributors"}]
    [paper] = citation["references"]
    assert (paper["year"], paper["authors"][0]["family-names"]) == (2014, "Cho")


def test_the_changelog_is_of_this_version_or_of_the_next() -> None:
    newest = re.search(r"^## \[(.*)\]", TEXTS["CHANGELOG.md"], re.M)
    assert newest
    assert newest[1] in ("Unreleased", minidark.__version__)
