"""`minidark look`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from minidark import load_network
from minidark.inference.trace import trace
from minidark.inference.valid import measure
from tests.cli.running import TWO_CELLS, assert_refused, assert_wrong_usage, lay_out, output, run
from tests.helpers import cfg
from tests.test_lazy import command, loaded

pytest.importorskip("jinja2", reason="needs the extra report")

TEXT = b'say "yes" 12 times, or (not) at all.\nA line\n' * 4


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(TWO_CELLS, TEXT)


def test_a_page_that_cannot_be_written_is_told_first() -> None:
    result = run("look", "a.cfg", "none.weights", "text.txt", "-o", "none/page.html")
    assert_refused(result, 1, "none/page.html: cannot write: No such file or directory")


def test_the_figures_are_the_traces_and_valids() -> None:
    call = ("look", "a.cfg", "a.weights", "text.txt", "--json")
    figures = json.loads(output(*call, "-o", "look.html"))
    net = load_network("a.cfg", "a.weights", batch=1, kernels="numpy")
    symbols = np.frombuffer(TEXT, dtype=np.uint8)
    assert figures["characters"] == figures["bytes"] == figures["of_bytes"] == len(TEXT)
    bits = measure(net, symbols.astype(np.intp)).bits_per_character
    assert figures["bits_per_character"] == pytest.approx(bits)
    assert figures["bits_per_byte"] == pytest.approx(bits)
    assert figures["page"] == "look.html"
    assert figures["page_bytes"] == Path("look.html").stat().st_size

    gru, lstm = trace(net, symbols).layers
    f, c = lstm.values["f"], lstm.values["c"]
    said = {(row.pop("layer"), row.pop("value")): row for row in figures["saturation"]}
    assert len(said) == len(gru.values) + len(lstm.values)
    assert said["1.lstm", "f"] == pytest.approx(
        {"below_0.1": (f < 0.1).mean(), "above_0.9": (f > 0.9).mean()}
    )
    assert said["1.lstm", "c"] == pytest.approx(
        {"below_-0.9": (c < -0.9).mean(), "above_0.9": (c > 0.9).mean()}
    )

    digits = np.isin(symbols, [*b"0123456789"]).astype(float)
    best = {
        (layer.name, name, unit): np.corrcoef(digits, rows[:, unit])[0, 1]
        for layer in (gru, lstm)
        for name, rows in layer.values.items()
        for unit in range(rows.shape[1])
    }
    wanted = sorted(best.items(), key=lambda item: -abs(item[1]))[:5]
    found = figures["trackers"]["a digit"]
    assert [(t["layer"], t["value"], t["unit"]) for t in found] == [key for key, _ in wanted]
    assert [t["correlation"] for t in found] == pytest.approx([r for _, r in wanted])


def test_it_prints_bits_and_the_best_units_and_names_the_page() -> None:
    result = run("look", "a.cfg", "a.weights", "text.txt", "-o", "here.html")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["characters", str(len(TEXT))]
    assert " of unit " in result.stdout.splitlines()[-1]
    size = Path("here.html").stat().st_size
    assert result.stderr == f"minidark: wrote here.html: {size:,} bytes\n"
    assert not Path("look.html").exists()


def test_a_text_that_is_cut_is_said_to_be() -> None:
    output("look", "a.cfg", "a.weights", "text.txt", "--len", "50")
    page = " ".join(Path("look.html").read_text().split())
    assert f"the first 50 characters of a text of {len(TEXT)} bytes" in page
    output("look", "a.cfg", "a.weights", "text.txt", "--len", str(len(TEXT)))
    assert "the first" not in Path("look.html").read_text().partition("<form")[0]


def test_characters_of_several_bytes_are_counted_and_never_cut() -> None:
    text = "영화, 좋아요!\n".encode() * 5
    Path("text.txt").write_bytes(text)
    call = ("look", "a.cfg", "a.weights", "text.txt", "--len", "50", "--json")
    figures = json.loads(output(*call))
    read = text[:50].decode(errors="ignore")
    size = len(read.encode())
    assert size < 50
    assert [figures[name] for name in ("characters", "bytes", "of_bytes")] == [
        len(read), size, len(text),
    ]  # fmt: skip
    net = load_network("a.cfg", "a.weights", batch=1, kernels="numpy")
    surprise = trace(net, np.frombuffer(text[:size], dtype=np.uint8)).surprise()
    assert figures["bits_per_byte"] == pytest.approx(surprise.mean())
    whole = surprise[2:].sum() / (len(read) - 1)  # without the other bytes of the first character
    assert figures["bits_per_character"] == pytest.approx(whole)
    shown = output(*call[:-1]).decode().splitlines()[:4]
    assert [line.rsplit(" ", 1)[0].strip() for line in shown] == [
        "characters", "bits per character", "bytes", "bits per byte",
    ]  # fmt: skip


def test_standard_input_is_read_as_a_file_is() -> None:
    output("look", "a.cfg", "a.weights", "text.txt", "-o", "file.html", "--len", "60")
    output("look", "a.cfg", "a.weights", "-", "-o", "input.html", "--len", "60", stdin=TEXT)
    assert Path("file.html").read_bytes() == Path("input.html").read_bytes()


def test_one_stream_whatever_the_cfg_says_and_the_shared_options() -> None:
    one = json.loads(output("look", "a.cfg", "a.weights", "text.txt", "--json"))
    other = json.loads(
        output("look", "a.cfg", "a.weights", "text.txt", "--json", "--set", "net.batch=64",
               "--set", "net.time_steps=2", "--strict")
    )  # fmt: skip
    assert one == other


@pytest.mark.parametrize(
    ("layers", "code", "message"),
    [
        (["gru output=256"], 3, "a.cfg: does not end in a plain [softmax]: its outputs are "
         "not probabilities of characters"),
        (["connected output=256", "softmax"], 3,
         "a.cfg: has no [gru], [lstm] or [rnn], so it has no state to show"),
    ],
)  # fmt: skip
def test_a_network_with_nothing_to_show_is_refused(
    layers: list[str], code: int, message: str
) -> None:
    Path("a.cfg").write_text(cfg("net inputs=256", *layers))
    load_network("a.cfg").save_weights("b.weights")
    assert_refused(run("look", "a.cfg", "b.weights", "text.txt"), code, message)
    assert not Path("look.html").exists()


def test_a_text_that_is_too_short_is_refused_and_the_page_that_was_there_stays() -> None:
    Path("look.html").write_text("before")
    refused = run("look", "a.cfg", "a.weights", "-", "--force", stdin=b"x")
    assert_refused(refused, 4, "1 character; at least two are needed")
    assert Path("look.html").read_text() == "before"


def test_damaged_weights_are_refused() -> None:
    net = load_network("a.cfg", "a.weights")
    net.parameters()[0].value[...] = np.nan
    net.save_weights("nan.weights")
    refused = run("look", "a.cfg", "nan.weights", "text.txt", "--allow-nonfinite")
    assert_refused(refused, 5, "0.gru's z is NaN or infinite; these weights are damaged")


def test_without_the_extra_it_is_one_line_and_comes_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused = run("look", "a.cfg", "missing.weights", "text.txt")
    assert_refused(refused, 1, "needs jinja2: pip install 'minidark[report]'")


def test_it_loads_no_matplotlib() -> None:
    modules = loaded(command("look", "a.cfg", "a.weights", "text.txt", "--quiet"))
    assert "jinja2" in modules
    assert not modules & {"matplotlib", "numba", "torch"}


@pytest.mark.parametrize("page", ["a.cfg", "a.weights", "text.txt", "./text.txt", "-"])
def test_a_page_is_not_written_over_what_is_read(page: str) -> None:
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    said = "is an input of this command; write to another file"
    if page == "-":
        said = "is not supported here: write to a file"
    assert_wrong_usage(run("look", "a.cfg", "a.weights", "text.txt", "-o", page), f"{page} {said}")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_json_writes_a_page_only_where_it_is_asked_for() -> None:
    figures = json.loads(output("look", "a.cfg", "a.weights", "text.txt", "--json"))
    assert (figures["page"], figures["page_bytes"]) == (None, None)
    assert not Path("look.html").exists()


def test_a_cfg_whose_name_is_no_utf_8_has_a_page() -> None:
    name = os.fsdecode(b"\xff.cfg")
    try:
        Path(name).write_text(TWO_CELLS)
    except (OSError, ValueError):
        pytest.skip("this system has no such names")
    result = run("look", name, "a.weights", "text.txt")
    assert result.exit_code == 0, result.exception
    assert "The units of \\udcff.cfg" in Path("look.html").read_text()
