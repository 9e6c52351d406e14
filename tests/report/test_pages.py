"""Pages: what they may do, what they escape, how they look where, and that they are whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from minidark import BackendError
from minidark.errors import SaveError
from minidark.report import pages
from tests.report.browser import opened

pytest.importorskip("jinja2", reason="needs the extra report")


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of templates: base's, and `small`, which shows `text` and counts clicks."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for file in pages.TEMPLATES.glob("base.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "small.html").write_text(
        '{% extends "base.html" %}{% block main %}<p id="text">{{ text }}</p>'
        '<script type="application/json" id="data">{{ [text] | tojson }}</script>{% endblock %}'
    )
    (folder / "small.css").write_text("#text { font-weight: 700 }")
    (folder / "small.js").write_text(
        'const [text] = JSON.parse(document.getElementById("data").textContent);'
        'document.body.dataset.same = text === document.getElementById("text").textContent;'
    )
    monkeypatch.setattr(pages, "TEMPLATES", folder)
    return folder


HOSTILE = "</script><script>document.body.dataset.broken = 1</script><img src=x onerror='1'>&amp; é"


def test_what_a_text_smuggles_in_is_text(template: Path, tmp_path: Path, chromium: Any) -> None:
    pages.write_page(tmp_path / "page.html", "small", title="<b>T</b>", text=HOSTILE)
    with opened(chromium, tmp_path / "page.html") as page:
        assert page.inner_text("#text") == HOSTILE
        assert page.inner_text("h1") == page.title() == "<b>T</b>"
        assert page.get_attribute("body", "data-same") == "true"
        assert page.get_attribute("body", "data-broken") is None


def test_a_script_that_is_not_the_pages_own_does_not_run(
    template: Path, tmp_path: Path, chromium: Any
) -> None:
    small = template / "small.html"
    small.write_text(small.read_text().replace("{{ text }}", "{{ text | safe }}"))
    pages.write_page(tmp_path / "page.html", "small", title="T", text=HOSTILE)
    with (
        pytest.raises(AssertionError, match="Content Security Policy"),  # the console says so
        opened(chromium, tmp_path / "page.html") as page,
    ):
        broken = page.get_attribute("body", "data-broken")
    assert broken is None


def test_the_button_goes_round_and_dark_is_the_systems(
    template: Path, tmp_path: Path, chromium: Any
) -> None:
    file = tmp_path / "page.html"
    pages.write_page(file, "small", title="T", text="t")
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 253, 249)", "rgb(22, 24, 28)"
    for system, own in (("light", light), ("dark", dark)):
        with opened(chromium, file, color_scheme=system) as page:
            seen = [page.evaluate(paper)]
            for _ in range(3):
                page.click("#theme")
                seen.append(page.evaluate(paper))
            assert seen == [own, light, dark, own]
            page.keyboard.press("Enter")  # the button has the focus
            page.wait_for_selector("#theme:text('Colours: light')")
            for _ in range(20):  # a busy browser may store the choice after the first reload
                page.reload()
                if page.inner_text("#theme") == "Colours: light":
                    break
            assert page.inner_text("#theme") == "Colours: light"
            page.emulate_media(media="print", color_scheme="dark")
            assert not page.is_visible("#theme")


def test_the_same_values_give_the_same_bytes_and_names_beside_it_are_used(template: Path) -> None:
    one, other = (pages.render_page("small", title="T", text="é") for _ in range(2))
    assert one == other
    assert "#text { font-weight: 700 }" in one
    assert "http" not in one.replace("http-equiv", "")


def test_nan_is_refused_in_data(template: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pages.render_page("small", title="T", text=float("nan"))


def test_a_page_that_cannot_be_made_leaves_what_was_there(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("before")
    with pytest.raises(Exception, match="'text' is undefined"):
        pages.write_page(file, "small", title="T")
    assert file.read_text() == "before"
    with pytest.raises(SaveError, match="cannot write"):
        pages.write_page(tmp_path / "missing" / "page.html", "small", title="T", text="t")


@pytest.mark.parametrize("missing", ["jinja2", "markupsafe"])
def test_a_missing_extra_is_one_line(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=r"^needs jinja2: pip install") as error:
        pages.render_page("base", title="T")
    assert "'minidark[report]'" in str(error.value)
