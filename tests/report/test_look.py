"""The page of `minidark look` in a real browser, against numpy and against the trace it shows."""

from __future__ import annotations

import re
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
from minidark.report.look import LARGEST, STEPS, Look, cells, symbol_name
from minidark.report.properties import by_chance, trackers
from tests.helpers import network, randomize
from tests.report.browser import opened

pytest.importorskip("jinja2", reason="needs the extra report")

TEXT = (
    'The "for" statement is used to iterate (over a list[0], as in "for x in y").\n\n'
    "* See also:\tPEP 634 — “Structural”, <b>&amp;</b> {1: 'x'}.\n    indented code: 0x1F\n"
).encode() + b"bad \xff\x80 bytes, cut: \xe2\x80"
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
        return [*self.trace.layers[layer].values.values()][value].astype(np.float64)


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
    place = f"{layer}.{value}.{unit}.{at}"
    page.evaluate(f"location.hash = '#{place}'")
    page.wait_for_selector(f"#reading[data-shown='{place}']")


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


def test_the_map_holds_every_value_of_every_unit(mixture: Shown, chromium: Any) -> None:
    with opened(chromium, mixture.file) as page:
        ready(page)
        for layer, traced in enumerate(mixture.trace.layers):
            for value in range(len(traced.values)):
                go(page, layer, value, 0, 0)
                wanted = colours(mixture.values(layer, value))
                pixels = np.array(page.evaluate(PIXELS)).reshape(*wanted.shape[:2], 4)
                assert np.abs(pixels[..., :3] - wanted).max() <= 0.5
                assert (pixels[..., 3] == 255).all()


def test_the_value_at_a_place_is_the_traced_one_to_half_a_level(
    mixture: Shown, chromium: Any
) -> None:
    rng = np.random.default_rng(0)
    with opened(chromium, mixture.file) as page:
        ready(page)
        for layer, traced in enumerate(mixture.trace.layers):
            for value, name in enumerate(traced.values):
                values = mixture.values(layer, value)
                unit, at = int(rng.integers(values.shape[1])), int(rng.integers(len(TEXT)))
                go(page, layer, value, unit, at)
                half = max(1.0, np.abs(values).max()) / 254 + 0.005  # and half of the last digit
                assert abs(value_read(page) - values[at, unit]) <= half
                assert reading(page)[1].startswith(f"{name} of unit {unit}: ")


def test_the_five_likeliest_and_the_surprise_are_numpys(shipped: Shown, chromium: Any) -> None:
    outputs = shipped.trace.outputs.astype(np.float64)
    with opened(chromium, shipped.file) as page:
        ready(page)
        for at in (0, 1, 40, 77, len(TEXT) - 1):
            go(page, 0, 0, 0, at)
            rows = page.locator("#likeliest li").all()
            best = np.argsort(-outputs[at], kind="stable")[:5]
            names = [row.locator("code").inner_text() for row in rows]
            shares = [
                float(row.locator(".percent").inner_text().removesuffix(" %")) for row in rows
            ]
            assert names == [symbol_name(int(symbol)) for symbol in best]
            np.testing.assert_allclose(shares, 100 * outputs[at, best], atol=0.0056)
            came = [row.get_attribute("class") == "came" for row in rows]
            assert came == [at + 1 < len(TEXT) and symbol == TEXT[at + 1] for symbol in best]
            bits = re.search(r"Surprise: ([\d.]+) bits", page.inner_text("#reading"))
            if at == 0:
                assert bits is None
            else:
                assert bits is not None
                wanted = -np.log2(outputs[at - 1, TEXT[at]])
                assert float(bits[1]) == pytest.approx(wanted, abs=0.0056)


def test_shares_near_the_ends_are_exact(shipped: Shown, chromium: Any) -> None:
    z, h = shipped.values(0, 0), shipped.values(0, 3)
    unit = int(np.argmax((z > 0.9).mean(axis=0)))
    with opened(chromium, shipped.file) as page:
        ready(page)
        for value, values, low in ((0, z, 0.1), (3, h, -0.9)):
            go(page, 0, value, unit, 0)
            shares = re.findall(r"([\d.]+) %", page.inner_text("#about"))
            wanted = [(values[:, unit] > 0.9).mean(), (values[:, unit] < low).mean()]
            assert shares == [f"{100 * share:.1f}" for share in wanted]
            point = page.locator("#scatter circle").nth(unit)
            x, y = (float(point.get_attribute(name)) for name in ("cx", "cy"))
            assert [(x - 44) / 270, (280 - y) / 270] == pytest.approx(wanted)


# --- picking ----------------------------------------------------------------------------------


def test_by_mouse(shipped: Shown, chromium: Any) -> None:
    with opened(chromium, shipped.file) as page:
        ready(page)
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


def test_it_opens_at_the_strongest_find(tmp_path: Path, chromium: Any) -> None:
    net = load_network(
        folder("cfg") / "rnn.cfg", folder("weights") / "rnn.weights", batch=1, kernels="numpy"
    )
    text = b"no quotes (but some (nested) brackets) here. " * 9
    look = write(tmp_path / "look.html", net, text)
    found = trackers(look.trace.layers, text)
    assert not found["inside double quotes"]  # the first that can be chosen
    tracked = [(name, units[0]) for name, units in found.items() if units]
    name, best = max(tracked, key=lambda one: abs(one[1].correlation))
    place = [*look.trace.layers[0].values].index(best.value)
    with opened(chromium, look.file) as page:
        ready(page)
        assert page.input_value("#property") == name
        assert picked(page) == (0, place, best.unit, 0)
        assert page.locator("#trackers button").first.get_attribute("aria-current") == "true"


def test_an_address_beyond_what_there_is_picks_the_last(mixture: Shown, chromium: Any) -> None:
    with opened(chromium, mixture.file) as page:
        ready(page)
        go(page, 0, 0, 0, 0)
        page.evaluate("location.hash = '#0.99.0.0'")
        page.wait_for_selector("#reading[data-shown='0.3.0.0']")
        assert picked(page) == (0, 3, 0, 0)


def test_an_address_counts_that_was_written_over_before_its_event(
    mixture: Shown, chromium: Any
) -> None:
    with opened(chromium, mixture.file) as page:
        ready(page)
        page.evaluate("""() => {
            location.hash = '#1.0.2.3';
            history.replaceState(null, "", '#0.0.0.0');
        }""")
        page.wait_for_selector("#reading[data-shown='1.0.2.3']", timeout=10_000)


def test_keys_work_at_once(mixture: Shown, chromium: Any) -> None:
    with opened(chromium, mixture.file) as page:
        ready(page)
        layer, value, unit, at = picked(page)
        page.keyboard.press("ArrowRight")
        assert picked(page) == (layer, value, unit, at + 1)


def test_by_keys(mixture: Shown, chromium: Any) -> None:
    last = len(TEXT) - 1
    with opened(chromium, mixture.file) as page:
        ready(page)
        go(page, 0, 0, 0, 0)
        page.focus("#text")
        walk = [
            ("ArrowLeft", (0, 0, 0, 0)), ("ArrowRight", (0, 0, 0, 1)), ("ArrowDown", (0, 0, 1, 1)),
            ("PageDown", (0, 0, 1, 51)), ("ArrowLeft", (0, 0, 1, 50)), ("g", (0, 1, 1, 50)),
            ("End", (0, 1, 1, last)), ("ArrowRight", (0, 1, 1, last)), ("l", (1, 1, 1, last)),
            ("PageUp", (1, 1, 1, last - 50)), ("ArrowUp", (1, 1, 0, last - 50)),
            ("ArrowUp", (1, 1, 0, last - 50)), ("Home", (1, 1, 0, 0)),
        ]  # fmt: skip
        for key, wanted in walk:
            page.keyboard.press(key)
            assert picked(page) == wanted, key
        for element in ("#map", "#scatter"):
            page.focus(element)
            page.keyboard.press("ArrowDown")
        assert picked(page) == (1, 1, 2, 0)
        go(page, 1, 5, 7, 0)  # h of the last unit
        page.focus("#text")
        page.keyboard.press("l")  # the GRU has four values and five units
        assert picked(page) == (2, 3, 4, 0)
        assert page.input_value("#value") == "h"


def test_the_keyboard_reaches_every_picker_and_the_focus_is_seen(
    shipped: Shown, chromium: Any
) -> None:
    with opened(chromium, shipped.file) as page:
        ready(page)
        page.focus("#theme")
        seen = ["theme"]
        for _ in range(13):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", seen
        pickers = ["layer", "value", "unit", "previous", "next", "text", "map", "scatter"]
        assert [name for name in seen if name in pickers] == pickers
        assert {"theme", "property", "only"} <= set(seen)


def test_a_click_on_the_map_picks_unit_and_place(shipped: Shown, chromium: Any) -> None:
    with opened(chromium, shipped.file) as page:
        ready(page)
        box = page.locator("#map").bounding_box()
        at, unit = 100, 200
        page.click("#map", position={
            "x": (at + 0.5) / len(TEXT) * box["width"], "y": (unit + 0.5) / 320 * box["height"],
        })  # fmt: skip
        assert picked(page)[2:] == (unit, at)


def test_a_click_on_the_scatter_picks_the_unit_that_is_nearest(
    shipped: Shown, chromium: Any
) -> None:
    z = shipped.values(0, 0)
    unit = int(np.argmax((z > 0.9).mean(axis=0)))  # by itself in its corner
    with opened(chromium, shipped.file) as page:
        ready(page)
        go(page, 0, 0, 0, 0)
        page.locator("#scatter circle").nth(unit).click(force=True)
        assert picked(page) == (0, 0, unit, 0)


def test_a_click_on_what_was_found_picks_it(shipped: Shown, chromium: Any) -> None:
    spaces = np.isin(np.frombuffer(TEXT, dtype=np.uint8), [*b" \t\n\r"]).astype(float)
    by_value = [
        np.nan_to_num(np.corrcoef(spaces, shipped.values(0, value).T)[0, 1:]) for value in range(4)
    ]
    value, unit = np.unravel_index(np.argmax(np.abs(by_value)), (4, 320))
    with opened(chromium, shipped.file) as page:
        ready(page)
        page.select_option("#property", "white space")
        button = page.locator("#trackers button").first
        button.click()
        assert picked(page)[:3] == (0, int(value), int(unit))
        shown = button.locator("span").nth(1).inner_text().replace(MINUS, "-")
        assert float(shown) == pytest.approx(by_value[value][unit], abs=0.0006)
        assert button.get_attribute("aria-current") == "true"
        chance = by_chance(shipped.trace.layers, TEXT)["white space"]
        assert page.inner_text("#by-chance") == f"{chance:.3f}"
        page.check("#only")
        go(page, 0, 1, 0, 0)
        names = page.locator("#trackers button span:first-child").all_inner_texts()
        assert len(names) == 10
        assert names[0] == f"r of unit {np.argmax(np.abs(by_value[1]))}, 0.gru"
        assert all(name.startswith("r of") for name in names)


# --- how it looks -----------------------------------------------------------------------------


def test_it_fits_a_phone_and_answers_a_tap(shipped: Shown, chromium: Any) -> None:
    window = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(chromium, shipped.file, **window) as page:
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#text span").nth(30).tap()
        assert picked(page)[3] == 30
        assert reading(page)[0].startswith("Character 31 of ")
        assert page.locator("#likeliest li").count() == 5
        assert page.locator("#likeliest").is_visible()


def test_the_dark_has_its_own_map_and_letters_can_be_read_on_both(
    shipped: Shown, chromium: Any
) -> None:
    for scheme in ("light", "dark"):
        with opened(chromium, shipped.file, color_scheme=scheme) as page:
            ready(page)
            go(page, 0, 0, 0, 0)
            of = "getComputedStyle(document.querySelector('%s')).%s"
            ink = page.evaluate(of % ("body", "color"))
            ramp = page.evaluate(of % (".ramp", "backgroundImage"))
            for colour in re.findall(r"rgb\([^)]*\)", ramp):
                assert contrast(ink, colour) >= 4.5  # WCAG 2.2, AA
            before = page.evaluate("document.getElementById('map').toDataURL()")
            page.click("#theme")  # light
            page.click("#theme")  # dark
            after = page.evaluate("document.getElementById('map').toDataURL()")
            assert (before == after) is (scheme == "dark")


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_the_bar_under_a_character_says_the_value_without_colour(
    shipped: Shown, chromium: Any
) -> None:
    with opened(chromium, shipped.file) as page:
        ready(page)
        go(page, 0, 0, 5, 0)
        bars = page.evaluate(
            "[...document.querySelectorAll('#text span')].map("
            "(cell) => parseFloat(cell.style.backgroundSize.split(' ')[1]))"
        )
        np.testing.assert_allclose(bars, 6 * shipped.values(0, 0)[:, 5], atol=0.05 + 6 / 508)


def test_every_byte_has_a_cell_and_what_is_not_seen_is_shown(shipped: Shown, chromium: Any) -> None:
    with opened(chromium, shipped.file) as page:
        ready(page)
        spans = page.locator("#text span")
        assert spans.count() == len(TEXT)
        shown = page.evaluate("document.getElementById('text').textContent")
        for part in ("y\").↵\n↵\n", "also:⇥\t", "—", "“Structural”", "<b>&amp;</b>",
                     "bad \\xff\\x80 bytes, cut: \\xe2\\x80"):  # fmt: skip
            assert part in shown


def test_cells_are_whole_characters_over_their_bytes() -> None:
    text = "aé—𝄞\n\u202e\u0301\x00".encode() + b"\xe2\x80\xff"
    assert cells(text) == [
        "a", "é", "", "—", "", "", "𝄞", "", "", "", "\n", "\\u202e", "", "", "◌\u0301", "", "\\x00",
        "\\xe2", "\\x80", "\\xff",
    ]  # fmt: skip
    assert [symbol_name(n) for n in (65, 32, 10, 9, 0, 200, 300)] == [
        "A", "␣", "↵", "⇥", "\\x00", "\\xc8", "#300",
    ]  # fmt: skip


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
