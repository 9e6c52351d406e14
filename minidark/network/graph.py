"""Which layers read which, and how outputs and gradients travel between them.

Most layers read the one before. [route] and [shortcut] read several: their outputs are put side by
side. An output is kept until the last layer that reads it, in a pass and in a single step. In
backward, an output's gradient is the sum over all layers that read it.

Source: darknet src/route_layer.c, src/shortcut_layer.c, which add to the delta of each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minidark.backend import Array, Backend
from minidark.layers.base import Layer

INPUT = -1  # the network's input, as a number of a layer


def ignore_done(layer: int) -> None:
    """A callback for each layer's number that does nothing."""


class Graph:
    """reads: for each layer, the numbers of those that it reads, in order. head: the first of the
    last layers that each treat rows alone and read only the layer before; their number if the last
    one does not."""

    def __init__(self, layers: Sequence[Layer], backend: Backend):
        self.xp = backend.xp
        self.reads = [layer.reads or (i - 1,) for i, layer in enumerate(layers)]
        self.widths = [layer.outputs for layer in layers]
        last = {j: i for i, reads in enumerate(self.reads) for j in reads}
        # The outputs that nothing reads after each layer.
        self.ended = [[j for j, reader in last.items() if reader == i] for i in range(len(layers))]
        self.is_chain = all(map(self._reads_before, range(len(layers))))
        self.head = len(layers)
        while self.head and layers[self.head - 1].by_rows and self._reads_before(self.head - 1):
            self.head -= 1

    def _reads_before(self, i: int) -> bool:
        return self.reads[i] == (i - 1,)

    def forward(self, x: Array, step: Callable[[int, Array], Array]) -> Array:
        """The last layer's output; step(i, x): the output of layer i for what it reads."""
        outputs, y = {INPUT: x}, x
        for i, reads in enumerate(self.reads):
            outputs[i] = y = step(i, self._joined([outputs[j] for j in reads]))
            for j in self.ended[i]:
                del outputs[j]
        return y

    def backward(
        self,
        gradient: Array,
        top: int,
        bottom: int,
        step: Callable[[int, Array | None, bool], Array | None],
    ) -> Array | None:
        """Backward of the layers below `top`. Returns the input's gradient if `bottom` is INPUT.

        gradient: of what layer `top` reads. bottom: the lowest layer whose output needs a gradient.
        step(i, dy, need_dx): the gradient of what layer i reads, for that of its output; dy is None
        if no layer reads it.
        """
        arriving: dict[int, Array] = {}
        self._add(arriving, top, gradient, bottom)
        del gradient
        for i in range(top - 1, max(bottom, 0) - 1, -1):
            need_dx = any(j >= bottom for j in self.reads[i])
            dx = step(i, arriving.pop(i, None), need_dx)
            if need_dx and dx is not None:
                self._add(arriving, i, dx, bottom)
        return arriving.get(INPUT)

    def _joined(self, outputs: Sequence[Array]) -> Array:
        if len(outputs) == 1:
            return outputs[0]
        side_by_side: Array = self.xp.concatenate(outputs, axis=-1)
        return side_by_side

    def _add(self, arriving: dict[int, Array], i: int, dx: Array, bottom: int) -> None:
        """Add the gradient of what layer i reads to that of each output, from `bottom` up."""
        reads, at = self.reads[i], 0
        for j in reads:
            part = dx
            if len(reads) > 1:  # a copy, because kernels need whole rows and may overwrite them
                part = self.xp.ascontiguousarray(dx[..., at : at + self.widths[j]])
                at += self.widths[j]
            if j < bottom:
                continue
            if j in arriving:
                arriving[j] += part
            else:
                arriving[j] = part
