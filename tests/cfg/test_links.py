"""What [route], [shortcut] and tied may name, and what is refused at which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidark import CfgError
from minidark.cfg.check import check_cfg
from minidark.cfg.difference import difference
from minidark.cfg.fit import changes_that_fit, stored_bytes
from minidark.cfg.forms import format_cfg, parse_cfg
from minidark.cfg.plan import plan_cfg
from minidark.training.compare import scaled
from tests.helpers import cfg, network, planned

NET = "net inputs=7"
GRU, EMBEDDING = "gru output=5 tanh=1", "connected output=5 activation=linear"
REFUSED: dict[str, tuple[tuple[str, ...], str, str]] = {  # layers, text of the line, message
    "no layers": ((GRU, "route"), "[route]", "[route] needs layers=N, or several: layers=-1,-3"),
    "no from": (
        (GRU, "shortcut"), "[shortcut]", "[shortcut] needs from=N, the layer to add: from=-2",
    ),
    "the first layer": (
        ("route layers=-1",), "layers=-1",
        "layers=-1 names a layer, but this is the first one; a layer reads those before it",
    ),
    "itself": (
        (GRU, "shortcut from=1"), "from=1",
        "from=1 is not before layer 1, which reads layers 0 to 0, or -1 to -1 counted from itself",
    ),
    "ahead": (
        (GRU, GRU, "route layers=-1,3", GRU), "layers=-1,3",
        "layers=3 is not before layer 2, which reads layers 0 to 1, or -2 to -1 counted from "
        "itself",
    ),
    "below the input": (
        (GRU, GRU, "shortcut activation=tanh from=-3"), "from=-3",
        "from=-3 is not before layer 2, which reads layers 0 to 1, or -2 to -1 counted from itself",
    ),
    "symbols": (
        ("bytepairs", GRU, "route layers=-1,0"), "layers=-1,0",
        "layers=0 is [bytepairs]; only the next layer reads its symbols",
    ),
    "other widths": (
        (GRU, "gru output=4", "shortcut from=0"), "from=0",
        "from=0 is 5 wide, and the layer before this one 4; [shortcut] adds equal widths",
    ),
    "tied to a gru": (
        (GRU, "connected activation=linear tied=0"), "tied=0",
        "tied=0 is not a [connected] with activation=linear, and without batch_normalize and tied; "
        "only such weights are shared",
    ),
    "tied to a curve": (("connected output=5", "connected tied=-1"), "tied=-1", "tied=-1 is"),
    "tied to a norm": (
        (f"{EMBEDDING} batch_normalize=1", "connected tied=-1"), "tied=-1", "tied=-1 is not",
    ),
    "tied to a tied layer": (
        (EMBEDDING, "connected tied=0 activation=linear", "connected tied=1"), "tied=1",
        "tied=1 is not",
    ),
    "tied over another width": (
        (EMBEDDING, "gru output=4", "connected tied=0"), "tied=0",
        "tied=0 is 5 wide, and the input of this layer 4",
    ),
    "tied with another output": (
        (EMBEDDING, "connected tied=0 output=6"), "output=6",
        "output=6, but tied=0 reads 7; remove output",
    ),
    "tied with a norm": (
        (EMBEDDING, "connected tied=0 batch_normalize=1"), "batch_normalize=1",
        "batch_normalize=1, but tied=0: batch norm needs weights of its own",
    ),
    "not a number": ((GRU, "route layers=-1,x"), "layers=-1,x", "layers='x' is not an integer"),
    "a shortcut of two": (
        (GRU, GRU, "shortcut from=-2,-3"), "from=-2,-3", "from='-2,-3' is not an integer",
    ),
    "an unknown activation": (
        (GRU, GRU, "shortcut from=-2 activation=tahn"), "activation=tahn",
        "activation='tahn' is not one of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_link_is_refused_at_its_line(name: str) -> None:
    layers, text, message = REFUSED[name]
    data = cfg("net inputs=300" if layers[0] == "bytepairs" else NET, *layers).encode()
    lines = data.decode().splitlines()
    line = len(lines) - lines[::-1].index(text)
    with pytest.raises(CfgError) as error:
        plan_cfg(data, "a.cfg", warn=lambda *_: None)
    assert str(error.value).startswith(f"a.cfg:{line}: {message}")
    (finding,) = (f for f in check_cfg(data, "a.cfg").findings if f.severity == "error")
    assert (finding.line, finding.code[:3]) == (line, "E00")


def test_numbers_behind_an_unknown_section_are_no_further_mistakes() -> None:
    data = cfg(
        NET, GRU, "yolo", "route layers=-2", "shortcut from=1", EMBEDDING, "softmax"
    ).encode()
    found = [f.message for f in check_cfg(data, "a.cfg").findings if f.severity == "error"]
    assert len(found) == 1
    assert found[0].startswith("[yolo] works on images")


@pytest.mark.parametrize("key", ["groups=2", "group_id=1", "alpha=.5", "beta=.5"])
def test_a_key_for_images_is_warned_of(key: str) -> None:
    found: list[str] = []
    data = cfg(NET, GRU, f"route layers=-1 {key}", "softmax").encode()
    plan_cfg(data, warn=lambda message, line: found.append(message))
    assert found == [f"unknown key '{key.partition('=')[0]}' in [route]"]


def test_overrides_and_yaml_have_the_same_links() -> None:
    text = cfg(NET, EMBEDDING, GRU, "route layers=-1,-2", "connected output=5", "shortcut from=-3",
               "connected tied=-5")  # fmt: skip
    plan = plan_cfg(
        text.encode(), warn=lambda *_: None, overrides=["shortcut.from=0", "2.layers=1"]
    )
    assert [layer.reads for layer in plan.layers] == [(-1,), (0,), (1,), (2,), (3, 0), (4,)]
    yaml = format_cfg(plan.sections, Path("a.yaml"))
    again = plan_cfg(yaml.encode(), "a.yaml", warn=lambda *_: None)
    assert [layer.options for layer in again.layers] == [layer.options for layer in plan.layers]
    assert not difference(plan, again)


def test_the_same_layers_counted_otherwise_are_no_difference() -> None:
    one = planned(NET, EMBEDDING, GRU, "shortcut from=-2", "route layers=-3,-1",
                  "connected output=5", "connected tied=-5")  # fmt: skip
    same = planned(NET, EMBEDDING, GRU, "shortcut from=0", "route layers=0,2", "connected output=5",
                   "connected tied=0 output=7")  # fmt: skip
    other = planned(NET, EMBEDDING, GRU, "shortcut from=1", "route layers=-1,-3",
                    "connected output=5", "connected tied=0")  # fmt: skip
    assert not difference(one, same)
    changes = [(c.key, c.a, c.b) for layer in difference(one, other).layers for c in layer.changes]
    assert changes == [("from", -2, -1), ("layers", (-3, -1), (-1, -3))]


def test_the_bytes_of_a_graph_and_a_change_that_fits(tmp_path: Path) -> None:
    layers = (EMBEDDING, GRU, "shortcut from=0", "connected tied=0 activation=linear", "softmax")
    net = network(NET, *layers, dtype="float32")
    net.save_weights(tmp_path / "x.weights")
    size = (tmp_path / "x.weights").stat().st_size - 20
    sections = parse_cfg(cfg(NET, *layers).encode(), None, lambda *_: None)
    assert stored_bytes(sections) == size
    for change in changes_that_fit(sections, 4 * 12345):  # none may need an impossible width
        assert "output" not in change
    wide = parse_cfg(cfg(NET, "gru output=6", EMBEDDING, "softmax").encode(), None, lambda *_: None)
    narrow = cfg(NET, GRU, "route layers=0,-1", EMBEDDING, "softmax")
    assert stored_bytes(wide) != stored_bytes(parse_cfg(narrow.encode(), None, lambda *_: None))


def test_a_residual_network_is_scaled_where_all_its_widths_change() -> None:
    end = ("connected output=7 activation=linear", "softmax")
    plan = planned(NET, GRU, GRU, "shortcut from=0", *end)
    assert len({la.size.outputs for la in scaled(plan, None, 2000).layers[:3]}) == 1
    fixed = planned(NET, EMBEDDING, GRU, "shortcut from=0", *end)
    with pytest.raises(
        CfgError, match="cannot be scaled to 2,000 parameters, because not all widths"
    ):
        scaled(fixed, None, 2000)
