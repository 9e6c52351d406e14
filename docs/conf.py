"""Sphinx's configuration: `make docs` builds the site from these pages into build/docs.

Sphinx, with MyST for Markdown and furo for the looks: well kept, they read the pages as they stand
in the repository, take the docstrings along, and tell of every link that leads nowhere.
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
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "from_source",
    "notebooks",
]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
exclude_patterns = ["_ext", "images"]
default_role = "code"  # docstrings write `name` for what reStructuredText writes with two

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3  # as GitHub makes them, so that a link to a heading leads there in both
highlight_language = "text"
smartquotes = False  # they turn the two hyphens of an option into a dash

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
