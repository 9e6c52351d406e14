"""The network of cfg/translate.cfg in PyTorch, with `nn.GRU`: the peer of `translation.py`.

    python -m benchmarks.learning.torch_translation CFG WEIGHTS TRAIN SECONDS OUT

Trains for SECONDS on the symbols of WEIGHTS (their byte pairs), in the same passes and with the
same schedule. The embedding and the states' weights of both GRUs start as in minidark, the other
arrays as PyTorch makes them. Writes OUT, weights for minidark, so that the same search translates
with both. Needs the extra `peers`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from minidark import Network, Pairs, load_network
from minidark.convert.gates import TORCH, Packed, unpack
from minidark.layers.dropout import DropoutLayer
from minidark.training.feeds import PairsFeed, Pass

TAB = 9


class Translator(nn.Module):  # type: ignore[misc]
    """The layers of cfg/translate.cfg."""

    def __init__(self, symbols: int, width: int, dropout: float, input_scale: float):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.encoder, self.decoder = nn.GRU(width, width), nn.GRU(width, width)
        self.query, self.join = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.biases = nn.Parameter(torch.zeros(symbols))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=input_scale * math.sqrt(2 / symbols / 3))
        for gru in (self.encoder, self.decoder):
            for part in gru.weight_hh_l0.data.chunk(3):
                nn.init.orthogonal_(part)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (T, S) to what the output layer reads, (T, S, H)."""
        states, _ = self.encoder(self.dropout(self.embedding(ids)))
        context = attend(self.query(states), states, ids)
        joined = self.dropout(torch.tanh(self.join(torch.cat([context, states], dim=-1))))
        decoded, _ = self.decoder(joined)
        return self.dropout(decoded + joined)

    def scores(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.embedding.weight, self.biases)


def attend(queries: Tensor, states: Tensor, ids: Tensor) -> Tensor:
    """Each step's weighted mean of the states of its source, up to the separator and itself."""
    steps, _, width = states.shape
    place = torch.arange(steps)
    end = (ids == TAB).int().argmax(dim=0)
    seen = (place[None, None] <= place[None, :, None]) & (place[None, None] <= end[:, None, None])
    by_stream = states.transpose(0, 1)
    scores = queries.transpose(0, 1) @ by_stream.transpose(1, 2) / math.sqrt(width)
    weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
    return (weights @ by_stream).transpose(0, 1)


def like(net: Network) -> Translator:
    """An untrained network with the sizes of `net`, its dropout and its embedding's scale."""
    (dropout,) = {layer.probability for layer in net.layers if isinstance(layer, DropoutLayer)}
    scale = net.layer_options[1].input_scale  # type: ignore[attr-defined]
    return Translator(net.inputs, net.layers[1].outputs, dropout, scale)


def trained(net: Network, feed: PairsFeed, seconds: float) -> tuple[Translator, int]:
    """Train on the passes of `feed`, with the learning rate of `net`'s cfg over the seconds."""
    options, smoothing = net.options, net.layers[-1].smoothing  # type: ignore[attr-defined]
    model = like(net)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=options.learning_rate, betas=(options.B1, options.B2)
    )
    began = time.perf_counter()
    for batch in count():
        gone = (time.perf_counter() - began) / seconds
        if gone >= 1:
            return model, batch
        warm = min(1.0, (batch + 1) / options.burn_in)
        rate = options.learning_rate * warm * (1 + math.cos(math.pi * gone)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = cost(model, feed.next(), smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
    raise AssertionError


def cost(model: Translator, batch: Pass, smoothing: float) -> Tensor:
    ids, truth = torch.from_numpy(batch.x), torch.from_numpy(batch.truth)
    rows = model(ids)[truth >= 0]  # as in minidark, only these are scored
    return functional.cross_entropy(
        model.scores(rows), truth[truth >= 0], label_smoothing=smoothing
    )


def fill(net: Network, model: Translator) -> None:
    """Copy the trained arrays to minidark's layers."""
    embedding, first, look, join, second, output = (net.layers[i] for i in (1, 3, 4, 6, 8, 11))
    arrays = {f"{embedding.name}.weights": model.embedding.weight.T}
    for name, linear in ((f"{look.name}.query", model.query), (join.name, model.join)):
        arrays |= {f"{name}.weights": linear.weight, f"{name}.biases": linear.bias}
    arrays[f"{output.name}.biases"] = model.biases
    for layer, gru in ((first, model.encoder), (second, model.decoder)):
        packed = Packed(
            *(getattr(gru, f"{name}_l0").detach().numpy()
              for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        )  # fmt: skip
        arrays |= {f"{layer.name}.{n}": a for n, a in unpack(TORCH["gru"], packed).items()}
    for parameter in net.parameters():
        found = arrays.get(parameter.name)
        parameter.value[...] = 0 if found is None else np.asarray(detached(found))


def detached(array: Any) -> Any:
    return array.detach().numpy() if isinstance(array, Tensor) else array


def difference(net: Network, model: Translator, ids: Any) -> float:
    """The largest difference of the two networks' probabilities, in streams with a pair. The last
    pass of an epoch has others."""
    ids = ids[:, (ids == TAB).any(axis=0)]
    model.eval()
    with torch.no_grad():
        theirs = model.scores(model(torch.from_numpy(ids))).softmax(dim=-1).numpy()
    return float(np.abs(net.twin(ids.shape[1]).forward(ids) - theirs).max())


def main(cfg: str, weights: str, train: str, seconds: str, out: str) -> None:
    torch.manual_seed(1)
    net = load_network(cfg, weights)
    feed = PairsFeed(Pairs(train), net, 1, 0.0)
    model, batches = trained(net, feed, float(seconds))
    fill(net, model)
    net.save_weights(out)
    apart = difference(net, model, feed.next().x)
    assert apart < 1e-4, f"minidark's network differs from PyTorch's by {apart:.2g}"
    print(json.dumps({"batches": batches, "difference": apart}))


if __name__ == "__main__":
    main(*sys.argv[1:])
