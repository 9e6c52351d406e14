"""Figures for a page: matplotlib figures as inline SVG.

A figure takes its colours from the page, so it fits light and dark mode. Lines and letters have the
page's text colour. Lines drawn in `SERIES[k]` have the page's colour `--series-k` (`base.css`);
these colours can be distinguished without colour vision.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidark.errors import cut, visible
from minidark.report.extra import environment, needed, without_noise

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

LONGEST_NAME = 40  # characters
DATE = ("SOURCE_DATE_EPOCH", "0")  # matplotlib reads it at each layout
INK = "#010101"  # placeholder for the page's text colour
SERIES = tuple(f"#0101{k:02x}" for k in range(2, 8))  # placeholders for --series-0 and so on
STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10.0,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text instead of glyphs: smaller, and searchable
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def figure_svg(
    draw: Callable[[Figure], None], label: str, width: float = 7.0, height: float = 3.2
) -> Markup:
    """Call `draw` on an empty figure of `width` by `height` inches and return it as inline SVG.

    label: the figure's description for screen readers; each figure of a page needs its own. The
    same drawing gives byte-identical SVG. Raises BackendError without the extra `report`.
    """
    matplotlib = needed("matplotlib")
    markup: type[Markup] = needed("markupsafe").Markup
    style: dict[str, Any] = {**STYLE, "axes.prop_cycle": _cycle(), "svg.hashsalt": label}
    with without_noise(), environment(*DATE), matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's settings may choose LaTeX or other colours
        matplotlib.rcParams.update(style)
        figure = needed("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", backend="svg")
    named = markup('<svg class="figure" role="img" aria-label="{}"').format(visible(label))
    return named + markup(_for_a_page(written.getvalue()))


def literal(name: str) -> str:
    """Escape a name for a figure: dollar signs, which matplotlib reads as mathematics, and control
    characters. Long names are cut."""
    return cut(visible(name), LONGEST_NAME).replace("$", r"\$")


def _cycle() -> Any:
    return needed("cycler").cycler(color=SERIES)


def _for_a_page(svg: str) -> str:
    """The SVG after "<svg", without ids of groups, which are not unique in a page, and without
    style and metadata, which apply to a whole document."""
    svg = svg[svg.index("<svg") + len("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = svg.replace(INK, "currentColor")
    for k, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{k})")
    return svg
