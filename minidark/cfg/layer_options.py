"""The options that every layer has, and the questions that all options answer about a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from minidark.cfg.keys import AT_LEAST_0, WITHOUT_EFFECT, key
from minidark.cfg.sizes import Size

ACTIVATIONS = (  # darknet's fourteen
    "logistic", "loggy", "relu", "elu", "selu", "relie", "ramp", "linear", "tanh", "plse", "leaky",
    "stair", "hardtan", "lhtan",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """What every layer's section may say; it is for the network, not for the layer."""

    reads_symbols: ClassVar[bool] = False  # accepts ids instead of one-hot rows
    gives_symbols: ClassVar[bool] = False  # outputs ids; only the first layer may
    is_recurrent: ClassVar[bool] = False  # carries a state from step to step
    has_width: ClassVar[bool] = False  # `output` sets its width

    learning_rate: float = key(1.0, AT_LEAST_0, "factor on [net]'s rate for this layer")
    stopbackward: bool = key(False, None, "1: this layer and all below get no gradient")
    dontload: bool = key(False, None, "1: absent from the weight files that are read")
    dontsave: bool = key(False, None, "1: absent from the weight files that are written")
    dontloadscales: bool = key(
        False, None, "1: its batch-norm arrays are absent from the weight files that are read"
    )
    onlyforward: bool = key(False, None, WITHOUT_EFFECT)
    truth: bool = key(False, None, WITHOUT_EFFECT)
    smooth: float = key(0.0, None, WITHOUT_EFFECT)
    numload: int = key(0, None, WITHOUT_EFFECT)

    @property
    def normalizes(self) -> bool:
        """Whether it has batch norm."""
        return bool(getattr(self, "batch_normalize", False))

    @property
    def has_cost(self) -> bool:
        """Whether it computes a cost, so that a network that trains can end in it."""
        return False

    def size(self, inputs: int) -> Size:
        """The size of the layer if each of its input rows has `inputs` numbers."""
        return Size(inputs)

    def named(self) -> Iterator[tuple[str, int]]:
        """The layers that its keys name: key and number. A negative number counts from this layer,
        others from the first; a plan's options have negative ones only."""
        return iter(())

    def counted_from(self, number: int) -> Self:
        """The same options in layer `number`, with negative numbers in `named`."""
        return self

    def misfit(self, inputs: int) -> str | None:
        """An error if the layer cannot read rows of `inputs` numbers. It begins with the key."""
        return None

    def doubts(self) -> Iterator[tuple[str, str]]:
        """Allowed values that are perhaps mistakes: a rule's name, and a message that begins with
        the key."""
        return iter(())


def counted(number: int, named: int) -> int:
    """The number of a layer as layer `number` counts it."""
    return named if named < 0 else named - number
