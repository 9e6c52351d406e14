"""The page of `minidark look --pairs`: a table of attention weights for each pair."""

from __future__ import annotations

import functools
import logging
from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from minidark.errors import visible
from minidark.files.disk import write_atomically
from minidark.inference.alignment import Alignment
from minidark.inference.prefixes import Prefixes
from minidark.report.look import LARGEST, symbol_text
from minidark.report.pages import encoded, render_page

log = logging.getLogger(__name__)

SHOWN_FROM = 10  # percent, from which a cell shows its number without being pointed at


def figures(alignment: Alignment, prefixes: Prefixes | None = None) -> dict[str, Any]:
    """A pair for JSON: its texts, its symbols, and each layer's weights: a row for each target
    symbol, rounded to six digits. With `prefixes`, the classes and a row for each source symbol."""
    found = {
        "line": alignment.line,
        "source": alignment.source,
        "target": alignment.target,
        "predicted": alignment.predicted,
        "cut": alignment.cut,
        "true_target": alignment.true_target,
        "source_symbols": alignment.source_symbols,
        "target_symbols": alignment.target_symbols,
        "layers": [
            {"layer": name, "weights": np.round(weights, 6).tolist()}
            for name, weights in alignment.weights.items()
        ],
    }
    if prefixes:
        found["classes"] = [*prefixes.classes]
        found["class_probabilities"] = np.round(prefixes.probabilities, 6).tolist()
    return found


def write_alignment_page(
    path: Path | str,
    alignments: Sequence[Alignment],
    cfg: str,
    weights: str,
    pairs: str,
    prefixes: Sequence[Prefixes] = (),
) -> int:
    """Write the page atomically and return its size in bytes. cfg, weights, pairs: their names.
    prefixes: of each alignment's source, if the targets are classes.

    The page has as many pairs as fit into LARGEST bytes, and says so. Raises BackendError without
    the extra `report`, and SaveError if the file cannot be written.
    """
    classes = map(_shown_classes, prefixes) if prefixes else repeat(None, len(alignments))
    shown = [_shown(a, of_a) for a, of_a in zip(alignments, classes, strict=True)]

    @functools.cache
    def rendered(count: int) -> bytes:
        page = render_page(
            "alignment",
            title=f"The alignment of {cfg}",
            cfg=cfg,
            weights=weights,
            source=pairs,
            pairs=shown[:count],
            of_pairs=len(shown),
            separator=symbol_text(alignments[0].source_symbols[-1]),
            shown_from=SHOWN_FROM,
            has_classes=bool(prefixes),
        )
        return encoded(page)

    count = len(shown)
    if len(rendered(count)) > LARGEST:
        count = max(1, bisect_left(range(1, count), True, key=lambda n: len(rendered(n)) > LARGEST))
        log.warning(
            "the page shows the first %d of %d pairs; more would exceed %.0f MB",
            count, len(shown), LARGEST / 1e6,
        )  # fmt: skip
    page = rendered(count)
    write_atomically(path, [page])
    return len(page)


def _shown(alignment: Alignment, classes: dict[str, Any] | None) -> dict[str, Any]:
    """A pair as the template shows it: weights in percent, symbols with their blanks visible."""
    return {
        "alignment": alignment,
        "classes": classes,
        "source_symbols": [symbol_text(text) for text in alignment.source_symbols],
        "layers": [
            {
                "name": name,
                "rows": [
                    (symbol_text(text), np.rint(100 * row).astype(int).tolist())
                    for text, row in zip(alignment.target_symbols, weights, strict=True)
                ],
                "strongest": [
                    (symbol_text(target), symbol_text(source), f"{100 * weight:.0f}")
                    for target, source, weight in alignment.strongest(name)
                ],
            }
            for name, weights in alignment.weights.items()
        ],
    }


def _shown_classes(prefixes: Prefixes) -> dict[str, Any]:
    """The classes after the source, each symbol with its change and the tint of it, in percent of
    the largest change, and the symbols of the largest changes."""
    changes, name = prefixes.changes, prefixes.classes[prefixes.predicted]
    tints = np.rint(100 * np.abs(changes) / max(np.abs(changes).max(), 1e-9)).astype(int)
    course = prefixes.probabilities[:, prefixes.predicted]
    return {
        "predicted": name,
        "ranked": [(text, f"{100 * p:.0f}") for text, p in prefixes.ranked()],
        "symbols": [
            (visible(symbol), int(tint), bool(change < 0), f"{name} {100 * p:.0f} %")
            for symbol, tint, change, p in zip(
                prefixes.symbols, tints, changes, course, strict=True
            )
        ],
        "strongest": [
            (visible(before), visible(symbol), f"{100 * change:+.0f}")
            for before, symbol, change in prefixes.strongest()
        ],
    }
