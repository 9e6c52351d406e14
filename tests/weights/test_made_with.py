"""A weight file of the right length for another cfg is told by what stands beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from minidark import Network, WeightsError, load_network, load_weights
from minidark.training.backups import Backups
from minidark.weights import made_with
from tests.cli.running import assert_refused, run
from tests.helpers import cfg, network

MADE = ("net inputs=3 batch=2 time_steps=4 max_batches=2", "gru output=2 tanh=1",
        "connected output=3 activation=linear", "softmax")  # fmt: skip
GRU = "[gru] inputs=3 output=2 batch_normalize=0 tanh={}"
CONNECTED = "[connected] inputs=2 output=3 activation={} batch_normalize=0"


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """made_final.weights, as a run leaves it."""
    monkeypatch.chdir(tmp_path)
    Path("made.cfg").write_text(cfg(*MADE))
    Path("text.txt").write_bytes(b"\0\1\2\2" * 40)
    return Backups(network(*MADE), ".", "made.cfg").save("_final.weights")


def refusal(net: Network, path: str = "made_final.weights", **kwargs: Any) -> str:
    with pytest.raises(WeightsError) as error:
        load_weights(net, path, **kwargs)
    return str(error.value)


def other(*changes: str) -> Network:
    """The network of the cfg with "old->new" applied to its lines."""
    text = "\n".join(MADE)
    for change in changes:
        old, new = change.split("->")
        assert old in text
        text = text.replace(old, new)
    return network(*text.split("\n"))


def test_the_record_says_what_the_file_was_made_with() -> None:
    record = json.loads(Path("made_final.weights.json").read_bytes())
    assert record == {
        "cfg": "made.cfg",
        "weights_sha256": hashlib.sha256(Path("made_final.weights").read_bytes()).hexdigest(),
        "layers": [GRU.format(1), CONNECTED.format("linear")],
    }


@pytest.mark.parametrize(
    ("change", "there", "here"),
    [
        ("tanh=1->tanh=0", GRU.format(1), GRU.format(0)),
        ("=linear->=tanh", CONNECTED.format("linear"), CONNECTED.format("tanh")),
        ("softmax->activation activation=relu", "2 layers with weights", "3"),
    ],
)
def test_weights_of_equal_length_for_another_cfg_are_refused(
    change: str, there: str, here: str
) -> None:
    net = other(change)
    before = [p.value.copy() for p in net.parameters()]
    assert refusal(net) == (
        f"made_final.weights: made with 'made.cfg', which has {there} where this cfg has {here}; "
        "load it with that cfg, or use --allow-other-cfg"
    )
    assert all((p.value == b).all() for p, b in zip(net.parameters(), before, strict=True))
    load_weights(net, "made_final.weights", allow_other_cfg=True)
    theirs = load_network("made.cfg", "made_final.weights")
    for p, wanted in zip(net.parameters(), theirs.parameters(), strict=True):
        assert (p.value == wanted.value).all()


def test_the_other_form_of_gru_is_refused_and_older_records_are_of_the_first() -> None:
    after = other("tanh=1->tanh=1 reset_after=1")
    assert refusal(after) == (
        f"made_final.weights: made with 'made.cfg', which has {GRU.format(1)} where this cfg has "
        f"{GRU.format(1)} reset_after=1; load it with that cfg, or use --allow-other-cfg"
    )
    path = Backups(after, ".", "after.cfg").save(".backup")
    load_weights(other("tanh=1->tanh=1 reset_after=1"), path)
    assert f"which has {GRU.format(1)} reset_after=1 where" in refusal(other(), str(path))
    kept = json.loads(made_with.beside(path).read_bytes())["layers"]
    changes = made_with.overrides(kept, other("output=2->output=7"))
    assert changes == ["gru.output=2", "gru.reset_after=1"]


def test_the_two_forms_of_rnn_are_told_apart_though_they_have_as_many_numbers() -> None:
    """Two sublayers of 3 more inputs and one input less have the numbers of three sublayers."""
    shape = "[net]\ninputs={}\n\n[rnn]\noutput=2\n{}"
    Path("darknets.cfg").write_text(shape.format(3, ""))
    Path("elman.cfg").write_text(shape.format(6, "elman=1\n"))
    for name in ("darknets", "elman"):
        net = load_network(f"{name}.cfg")
        Backups(net, ".", f"{name}.cfg").save(".backup")
    (line,) = json.loads(Path("elman.backup.json").read_bytes())["layers"]
    assert line.endswith("logistic=0 elman=1")
    (line,) = json.loads(Path("darknets.backup.json").read_bytes())["layers"]
    assert "elman" not in line
    with pytest.raises(WeightsError, match=r"which has .rnn. inputs=3 .* where .* elman=1"):
        load_network("elman.cfg", "darknets.backup")
    load_network("elman.cfg", "elman.backup")


def test_the_layers_that_are_read_and_shared_are_in_the_record() -> None:
    def graph(shortcut: str, route: str, tied: str) -> Network:
        return network(
            "net inputs=9", "connected output=3 activation=linear", "gru output=3",
            f"shortcut {shortcut}", f"route layers={route}", "connected output=3",
            f"connected {tied} activation=linear",
        )  # fmt: skip

    path = str(Backups(graph("from=0", "0,-1", "tied=0"), ".", "g.cfg").save(".backup"))
    assert json.loads(made_with.beside(path).read_bytes())["layers"][2:] == [
        "[shortcut] inputs=6 output=3 from=-2 activation=linear",
        "[route] inputs=6 output=6 layers=-3,-1",
        "[connected] inputs=6 output=3 activation=logistic batch_normalize=0",
        "[connected] inputs=3 output=9 activation=linear batch_normalize=0 tied=-5",
    ]
    load_weights(graph("from=-2", "-3,2", "tied=-5"), path)  # the same layers, counted otherwise
    there, here = "layers=-3,-1 where this cfg has", "layers=-1,-3; load it"
    for wrong, parts in (
        (graph("from=-2", "-1,-3", "tied=0"), (there, here)),
        (graph("from=1", "0,-1", "tied=0"), ("from=-2 ", "from=-1 ")),
        (graph("from=0 activation=tanh", "0,-1", "tied=0"), ("=linear where", "=tanh; load")),
    ):
        said = refusal(wrong, path)
        assert all(part in said for part in parts), said
    changes = made_with.overrides(
        made_with.meanings(graph("from=0", "0,-1", "tied=0"), "dontsave"),
        graph("from=1", "1,0", "tied=0"),
    )
    assert changes == ["route.layers=-3,-1", "shortcut.from=-2"]


def test_a_record_with_its_keys_in_another_order_is_of_the_same_layers() -> None:
    record = json.loads(Path("made_final.weights.json").read_bytes())
    gru, connected = record["layers"]
    type_, *pairs = gru.split(" ")
    record["layers"] = [" ".join([type_, *reversed(pairs)]), connected]
    assert record["layers"][0] != gru
    Path("made_final.weights.json").write_text(json.dumps(record))
    load_weights(other(), "made_final.weights")
    assert "tanh=1" in refusal(other("tanh=1->tanh=0"))


def test_two_widths_that_add_up_alike_are_told_apart() -> None:
    wide = ("net inputs=1", "connected output=4", "connected output=1")  # 8 + 5
    long = ("net inputs=1", "connected output=2", "connected output=3")  # 4 + 9
    path = Backups(network(*wide), ".", "wide.cfg").save(".backup")
    assert "which has [connected] inputs=1 output=4" in refusal(network(*long), str(path))


@pytest.mark.parametrize(
    "change",
    [
        "batch=2->batch=6 subdivisions=3",
        "time_steps=4->time_steps=1 adam=1 learning_rate=.5 policy=poly max_batches=9",
        "softmax->softmax temperature=2",
        "softmax->cost",
        "softmax->dropout\nsoftmax",
        "output=2 tanh=1->tanh=1 output=2 learning_rate=2 stopbackward=1 init=orthogonal",
        "tanh=1->tanh=1 update_bias=2",
        "connected->conn",
    ],
)
def test_what_may_change_between_training_and_use_is_no_other_cfg(change: str) -> None:
    load_weights(other(change), "made_final.weights")


def test_hidden_as_wide_as_output_may_be_left_out() -> None:
    path = Backups(network("net inputs=2", "rnn output=3"), ".", "r.cfg").save(".backup")
    load_weights(network("net inputs=2", "rnn output=3 hidden=3"), path)
    assert "logistic=0" in refusal(network("net inputs=2", "rnn output=3 logistic=2"), str(path))


def test_parts_are_compared_with_parts() -> None:
    same, changed = other("softmax->logistic"), other("=linear->=leaky")
    load_weights(same, "made_final.weights", cutoff=1)
    load_weights(changed, "made_final.weights", cutoff=1)
    assert "activation=linear" in refusal(changed, cutoff=2)
    upper = network("net inputs=9", "lstm output=3", *MADE[1:])
    load_weights(upper, "made_final.weights", start=1)
    upper = network("net inputs=9", "lstm output=3", "gru output=2", *MADE[2:])
    assert "tanh=1 where this cfg has" in refusal(upper, start=1)


def test_a_layer_that_is_not_in_the_file_is_not_in_its_record() -> None:
    absent = [part + " dontsave=1" if part.startswith("gru") else part for part in MADE]
    path = Backups(network(*absent), ".", "absent.cfg").save(".backup")
    assert made_with.beside(path).read_text().count("inputs=") == 1
    load_weights(other("tanh=1->tanh=0 dontload=1"), path)


# --- what stands beside a file never stands in its way ----------------------------------------

WRONG = other("tanh=1->tanh=0")


def test_a_file_alone_loads_as_ever() -> None:
    Path("elsewhere").mkdir()
    shutil.move("made_final.weights", "elsewhere/renamed.weights")
    load_weights(WRONG, "elsewhere/renamed.weights")


def test_moved_together_they_still_know() -> None:
    Path("elsewhere").mkdir()
    for suffix in ("", ".json"):
        shutil.move(f"made_final.weights{suffix}", f"elsewhere/w{suffix}")
    assert "made with 'made.cfg'" in refusal(WRONG, "elsewhere/w")


def test_a_record_of_other_bytes_is_not_heeded() -> None:
    net = other("tanh=1->tanh=0")
    net.seen = 1
    net.save_weights("made_final.weights")
    load_weights(WRONG, "made_final.weights")


def record(**changes: Any) -> bytes:
    text = Path("made_final.weights.json").read_bytes()
    return json.dumps(json.loads(text) | changes).encode()


def test_a_record_that_is_none_is_not_heeded() -> None:
    whole = Path("made_final.weights.json").read_bytes()
    none: list[bytes] = [
        b"", b"{", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000, b"9" * 5000, b'"a"',
        record(cfg=7), record(layers="[gru]"), record(layers=[1]), record(weights_sha256=None),
        record(more=1), record(layers=None), whole[:-5],
        whole[:-2].ljust((1 << 20), b" ") + b"}",
    ]  # fmt: skip
    for data in none:
        Path("made_final.weights.json").write_bytes(data)
        load_weights(WRONG, "made_final.weights")
    Path("made_final.weights.json").write_bytes(whole)
    assert "made with" in refusal(WRONG)


def test_a_record_cannot_write_to_the_terminal() -> None:
    data = record(cfg="a\n\x1b[2J" + "b" * 1000, layers=["\x1b[2J" + "c" * 1000])
    Path("made_final.weights.json").write_bytes(data)
    said = refusal(WRONG)
    assert said.isprintable()
    assert len(said) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_in_its_place_is_not_waited_for() -> None:
    Path("made_final.weights.json").unlink()
    os.mkfifo("made_final.weights.json")
    load_weights(WRONG, "made_final.weights")


# --- as the commands do it --------------------------------------------------------------------


def test_a_run_leaves_a_record_and_the_commands_heed_it() -> None:
    assert run("train", "made.cfg", "text.txt", "--backup", "b", "--seed", "1").exit_code == 0
    words = ["--seed", "\1", "--len", "3", "--srand", "1", "--quiet"]
    assert run("generate", "made.cfg", "b/made_final.weights", *words).exit_code == 0
    Path("other.cfg").write_text(Path("made.cfg").read_text().replace("tanh=1", "tanh=0"))
    message = (
        f"b/made_final.weights: made with 'made.cfg', which has {GRU.format(1)} where this cfg has "
        f"{GRU.format(0)}; load it with that cfg, or use --allow-other-cfg"
    )
    words = ["other.cfg", "b/made_final.weights", *words]
    assert_refused(run("generate", *words), 4, message)
    assert run("generate", *words, "--allow-other-cfg").exit_code == 0


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ("gru output=2->gru output=7", "; --set gru.output=2 would fit"),
        ("gru output=2 tanh=1->gru output=7", "; --set gru.output=2 --set gru.tanh=1 would fit"),
        ("gru output=2 tanh=1->gru output=7\ngru output=7", ""),
        ("inputs=3->inputs=9", ""),
    ],
)
def test_an_error_of_length_tells_the_cfg_and_what_to_set(change: str, fits: str) -> None:
    old, new = change.split("->")
    Path("other.cfg").write_text(cfg(*"\n".join(MADE).replace(old, new).split("\n")))
    for verb in ("generate", "info"):
        said = run(verb, "other.cfg", "made_final.weights").stderr
        assert said.endswith(f"; they were made with made.cfg{fits}\n")
    if fits:
        words = fits.removeprefix("; ").removesuffix(" would fit").split()
        assert run("info", "other.cfg", "made_final.weights", *words).exit_code == 0


def test_layers_of_a_type_are_set_alone_where_they_are_not_alike() -> None:
    two = ("net inputs=3", "gru output=2", "dropout", "gru output=4", "connected output=3")
    path = Backups(network(*two), ".", "two.cfg").save(".backup")
    Path("two.cfg").write_text(cfg(*(line.replace("output=4", "output=2") for line in two)))
    with pytest.raises(WeightsError, match=r"they were made with two.cfg; --set 2.output=4 would"):
        load_network("two.cfg", path)
    path.with_name("two.backup.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"this would fit: output=4 in \[gru\] on line 9"):
        load_network("two.cfg", path)


def test_a_record_of_no_sense_is_no_advice() -> None:
    for layer in ("[gru] output=x", "[gru] output=9999999999999", "[gru] output", "[]", "", "a\n"):
        data = record(layers=[layer, CONNECTED.format("linear")])
        Path("made_final.weights.json").write_bytes(data)
        Path("other.cfg").write_text(cfg(*"\n".join(MADE).replace("=2", "=5").split("\n")))
        with pytest.raises(WeightsError, match=r"; they were made with made.cfg$"):
            load_network("other.cfg", "made_final.weights")


def test_a_folder_in_its_place_is_found_out_before_training() -> None:
    Path("b/made_final.weights.json").mkdir(parents=True)
    result = run("train", "made.cfg", "text.txt", "--backup", "b")
    assert (result.exit_code, result.stderr) == (
        1, "minidark: error: b: cannot write: Is a directory\n",
    )  # fmt: skip
