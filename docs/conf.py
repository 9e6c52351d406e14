"""Sphinx configuration: `make docs` builds the site from these pages into build/docs.

Sphinx with MyST (Markdown) and the theme furo is well maintained. It reads the pages of the
repository unchanged, includes docstrings, and warns of every broken link.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent.parent)]

import minidark  # noqa: E402

project = "minidark"
author = "minidark contributors"
copyright = "2026, the minidark developers"
version = release = minidark.__version__

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "from_source",
    "notebooks",
    "languages",
    "first_page",
]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
exclude_patterns = ["_ext", "_static", "images"]
default_role = "code"  # `name` in a docstring is code, as ``name`` is in reStructuredText

myst_enable_extensions = ["attrs_block", "deflist"]
myst_heading_anchors = 3  # same as GitHub's, so that links to headings work in both
highlight_language = "text"
smartquotes = False  # they would turn the two hyphens of an option into a dash

autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name for name in ("Array", "Scalar", "npt.ArrayLike", "npt.DTypeLike")
}
toc_object_entries = False
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"minidark {version}"
html_show_sourcelink = False
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]

copybutton_prompt_text = "$ "  # of blocks with prompts, copy the commands without the output
