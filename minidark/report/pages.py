"""Renders a template as one self-contained HTML file.

The template of a page `NAME` is `templates/NAME.html`, which extends `base.html`. `NAME.css` and
`NAME.js` beside it are optional, and SHARED lists others. Style and scripts are inlined. The page's
content security policy allows only these scripts, by their hashes, so a script injected by a text
or a cfg would not run even if it were not escaped. Every value is escaped unless it is `Markup`,
and control characters are shown as codes.

The same values give byte-identical pages: a page does not contain its date.
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
SHARED = {  # styles and scripts that a page needs before its own
    "look": ("values", "unpacking", "alike"),
    "run": ("chart",),
    "comparison": ("chart",),
    "play": ("values", "network", "symbols"),
}


def write_page(path: Path | str, name: str, **values: Any) -> None:
    """Render the page `name` into the file `path` atomically.

    Raises BackendError without the extra `report`, and SaveError if the file cannot be written.
    """
    write_atomically(path, [encoded(render_page(name, **values))])


def encoded(page: str) -> bytes:
    """The bytes of a page. File names that UTF-8 cannot encode are escaped."""
    return page.encode(errors="backslashreplace")


def render_page(name: str, **values: Any) -> str:
    """The page `name` as HTML. values: the template's variables; every page needs a `title`.

    In a template, `{{ value | tojson }}` is safe in a data block; it refuses NaN and infinity.
    Raises BackendError without the extra `report`.
    """
    environment = _environment()
    markup = needed("markupsafe").Markup
    parts = ("base", *SHARED.get(name, ()), name)
    scripts = [text for part in parts if (text := _beside(part, ".js"))]
    rendered: str = environment.get_template(f"{name}.html").render(
        policy=_policy(scripts),
        style=markup("".join(_beside(part, ".css") for part in parts)),
        scripts=[markup(text) for text in scripts],
        version=__version__,
        **values,
    )
    return rendered


def _environment() -> Environment:
    jinja2 = needed("jinja2")
    markup = needed("markupsafe").Markup

    def without_controls(value: Any) -> Any:
        """Replace control characters in names and samples by codes."""
        return visible(value) if isinstance(value, str) and not isinstance(value, markup) else value

    environment: Environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _beside(name: str, suffix: str) -> str:
    """The text of the template's file with this suffix, or "" if there is none."""
    file = TEMPLATES / f"{name}{suffix}"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _policy(scripts: list[str]) -> str:
    """The page's content security policy: these scripts, inline styles and inline images only."""
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
