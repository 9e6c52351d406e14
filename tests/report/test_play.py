"""The page of `minidark play` in a real browser, against `predict`, `trace` and `generate`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from minidark import CfgError, DataError, Network, generate, load_network
from minidark.data.bytepairs import byte_pairs, learn
from minidark.data.vocabulary import Vocabulary
from minidark.files import shipped
from minidark.inference.trace import trace
from minidark.layers.activations import ACTIVATIONS
from minidark.layers.bytepairs import BytePairsLayer
from minidark.report.look import symbol_name
from minidark.report.network_packing import OPTIONS, rounded
from minidark.report.play import LARGEST_ERROR, Play
from minidark.report.properties import by_chance, trackers
from tests.docs.pages import ROOT
from tests.report.browser import opened
from tests.report.test_network_packing import affine_of, made

pytest.importorskip("jinja2", reason="needs the extra report")

TEXT = 'The "for" statement (a list[0]): “quoted”\n\t한국어 🙂\n\n'
PRIMER = [10, 10]
MINUS = "\N{MINUS SIGN}"


def write(file: Path, net: Network, bits: int | None = 32, tokens: str | None = None) -> Path:
    Play(net, bits, tokens).write(file, "a.cfg", "a.weights")
    return file


def of_shipped() -> Network:
    cfg, weights = shipped.network()
    return load_network(cfg, weights, batch=1, time_steps=1, kernels="numpy")


@pytest.fixture(scope="module")
def net() -> Network:
    return of_shipped()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, net: Network) -> Path:
    """The shipped network, as it is."""
    return write(tmp_path_factory.mktemp("play") / "play.html", net)


def ready(page: Any) -> None:
    page.wait_for_selector("body[data-ready][data-busy=false]")


def quiet(page: Any) -> None:
    """An empty text, and nothing that writes by itself."""
    ready(page)
    page.uncheck("#continue")
    page.click("#clear")
    page.wait_for_selector("body[data-place='0']")


def settled(page: Any, cells: int) -> None:
    """The network has read so many cells, and the cursor is behind them."""
    page.wait_for_selector(f"body[data-place='{cells}'][data-busy=false]")


def probabilities(net: Network, ids: Any) -> npt.NDArray[np.float64]:
    """After the last of the symbols, from zero state."""
    net.reset_state()
    return net.predict(np.asarray(ids, np.intp)[:, None])[-1, 0].astype(np.float64)


def predicted(page: Any, text: str) -> npt.NDArray[np.float64]:
    return np.array(page.evaluate("text => minidark.predict(text)", text))


def likeliest(page: Any) -> tuple[list[str], list[float]]:
    """The names and the percentages that are shown."""
    rows = page.locator("#likeliest li").all()
    names = [row.locator("code").inner_text() for row in rows]
    return names, [float(row.locator(".percent").inner_text().removesuffix(" %")) for row in rows]


def assert_shows(page: Any, net: Network, ids: Any) -> None:
    """The five likeliest are those after the symbols, with the primer before them."""
    p = probabilities(net, [*PRIMER, *ids])
    best = np.argsort(-p, kind="stable")[:5]
    names, shares = likeliest(page)
    assert names == [symbol_name(int(symbol)) for symbol in best]
    np.testing.assert_allclose(shares, 100 * p[best], atol=0.0056)


# --- the network in the page is the network ---------------------------------------------------

HEAD = ["connected output=256 activation=linear", "softmax"]
NETWORKS = {
    "gru": ["gru output=13 tanh=1", "gru output=5"],
    "reset_after": ["gru output=13 tanh=1 reset_after=1", "gru output=9 reset_after=1"],
    "lstm": ["lstm output=11", "lstm output=8"],
    "rnn": ["rnn output=7 hidden=6", "rnn output=9 activation=tanh logistic=1",
            "rnn output=5 activation=tanh shortcut=1"],
    "elman": ["rnn output=9 activation=tanh elman=1", "rnn output=8 elman=1"],
    "norm": ["gru output=13 tanh=1 batch_normalize=1", "batchnorm", "lstm output=6 "
             "batch_normalize=1", "rnn output=7 activation=tanh batch_normalize=1", "dropout",
             "connected output=9 batch_normalize=1 activation=tanh"],
    "heads": ["connected output=12 activation=tanh", "softmax groups=3 noloss=1", "logistic",
              "gru output=9"],
    "rows": ["dropout", "activation activation=tanh", "batchnorm", "gru output=9"],
    "none": [],
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_predicts_as_in_python(name: str, tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=256", *NETWORKS[name], *HEAD, "cost")
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        ready(page)
        for text in ("a", TEXT, TEXT * 20):
            wanted = probabilities(net, [*text.encode()])
            assert np.abs(predicted(page, text) - wanted).max() < 1e-5, text


def test_the_batch_norm_of_a_gpu(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=256 batchnorm=gpu", *NETWORKS["norm"], *HEAD)
    for layer in net.layers:
        for norm in layer.norms:
            norm.rolling_variance[...] *= 1e-4  # so that both formulas differ
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        ready(page)
        assert np.abs(predicted(page, "ab") - probabilities(net, [97, 98])).max() < 1e-5


def test_every_activation(tmp_path: Path, chromium: Any) -> None:
    layers = [f"connected output=12 activation={name}" for name in ACTIVATIONS]
    # Each takes values of both signs and of sizes from near 0 to beyond 4.
    for name, layer in zip(ACTIVATIONS, layers, strict=True):
        net = made("net inputs=256", layer, *HEAD)
        affine_of(net, 0).weights[...] *= 6
        with opened(chromium, write(tmp_path / f"{name}.html", net)) as page:
            ready(page)
            for text in "abcdef":
                wanted = probabilities(net, [*text.encode()])
                assert np.abs(predicted(page, text) - wanted).max() < 1e-5, (name, text)


def test_the_tables_of_the_page_have_every_layer_and_activation(
    page_file: Path, chromium: Any
) -> None:
    with opened(chromium, page_file) as page:
        assert set(page.evaluate("Object.keys(LAYERS)")) == set(OPTIONS)
        assert set(page.evaluate("Object.keys(ACTIVATIONS)")) == set(ACTIVATIONS)


def test_the_shipped_network(net: Network, page_file: Path, chromium: Any) -> None:
    with opened(chromium, page_file) as page:
        ready(page)
        for text in ("T", TEXT, TEXT * 20):
            wanted = probabilities(net, [*text.encode()])
            got = predicted(page, text)
            assert np.abs(got - wanted).max() < 1e-5
            assert got.sum() == pytest.approx(1)


@pytest.mark.parametrize("bits", [8, 16])
def test_fewer_bits_are_those_of_the_rounded_network(
    bits: int, net: Network, tmp_path: Path, chromium: Any
) -> None:
    other = rounded(net, bits)
    with opened(chromium, write(tmp_path / "play.html", net, bits)) as page:
        ready(page)
        wanted = probabilities(other, [*TEXT.encode()])
        assert np.abs(predicted(page, TEXT) - wanted).max() < 1e-5
        assert np.abs(wanted - probabilities(net, [*TEXT.encode()])).max() > 1e-6


def test_temperature_of_the_cfg(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=256", "gru output=5", HEAD[0], "softmax temperature=2.5")
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        ready(page)
        assert np.abs(predicted(page, "ab") - probabilities(net, [97, 98])).max() < 1e-5
        drawn = page.evaluate("minidark.generate({seed: 'ab', length: 40, temperature: 0})")
        assert drawn.encode() == generate(net, "ab", 40, 0, 0)


# --- other symbols ----------------------------------------------------------------------------


def paired() -> Network:
    """A network of byte pairs, some of which end within a character."""
    net = made("net inputs=292", "bytepairs", "gru output=9 tanh=1",
               "connected output=292 activation=linear", "softmax")  # fmt: skip
    text = "the thing, then “quoted” 한국어 한국말; the “thing” is there\n".encode() * 3
    pairs_of(net)[...] = learn(text, 36)
    return net


def pairs_of(net: Network) -> Any:
    layer = net.layers[0]
    assert isinstance(layer, BytePairsLayer)
    return layer.pairs.value


def test_byte_pairs_are_encoded_as_in_python(tmp_path: Path, chromium: Any) -> None:
    net = paired()
    pairs = byte_pairs(net)
    texts = ["the thing", " then “quo", TEXT, "한국어의  the   then\n\nthing “thing”"]
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        ready(page)
        for text in texts:
            wanted = probabilities(net, pairs.encode(text.encode()))
            assert np.abs(predicted(page, text) - wanted).max() < 1e-5, text
        call = "minidark.generate({seed: 'the ', length: 41, temperature: 0})"
        assert page.evaluate(call) == generate(net, "the ", 41, 0, 0).decode(errors="replace")


def test_byte_pairs_that_are_typed_letter_by_letter(tmp_path: Path, chromium: Any) -> None:
    net = paired()
    text = "the thing “한국"
    ids = byte_pairs(net).encode(text.encode())
    assert len(ids) < len(text)
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        quiet(page)
        page.locator("#text").press_sequentially(text)
        settled(page, len(ids))
        primer = byte_pairs(net).encode(b"\n\n").tolist()
        p = probabilities(net, [*primer, *ids])
        np.testing.assert_allclose(likeliest(page)[1], 100 * np.sort(p)[:-6:-1], atol=0.0056)


@pytest.mark.parametrize("names", ["the\nquick\nbrown\n<NEWLINE>\nfox\n", "the\nquick\nfox\n"])
def test_words(names: str, tmp_path: Path, chromium: Any) -> None:
    (tmp_path / "names.txt").write_text(names)
    size = names.count("\n")
    net = made(f"net inputs={size}", "gru output=9", f"connected output={size}", "softmax")
    vocabulary = Vocabulary.read(tmp_path / "names.txt", size)
    file = write(tmp_path / "play.html", net, tokens=str(tmp_path / "names.txt"))
    with opened(chromium, file) as page:
        ready(page)
        for text in ("the", " the  quick fox ", "the quick\n fox\n\nthe"):
            ids = vocabulary.encode(text.encode(), "a text")
            assert np.abs(predicted(page, text) - probabilities(net, ids)).max() < 1e-5, text
        drawn = page.evaluate("minidark.generate({seed: 'the fox', length: 30, srand: 2})")
        assert drawn.startswith("the fox ")
        assert len(vocabulary.encode(drawn.encode(), "a text")) == 32
        page.uncheck("#continue")
        page.fill("#text", "the quick unknown fox")
        settled(page, 4)
        read = [vocabulary.first, *vocabulary.encode(b"the quick fox")]
        p = np.sort(probabilities(net, read))[::-1][:5]
        np.testing.assert_allclose(likeliest(page)[1], 100 * p, atol=0.0056)
        assert page.locator("#tints .unknown").inner_text().strip() == "unknown"
        assert "1 unknown to the network" in page.inner_text("#status")
        error = page.evaluate("minidark.predict('unknown').catch(String)")
        assert "does not know" in error


def test_characters(tmp_path: Path, chromium: Any) -> None:
    (tmp_path / "names.json").write_text('["\\n", "a", "é", "🙂", " "]')
    net = made("net inputs=5", "lstm output=9", "connected output=5", "softmax")
    file = write(tmp_path / "play.html", net, tokens=str(tmp_path / "names.json"))
    with opened(chromium, file) as page:
        ready(page)
        wanted = probabilities(net, [2, 3, 1, 0, 4])
        assert np.abs(predicted(page, "é🙂a\n ") - wanted).max() < 1e-5
        assert "characters" in page.inner_text("#status")


def test_a_byte_that_the_network_does_not_know_is_skipped(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=128", "gru output=9", "connected output=128", "softmax")
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        quiet(page)
        page.locator("#text").press_sequentially("aéb")
        settled(page, 4)
        assert_shows(page, net, b"ab")
        assert "2 unknown to the network" in page.inner_text("#status")


# --- generate ---------------------------------------------------------------------------------


def test_temperature_0_writes_what_python_writes(
    net: Network, page_file: Path, chromium: Any
) -> None:
    with opened(chromium, page_file) as page:
        ready(page)
        for seed in ("The ", "\n\n", "“"):
            call = "seed => minidark.generate({seed, length: 120, temperature: 0})"
            assert page.evaluate(call, seed).encode() == generate(net, seed, 120, 0, 0)


def test_a_sample_repeats_for_its_srand_only(page_file: Path, chromium: Any) -> None:
    call = "srand => minidark.generate({seed: 'The ', length: 200, temperature: .7, srand})"
    with opened(chromium, page_file) as page:
        ready(page)
        first, again, other = (page.evaluate(call, srand) for srand in (7, 7, 8))
        assert first == again != other
        assert first.startswith("The ")
        assert len(first.encode()) == 204


def test_draws_have_the_networks_distribution(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=16", "gru output=9", "connected output=16 activation=linear", "softmax")
    affine_of(net, 1).biases[3] = -12  # below 1e-4, so it is never drawn
    draws = 4000
    call = """async (options) => {
        const seen = [];
        for (let srand = 0; srand < 4000; srand++) {
            const text = await minidark.generate({seed: "\\x05", length: 1, srand, ...options});
            seen.push(text.charCodeAt(1));
        }
        return seen;
    }"""
    p = probabilities(net, [5])
    logits = np.log(p)
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        ready(page)
        for temperature, top_k in ((1.0, None), (0.5, None), (1.5, 3)):
            options = {"temperature": temperature} | ({"topK": top_k} if top_k else {})
            counts = Counter(page.evaluate(call, options))
            wanted = np.exp(logits / temperature)
            wanted /= wanted.sum()
            wanted[wanted < 1e-4] = 0
            if top_k:
                wanted[np.argsort(-wanted)[top_k:]] = 0
            wanted /= wanted.sum()
            for symbol, share in enumerate(wanted):
                deviation = 5 * np.sqrt(share * (1 - share) / draws)
                assert abs(counts[symbol] / draws - share) <= deviation


def test_wrong_calls_fail_with_a_reason(page_file: Path, chromium: Any) -> None:
    with opened(chromium, page_file) as page:
        ready(page)
        assert page.evaluate("minidark.predict('').catch(String)") == (
            "Error: the text is empty; at least one symbol is needed"
        )
        assert "the seed is empty" in page.evaluate("minidark.generate({seed: ''}).catch(String)")


# --- writing in the page ----------------------------------------------------------------------


def test_the_likeliest_characters_follow_the_typing_and_the_cursor(
    net: Network, page_file: Path, chromium: Any
) -> None:
    with opened(chromium, page_file) as page:
        quiet(page)
        assert_shows(page, net, [])
        text = "The “statement"
        data = text.encode()
        page.locator("#text").press_sequentially(text)
        settled(page, len(data))
        assert_shows(page, net, data)
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
        settled(page, len(data) - 4)
        assert_shows(page, net, data[:-4])
        came = page.locator("#likeliest .came code").all_inner_texts()
        assert came in ([], ["m"])
        page.keyboard.press("Backspace")
        page.keyboard.type("XY")
        changed = "The “statXYment".encode()
        settled(page, len(changed) - 4)
        assert_shows(page, net, changed[:-4])
        page.keyboard.press("Control+End")
        settled(page, len(changed))
        assert_shows(page, net, changed)
        page.keyboard.press("Control+Home")
        settled(page, 0)
        assert_shows(page, net, [])


@pytest.mark.parametrize("name", ["reset_after", "lstm", "rnn", "elman", "norm"])
def test_the_cursor_within_the_text_of_every_layer(
    name: str, tmp_path: Path, chromium: Any
) -> None:
    net = made("net inputs=256", *NETWORKS[name], *HEAD)
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        quiet(page)
        page.locator("#text").press_sequentially("The word")
        settled(page, 8)
        assert_shows(page, net, b"The word")
        page.keyboard.press("ArrowLeft")
        settled(page, 7)
        assert_shows(page, net, b"The wor")
        page.keyboard.type("m")
        settled(page, 8)
        assert_shows(page, net, b"The worm")
        page.keyboard.press("Control+End")
        settled(page, 9)
        assert_shows(page, net, b"The wormd")


def test_step_write_stop_and_keys(page_file: Path, chromium: Any) -> None:
    size = "new TextEncoder().encode(document.getElementById('text').value).length"
    with opened(chromium, page_file) as page:
        quiet(page)
        page.click("#step")
        settled(page, 1)
        page.click("#step")
        settled(page, 2)
        page.click("#write")
        settled(page, 202)
        assert page.evaluate(size) == 202
        page.focus("#text")
        page.keyboard.press("Control+Enter")
        settled(page, 402)
        page.evaluate("""() => {
            const button = document.getElementById("write");
            button.click();
            setTimeout(() => dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"})), 20);
        }""")
        ready(page)
        assert 402 <= page.evaluate(size) < 602


def test_it_continues_after_a_pause_if_it_may(page_file: Path, chromium: Any) -> None:
    with opened(chromium, page_file) as page:
        quiet(page)
        page.locator("#text").press_sequentially("The ")
        page.wait_for_timeout(2500)
        assert page.input_value("#text") == "The "
        page.check("#continue")
        page.locator("#text").press_sequentially("method")
        settled(page, 210)
        assert page.input_value("#text").startswith("The method")


def test_a_text_with_what_the_network_wrote_is_read_as_one(
    net: Network, page_file: Path, chromium: Any
) -> None:
    with opened(chromium, page_file) as page:
        quiet(page)
        page.locator("#text").press_sequentially("The ")
        page.click("#write")
        settled(page, 204)
        page.focus("#text")
        page.keyboard.press("Control+End")
        page.keyboard.type("; and")
        data = page.input_value("#text").encode()
        settled(page, len(data))
        assert data.endswith(b"; and")
        assert_shows(page, net, data)


def test_a_slider_writes_the_end_again(page_file: Path, chromium: Any) -> None:
    with opened(chromium, page_file) as page:
        quiet(page)
        page.locator("#text").press_sequentially("The ")
        page.click("#write")
        settled(page, 204)
        first = page.input_value("#text")
        page.focus("#seed")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("old => document.getElementById('text').value !== old", arg=first)
        settled(page, 204)
        assert page.inner_text("#seed-value") == "2"
        page.keyboard.press("ArrowLeft")
        settled(page, 204)
        page.wait_for_function("old => document.getElementById('text').value === old", arg=first)
        page.focus("#top-k")
        page.keyboard.press("Home")  # 1: the likeliest
        page.wait_for_function("old => document.getElementById('text').value !== old", arg=first)
        settled(page, 204)
        likely = page.input_value("#text")
        assert page.inner_text("#top-k-value") == "1"
        page.focus("#temperature")
        page.keyboard.press("Home")
        settled(page, 204)
        assert page.inner_text("#temperature-value") == "0.00"
        assert page.input_value("#text") == likely


def test_bytes_that_are_no_characters_survive_an_edit(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=256", "gru output=13 tanh=1", *HEAD)  # writes bytes of all kinds
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        quiet(page)
        page.click("#write")
        settled(page, 200)
        text = page.evaluate("""() => Array.from(document.getElementById("text").value,
            (c) => c.codePointAt(0))""")
        data = "".join(map(chr, text)).encode("utf-8", "surrogateescape")
        assert len(data) == 200
        assert data.decode("utf-8", "surrogateescape") == "".join(map(chr, text))
        assert any(0xDC80 <= code <= 0xDCFF for code in text)
        assert page.evaluate(UNDER_TEXT)
        assert_shows(page, net, data)
        page.focus("#text")
        page.keyboard.press("Control+End")
        page.keyboard.type("!")
        settled(page, 201)
        assert_shows(page, net, data + b"!")


def test_a_character_appears_with_its_last_byte(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=256", HEAD[0], "softmax")
    chain(net, 0, [10, 0xED, 0x95, 0x9C])
    seen = steps(write(tmp_path / "play.html", net), chromium)
    assert seen == [[0xDCED], [0xDCED, 0xDC95], [ord("한")], [ord("한"), 10]]


def test_a_symbol_that_ends_one_character_and_begins_another(tmp_path: Path, chromium: Any) -> None:
    net = made("net inputs=259", "bytepairs", "connected output=259 activation=linear", "softmax")
    pairs_of(net)[...] = [[0xED, 0x95], [0x9C, 0xED], [0x95, 0x9C]]
    chain(net, 1, [10, 256, 257, 258])
    seen = steps(write(tmp_path / "play.html", net), chromium)
    one = ord("한")
    assert seen == [[0xDCED, 0xDC95], [one, 0xDCED], [one, one], [one, one, 10]]


def chain(net: Network, number: int, symbols: list[int]) -> None:
    """Let a [connected] that reads symbols predict them one after the other, in a circle."""
    for before, after in zip(symbols, [*symbols[1:], symbols[0]], strict=True):
        affine_of(net, number).weights[after, before] = 99


UNDER_TEXT = """() => {
    const [text, tints] = ["text", "tints"].map((id) => document.getElementById(id));
    return tints.textContent === `${text.value}\\u200b`;
}"""


def steps(file: Path, chromium: Any) -> list[list[int]]:
    """The characters of the text, as numbers, after each of four steps."""
    seen = []
    with opened(chromium, file) as page:
        quiet(page)
        for cells in range(1, 5):
            page.click("#step")
            settled(page, cells)
            code = "[...document.getElementById('text').value].map((c) => c.codePointAt(0))"
            seen.append(page.evaluate(code))
            assert page.evaluate(UNDER_TEXT), "the tints lie under other characters"
    return seen


# --- tint -------------------------------------------------------------------------------------


def levels(page: Any) -> list[float]:
    """The height of each character's bar, 0 to 1."""
    sizes = page.evaluate(
        "[...document.querySelectorAll('#tints span')].map((s) => s.style.backgroundSize)"
    )
    return [float(size.removeprefix("100% ").removesuffix("px")) / 6 for size in sizes]


def test_tints_are_surprise_gates_and_states(net: Network, page_file: Path, chromium: Any) -> None:
    text = b'The "for" statement is used'
    traced = trace(net, np.frombuffer(text, np.uint8), b"\n\n")
    first = -np.log2(probabilities(net, PRIMER)[text[0]])
    bits = np.array([first, *traced.surprise()])
    with opened(chromium, page_file) as page:
        quiet(page)
        page.fill("#text", text.decode())
        settled(page, len(text))
        np.testing.assert_allclose(levels(page), np.minimum(bits / 8, 1), atol=0.01)
        shown = page.inner_text("#status").split(" · ")[1].removesuffix(" bits for each")
        assert float(shown) == pytest.approx(bits.mean(), abs=0.0051)
        for number, (name, values) in enumerate(traced.layers[0].values.items()):
            page.select_option("#tint", str(number))
            page.fill("#unit", "160")
            page.wait_for_timeout(100)
            wanted = values[:, 160] if name in "zr" else (values[:, 160] + 1) / 2
            np.testing.assert_allclose(levels(page), wanted, atol=0.01)
        page.select_option("#tint", "nothing")
        page.wait_for_timeout(100)
        assert page.locator("#legend").is_hidden()
        styles = "[...document.querySelectorAll('#tints span')].map((s) => s.style.backgroundColor)"
        assert set(page.evaluate(styles)) == {""}


def test_the_chips_are_the_strongest_finds(net: Network, page_file: Path, chromium: Any) -> None:
    play = Play(net, 32)
    text = play.text.astype(np.uint8).tobytes()
    layers, chance = play.traced.layers, by_chance(play.traced.layers, text)
    best = {name: units[0] for name, units in trackers(layers, text).items() if units}
    strong = [name for name, unit in best.items() if abs(unit.correlation) > chance[name]]
    assert strong
    strong.sort(key=lambda name: -abs(best[name].correlation))
    with opened(chromium, page_file) as page:
        ready(page)
        chips = page.locator("#finds button").all()
        shown = [chip.inner_text().replace(MINUS, "-") for chip in chips]
        assert shown == [
            f"{name}: {best[name].value} of unit {best[name].unit}, {best[name].correlation:+.2f}"
            for name in strong
        ]
        chips[-1].click()
        assert chips[-1].get_attribute("aria-pressed") == "true"
        assert page.input_value("#unit") == str(best[strong[-1]].unit)
        chosen = page.locator("#tint option:checked").inner_text()
        assert chosen.startswith(f"0.gru {best[strong[-1]].value}: ")


# --- how it looks -----------------------------------------------------------------------------

WINDOWS: dict[str, dict[str, Any]] = {
    "screen": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
def test_it_fits_and_the_tints_lie_under_their_characters(
    window: str, colours: str, page_file: Path, chromium: Any
) -> None:
    text = "long words in lines\tthat wrap, “and” spaces   at ends of lines     \n\n" * 9
    with opened(chromium, page_file, color_scheme=colours, **WINDOWS[window]) as page:
        quiet(page)
        width = WINDOWS[window]["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        heights = "['text', 'tints'].map((id) => document.getElementById(id).scrollHeight)"
        for typed in (text, text + "\n", text + "word" * 60):
            page.fill("#text", typed)
            settled(page, len(typed.encode()))
            area, tints = page.evaluate(heights)
            assert abs(area - tints) <= 1
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_keyboard_reaches_every_control(page_file: Path, chromium: Any) -> None:
    with opened(chromium, page_file) as page:
        ready(page)
        page.focus("#text")
        seen = []
        for _ in range(9):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id"))
        controls = ["write", "step", "clear", "continue", "temperature", "top-k", "seed", "tint"]
        assert seen[:8] == controls  # Stop is disabled while nothing is written


def test_typing_never_waits_for_the_network(tmp_path: Path, chromium: Any) -> None:
    """The page reacts while the network reads a long text."""
    net = made("net inputs=256", "gru output=300 tanh=1", *HEAD)
    with opened(chromium, write(tmp_path / "play.html", net)) as page:
        quiet(page)
        page.fill("#text", "a word " * 900)
        longest = page.evaluate("""async () => {
            let [longest, last] = [0, performance.now()];
            for (let n = 0; n < 60; n++) {
                await new Promise((resolve) => setTimeout(resolve, 1));
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
            }
            return longest;
        }""")
        assert page.get_attribute("body", "data-busy") == "true"
        assert longest < 500  # reading it takes seconds
        page.fill("#text", "short")
        settled(page, 5)


# --- choices of the page ----------------------------------------------------------------------


def test_the_default_is_the_fewest_bits_whose_error_is_small(net: Network) -> None:
    errors = {bits: Play(net, bits).error for bits in (8, 16, 32)}
    assert errors[32] == 0 < errors[16] < errors[8]
    best = min(bits for bits, error in errors.items() if error < LARGEST_ERROR)
    assert Play(net).bits == best
    coarse = made("net inputs=256", *HEAD)  # nearly certain, so rounding changes little
    affine_of(coarse, 0).weights[...] *= 0.01
    assert Play(coarse).bits == 8


def test_the_error_is_that_of_the_next_symbols_probability(net: Network) -> None:
    play = Play(net, 8)
    exact = trace(net, play.text, b"").outputs
    rough = trace(rounded(net, 8), play.text, b"").outputs
    differences = [
        abs(float(rough[t, play.text[t + 1]]) - float(exact[t, play.text[t + 1]]))
        for t in range(len(play.text) - 1)
    ]
    assert play.error == pytest.approx(np.mean(differences), rel=1e-4)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_documentation_has_the_figures(bits: int, net: Network, tmp_path: Path) -> None:
    play = Play(net, bits)
    size = play.write(tmp_path / "play.html", "rnn.cfg", "rnn.weights")
    doc = (ROOT / "docs" / "play.md").read_text("utf-8")
    (row,) = [line.split("|") for line in doc.splitlines() if line.startswith(f"| {bits} |")]
    assert float(row[2].removesuffix(" bytes ").replace(",", "")) == pytest.approx(size, rel=0.01)
    assert float(row[3]) == pytest.approx(play.error, rel=0.2)


def test_a_page_asks_for_nothing_and_is_small(net: Network, tmp_path: Path) -> None:
    file = write(tmp_path / "play.html", net, None)
    text = file.read_text()
    assert "fetch(" not in text
    assert "XMLHttpRequest" not in text
    assert len(text) < 2_000_000


def test_finds_that_chance_explains_are_left_out() -> None:
    play = Play(made("net inputs=256", "gru output=4 tanh=1", *HEAD, seed=3), 32)
    text = play.text.astype(np.uint8).tobytes()
    chance = by_chance(play.traced.layers, text)
    best = {name: units[0] for name, units in trackers(play.traced.layers, text).items()}
    strong = {name for name, unit in best.items() if abs(unit.correlation) > chance[name]}
    assert {name for name, *_ in play.finds()} == strong
    assert 0 < len(strong) < len(best)


def test_finds_of_byte_pairs_count_bytes() -> None:
    net = paired()
    play = Play(net, 32)
    names = byte_pairs(net).names
    spaces = [byte in b" \t\n\r" for symbol in play.text for byte in names[symbol]]
    found = {name: (value, unit, r) for name, _, value, unit, r in play.finds()}
    value, unit, r = found["white space"]
    rows = play.traced.layers[0].values[value][:, unit]
    values = [row for row, symbol in zip(rows, play.text, strict=True) for _ in names[symbol]]
    assert r == pytest.approx(np.corrcoef(values, spaces)[0, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("sections", "kind", "message"),
    [
        (["net inputs=256", "gru output=256"], CfgError, "does not end in a .softmax"),
        (["net inputs=300", "gru output=300", "softmax"], DataError, "name them with --tokens"),
        (["net inputs=5", "gru output=9", "softmax"], DataError, "9 outputs, but only 5 inputs"),
    ],
)
def test_networks_that_do_not_write_are_refused(
    sections: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Play(made(*sections))
