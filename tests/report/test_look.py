"""The page of `minidark look` in a real browser, against numpy and against the trace it shows.

Tests share a page where they can, because opening one takes seconds. Each test begins with `go`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from minidark import Network, load_network
from minidark.files.shipped import folder
from minidark.inference.trace import Trace, trace
from minidark.report import look
from minidark.report.finds import by_likeness
from minidark.report.look import LARGEST, STEPS, Look, symbol_name
from minidark.report.properties import LABELS, PROPERTIES
from tests.helpers import network, randomize
from tests.report.browser import opened

pytest.importorskip("jinja2", reason="needs the extra report")

TEXT = (
    'The "for" statement is used to iterate (over a list[0], as in "for x in y").\n\n'
    "* See also:\tPEP 634 — “Structural”, <b>&amp;</b> {1: 'x'}.\n    indented code: 0x1F\n"
).encode() + b"bad \xff\x80 bytes, cut: \xe2\x80"
CHARACTERS = [*TEXT.decode("utf-8", "surrogateescape")]
SIZES = [len(one.encode("utf-8", "surrogateescape")) for one in CHARACTERS]
ENDS = np.cumsum(SIZES) - 1
C = len(CHARACTERS)
MINUS = "\N{MINUS SIGN}"
PIXELS = """() => {
    const map = document.getElementById("map");
    const copy = new OffscreenCanvas(map.width, map.height).getContext("2d");
    copy.drawImage(map, 0, 0);
    return [...copy.getImageData(0, 0, map.width, map.height).data];
}"""


@dataclass
class Shown:
    """A page, and what it was made from."""

    file: Path
    trace: Trace

    def values(self, layer: int, value: int) -> npt.NDArray[np.float64]:
        """(C, H): after the last byte of each character."""
        return [*self.trace.layers[layer].values.values()][value][ENDS].astype(np.float64)


def write(file: Path, net: Any, text: bytes) -> Shown:
    traced = trace(net, np.frombuffer(text, dtype=np.uint8))
    Look(traced).write(file, "a.cfg", "a.weights")
    return Shown(file, traced)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The shipped network: one GRU of 320."""
    net = load_network(
        folder("cfg") / "rnn.cfg", folder("weights") / "rnn.weights", batch=1, kernels="numpy"
    )
    return write(tmp_path_factory.mktemp("shipped") / "look.html", net, TEXT)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """All three kinds of layer, and a GRU of logistic candidates."""
    net = network(
        "net inputs=256", "gru output=9 tanh=1", "lstm output=8", "gru output=5",
        "rnn output=7 hidden=6 activation=leaky", "connected output=256", "softmax",
        dtype="float32",
    )  # fmt: skip
    randomize(net.layers, seed=5)
    return write(tmp_path_factory.mktemp("mixture") / "look.html", net, TEXT)


@pytest.fixture(scope="module")
def page(shipped: Shown, chromium: Any) -> Iterator[Any]:
    with opened(chromium, shipped.file, viewport={"width": 1280, "height": 800}) as one:
        ready(one)
        yield one


@pytest.fixture(scope="module")
def mixed(mixture: Shown, chromium: Any) -> Iterator[Any]:
    with opened(chromium, mixture.file) as one:
        ready(one)
        yield one


def ready(page: Any) -> None:
    page.wait_for_selector("body[data-ready]")


PICKED = """() => [
    document.getElementById("layer").selectedIndex,
    document.getElementById("value").selectedIndex,
    Number(document.getElementById("unit").value),
    Number(document.querySelector("#text .chosen").dataset.at),
]"""


def picked(page: Any) -> tuple[int, ...]:
    """Layer, value, unit and place, as the page has them."""
    return tuple(page.evaluate(PICKED))


def go(page: Any, layer: int, value: int, unit: int, at: int) -> None:
    """Select these, untinted by surprise and without a stretch, with the focus on the text."""
    place = f"{layer}.{value}.{unit}.{at}"
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # until the page has stored its last selection in the address
    page.evaluate(f"location.hash = '#{place}'")
    page.wait_for_selector(f"#reading[data-shown='{place}']")
    page.focus("#text")
    page.keyboard.press("Escape")


def in_text(page: Any, at: int) -> bool:
    """Whether a character is in view within the text, and the text within the window."""
    inside: bool = page.evaluate(
        """(at) => {
            const cell = document.querySelector(`#text [data-at="${at}"]`).getBoundingClientRect();
            const text = document.getElementById("text").getBoundingClientRect();
            const [top, bottom] = [Math.max(0, text.top), Math.min(innerHeight, text.bottom)];
            return cell.top >= top && cell.bottom <= bottom;
        }""",
        at,
    )
    return inside


def reading(page: Any) -> list[str]:
    text: str = page.inner_text("#reading")
    return [line for line in text.replace(MINUS, "-").splitlines() if line]


def value_read(page: Any) -> float:
    return float(reading(page)[1].rpartition(": ")[2])


# --- what is shown is what there is -----------------------------------------------------------

LOW, MIDDLE, HIGH = (127, 176, 230), (255, 253, 249), (243, 162, 84)


def colours(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(T, H) as the map shows them, (H, T, 3): 255 levels from the lowest to the highest value that
    there may be, and from blue to the paper's colour to orange."""
    high = max(1.0, np.abs(values).max())
    low = -high if values.min() < 0 else 0.0
    level = np.floor((values.T - low) / (high - low) * 254 + 0.5) / 254
    shade = np.floor(level * 255 + 0.5) / 127.5
    ends = np.array([LOW, MIDDLE, HIGH], dtype=np.float64)
    at = np.arange(3)
    return np.stack([np.interp(shade, at, ends[:, channel]) for channel in range(3)], axis=-1)


def test_the_map_holds_every_value_of_every_unit_in_both_orders(mixture: Shown, mixed: Any) -> None:
    for layer, traced in enumerate(mixture.trace.layers):
        for value in range(len(traced.values)):
            go(mixed, layer, value, 0, 0)
            values = mixture.values(layer, value)
            orders = {"number": np.arange(values.shape[1]), "likeness": by_likeness(values)}
            for name, order in orders.items():
                mixed.select_option("#order", name)
                pixels = np.array(mixed.evaluate(PIXELS)).reshape(values.shape[1], C, 4)
                wanted = colours(values)[order]
                assert np.abs(pixels[..., :3] - wanted).max() <= 0.5
                assert (pixels[..., 3] == 255).all()


def test_the_value_at_a_place_is_the_traced_one_to_half_a_level(mixture: Shown, mixed: Any) -> None:
    rng = np.random.default_rng(0)
    for layer, traced in enumerate(mixture.trace.layers):
        for value, name in enumerate(traced.values):
            values = mixture.values(layer, value)
            unit, at = int(rng.integers(values.shape[1])), int(rng.integers(C))
            go(mixed, layer, value, unit, at)
            half = max(1.0, np.abs(values).max()) / 254 + 0.005  # and half of the last digit
            assert abs(value_read(mixed) - values[at, unit]) <= half
            assert reading(mixed)[1].startswith(f"{name} of unit {unit}: ")


def test_the_five_likeliest_and_the_surprise_are_numpys(shipped: Shown, page: Any) -> None:
    outputs = shipped.trace.outputs.astype(np.float64)
    came = outputs[np.arange(len(TEXT) - 1), [*TEXT[1:]]]
    surprise = [0.0, *-np.log2(came)]
    for at in (0, 1, 40, CHARACTERS.index("—"), C - 1):
        go(page, 0, 0, 0, at)
        rows = page.locator("#likeliest li").all()
        after, end = outputs[ENDS[at]], int(ENDS[at])
        best = np.argsort(-after, kind="stable")[:5]
        names = [row.locator("code").inner_text() for row in rows]
        shares = [float(row.locator(".percent").inner_text().removesuffix(" %")) for row in rows]
        assert names == [symbol_name(int(symbol)) for symbol in best]
        np.testing.assert_allclose(shares, 100 * after[best], atol=0.0056)
        marked = [row.get_attribute("class") == "came" for row in rows]
        assert marked == [end + 1 < len(TEXT) and symbol == TEXT[end + 1] for symbol in best]
        bits = re.search(r"Surprise: ([\d.]+) bits(?: \((.*) of its bytes\))?", reading(page)[2])
        if at == 0:
            assert bits is None
            continue
        assert bits is not None
        parts = surprise[end - SIZES[at] + 1 : end + 1]
        assert float(bits[1]) == pytest.approx(sum(parts), abs=0.0056 + 0.0005 * len(parts))
        if len(parts) > 1:
            assert [float(part) for part in bits[2].split(" + ")] == pytest.approx(
                parts, abs=0.0056
            )


def test_shares_near_the_ends_are_exact(shipped: Shown, page: Any) -> None:
    z, h = shipped.values(0, 0), shipped.values(0, 3)
    unit = int(np.argmax((z > 0.9).mean(axis=0)))
    for value, values, low in ((0, z, 0.1), (3, h, -0.9)):
        go(page, 0, value, unit, 0)
        shares = re.findall(r"([\d.]+) %", page.inner_text("#about"))
        wanted = [(values[:, unit] > 0.9).mean(), (values[:, unit] < low).mean()]
        assert shares == [f"{100 * share:.1f}" for share in wanted]
        point = page.locator("#scatter circle").nth(unit)
        x, y = (float(point.get_attribute(name)) for name in ("cx", "cy"))
        assert [(x - 44) / 270, (280 - y) / 270] == pytest.approx(wanted)


def test_characters_are_whole_and_what_is_not_seen_is_shown(page: Any) -> None:
    assert page.locator("#text span").count() == C
    shown = page.evaluate("document.getElementById('text').textContent")
    for part in ("y\").↵\n↵\n", "also:⇥\t", "—", "“Structural”", "<b>&amp;</b>",
                 "bad \\xff\\x80 bytes, cut: \\xe2\\x80"):  # fmt: skip
        assert part in shown
    at = CHARACTERS.index("—")
    go(page, 0, 0, 0, at)
    assert reading(page)[0] == f"Character {at + 1} of {C}: — (3 bytes: 0xe2 0x80 0x94)"
    go(page, 0, 0, 0, 0)
    assert reading(page)[0] == f"Character 1 of {C}: T (byte 0x54)"


def test_the_summary_counts_characters_and_bytes(shipped: Shown, page: Any) -> None:
    bits = shipped.trace.surprise()
    said = page.inner_text("#summary")
    assert f"read {C} characters ({len(TEXT)} bytes)" in said
    assert (
        f"{bits.sum() / (C - 1):.3f} bits per character ({bits.mean():.3f} bits per byte)" in said
    )


# --- finds ------------------------------------------------------------------------------------


def correlations(shipped: Shown) -> dict[str, dict[tuple[int, int], float]]:
    """Of each property with each value and unit, without those of units that do not vary. The
    property of a character is that of its first byte."""
    starts = ENDS - np.array(SIZES) + 1
    found: dict[str, dict[tuple[int, int], float]] = {}
    for name, of in PROPERTIES.items():
        wanted = of(TEXT)[starts]
        found[name] = {
            (value, unit): np.corrcoef(wanted, shipped.values(0, value)[:, unit])[0, 1]
            for value in range(4)
            for unit in range(320)
        }
    return found


@pytest.fixture(scope="module")
def ranked(shipped: Shown) -> list[tuple[str, tuple[int, int], float]]:
    """Properties, their best units and correlations: by the margin over the best correlation with
    the property of half the text further on, white space last."""
    starts = ENDS - np.array(SIZES) + 1
    rows = []
    for name, found in correlations(shipped).items():
        moved = np.roll(PROPERTIES[name](TEXT)[starts], C // 2)
        chance = max(
            np.abs(np.corrcoef(moved, shipped.values(0, value).T)[0, 1:]).max()
            for value in range(4)
        )
        best = max(found, key=lambda one: abs(found[one]))
        rows.append((name != "white space", abs(found[best]) - chance, name, best, found[best]))
    return [
        (name, best, r) for _, margin, name, best, r in sorted(rows, reverse=True) if margin > 0
    ]


def test_it_opens_on_the_strongest_find_where_it_can_be_seen(
    shipped: Shown, ranked: list[Any], page: Any
) -> None:
    go(page, 0, 0, 0, C - 1)
    page.evaluate("location.hash = ''")  # as a new visitor
    (_, (value, unit), r), *_ = ranked
    page.wait_for_function(f"document.getElementById('unit').value === '{unit}'")
    layer, shown, _, at = picked(page)
    assert (layer, shown) == (0, value)
    assert in_text(page, at)
    values = shipped.values(0, value)[:, unit]
    assert (values[at] - values.mean()) * r > 0  # where the property is present
    assert page.locator("#finds button").first.get_attribute("aria-pressed") == "true"


def test_chips_are_the_finds_by_their_margin_and_show_their_text(
    shipped: Shown, ranked: list[Any], page: Any
) -> None:
    chips = page.locator("#finds button")
    shown = [chip.replace(MINUS, "-").rsplit(" ", 1) for chip in chips.all_inner_texts()]
    assert len(ranked) > 3
    assert [float(r) for _, r in shown] == pytest.approx([r for *_, r in ranked], abs=0.0051)
    for (label, _), (name, _, _) in zip(shown, ranked, strict=True):
        assert label == LABELS[name]
    for chip, (name, (value, unit), _) in zip(chips.all(), ranked, strict=True):
        go(page, 0, 0, 0, C - 1)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        chip.click()
        assert picked(page)[:3] == (0, value, unit)
        assert in_text(page, picked(page)[3])
        assert page.input_value("#property") == name
        assert chip.get_attribute("aria-pressed") == "true"


def test_panels_show_different_units_where_they_can_be_seen_or_at_the_character(
    shipped: Shown, ranked: list[Any], page: Any
) -> None:
    go(page, 0, 0, 0, 0)
    panels = page.locator("#panels article")
    assert panels.count() == 6
    titles = [text.replace(MINUS, "-") for text in panels.locator("button").all_inner_texts()]
    units = [re.search(r"(\w) of unit (\d+)", title).groups() for title in titles]  # type: ignore[union-attr]
    assert len({*units}) == 6
    name, (value, unit), r = ranked[0]
    assert titles[0].startswith(f"{LABELS[name]} {r:+.2f}")
    assert units[0] == ("zrch"[value], str(unit))
    for panel, (letter, unit) in zip(panels.all(), units, strict=True):
        values = shipped.values(0, "zrch".index(letter))[:, int(unit)]
        cells = panel.locator(".excerpt span")
        first = int(cells.first.get_attribute("data-at"))
        bars = cells.evaluate_all(
            "(all) => all.map((c) => parseFloat(c.style.backgroundSize.split(' ')[1]))"
        )
        assert len(bars) == min(200, C)
        part = values[first : first + len(bars)]
        wanted = part if letter in "zr" else (part + 1) / 2
        np.testing.assert_allclose(bars, 6 * wanted, atol=0.05 + 6 / 508)
    page.check("#follow")
    panels.nth(2).locator("button").click()
    assert picked(page) == (0, "zrch".index(units[2][0]), int(units[2][1]), 0)
    page.keyboard.press("End")
    chosen = panels.locator(".excerpt .chosen")
    assert chosen.evaluate_all("(all) => all.map((c) => c.dataset.at)") == [str(C - 1)] * 6
    page.uncheck("#follow")


def test_a_click_on_a_tracker_picks_it(shipped: Shown, page: Any) -> None:
    found = correlations(shipped)["white space"]
    (value, unit) = max(found, key=lambda one: abs(found[one]))
    go(page, 0, 0, 0, 0)
    page.select_option("#property", "white space")
    tracker = page.locator("#trackers button").first
    tracker.click()
    assert picked(page)[:3] == (0, value, unit)
    assert in_text(page, picked(page)[3])
    shown = tracker.locator("span").nth(1).inner_text().replace(MINUS, "-")
    assert float(shown) == pytest.approx(found[value, unit], abs=0.0006)
    assert tracker.get_attribute("aria-current") == "true"
    page.check("#only")
    go(page, 0, 1, 0, 0)
    names = page.locator("#trackers button span:first-child").all_inner_texts()
    assert len(names) == 10
    best = max((one for one in found if one[0] == 1), key=lambda one: abs(found[one]))
    assert names[0] == f"r of unit {best[1]}, 0.gru"
    assert all(name.startswith("r of") for name in names)
    page.uncheck("#only")


# --- picking ----------------------------------------------------------------------------------


def test_by_mouse(page: Any) -> None:
    go(page, 0, 0, 0, 0)
    words = page.locator("#value option").all_inner_texts()
    assert words == ["z: update gate", "r: reset gate", "c: candidate", "h: state"]
    page.select_option("#value", "r")
    page.fill("#unit", "123")
    page.locator("#text span").nth(9).click()
    assert picked(page) == (0, 1, 123, 9)
    page.click("#next")
    page.click("#previous")
    page.click("#previous")
    assert picked(page) == (0, 1, 122, 9)
    page.locator("#text span").nth(20).hover()  # shows, and does not pick
    assert reading(page)[0].startswith("Character 21 of ")
    page.mouse.move(0, 0)
    assert reading(page)[0].startswith("Character 10 of ")
    assert picked(page) == (0, 1, 122, 9)
    page.wait_for_url("**/look.html#0.1.122.9")
    page.reload()
    ready(page)
    assert picked(page) == (0, 1, 122, 9)
    page.keyboard.press("ArrowRight")  # without a click: the text has the focus
    assert picked(page) == (0, 1, 122, 10)


def test_an_address_beyond_what_there_is_picks_the_last(mixed: Any) -> None:
    go(mixed, 0, 0, 0, 0)
    mixed.evaluate("location.hash = '#0.99.0.0'")
    mixed.wait_for_selector("#reading[data-shown='0.3.0.0']")
    assert picked(mixed) == (0, 3, 0, 0)


def test_an_address_counts_that_was_written_over_before_its_event(mixed: Any) -> None:
    mixed.evaluate("""() => {
        location.hash = '#1.0.2.3';
        history.replaceState(null, "", '#0.0.0.0');
    }""")
    mixed.wait_for_selector("#reading[data-shown='1.0.2.3']", timeout=10_000)


def test_the_address_of_a_moment_ago_counts(mixed: Any) -> None:
    go(mixed, 0, 0, 0, 5)
    mixed.wait_for_timeout(300)  # the address was not changed just now
    mixed.evaluate("""() => {
        const text = document.getElementById("text");
        text.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        location.hash = '#0.0.0.5';
    }""")
    mixed.wait_for_timeout(300)
    assert picked(mixed) == (0, 0, 0, 5)
    assert mixed.evaluate("location.hash") == "#0.0.0.5"


@dataclass
class Late:
    """A browser whose pages unpack their values only after a message."""

    chromium: Any

    def new_context(self, **context: Any) -> Any:
        window = self.chromium.new_context(**context)
        window.add_init_script("""
            const unpacked = Response.prototype.arrayBuffer;
            Response.prototype.arrayBuffer = async function () {
                await new Promise((go) => addEventListener("message", go, { once: true }));
                return unpacked.call(this);
            };
        """)
        return window


def test_nothing_happens_before_the_values_are_there(mixture: Shown, chromium: Any) -> None:
    with opened(Late(chromium), mixture.file) as page:
        assert page.inner_text("#reading") == "Unpacking …"
        page.locator("#text span").nth(3).click()
        page.focus("#text")
        page.keyboard.press("ArrowDown")
        page.click("#theme")
        page.evaluate("location.hash = '#1.0.2.3'")
        page.evaluate("setInterval(() => postMessage(0), 5)")
        ready(page)
        assert picked(page) == (1, 0, 2, 3)


def test_by_keys(mixture: Shown, mixed: Any) -> None:
    last = C - 1
    go(mixed, 0, 0, 0, 0)
    walk = [
        ("ArrowLeft", (0, 0, 0, 0)), ("ArrowRight", (0, 0, 0, 1)), ("ArrowDown", (0, 0, 1, 1)),
        ("PageDown", (0, 0, 1, 51)), ("ArrowLeft", (0, 0, 1, 50)), ("g", (0, 1, 1, 50)),
        ("End", (0, 1, 1, last)), ("ArrowRight", (0, 1, 1, last)), ("l", (1, 1, 1, last)),
        ("PageUp", (1, 1, 1, last - 50)), ("ArrowUp", (1, 1, 0, last - 50)),
        ("ArrowUp", (1, 1, 0, last - 50)), ("Home", (1, 1, 0, 0)),
    ]  # fmt: skip
    for key, wanted in walk:
        mixed.keyboard.press(key)
        assert picked(mixed) == wanted, key
    mixed.focus("#scatter")
    mixed.keyboard.press("ArrowDown")
    assert picked(mixed) == (1, 1, 1, 0)
    order = [*by_likeness(mixture.values(1, 1))]  # the map's rows
    mixed.select_option("#order", "likeness")
    for key, step in (("ArrowDown", 1), ("ArrowUp", -1)):
        unit = int(order[3])
        go(mixed, 1, 1, unit, 0)
        mixed.focus("#map")
        mixed.keyboard.press(key)
        assert picked(mixed) == (1, 1, order[3 + step], 0)
    go(mixed, 1, 5, 7, 0)  # h of the last unit
    mixed.keyboard.press("l")  # the GRU has four values and five units
    assert picked(mixed) == (2, 3, 4, 0)
    assert mixed.input_value("#value") == "h"


def test_up_and_down_keep_the_place_and_what_is_in_view(page: Any) -> None:
    go(page, 0, 0, 5, 0)
    scrolled = "document.getElementById('text').scrollTop"
    page.evaluate("document.getElementById('text').style.maxHeight = '6rem'")
    page.evaluate(f"{scrolled} = 60")  # the selected character is out of view
    before = page.evaluate(scrolled)
    assert before > 0
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "g"):
        page.keyboard.press(key)
    assert picked(page) == (0, 1, 6, 0)
    assert page.evaluate(scrolled) == before
    page.keyboard.press("ArrowRight")
    assert in_text(page, 1)
    page.evaluate("document.getElementById('text').style.maxHeight = ''")


def test_the_keyboard_reaches_every_picker_and_the_focus_is_seen(page: Any) -> None:
    go(page, 0, 0, 0, 0)
    page.focus("#theme")
    chips = page.locator("#finds button").count()
    seen = ["theme"]
    for _ in range(chips + 40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", seen
        if seen[-1] == "only":
            break
    pickers = ["layer", "value", "unit", "previous", "next", "surprise", "text", "follow", "order",
               "map", "scatter", "property", "only"]  # fmt: skip
    assert [name for name in seen if name in pickers] == pickers


def shown_as(characters: list[str]) -> str:
    """In one line."""
    names = {"\n": "↵", "\t": "⇥"}
    return "".join(
        f"\\x{ord(one) - 0xDC00:x}" if "\udc80" <= one <= "\udcff" else names.get(one, one)
        for one in characters
    )


def map_position(page: Any, at: int, row: int) -> dict[str, float]:
    box = page.locator("#map").bounding_box()
    return {"x": (at + 0.5) / C * box["width"], "y": (row + 0.5) / 320 * box["height"]}


def test_the_map_is_read_at_the_pointer_and_picked_by_a_click(shipped: Shown, page: Any) -> None:
    values = shipped.values(0, 3)
    order = by_likeness(values)
    go(page, 0, 3, 0, 0)
    page.select_option("#order", "likeness")
    page.hover("#map", position=map_position(page, 100, 200))
    unit = int(order[200])
    said = page.inner_text("#map-readout").replace(MINUS, "-")
    match = re.match(rf"h of unit {unit}: (-?[\d.]+)\ncharacter 101: (.*)$", said)
    assert match, said
    assert abs(float(match[1]) - values[100, unit]) <= 1 / 254 + 0.0006
    before, it, after = CHARACTERS[88:100], CHARACTERS[100], CHARACTERS[101:113]
    assert match[2] == shown_as([*before, "[", it, "]", *after])
    page.click("#map", position=map_position(page, 100, 200))
    assert picked(page) == (0, 3, unit, 100)
    cross = page.evaluate("parseFloat(document.getElementById('cross-unit').style.top)")
    assert cross == pytest.approx(100 * 200.5 / 320)
    page.mouse.move(0, 0)
    assert page.is_hidden("#map-readout")
    page.select_option("#order", "number")
    page.click("#map", position=map_position(page, 100, 200))
    assert picked(page) == (0, 3, 200, 100)


def test_a_click_on_the_scatter_picks_the_unit_that_is_nearest(shipped: Shown, page: Any) -> None:
    z = shipped.values(0, 0)
    unit = int(np.argmax((z > 0.9).mean(axis=0)))  # by itself in its corner
    go(page, 0, 0, 0, 0)
    page.locator("#scatter circle").nth(unit).click(force=True)
    assert picked(page) == (0, 0, unit, 0)


# --- stretches --------------------------------------------------------------------------------


def alike(values: npt.NDArray[np.float64], begin: int, end: int) -> tuple[list[int], list[Any]]:
    """The units that stand out from character `begin` up to `end`, and all other stretches with
    their likeness, from the definitions in alike.js."""
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    size = end - begin
    means = np.stack([z[at : at + size].mean(axis=0) for at in range(C - size + 1)])
    units = [int(unit) for unit in np.argsort(-np.abs(means[begin]))[:12]]
    units = [u for n, u in enumerate(units) if n < 3 or abs(means[begin, u]) >= 1]
    own, others = means[begin, units], means[:, units]
    likeness = 2 * others @ own / ((own**2).sum() + (others**2).sum(axis=1))
    return units, [*likeness]


def test_a_stretch_is_selected_and_stretches_like_it_are_found(shipped: Shown, page: Any) -> None:
    go(page, 0, 3, 160, 0)
    assert "Select two or more characters" in page.inner_text("#alike-about")
    begin = TEXT.index(b'"for"') + 1
    first, last = page.locator("#text span").nth(begin), page.locator("#text span").nth(begin + 2)
    boxes = first.bounding_box(), last.bounding_box()
    page.mouse.move(boxes[0]["x"] + 1, boxes[0]["y"] + 8)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + boxes[1]["width"] - 1, boxes[1]["y"] + 8, steps=3)
    page.mouse.up()
    page.wait_for_selector("#matches li")
    marked = "[...document.querySelectorAll('#text .stretch')].map((c) => Number(c.dataset.at))"
    assert page.evaluate(marked) == [begin, begin + 1, begin + 2]
    units, likeness = alike(shipped.values(0, 3), begin, begin + 3)
    shown = page.locator("#standing-out button").all_inner_texts()
    assert sorted(int(text.split()[1]) for text in shown) == sorted(units)
    rows = page.locator("#matches button").all()
    assert len(rows) == 10
    found = []
    for row in rows:
        row.click()
        found.append(picked(page)[3])
        assert in_text(page, found[-1])
        said = float(row.locator(":scope > span").nth(1).inner_text())
        assert said == pytest.approx(likeness[found[-1]], abs=0.02)  # values are rounded
        strong = row.locator("strong").inner_text()
        assert strong == shown_as(CHARACTERS[found[-1] : found[-1] + 3])
    spans = sorted([begin, *found])
    assert all(b - a >= 3 for a, b in itertools.pairwise(spans))  # none overlap
    rest = [r for at, r in enumerate(likeness) if all(abs(at - one) >= 3 for one in spans)]
    assert max(rest) <= min(likeness[at] for at in found) + 0.02
    page.keyboard.press("Escape")
    assert page.evaluate(marked) == [begin, begin + 1, begin + 2]  # the focus is on a match
    go(page, 0, 3, 160, 4)
    assert page.evaluate(marked) == []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "PageDown"):
        page.keyboard.press(f"Shift+{key}")
    assert page.evaluate(marked) == [*range(4, 56)]
    page.locator("#text span").nth(9).click()
    assert page.evaluate(marked) == []


# --- how it looks -----------------------------------------------------------------------------


def test_on_a_phone_ten_lines_of_text_are_in_view_and_a_tap_picks(
    shipped: Shown, chromium: Any, tmp_path: Path
) -> None:
    window = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    lines = """() => {
        const text = document.getElementById("text").getBoundingClientRect();
        const seen = (x, y) => document.elementFromPoint(x, y)?.closest("#text");
        const tops = new Set();
        for (const cell of document.querySelectorAll("#text span")) {
            const { left, top, bottom } = cell.getBoundingClientRect();
            const inside = top >= text.top && bottom <= text.bottom;
            const free = seen(left + 1, top + 1) && seen(left + 1, bottom - 1);
            if (inside && free) tops.add(Math.round(top));
        }
        return tops.size;
    }"""
    text = b"A few words in each line, of a text with many lines.\n" * 12
    look = write(tmp_path / "look.html", network(
        "net inputs=256", "gru output=5", "connected output=256", "softmax", dtype="float32"
    ), text)  # fmt: skip
    with opened(chromium, look.file, **window) as page:
        ready(page)
        assert page.evaluate(lines) >= 10
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#text span").nth(300).tap()
        assert picked(page)[3] == 300
        assert reading(page)[0].startswith("Character 301 of ")
        assert page.locator("#likeliest li").count() == 5
        assert page.locator("#likeliest").is_visible()
        page.set_viewport_size({"width": 320, "height": 600})
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_dark_has_its_own_map_and_letters_can_be_read_on_both(
    shipped: Shown, chromium: Any
) -> None:
    with opened(chromium, shipped.file, color_scheme="dark") as page:
        ready(page)
        go(page, 0, 0, 0, 0)
        of = "getComputedStyle(document.querySelector('%s')).%s"
        maps = []
        for _ in range(3):  # the system's, light, dark
            ink = page.evaluate(of % ("body", "color"))
            ramp = page.evaluate(of % (".ramp", "backgroundImage"))
            for colour in re.findall(r"rgb\([^)]*\)", ramp):
                assert contrast(ink, colour) >= 4.5  # WCAG 2.2, AA
            maps.append(page.evaluate("document.getElementById('map').toDataURL()"))
            page.click("#theme")
        assert maps[0] == maps[2] != maps[1]


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


BARS = """() => [...document.querySelectorAll('#text span')].map(
    (cell) => parseFloat(cell.style.backgroundSize.split(' ')[1]))"""


def test_the_bar_under_a_character_says_the_value_or_the_surprise_without_colour(
    shipped: Shown, page: Any
) -> None:
    go(page, 0, 0, 5, 0)
    values = shipped.values(0, 0)[:, 5]
    np.testing.assert_allclose(page.evaluate(BARS), 6 * values, atol=0.05 + 6 / 508)
    page.check("#surprise")
    bits = np.concatenate([[0.0], shipped.trace.surprise()])
    bits[: SIZES[0]] = 0
    of_characters = np.add.reduceat(bits, ENDS - np.array(SIZES) + 1)
    wanted = 6 * np.minimum(1, of_characters / 8)
    np.testing.assert_allclose(page.evaluate(BARS), wanted, atol=0.06)
    paint = page.evaluate(
        "[...document.querySelectorAll('#text span')].map((cell) => cell.style.backgroundColor)"
    )
    ends = ((0, MIDDLE), (int(np.argmax(of_characters)), HIGH))  # the first is not scored
    for at, colour in ends:
        shown = [int(part) for part in re.findall(r"\d+", paint[at])]
        assert shown == pytest.approx(colour, abs=1)
    assert page.inner_text("#high-end") == "8 bits or more"
    page.wait_for_url("**/look.html#0.0.5.0.surprise")
    page.focus("#text")
    page.keyboard.press("s")
    np.testing.assert_allclose(page.evaluate(BARS), 6 * values, atol=0.05 + 6 / 508)


def test_hidden_characters_have_names() -> None:
    assert [symbol_name(n) for n in (65, 32, 10, 9, 0, 200, 300)] == [
        "A", "␣", "↵", "⇥", "\\x00", "\\xc8", "#300",
    ]  # fmt: skip
    net = network("net inputs=256", "gru output=2", "connected output=256", "softmax")
    text = "é\n\u202e\u0301\x00".encode()
    shown = Look(trace(net, np.frombuffer(text, dtype=np.uint8)))
    assert shown.cells() == ["é", "\n", "\\u202e", "◌\u0301", "\\x00"]


# --- size -------------------------------------------------------------------------------------


def grus(hidden: int, layers: int) -> Network:
    """Gates of all values, which are harder to pack than a trained network's."""
    gru = f"gru output={hidden} tanh=1"
    net = network(
        "net inputs=256", *[gru] * layers, "connected output=256", "softmax", dtype="float32"
    )
    randomize(net.layers)
    return net


def levels(file: Path) -> int:
    (said,) = re.findall(r"rounded to (\d+) levels", file.read_text(encoding="utf-8"))
    return int(said)


@pytest.mark.long
def test_2000_characters_of_three_layers_of_256_fit_into_3_mb(tmp_path: Path) -> None:
    shown = write(tmp_path / "look.html", grus(256, layers=3), (TEXT * 10)[:2000])
    assert shown.file.stat().st_size <= LARGEST == 3_000_000
    assert 11 <= levels(shown.file) < 255


def test_a_page_has_as_many_levels_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net, file = grus(60, layers=1), tmp_path / "look.html"
    text, sizes = TEXT[:60], []
    for steps in STEPS:
        monkeypatch.setattr(look, "STEPS", (steps,))
        sizes.append(write(file, net, text).file.stat().st_size)
        assert levels(file) == steps + 1
    assert sizes == sorted(sizes, reverse=True)
    monkeypatch.setattr(look, "STEPS", STEPS)
    for size, steps in zip(sizes, STEPS, strict=True):
        monkeypatch.setattr(look, "LARGEST", size)
        write(file, net, text)
        assert levels(file) == steps + 1
    assert not caplog.records
    monkeypatch.setattr(look, "LARGEST", sizes[-1] - 1)
    write(file, net, text)
    assert levels(file) == 7
    assert [record.message for record in caplog.records] == [
        f"the page has {sizes[-1]:,} bytes; --len makes it smaller"
    ]


def test_the_same_trace_gives_the_same_bytes(shipped: Shown, tmp_path: Path) -> None:
    Look(shipped.trace).write(tmp_path / "again.html", "a.cfg", "a.weights")
    assert (tmp_path / "again.html").read_bytes() == shipped.file.read_bytes()
