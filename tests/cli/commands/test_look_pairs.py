"""`minidark look --pairs`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from minidark import Classifier, load_network
from minidark.cli.commands import look_pairs
from minidark.cli.output import tables
from minidark.inference.prefixes import class_prefixes
from tests.cli.running import TWO_CELLS, assert_refused, assert_wrong_usage, lay_out, output, run
from tests.helpers import cfg, randomize
from tests.inference.sorter import set_by_hand, write_cfg

pytest.importorskip("jinja2", reason="needs the extra report")

LOOK = ("look", "a.cfg", "a.weights", "pairs.tsv", "--pairs")


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """A network that sorts letters and writes them as capitals, a source, and a pair."""
    write_cfg("a.cfg")
    set_by_hand(load_network("a.cfg")).save_weights("a.weights")
    (folder / "pairs.tsv").write_bytes(b"cab\r\nba\tBA\n")


def test_it_prints_the_strongest_source_symbol_of_each_target_symbol() -> None:
    result = run(*LOOK)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "line 1: cab",
        "prediction: ABC",
        "weights of 1.attention:",
        "  A  a  100 %",
        "  B  b  100 %",
        "  C  c  100 %",
        "  ↵  ⇥  100 %",
        "",
        "line 2: ba",
        "target: BA",
        "weights of 1.attention:",
        "  B  a  100 %",
        "  A  ⇥  100 %",
        "  ↵  b  100 %",
    ]
    size = Path("alignment.html").stat().st_size
    assert result.stderr == f"minidark: wrote alignment.html: {size:,} bytes\n"
    assert not Path("look.html").exists()


def test_a_prediction_is_shown_beside_the_true_target() -> None:
    lines = output(*LOOK, "--predict").decode().splitlines()
    assert lines[8:11] == ["line 2: ba", "prediction: AB", "true target: BA"]
    page = Path("alignment.html").read_text()
    assert "<dt>True target</dt>" in page


def test_json_has_one_object_for_each_line_and_writes_no_page() -> None:
    first, second = map(json.loads, output(*LOOK, "--json").splitlines())
    (layer,) = first.pop("layers")
    assert first == {
        "line": 1, "source": "cab", "target": "ABC", "predicted": True, "cut": False,
        "true_target": None, "source_symbols": ["c", "a", "b", "\t"],
        "target_symbols": ["A", "B", "C", "\n"],
    }  # fmt: skip
    assert layer == {"layer": "1.attention", "weights": np.eye(4)[[1, 2, 0, 3]].tolist()}
    assert (second["target"], second["predicted"], second["true_target"]) == ("BA", False, "BA")
    assert not [*Path().glob("*.html")]
    output(*LOOK, "--json", "-o", "page.html")
    assert Path("page.html").exists()


def test_standard_input_and_another_separator() -> None:
    refused = run("look", "a.cfg", "a.weights", "-", "--pairs", "--separator", "|", stdin=b"a|A\n")
    said = "a.cfg: 1.attention: separator=9 ends a source, but the pairs have '|'; set "
    assert_refused(refused, 3, f"{said}separator=124 in [attention], or --separator")
    Path("b.cfg").write_text(Path("a.cfg").read_text().replace("[attention]", BAR))
    call = ("look", "b.cfg", "a.weights", "-", "--pairs", "--separator", "|", "--json")
    (line,) = map(json.loads, output(*call, stdin="\ufeffab|A".encode()).splitlines())
    assert (line["source"], line["target"], line["source_symbols"][-1]) == ("ab", "A", "|")


BAR = "[attention]\nseparator=124"


def test_len_limits_the_lines() -> None:
    Path("pairs.tsv").write_bytes(b"ab\tAB\n" * 25 + b"\n")  # the empty line is not read
    assert len(output(*LOOK, "--json").splitlines()) == 20
    assert len(output(*LOOK, "--json", "--len", "3").splitlines()) == 3


def test_the_beam_is_that_of_predict_and_4_by_default() -> None:
    net = load_network("a.cfg")
    randomize(net.layers, seed=1)
    net.save_weights("random.weights")
    call = ("a.cfg", "random.weights", "--json")
    found = {}
    for beam, options in (("1", ["--beam", "1"]), ("4", [])):
        shown = output("look", *call, "-", "--pairs", *options, stdin=b"abcdef\nbca\ngh\n")
        lines = output("predict", *call, "--beam", beam, stdin=b"abcdef\nbca\ngh\n")
        found[beam] = [json.loads(line)["target"] for line in shown.splitlines()]
        predicted = [json.loads(line)["predictions"][0] for line in lines.splitlines()]
        assert found[beam] == [prediction["target"] for prediction in predicted]
    assert found["1"] != found["4"]


def test_predictions_that_do_not_end_are_reported() -> None:
    net = load_network("a.cfg", "a.weights")
    net.parameters()[-1].value[ord("\n")] = 0
    net.save_weights("endless.weights")
    result = run("look", "a.cfg", "endless.weights", "pairs.tsv", "--pairs", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["cut"] for line in result.stdout.splitlines()] == [True, False]
    said = "1 of 2 predictions did not end within 12 symbols"
    assert f"minidark: warning: {said}\n" in result.stderr


def test_lines_fit_into_80_columns() -> None:
    """Long texts are wrapped, and wide characters take two columns."""
    write_cfg("a.cfg", 256)
    load_network("a.cfg", seed=1).save_weights("a.weights")
    words = "漢字" * 30 + " " + "word " * 30 + "\x1b[1m"
    Path("pairs.tsv").write_bytes(f"{words}\t{words}\n".encode())
    lines = output(*LOOK, "--set", "attention.memory=300").decode().splitlines()
    assert max(map(cell_len, lines)) <= tables.WIDTH == 80
    assert lines[:2] == ["line 1:", "漢字" * 20]
    assert lines.index("weights of 1.attention:") > 6
    assert any(line.startswith("  漢  ") for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_long_symbol_is_cut() -> None:
    fitted = [look_pairs._fitted(text, 5) for text in ("abc", "abcdef", "漢字漢字", "abcde")]
    assert fitted == ["abc  ", "abcd…", "漢字…", "abcde"]


# --- refusals ---------------------------------------------------------------------------------


def test_a_network_without_attention_over_a_source_is_refused() -> None:
    lay_out(TWO_CELLS)
    said = "a.cfg: has no [attention] with over=source, so it has no alignment; "
    rest = "`look` without --pairs shows gates and states at each character of a text"
    assert_refused(run(*LOOK), 3, said + rest)
    assert not Path("alignment.html").exists()


def test_without_pairs_the_message_names_it() -> None:
    sections = ("gru output=6 tanh=1", "attention over=source", "connected output=300", "softmax")
    Path("a.cfg").write_text(cfg("net inputs=300", *sections))
    load_network("a.cfg").save_weights("a.weights")
    said = "a.cfg: has 300 symbols; a page shows at most 256, one for each byte; --pairs shows "
    refused = run("look", "a.cfg", "a.weights", "pairs.tsv")
    assert_refused(refused, 3, f"{said}its attention over the sources of pairs")


def test_pairs_that_are_read_as_a_text_give_a_warning() -> None:
    sections = ("gru output=6 tanh=1", "attention over=source", "connected output=128", "softmax")
    Path("a.cfg").write_text(cfg("net inputs=128", *sections))
    load_network("a.cfg").save_weights("a.weights")
    warning = "pairs.tsv looks like pairs; --pairs shows the attention over their sources"
    for text, warned in ((b"ab\tAB\n" * 3, True), (b"a text\n" * 3, False)):
        Path("pairs.tsv").write_bytes(text)
        result = run("look", "a.cfg", "a.weights", "pairs.tsv", "--json")
        assert result.exit_code == 0
        assert (f"minidark: warning: {warning}\n" in result.stderr) == warned


@pytest.mark.parametrize("option", [["--predict"], ["--beam", "2"], ["--separator", "|"]])
def test_options_of_pairs_need_pairs(option: list[str]) -> None:
    refused = run("look", "a.cfg", "a.weights", "pairs.tsv", *option)
    assert_wrong_usage(refused, f"{option[0]} needs --pairs")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty; expected lines of a source, or of a source, a tab and a target"),
        (b"a\n\n", "line 2 has an empty source"),
        (b"\tA\n", "line 1 has an empty source"),
        (
            b"a\t\n",
            "line 1 has an empty target; a line without a separator has the network's prediction",
        ),
        (b"a\tA\tB\n", "line 1 has 2 separators; a pair is a source, a tab, a target"),
        (b"a\nb\xff\n", "line 2 is not UTF-8: byte 255 at 1"),
        ("é\n".encode(), "line 1 contains byte 195; this network's symbols are 0 to 127"),
    ],
)
def test_a_malformed_line_is_refused(data: bytes, message: str) -> None:
    Path("pairs.tsv").write_bytes(data)
    assert_refused(run(*LOOK), 4, f"pairs.tsv: {message}")
    from_input = run("look", "a.cfg", "a.weights", "-", "--pairs", stdin=data)
    assert_refused(from_input, 4, f"standard input: {message}")
    assert not Path("alignment.html").exists()


def test_missing_pairs_are_refused() -> None:
    Path("pairs.tsv").unlink()
    assert_refused(run(*LOOK), 4, "pairs.tsv: cannot read: No such file or directory")


# --- classes ------------------------------------------------------------------------------


@pytest.fixture
def classes() -> Classifier:
    """A network with random weights, and pairs whose targets repeat."""
    net = load_network("a.cfg")
    randomize(net.layers, seed=1)
    net.save_weights("a.weights")
    Path("pairs.tsv").write_bytes(b"cab bed\tyes\nba\tno\nfad\tyes\nabc\tno\n")
    return Classifier(load_network("a.cfg", "a.weights", batch=1), ["no", "yes"])


def test_the_classes_in_the_file_are_shown_while_reading(classes: Classifier) -> None:
    first, *_ = (json.loads(line) for line in output(*LOOK, "--json").splitlines())
    found = class_prefixes(classes, b"cab bed")
    assert first["classes"] == ["no", "yes"]
    np.testing.assert_allclose(first["class_probabilities"], found.probabilities, atol=1e-6)
    lines = output(*LOOK).decode().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("classes after the source: "))
    (name, p), (other, q) = found.ranked()
    assert lines[at] == f"classes after the source: {name} {100 * p:.0f} %, {other} {100 * q:.0f} %"
    assert lines[at + 1] == f"symbols that changed {name} most, in percentage points:"
    for line, (before, symbol, change) in zip(lines[at + 2 :], found.strongest(), strict=False):
        where = f"after {before}" if before else "at the beginning"
        assert line == f"  {symbol.replace(' ', '␣')}  {100 * change:+4.0f}  {where}".rstrip()
    page = Path("alignment.html").read_text()
    assert page.count("Classes while reading</h3>") == 4


def test_classes_can_be_named_and_are_not_shown_otherwise(classes: Classifier) -> None:
    Path("pairs.tsv").write_bytes(b"cab bed\n")
    (line,) = map(json.loads, output(*LOOK, "--json").splitlines())
    assert "classes" not in line
    assert b"classes" not in output(*LOOK)
    assert "Classes while reading" not in Path("alignment.html").read_text()
    (line,) = map(json.loads, output(*LOOK, "--json", "--classes", "yes,no").splitlines())
    assert line["classes"] == ["yes", "no"]
    wanted = class_prefixes(classes, b"cab bed").probabilities[:, ::-1]
    np.testing.assert_allclose(line["class_probabilities"], wanted, atol=1e-6)
    result = run("look", "a.cfg", "a.weights", "pairs.tsv", "--classes", "yes,no")
    assert_wrong_usage(result, "--classes needs --pairs")
