"""What the pictures in docs/images share: their page and text, light or dark as the reader's system
is."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def page(width: int, height: int, label: str, parts: Iterable[str], style: str = "") -> str:
    """A picture with its own background, because the page around it may have the other colours."""
    return _PAGE.format(
        width=width,
        height=height,
        inner=width - 1,
        below=height - 1,
        label=escape(label),
        style=style,
        parts="\n".join(parts),
    )


def text(x: int, y: int, words: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}"{attributes}>{escape(words, quote=False)}</text>'


_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="{label}">
<style>
text {{ font: 14px sans-serif; fill: #1f2328 }}
.title {{ font-weight: bold }}
.paper {{ fill: #fff; stroke: #d1d9e0 }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #f0f6fc }}
  .paper {{ fill: #0d1117; stroke: #3d444d }}
}}
{style}</style>
<rect class="paper" x=".5" y=".5" width="{inner}" height="{below}" rx="8"/>
{parts}
</svg>
"""
