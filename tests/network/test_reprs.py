"""What things say of themselves, at a prompt and in a notebook, and how they are got at by name."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import minidark
from minidark import DataError, Network, Text, train
from minidark.layers.base import Layer, Parameter
from minidark.network.html_table import html_table
from tests.conftest import WriteText
from tests.helpers import network


@pytest.fixture
def net() -> Network:
    return network("net inputs=20 batch=6 time_steps=3", "gru output=5 batch_normalize=1",
                   "lstm output=4", "connected output=20 activation=linear", "softmax")  # fmt: skip


class Cells(HTMLParser):
    """The cells of a table, row by row, and the words around it."""

    def __init__(self, html: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.caption = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data


def test_a_network_at_the_prompt(net: Network) -> None:
    net.seen = 1200
    size = sum(p.value.size for p in net.parameters())
    assert repr(net) == (
        f"<Network: 20 -> gru 5, lstm 4, connected 20, softmax 20; {size} parameters, "
        "6 streams, 1,200 rows seen>"
    )


def test_a_network_in_a_notebook_is_its_layers(net: Network) -> None:
    shown = Cells(net._repr_html_())
    assert shown.rows == [
        ["layer", "inputs", "outputs", "parameters"],
        *(
            [layer.name, str(layer.inputs), str(layer.outputs),
             str(sum(p.value.size for p in layer.parameters()))]
            for layer in net.layers
        ),
    ]  # fmt: skip
    assert shown.caption.endswith(" parameters, 6 streams, 0 rows seen")


def test_layers_and_arrays_at_the_prompt(net: Network) -> None:
    assert repr(net.layers[0]) == "<0.gru: 20 -> 5, 6 streams, carries state>"
    assert repr(net.layers[3]) == "<3.softmax: 20 -> 20, 6 streams>"
    assert repr(net["0.gru.uz.weights"]) == "<0.gru.uz.weights: 5 x 20 float64>"


def test_what_is_in_a_cell_is_escaped_and_numbers_have_commas() -> None:
    shown = Cells(html_table("<a>", ["b&c"], [["<script>", 12345]]))
    assert (shown.caption, shown.rows) == ("<a>", [["b&c"], ["<script>", "12,345"]])


def test_a_layer_by_number_and_name(net: Network) -> None:
    assert net[0] is net["0.gru"] is net.layers[0]
    assert net[-1] is net["3.softmax"]
    assert [net[n] for n in range(4)] == net.layers
    with pytest.raises(IndexError):
        net[4]


def test_an_array_by_name_is_live(net: Network) -> None:
    array = net["1.lstm.wf.weights"]
    assert isinstance(array, Parameter)
    array.value[...] = 7
    (same,) = (p for p in net.parameters() if p.name == array.name)
    np.testing.assert_array_equal(same.value, 7)
    assert not isinstance(net["0.gru.uz.rolling_mean"], Layer)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("0.gur", "'0.gur' (did you mean '0.gru'?)"),
        ("0.gru.uz.weight", "'0.gru.uz.weight' (did you mean '0.gru.uz.weights'?)"),
        ("nothing", "'nothing'; its layers are 0.gru, 1.lstm, 2.connected, 3.softmax"),
    ],
)
def test_another_name_is_told_the_nearest(net: Network, name: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        net[name]
    assert str(error.value) == f"no layer or array of this network is named {said}"


def test_a_run_says_how_far_it_is(write_text: WriteText) -> None:
    net = network("net inputs=256 batch=4 time_steps=4", "gru output=5",
                  "connected output=256 activation=linear", "softmax")  # fmt: skip
    with Text(write_text(b"abcdefgh" * 1000), 256) as text:
        run = train(net, text, batches=3)
        assert repr(run) == "<Training: 0 of 3 batches>"
        first = next(run)
        assert repr(run) == f"<Training: 1 of 3 batches, average loss {first.loss:.4f}>"
        assert run._repr_html_() == (
            f'<progress value="1" max="3"></progress> 1 of 3 batches, average loss {first.loss:.4f}'
        )
        *_, last = run
        assert repr(run).endswith(f", lowest validation {last.valid_loss:.4f}>")
    shown = Cells(first._repr_html_())
    assert shown.rows[0] == ["batch", "loss", "average", "rate", "epochs", "valid_loss"]
    assert shown.rows[1][:2] == ["1", f"{first.loss:.4g}"]
    assert shown.rows[1][-1] == "-"
    assert Cells(last._repr_html_()).rows[1][-1] == f"{last.valid_loss:.4g}"


def test_types_travel_with_the_package() -> None:
    assert (Path(minidark.__file__).parent / "py.typed").is_file()
