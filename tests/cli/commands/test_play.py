"""`minidark play`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from minidark import load_network
from minidark.report.play import Play
from tests.cli.running import TWO_CELLS, assert_refused, assert_wrong_usage, lay_out, output, run
from tests.helpers import cfg
from tests.test_lazy import command, loaded

pytest.importorskip("jinja2", reason="needs the extra report")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(TWO_CELLS)


def data_of(page: str) -> Any:
    match = re.search(r'id="data">(.*?)</script>', Path(page).read_text(), re.DOTALL)
    assert match
    return json.loads(match[1])


def test_it_tells_the_page_its_bits_and_their_error() -> None:
    result = run("play", "a.cfg", "a.weights", "-o", "here.html", "--bits", "8")
    assert (result.exit_code, result.stdout) == (0, "")
    size = Path("here.html").stat().st_size
    line = re.fullmatch(
        f"minidark: wrote here.html: {size:,} bytes; weights of 8 bits, mean error of a "
        r"probability (0\.0*[1-9]\d?)\n", result.stderr,
    )  # fmt: skip
    assert line
    text = " ".join(Path("here.html").read_text().split())
    assert f"rounded to 8 bits. The mean error of a probability is {line[1]}, measured" in text
    assert not Path("play.html").exists()


def test_the_figures_are_the_pages() -> None:
    figures = json.loads(output("play", "a.cfg", "a.weights", "--json"))
    net = load_network("a.cfg", "a.weights", batch=1, time_steps=1, kernels="numpy")
    made = Play(net)
    assert figures["parameters"] == sum(p.value.size for p in net.parameters())
    assert (figures["bits"], figures["mean_error"]) == (made.bits, made.error)
    assert figures["page"] == "play.html"
    assert figures["page_bytes"] == Path("play.html").stat().st_size
    assert {layer["type"] for layer in data_of("play.html")["layers"]} == {
        "gru", "lstm", "connected", "softmax",
    }  # fmt: skip


def test_without_arguments_it_is_the_shipped_network_in_less_than_2_mb() -> None:
    figures = json.loads(output("play", "--json"))
    assert figures["parameters"] == 637_056
    assert figures["mean_error"] < 1e-3
    assert figures["page_bytes"] == Path("play.html").stat().st_size < 2_000_000
    assert (
        "<code>rnn: one GRU of 320</code> with <code>rnn.weights</code>"
        in Path("play.html").read_text()
    )


def test_the_same_call_gives_the_same_page() -> None:
    for page in ("a.html", "b.html"):
        output("play", "a.cfg", "a.weights", "-o", page)
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_one_file_that_contains_its_cfg() -> None:
    output("convert", "a.weights", "a.safetensors", "--cfg", "a.cfg")
    output("play", "a.safetensors", "-o", "one.html")
    output("play", "a.cfg", "a.weights", "-o", "two.html")
    assert data_of("one.html") == data_of("two.html")


def test_tokens() -> None:
    lay_out(cfg("net inputs=3", "gru output=5", "connected output=3", "softmax"))
    Path("names.txt").write_text("the\nfox\n<NEWLINE>\n")
    output("play", "a.cfg", "a.weights", "--tokens", "names.txt")
    data = data_of("play.html")
    assert data["vocabulary"] == {"names": ["the", "fox", "\n"], "characters": False}
    assert data["unit"] == "tokens"
    Path("names.txt").write_text("the\nfox\n")
    assert_refused(
        run("play", "a.cfg", "a.weights", "--tokens", "names.txt", "--force"), 4,
        "names.txt: 2 names; this network has 3 tokens",
    )  # fmt: skip


def test_wrong_usage() -> None:
    assert_wrong_usage(run("play", "a.cfg"), "the weights are missing: minidark play CFG WEIGHTS")
    assert_wrong_usage(
        run("play", "a.cfg", "a.weights", "-o", "a.weights"),
        "a.weights is an input of this command; write to another file",
    )
    assert run("play", "a.cfg", "a.weights", "--bits", "9").exit_code == 2


def test_another_file_is_overwritten_by_force_only() -> None:
    Path("play.html").write_text("mine")
    result = run("play", "a.cfg", "a.weights")
    assert result.exit_code == 2
    assert "--force overwrites it" in result.stderr
    assert Path("play.html").read_text() == "mine"
    output("play", "a.cfg", "a.weights", "--force")
    output("play", "a.cfg", "a.weights")  # an earlier page


def test_a_page_that_cannot_be_written_is_told_first() -> None:
    result = run("play", "a.cfg", "none.weights", "-o", "none/page.html")
    assert_refused(result, 1, "none/page.html: cannot write: No such file or directory")


def test_layers_that_a_page_cannot_run_are_refused() -> None:
    lay_out(cfg("net inputs=256", "connected output=8", "gru output=8", "attention",
                "connected output=256", "softmax"))  # fmt: skip
    result = run("play", "a.cfg", "a.weights")
    assert result.exit_code == 3
    assert "a.cfg: a page cannot run [attention] yet; it can run [activation], " in result.stderr
    assert not Path("play.html").exists()


def test_a_network_of_pairs_is_refused() -> None:
    net = cfg("net inputs=256 batch=2 time_steps=20 max_batches=2", "gru output=4",
              "connected output=256", "softmax")  # fmt: skip
    Path("p.cfg").write_text(net)
    Path("pairs.txt").write_text("one\t1\ntwo\t2\nthree\t3\n" * 9)
    output("train", "p.cfg", "pairs.txt", "--pairs", "--backup", "run", "--quiet")
    Path("other.weights").write_bytes(Path("run/p_final.weights").read_bytes())
    assert_refused(
        run("play", "p.cfg", "run/p_final.weights"), 3,
        "p.cfg: was trained on pairs; a page cannot run such a network yet",
    )  # fmt: skip
    output("play", "p.cfg", "other.weights")  # nothing beside it says so


def test_nothing_heavy_is_loaded() -> None:
    modules = loaded(command("play", "a.cfg", "a.weights", "--quiet"))
    assert "jinja2" in modules
    assert not modules & {"matplotlib", "numba", "onnx", "torch"}
