"""How many numbers a layer takes, from its options alone, before any array is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minidark.cfg import options as o


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers, not bytes, in Python's integers, which do not wrap."""

    outputs: int
    affine: int = 0  # biases and weights
    norms: int = 0  # features with a scale, a rolling mean and a rolling variance each
    aside: int = 0  # trained, but without a place in pjreddie's files
    untrained: int = 0  # byte pairs
    state: int = 0  # carried from call to call, of one stream
    kept: int = 0  # of each row of a training pass until its backward: the arrays of GruSaved, ...

    @property
    def held(self) -> int:
        """In memory, gradients aside."""
        return self.affine + 3 * self.norms + self.aside + self.untrained

    @property
    def trained(self) -> int:
        return self.affine + self.norms + self.aside


def layer_size(options: o.LayerOptions, inputs: int) -> Size:
    """What a layer over `inputs` numbers a row takes."""
    size = SIZES.get(type(options))
    return size(options, inputs) if size else Size(inputs)


def file_floats(options: o.LayerOptions, size: Size) -> int:
    """How many of them a weight file holds that is read, in pjreddie's order."""
    if options.dontload:
        return 0
    always = size.affine + size.untrained
    return always if options.dontloadscales else always + 3 * size.norms


def _sublayers(
    outputs: int, norm: bool, *shapes: tuple[int, int], state: int = 0, kept: int
) -> Size:
    """Of sublayers (inputs, outputs)."""
    features = sum(out for _, out in shapes)
    affine = features + sum(i * out for i, out in shapes)
    return Size(outputs, affine, features if norm else 0, state=state, kept=kept)


def _gru(options: o.GruOptions, inputs: int) -> Size:
    n = options.output
    shapes = [(inputs, n)] * 3 + [(n, n)] * 3
    return _sublayers(n, options.batch_normalize, *shapes, state=n, kept=5 * n)


def _lstm(options: o.LstmOptions, inputs: int) -> Size:
    n = options.output
    shapes = [(inputs, n)] * 4 + [(n, n)] * 4
    return _sublayers(n, options.batch_normalize, *shapes, state=2 * n, kept=7 * n)


def _rnn(options: o.RnnOptions, inputs: int) -> Size:
    n, hidden = options.output, options.hidden or options.output
    shapes = [(inputs, hidden), (hidden, hidden), (hidden, n)]
    return _sublayers(n, options.batch_normalize, *shapes, state=hidden, kept=3 * hidden + n)


def _connected(options: o.ConnectedOptions, inputs: int) -> Size:
    n = options.output
    return _sublayers(n, options.batch_normalize, (inputs, n), kept=n)


SIZES: dict[type[o.LayerOptions], Callable[..., Size]] = {  # of the layers that hold arrays
    o.BytepairsOptions: lambda options, inputs: Size(inputs, untrained=2 * max(0, inputs - 256)),
    o.GruOptions: _gru,
    o.LstmOptions: _lstm,
    o.RnnOptions: _rnn,
    o.ConnectedOptions: _connected,
    o.BatchnormOptions: lambda options, inputs: Size(inputs, norms=inputs, aside=inputs),
}
