"""Results of make bench-learning are kept, and PyTorch's peer is the same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning.kept import kept
from benchmarks.table import Row
from minidark import Network, Pairs, load_network
from minidark.files.shipped import find_cfg
from minidark.layers.dropout import DropoutLayer
from minidark.training.feeds import PairsFeed


def test_a_task_is_measured_once_and_again_on_request(tmp_path: Path) -> None:
    measured = [1.0, 2.0]

    def measure() -> list[Row]:
        return [Row("work", measured.pop(0), 5.0, "s", less=True, remark="quick")]

    first = kept(tmp_path / "new", "task", measure)
    assert first == [Row("work", 1.0, 5.0, "s", less=True, remark="quick")]
    (second,) = kept(tmp_path / "new", "task", measure)
    assert second.measured == 1.0
    assert second.met
    assert second.remark.startswith("quick; measured on 20")
    (third,) = kept(tmp_path / "new", "task", measure, again=True)
    assert third.measured == 2.0
    measured.append(3.0)
    (fourth,) = kept(tmp_path / "new", "task", measure, options={"seeds": 3})
    assert fourth.measured == 3.0
    measured.append(4.0)
    assert kept(tmp_path / "new", "task", measure, options={"seeds": 3})[0].measured == 3.0
    assert kept(tmp_path / "new", "task", measure)[0].measured == 4.0


def test_a_task_that_fails_keeps_nothing(tmp_path: Path) -> None:
    def measure() -> list[Row]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept(tmp_path, "task", measure)
    assert not [*tmp_path.iterdir()]


def few_symbols(folder: Path) -> Network:
    """Of cfg/translate.cfg, with few byte pairs."""
    cfg = folder / "few.cfg"
    cfg.write_text(find_cfg("translate").read_text().replace("inputs=3072", "inputs=290"))
    return load_network(cfg, seed=1)


@pytest.mark.slow
def test_training_in_torch_drops_what_the_cfg_drops(tmp_path: Path) -> None:
    """As often, with its probability, and for both readers of an output alike."""
    torch = pytest.importorskip("torch", reason="torch is not installed; the extra 'peers'")
    from benchmarks.learning.torch_translation import like

    net = few_symbols(tmp_path)
    layers = [layer for layer in net.layers if isinstance(layer, DropoutLayer)]
    model, dropped = like(net), []
    model.dropout.register_forward_hook(lambda module, args, y: dropped.append(module.p))
    model(torch.full((3, 2), ord("\t")))
    assert dropped == [layer.probability for layer in layers]
    ours = net.layers[1].affine.weights.std()  # type: ignore[attr-defined]
    assert float(model.embedding.weight.detach().std()) == pytest.approx(ours, rel=0.02)


@pytest.mark.slow
def test_the_network_of_the_translation_benchmark_is_the_same_in_torch(tmp_path: Path) -> None:
    """After two seconds of training in PyTorch, minidark computes the same probabilities."""
    pytest.importorskip("torch", reason="torch is not installed; the extra 'peers'")
    from benchmarks.learning.torch_translation import difference, fill, trained

    path = tmp_path / "pairs.tsv"
    words = ["ein", "Hund", "läuft", "über", "die", "Wiese", "und", "bellt", "laut"]
    path.write_text(
        "".join(f"{' '.join(words[: n % 9 + 1])}\t{n} dogs bark\n" for n in range(200)), "utf-8"
    )
    net = few_symbols(tmp_path)
    feed = PairsFeed(Pairs(path), net, 1, 0.0)
    model, batches = trained(net, feed, 2.0)
    assert batches > 0
    fill(net, model)
    feed.move([1, 0])
    passes = [feed.next().x for _ in range(4)]
    assert min((x == ord("\t")).any(axis=0).sum() for x in passes) < net.streams, "all are full"
    for x in passes:
        assert np.unique((x == ord("\t")).argmax(axis=0)).size > 1, "one length of source"
        assert difference(net, model, x) < 1e-5
