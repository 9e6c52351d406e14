"""Figures for a page: matplotlib's, as SVG that stands in the HTML.

A figure takes its colours from the page, so that it is right in light and dark: lines and letters
have the page's own, and what is drawn in `SERIES[k]` has the k-th colour of a series, `--series-k`
in `base.css`, chosen to be told apart without colour vision.
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
DATE = ("SOURCE_DATE_EPOCH", "0")  # matplotlib reads it at each layout; metadata is left out
INK = "#010101"  # stands for the page's own colour of text
SERIES = tuple(f"#0101{k:02x}" for k in range(2, 8))  # stand for --series-0 and so on
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
    "svg.fonttype": "none",  # letters stay letters: smaller, and found by a search
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def figure_svg(
    draw: Callable[[Figure], None], label: str, width: float = 7.0, height: float = 3.2
) -> Markup:
    """What `draw` puts into an empty figure, `width` by `height` inches, as inline SVG.

    label: what the figure shows, for those who cannot see it; two figures of one page have two.
    The same drawing gives the same bytes. Raises BackendError without the extra `report`.
    """
    matplotlib = needed("matplotlib")
    markup: type[Markup] = needed("markupsafe").Markup
    style: dict[str, Any] = {**STYLE, "axes.prop_cycle": _cycle(), "svg.hashsalt": label}
    with without_noise(), environment(*DATE), matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's settings may ask for LaTeX, or for other colours
        matplotlib.rcParams.update(style)
        figure = needed("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", backend="svg")
    named = markup('<svg class="figure" role="img" aria-label="{}"').format(visible(label))
    return named + markup(_for_a_page(written.getvalue()))


def literal(name: str) -> str:
    """A name as a figure shows it as it is: between two dollars would be mathematics. Control
    characters are shown as their codes, and a long name is cut."""
    return cut(visible(name), LONGEST_NAME).replace("$", r"\$")


def _cycle() -> Any:
    return needed("cycler").cycler(color=SERIES)


def _for_a_page(svg: str) -> str:
    """What follows "<svg", without what would reach beyond the figure: names of groups, which
    another figure has too, and style and metadata of a whole document."""
    svg = svg[svg.index("<svg") + len("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = svg.replace(INK, "currentColor")
    for k, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{k})")
    return svg
