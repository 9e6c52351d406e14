"""The site: it builds without a warning, and nothing in it leads nowhere or elsewhere."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import pytest

from minidark.cli import COMMANDS, cli
from tests.docs.pages import ROOT
from tests.report.browser import PATIENCE

NEEDED = ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "jinja2")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs the extra docs: no {MISSING}"),
]

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """What an HTML page has and where it leads."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()  # that a reader follows
        self.loads: set[str] = set()  # that a browser fetches
        self.text = path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.add(value)
            elif (tag, name) in LOADED and value:
                self.loads.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds, in a folder of its own."""
    out = tmp_path_factory.mktemp("site")
    target = re.search(r" -m sphinx (.*) docs build/docs$", MAKEFILE, re.MULTILINE)
    assert target
    words = [sys.executable, "-m", "sphinx", *target[1].split(), str(ROOT / "docs"), str(out)]
    built = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def inner(path: Path, links: set[str]) -> Iterator[tuple[Path, str]]:
    """The links to the site itself: file and anchor."""
    for link in map(urlsplit, links):
        if not link.scheme:
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            yield target, unquote(link.fragment)


def test_every_link_within_the_site_leads_to_a_file_and_an_anchor(pages: dict[Path, Page]) -> None:
    dead = [
        f"{path.name}: {target.name}#{anchor}"
        for path, page in pages.items()
        for target, anchor in inner(path, page.links | page.loads)
        if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids)
    ]
    assert dead == []


def test_a_name_of_the_source_leads_to_its_documentation(pages: dict[Path, Page]) -> None:
    named = [
        found
        for path, page in pages.items()
        if path.name.startswith("walk")
        for found in re.findall(
            r"(<a [^>]*>)?<code class=\"xref py[^>]*><span[^>]*>(.*?)<", page.text
        )
    ]
    assert len(named) > 30
    assert [name for link, name in named if not link] == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loads = {load for page in pages.values() for load in page.loads}
    assert len(loads) > 10
    assert [load for load in loads if urlsplit(load).scheme not in ("", "data")] == []
    assert [load for load in loads if load.startswith("//")] == []
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert "@import" not in styles
    assert "url(http" not in styles.replace('"', "").replace("'", "")


def test_every_page_is_reached_from_the_index(site: Path, pages: dict[Path, Page]) -> None:
    reached, ahead = set(), {(site / "index.html").resolve()}
    while ahead:
        path = ahead.pop()
        reached.add(path)
        ahead |= {target for target, _ in inner(path, pages[path].links) if target in pages}
        ahead -= reached
    written = {site / f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    assert len(written) > 10
    assert written <= reached


def test_the_sidebar_leads_from_the_quick_start_to_what_can_be_relied_on(
    site: Path, pages: dict[Path, Page]
) -> None:
    sidebar = pages[site / "index.html"].text.split('class="sidebar-tree"')[1].split("</aside>")[0]
    there = re.findall(r'href="([\w./-]+)\.html"', sidebar)
    assert [name for name in there if name in ORDER] == ORDER
    assert len(there) == len({*there}) == len(pages_of_the_site())
    assert len(re.findall('class="caption"', sidebar)) >= 5


ORDER = [
    "quick-start", "cfg", "commands", "look", "report", "api", "notebooks/char-gru",
    "notebooks/gates", "walk", "walk.ko", "performance", "parity", "reliability",
]  # fmt: skip


def pages_of_the_site() -> set[str]:
    docs = ROOT / "docs"
    written = [*docs.glob("*.md"), *docs.glob("notebooks/*.ipynb")]
    names = {path.relative_to(docs).with_suffix("").as_posix() for path in written}
    return (names | {f"commands/{name}" for name in COMMANDS}) - {"index"}


def test_a_notebook_is_a_page_with_what_it_gave(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.parent.name == "notebooks":
            stored = (ROOT / "docs" / "notebooks" / f"{path.stem}.ipynb").read_text("utf-8")
            pictures = stored.count('"image/png"')
            assert page.text.count("data:image/png") == pictures > 0
            assert "<h1>" in page.text
    assert sum(path.parent.name == "notebooks" for path in pages) == 2


def test_every_command_has_its_page_with_every_option(site: Path, pages: dict[Path, Page]) -> None:
    root = click.Context(cli)
    for name in COMMANDS:
        _, command, _ = cli.resolve_command(root, [name])
        assert command
        assert f"commands/{name}.html" in pages[site / "commands.html"].links
        page = pages[site / "commands" / f"{name}.html"].text
        shown = [param for param in command.params if not getattr(param, "hidden", False)]
        flags = {flag for param in shown for flag in param.opts if flag[:2] == "--"}
        shared = {"--quiet", "--verbose", "--debug"}
        assert {flag for flag in flags - shared if flag not in page} == set()


def test_the_korean_walk_is_marked_as_korean_and_found_by_a_search(site: Path) -> None:
    assert '<div lang="ko">' in (site / "walk.ko.html").read_text("utf-8")
    index = (site / "searchindex.js").read_text("utf-8")
    assert "한국어" in index or json.dumps("한국어")[1:-1] in index


EXPLAINED = {  # what a reader searches for: where the first result leads
    "overfitting": "how-to.html#",
    "temperature": "quick-start.html#",
    "resume": "how-to.html#",
    "한국어": "walk.ko.html#",
}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder, as `make serve` starts one."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_first_page_is_live_and_a_search_finds_what_is_explained(
    site: Path, chromium: Any
) -> None:
    """In a browser, by the site's own scripts and index."""
    with served(site) as address:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(PATIENCE)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{address}/index.html")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("ul.doors > li").count() == 5
        assert page.locator("button.copybtn").count() >= 1
        assert page.locator('link[rel~="icon"]').get_attribute("href").endswith("favicon.svg")
        page.locator("iframe.live").scroll_into_view_if_needed()
        frame = page.frame_locator("iframe.live").locator("body")
        frame.wait_for()
        likely = frame.evaluate("async () => await window.minidark.predict('The ')")
        assert len(likely) == 256
        assert sum(likely) == pytest.approx(1, abs=1e-3)
        for query, place in EXPLAINED.items():
            page.goto(f"{address}/search.html?q={query}")
            first = page.locator("ul.search li a").first
            first.wait_for()
            assert first.get_attribute("href").startswith(place), query
        assert said == []
    assert (site / "live.html").stat().st_size < 3_000_000


def test_a_search_does_not_find_the_output_of_notebooks(site: Path) -> None:
    cells = [
        cell
        for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")
        for cell in json.loads(path.read_text("utf-8"))["cells"]
    ]
    sources = " ".join("".join(cell["source"]) for cell in cells).lower()
    texts = ["".join(out.get("text", "")) for cell in cells for out in cell.get("outputs", [])]
    written = {word for word in re.findall(r"[a-z]{9,}", " ".join(texts)) if word not in sources}
    assert len(written) > 3
    indexed = json.loads((site / "searchindex.js").read_text("utf-8")[len("Search.setIndex(") : -1])
    stems = {word[:7] for word in written}  # the index has words without their endings
    assert [term for term in indexed["terms"] if term[:7] in stems] == []
