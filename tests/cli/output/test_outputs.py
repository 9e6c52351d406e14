"""Files that commands write: what was there is lost only where it is an earlier output."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark import load_network
from minidark.weights import made_with
from tests.cli.running import NORMED, assert_wrong_usage, lay_out, run

FORCED = "--force overwrites it"
CALLS = {  # the command, its arguments but for OUT's place, which is "OUT"
    "average": ("average", "a.cfg", "OUT", "a.weights", "b.weights"),
    "partial": ("partial", "a.cfg", "a.weights", "OUT", "1"),
    "denormalize": ("denormalize", "a.cfg", "a.weights", "OUT"),
    "convert": ("convert", "a.weights", "OUT", "--cfg", "a.cfg"),
}
FORMS = [("convert", "out.safetensors"), ("convert", "out.npz"),
         *((name, "out.weights") for name in CALLS)]  # fmt: skip


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    lay_out(NORMED, b"a text that nobody wants to lose\n")
    load_network("a.cfg", seed=2).save_weights("b.weights")


def called(name: str, out: str, *more: str) -> tuple[str, ...]:
    return (*(out if word == "OUT" else word for word in CALLS[name]), *more)


@pytest.mark.parametrize(("name", "out"), FORMS)
def test_another_file_is_refused_and_an_earlier_output_replaced(name: str, out: str) -> None:
    before = Path("text.txt").read_bytes()
    Path(out).write_bytes(before)
    said = f"{out} exists and is not an earlier output: it does not contain weights; {FORCED}"
    assert_wrong_usage(run(*called(name, out)), said)
    assert Path(out).read_bytes() == before
    assert run(*called(name, out, "--force")).exit_code == 0
    written = Path(out).read_bytes()
    assert written != before
    assert run(*called(name, out)).exit_code == 0
    assert Path(out).read_bytes() == written


@pytest.mark.parametrize("name", [*CALLS])
def test_a_text_is_never_taken_for_out(name: str) -> None:
    """As where a shell's * puts one in its place."""
    if name == "convert":
        pytest.skip("convert goes by its suffix, and takes no .txt")
    before = Path("text.txt").read_bytes()
    assert run(*called(name, "text.txt")).exit_code == 2
    assert Path("text.txt").read_bytes() == before


def test_an_empty_file_holds_nothing_to_lose() -> None:
    Path("out.weights").touch()
    assert run(*called("average", "out.weights")).exit_code == 0


def test_weights_of_a_training_run_are_no_output_of_average() -> None:
    net = load_network("a.cfg", seed=3)
    net.save_weights("run_final.weights")
    before = Path("run_final.weights").read_bytes()
    made_with.write("run_final.weights", net, "a.cfg", "0" * 64)
    said = f"belongs to a training run, as run_final.weights.json shows; {FORCED}"
    assert_wrong_usage(run(*called("average", "run_final.weights")),
                       f"run_final.weights exists and {said}")  # fmt: skip
    assert Path("run_final.weights").read_bytes() == before


def test_a_cfg_is_replaced_by_force_or_by_the_same_bytes() -> None:
    Path("mine.cfg").write_text("# written by hand\n[net]\n")
    for call in (
        ("convert", "a.cfg", "mine.yaml"),
        called("denormalize", "out.weights", "--out-cfg", "mine.cfg"),
    ):
        if "mine.yaml" in call:
            assert run(*call).exit_code == 0
            assert run(*call).exit_code == 0
            Path("mine.yaml").write_text("# changed\n")
        before = Path(call[-1]).read_bytes()
        assert_wrong_usage(run(*call), f"{call[-1]} exists and may be written by hand; {FORCED}")
        assert Path(call[-1]).read_bytes() == before
        assert run(*call, "--force").exit_code == 0
        assert Path(call[-1]).read_bytes() != before


def test_a_page_is_replaced_and_another_html_is_not() -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    Path("b.cfg").write_text(
        "[net]\ninputs=256\n[gru]\noutput=4\n[connected]\noutput=256\n[softmax]\n"
    )
    load_network("b.cfg").save_weights("c.weights")
    call = ("look", "b.cfg", "c.weights", "text.txt", "-o", "page.html")
    assert run(*call).exit_code == 0
    assert run(*call).exit_code == 0
    Path("page.html").write_text("<!doctype html><p>my own")
    said = "is not an earlier output: it does not contain a page by minidark"
    assert_wrong_usage(run(*call), f"page.html exists and {said}; {FORCED}")
    assert run(*call, "--force").exit_code == 0


def test_join_takes_force_too() -> None:
    Path("d.cfg").write_text(
        "[net]\ninputs=20\n[gru]\noutput=4\n[connected]\noutput=20\nactivation=linear\n[softmax]\n"
    )
    for seed in (1, 2):
        load_network("d.cfg", seed=seed).save_weights(f"d{seed}.weights")
    call = ("join", "d.cfg", "both.weights", "d1.weights", "d2.weights")
    assert run(*call).exit_code == 0
    assert run(*call).exit_code == 2
    assert run(*call, "--force").exit_code == 0
