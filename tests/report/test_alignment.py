"""The page of `minidark look --pairs` in a real browser."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidark import Network
from minidark.data.pairs import Line
from minidark.inference.alignment import Aligner, Alignment
from minidark.inference.prefixes import Prefixes
from minidark.report import alignment as page_module
from minidark.report.alignment import figures, write_alignment_page
from minidark.report.look import LARGEST
from tests.helpers import network, randomize
from tests.inference.sorter import sections, set_by_hand
from tests.report.browser import opened
from tests.report.test_look import contrast

pytest.importorskip("jinja2", reason="needs the extra report")

SOURCE, TARGET = "<b>Männer & Frauen\x1b lesen</b>", "“Women” read"
CELLS = """(layer) => [...document.querySelectorAll("table.weights")[layer].rows].map(
    (row) => [...row.cells].map((cell) => cell.textContent))"""

FULL_TINT = """(span) => {
    span.style.background = `var(--${span.className === "rises" ? "high" : "low"})`;
    return [getComputedStyle(span).color, getComputedStyle(span).backgroundColor];
}"""


def two_layers() -> Network:
    net = network(
        "net inputs=256 time_steps=9", "gru output=9 tanh=1", "attention over=source",
        "gru output=5 tanh=1", "attention over=source heads=5", "connected output=256", "softmax",
    )  # fmt: skip
    randomize(net.layers, seed=5)
    return net


def write(file: Path, net: Network, *pairs: tuple[str, str | None]) -> list[Alignment]:
    lines = [
        Line(number, source.encode(), target.encode() if target else None)
        for number, (source, target) in enumerate(pairs, start=1)
    ]
    alignments = [*Aligner(net).align(lines)]
    write_alignment_page(file, alignments, "a.cfg", "a.weights", "<pairs>.tsv")
    return alignments


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Alignment]:
    """A pair with a network of two attention layers, and the page of it."""
    file = tmp_path_factory.mktemp("random") / "alignment.html"
    (alignment,) = write(file, two_layers(), (SOURCE, TARGET))
    return file, alignment


@pytest.fixture(scope="module")
def sorted_letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two predictions of a network whose weights are set by hand."""
    file = tmp_path_factory.mktemp("sorted") / "alignment.html"
    write(file, set_by_hand(network(*sections())), ("cab", None), ("ba", "BA"))
    return file


def test_each_layer_has_a_table_of_its_weights(
    random: tuple[Path, Alignment], chromium: Any
) -> None:
    file, alignment = random
    with opened(chromium, file) as page:
        for number, name in enumerate(("1.attention", "3.attention")):
            head, *rows = page.evaluate(CELLS, number)
            shown = [text.replace(" ", "␣").replace("\x1b", "\\x1b") for text in SOURCE]
            assert head == ["", *shown, "⇥"]
            assert [row[0] for row in rows] == [*TARGET.replace(" ", "␣"), "↵"]
            percents = np.array([row[1:] for row in rows], float)
            np.testing.assert_allclose(percents, 100 * alignment.weights[name], atol=0.5001)
        headings = page.locator("h3").all_inner_texts()
        assert headings == ["Weights of 1.attention", "Weights of 3.attention"]


def test_tables_have_row_and_column_headers_and_a_name(sorted_letters: Path, chromium: Any) -> None:
    with opened(chromium, sorted_letters) as page:
        table = page.get_by_role("table", name="Weights of 1.attention Line 1")
        assert table.get_by_role("columnheader").all_inner_texts() == ["c", "a", "b", "⇥"]
        assert table.get_by_role("rowheader").all_inner_texts() == ["A", "B", "C", "↵"]
        assert table.get_by_role("cell").nth(2).text_content() == "100"


def test_the_tint_is_the_weight_and_letters_are_legible_on_it(
    random: tuple[Path, Alignment], chromium: Any
) -> None:
    file, alignment = random
    percents = np.rint(100 * alignment.weights["1.attention"]).ravel()
    for scheme in ("light", "dark"):
        with opened(chromium, file, color_scheme=scheme) as page:
            colours = page.evaluate("""() => [
                ...document.querySelectorAll("table.weights")[0].querySelectorAll("tbody td")
            ].map((cell) => {
                const context = new OffscreenCanvas(1, 1).getContext("2d");
                context.fillStyle = getComputedStyle(cell).backgroundColor;
                context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
            })""")
            paper, full = {
                "light": ([255, 253, 249], [243, 162, 84]),
                "dark": ([22, 24, 28], [150, 80, 11]),
            }[scheme]
            wanted = np.outer(1 - percents / 100, paper) + np.outer(percents / 100, full)
            np.testing.assert_allclose(colours, wanted, atol=1.5)
            ink = page.evaluate("getComputedStyle(document.body).color")
            assert contrast(ink, f"rgb({full[0]}, {full[1]}, {full[2]})") >= 4.5  # WCAG 2.2, AA


def test_small_weights_show_their_number_when_pointed_at(
    random: tuple[Path, Alignment], chromium: Any
) -> None:
    file, alignment = random
    percents = np.rint(100 * alignment.weights["1.attention"]).ravel()
    colour = "(cell) => getComputedStyle(cell).color"
    with opened(chromium, file) as page:
        cells = page.locator("table.weights").first.locator("tbody td")
        ink = page.evaluate("getComputedStyle(document.body).color")
        small, large = int(np.argmin(percents)), int(np.argmax(percents))
        assert percents[small] < page_module.SHOWN_FROM <= percents[large]
        assert cells.nth(large).evaluate(colour) == ink
        assert cells.nth(small).evaluate(colour) == "rgba(0, 0, 0, 0)"
        cells.nth(small).hover()
        assert cells.nth(small).evaluate(colour) == ink


def test_captions_and_words(sorted_letters: Path, chromium: Any) -> None:
    with opened(chromium, sorted_letters) as page:
        first, second = page.locator("figcaption dl").all()
        assert first.inner_text().split() == ["Source", "cab", "Prediction", "ABC"]
        assert second.inner_text().split() == ["Source", "ba", "Target", "BA"]
        words = page.locator(".strongest").first.locator("li").all_inner_texts()
        assert [" ".join(word.split()) for word in words] == [
            "A a 100 %", "B b 100 %", "C c 100 %", "↵ ⇥ 100 %",
        ]  # fmt: skip


def test_it_fits_a_phone_and_only_the_table_scrolls(
    random: tuple[Path, Alignment], chromium: Any
) -> None:
    with opened(chromium, random[0], viewport={"width": 390, "height": 844}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        scrolls = "(frame) => frame.scrollWidth > frame.clientWidth"
        frame = page.locator(".wide").first
        assert frame.evaluate(scrolls)
        frame.evaluate("(frame) => frame.scrollLeft = 300")
        header = page.locator("tbody th").first.bounding_box()
        assert header["x"] == frame.bounding_box()["x"]  # row headers stay


def test_it_can_be_read_without_javascript(sorted_letters: Path, chromium: Any) -> None:
    with opened(chromium, sorted_letters, java_script_enabled=False) as page:
        assert page.locator("table.weights").count() == 2
        assert page.locator("figcaption").first.is_visible()


def test_texts_are_escaped(random: tuple[Path, Alignment]) -> None:
    text = random[0].read_text(encoding="utf-8")
    assert escape("<b>Männer & Frauen\\x1b lesen</b>") in text
    assert "&lt;pairs&gt;.tsv" in text
    assert "<b>M" not in text


def test_figures_are_for_json(random: tuple[Path, Alignment]) -> None:
    alignment = random[1]
    made = figures(alignment)
    assert [layer["layer"] for layer in made["layers"]] == [*alignment.weights]
    for layer in made["layers"]:
        np.testing.assert_allclose(layer["weights"], alignment.weights[layer["layer"]], atol=5.1e-7)
    assert (made["source"], made["target_symbols"]) == (SOURCE, [*TARGET, "\n"])


# --- size -------------------------------------------------------------------------------------


def count_pairs(file: Path) -> int:
    return file.read_text(encoding="utf-8").count("<figure>")


def test_a_page_has_as_many_pairs_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net, file = set_by_hand(network(*sections())), tmp_path / "alignment.html"
    pairs = [("cab", "ABC")] * 5

    def write_within(largest: int) -> int:
        monkeypatch.setattr(page_module, "LARGEST", largest)
        caplog.clear()
        write(file, net, *pairs)
        return file.stat().st_size

    whole = write_within(10**6)
    assert (count_pairs(file), caplog.messages) == (5, [])
    assert write_within(whole) == whole
    assert write_within(whole - 1) < whole
    assert count_pairs(file) == 4
    assert "the first 4 of 5 pairs" in " ".join(file.read_text(encoding="utf-8").split())
    assert caplog.messages == ["the page shows the first 4 of 5 pairs; more would exceed 0 MB"]
    write_within(1)
    assert count_pairs(file) == 1


def test_twenty_pairs_of_100_characters_fit_into_3_mb(tmp_path: Path) -> None:
    """If most weights are 0, as in a trained network."""
    net, file = set_by_hand(network(*sections())), tmp_path / "alignment.html"
    write(file, net, *[("abcdefgh" * 12, "ABCDEFGH" * 12)] * 20)
    assert count_pairs(file) == 20
    assert file.stat().st_size <= LARGEST == 3_000_000


def test_the_same_alignments_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    for file in (one, other):
        write(file, two_layers(), ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prefixes]:
    """A page with the classes of a source."""
    file, net = tmp_path_factory.mktemp("classified") / "alignment.html", two_layers()
    (alignment,) = Aligner(net).align([Line(1, SOURCE.encode(), b"yes")])
    p = np.random.default_rng(0).dirichlet([1, 1], len(SOURCE))
    found = Prefixes([*SOURCE], ("yes", "<no>"), p)
    write_alignment_page(file, [alignment], "a.cfg", "a.weights", "pairs.tsv", [found])
    return file, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_symbols_are_tinted_by_how_they_change_the_class(
    classified: tuple[Path, Prefixes], scheme: str, chromium: Any
) -> None:
    file, found = classified
    with opened(chromium, file, color_scheme=scheme) as page:
        spans = page.locator(".course span")
        shown = spans.evaluate_all(
            """(spans) => spans.map((span) => [span.textContent, span.className, span.title,
                parseFloat(span.style.getPropertyValue("--w") || 0)])"""
        )
        assert [text for text, *_ in shown] == [s.replace("\x1b", "\\x1b") for s in found.symbols]
        tints = np.array([-w if kind == "falls" else w for _, kind, _, w in shown])
        largest = np.abs(found.changes).max()
        np.testing.assert_allclose(tints, 100 * found.changes / largest, atol=0.5001)
        assert tints.max() > 10
        assert tints.min() < -10
        name = found.classes[found.predicted]
        last = found.probabilities[-1, found.predicted]
        assert shown[-1][2] == f"{name} {100 * last:.0f} %"
        for kind in ("rises", "falls"):
            full = page.locator(f".course .{kind}").first.evaluate(FULL_TINT)
            assert contrast(*full) >= 4.5  # WCAG 2.2, AA
        listed = page.locator(".changes li").all_text_contents()
        points = [f"{100 * change:+.0f}" for *_, change in found.strongest()]
        assert [text.split()[-1] for text in listed] == points
