"""A page from its template, as one file that asks for nothing else.

A page `NAME` is `templates/NAME.html`, which extends `base.html`, with `NAME.css` and `NAME.js`
beside it where it needs them. Style and scripts stand in the page. Its content security policy
lets those scripts run, by their hashes, and nothing else: what a text or a cfg smuggled into a page
would not be run even if it were not escaped. Every value is escaped unless it is `Markup`, and its
control characters are shown as their codes.

The same values give the same bytes: no page says when it was made.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidark._version import __version__
from minidark.errors import visible
from minidark.files.disk import write_atomically
from minidark.report.extra import needed

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path | str, name: str, **values: Any) -> None:
    """Render the page `name` into the file `path`, whole or not at all.

    Raises BackendError without the extra `report`, SaveError where the file cannot be written.
    """
    write_atomically(path, [encoded(render_page(name, **values))])


def encoded(page: str) -> bytes:
    """A page as a file has it. It may name files whose names UTF-8 cannot hold."""
    return page.encode(errors="backslashreplace")


def render_page(name: str, **values: Any) -> str:
    """The page `name` as HTML. `values` are for its template; every page takes a `title`.

    In a template `{{ value | tojson }}` is safe in a data block, and refuses NaN and infinity.
    Raises BackendError without the extra `report`.
    """
    environment = _environment()
    markup = needed("markupsafe").Markup
    scripts = [text for part in ("base", name) if (text := _beside(part, ".js"))]
    rendered: str = environment.get_template(f"{name}.html").render(
        policy=_policy(scripts),
        style=markup(_beside("base", ".css") + _beside(name, ".css")),
        scripts=[markup(text) for text in scripts],
        version=__version__,
        **values,
    )
    return rendered


def _environment() -> Environment:
    jinja2 = needed("jinja2")
    markup = needed("markupsafe").Markup

    def shown(value: Any) -> Any:
        """Names and samples with control characters as their codes, wherever they stand."""
        return visible(value) if isinstance(value, str) and not isinstance(value, markup) else value

    environment: Environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _beside(name: str, suffix: str) -> str:
    """The text of a page's file of that kind, or nothing where it has none."""
    file = TEMPLATES / f"{name}{suffix}"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _policy(scripts: list[str]) -> str:
    """What the page may do: show itself, run these scripts, keep figures and icons inline."""
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
